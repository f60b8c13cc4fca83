//! Taking over another configuration, whoever asks for it: a signal, an operator, or a change of the files.

use std::sync::Arc;

use super::secrets::LoadError;
use super::{Lasting, Running, StartError, built, complete, name_free_port, restart};
use crate::admin::{LoadedConfig, NotTaken, Taken};
use crate::audit::{self, Event, Kind, Who};
use crate::clock::Ambient;
use crate::config::{Loaded, Problems, Sources};
use crate::session::keyring::key_ring;
use crate::telemetry::metrics::Name;

/// What came of it.
pub(super) type Outcome = Result<Taken, NotTaken>;

/// Why the configuration is loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// SIGHUP.
    Signal,
    /// A file changed.
    Watch,
    /// The admin listener; with what let the operator in.
    Api(&'static str),
}

impl Trigger {
    fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Watch => "watch",
            Self::Api(_) => "api",
        }
    }

    fn who(self) -> Who {
        match self {
            Self::Api(by) => Who::default().with_credential(by),
            Self::Signal | Self::Watch => Who::default(),
        }
    }
}

/// Reads the sources again and takes them over if all is well. Logged, counted and audited, whatever comes of it.
///
/// # Errors
/// What is wrong; then nothing has changed.
pub(super) async fn again(running: &Running, sources: &Sources, trigger: Trigger) -> Outcome {
    let outcome = attempt(running, sources, trigger).await;
    let result = if outcome.is_ok() { "ok" } else { "error" };
    let labels = [("trigger", trigger.as_str()), ("result", result)];
    running
        .lasting
        .metrics
        .counter(Name::Reloads, &labels)
        .increment(1);
    outcome
}

async fn attempt(running: &Running, sources: &Sources, trigger: Trigger) -> Outcome {
    let (files, named) = (Arc::clone(&running.files), sources.clone());
    // What is changed from here on is noticed as a change, so nothing that is read below can be missed.
    let looked = tokio::task::spawn_blocking(move || files.look(&named));
    if let Err(error) = looked.await {
        tracing::error!(%error, "the configuration could not be read; the old one stays in force");
        return Err(unusable(&error));
    }
    let (loaded, values) = match Box::pin(running.secrets.load(sources)).await {
        Ok(found) => found,
        Err(LoadError::Wrong(problems)) => return Err(wrong(running, trigger, &problems)),
        Err(error) => {
            not_taken(running, trigger, "unavailable", &error.to_string());
            tracing::error!(%error, "the configuration could not be read; the old one stays in force");
            return Err(unusable(&error));
        }
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let (files, warnings) = (names(&loaded), loaded.warnings.clone());
    match Box::pin(running.reload_for(loaded, trigger)).await {
        Ok(needs_restart) => {
            running.secrets.took(&values, &running.lasting.metrics);
            for keys in &needs_restart {
                tracing::warn!(keys, "these keys changed, and hold only after a restart");
            }
            tracing::info!(
                trigger = trigger.as_str(),
                "the configuration was loaded again and is in force"
            );
            Ok(Taken {
                files,
                needs_restart,
                warnings,
            })
        }
        Err(error) => {
            tracing::error!(
                %error,
                trigger = trigger.as_str(),
                "the new configuration cannot be used; the old one stays in force"
            );
            Err(unusable(&error))
        }
    }
}

fn wrong(running: &Running, trigger: Trigger, problems: &Problems) -> NotTaken {
    not_taken(running, trigger, "wrong", &problems.to_string());
    for problem in problems.all() {
        tracing::error!("{problem}");
    }
    tracing::error!(
        trigger = trigger.as_str(),
        problems = problems.all().len(),
        "the new configuration is wrong; the old one stays in force"
    );
    NotTaken {
        error: "invalid_config",
        message: "The new configuration is wrong; the old one stays in force.".to_owned(),
        problems: problems.all().to_vec(),
    }
}

fn not_taken(running: &Running, trigger: Trigger, why: &'static str, detail: &str) {
    loaded_now(&running.lasting, false);
    running.lasting.audit.note_with(|_| {
        Event::new(Kind::Reloaded, audit::Outcome::Error)
            .because(why)
            .detail(detail)
            .by(trigger.who())
    });
}

fn unusable(error: &dyn std::fmt::Display) -> NotTaken {
    NotTaken {
        error: "unusable_config",
        message: format!(
            "The new configuration cannot be used; the old one stays in force: {error}"
        ),
        problems: Vec::new(),
    }
}

impl Running {
    /// Takes over another configuration by one swap; requests and streams under way finish on what they started
    /// with. Gives what only a restart would change.
    ///
    /// # Errors
    /// What cannot be used; then nothing has changed.
    pub async fn reload(&self, loaded: Loaded) -> Result<Vec<&'static str>, StartError> {
        Box::pin(self.reload_for(loaded, Trigger::Signal)).await
    }

    async fn reload_for(
        &self,
        loaded: Loaded,
        trigger: Trigger,
    ) -> Result<Vec<&'static str>, StartError> {
        let outcome = self.take_over(loaded).await;
        loaded_now(&self.lasting, outcome.is_ok());
        let event = match &outcome {
            Ok(kept) => Event::ok(Kind::Reloaded)
                .because(trigger.as_str())
                .detail(&kept.join("; ")),
            Err(error) => Event::new(Kind::Reloaded, audit::Outcome::Error)
                .because("unusable")
                .detail(&error.to_string()),
        };
        self.lasting.audit.note(event.by(trigger.who()));
        outcome
    }

    async fn take_over(&self, loaded: Loaded) -> Result<Vec<&'static str>, StartError> {
        let mut built = self.built.lock().await;
        let mut about = about(&loaded, &self.lasting.ambient);
        let mut config = complete(loaded)?;
        let before = self.config.load_full();
        let kept = restart::restart_only(&self.began, &config);
        config
            .sessions
            .clone_from(&restart::with_store_of(&before, &config));
        name_free_port(&mut config, &self.addresses);
        let lasting = &self.lasting;
        let keys = key_ring(
            &config,
            &*lasting.store,
            &lasting.own_keys,
            &lasting.ambient,
        )
        .await
        .map_err(|error| StartError::Unavailable(error.to_string()))?;
        let (snapshot, next) = built::build(&self.lasting, &config, &keys, Some(&built))?;
        let listeners = self.lasting.listeners.clone();
        let config = Arc::new(config);
        let bound = {
            let config = Arc::clone(&config);
            tokio::task::spawn_blocking(move || listeners.reload(&config)).await
        };
        bound
            .map_err(|error| StartError::Failed(error.to_string()))?
            .map_err(|error| StartError::Unavailable(error.to_string()))?;
        next.read_keys().await;
        next.start(&self.lasting);
        next.configure_health(&self.lasting, &config);
        about.needs_restart.clone_from(&kept);
        self.control.configure(next.subjects(), about);
        self.proxy.swap(snapshot);
        // Open streams go on as they began, if their callers may still have them.
        self.lasting.revocations.look_again();
        std::mem::replace(&mut *built, next).end_what_is_not_in(&built);
        self.lasting
            .access
            .reconfigure(config.logging.format, config.logging.access);
        if let Some(log) = &self.lasting.log
            && let Err(error) = log.set_level(&config.logging.level)
        {
            tracing::warn!(%error, "the log level stays as it was");
        }
        self.config.store(config);
        Ok(kept)
    }
}

/// What operators are told of a configuration.
pub(super) fn about(loaded: &Loaded, ambient: &Ambient) -> LoadedConfig {
    LoadedConfig {
        at: String::from_utf8_lossy(&ambient.now().rfc3339()).into_owned(),
        files: names(loaded),
        routes: loaded.config.routes.len(),
        needs_restart: Vec::new(),
    }
}

fn names(loaded: &Loaded) -> Vec<String> {
    let names = loaded.files.iter().map(|file| file.display().to_string());
    names.collect()
}

/// Shows whether the last load worked, and when one did.
pub(super) fn loaded_now(lasting: &Lasting, worked: bool) {
    let metrics = &lasting.metrics;
    metrics
        .gauge(Name::ReloadSuccessful, &[])
        .set(if worked { 1.0 } else { 0.0 });
    if worked {
        // Seconds since the epoch are exact in a double until long after 2100.
        #[expect(clippy::cast_precision_loss, reason = "seconds fit")]
        metrics
            .gauge(Name::ReloadTimestamp, &[])
            .set(lasting.ambient.now().as_secs() as f64);
    }
}
