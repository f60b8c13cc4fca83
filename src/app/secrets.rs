//! Loading with the secrets of other systems: reads the configuration, fetches what it names, reads it once more. And
//! looking at them now and then, so that a value that changed comes into force.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::StartError;
use crate::clock::Ambient;
use crate::config::{Config, Loaded, Problems, Remote, RemoteValues, Sources, load};
use crate::secrets::{Answers, Keeper};
use crate::telemetry::metrics::{Metrics, Name};

/// Readings in a row, when the files change between two of them.
const READINGS: u32 = 4;

/// Between two tries at the start: at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// Longest sleep between two looks at what is due.
const NAP: Duration = Duration::from_secs(30);

/// Why there is no configuration with all its secrets.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The configuration, or a secret in it, is wrong.
    #[error("{0}")]
    Wrong(Problems),
    /// A secret could not be had.
    #[error("{what}")]
    Unavailable {
        /// Which, and why.
        what: String,
        /// Whether trying again soon may help.
        passes: bool,
    },
}

impl From<LoadError> for StartError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Wrong(problems) => Self::Config(problems.to_string()),
            LoadError::Unavailable { what, .. } => Self::Unavailable(what),
        }
    }
}

/// The secrets of one configuration.
#[derive(Debug, Default)]
pub struct Fetched {
    values: Arc<RemoteValues>,
    /// Systems of which something could not be read now.
    late: BTreeSet<&'static str>,
}

impl Fetched {
    /// Takes the values of the answers; where there is none, those in force.
    fn settle(&mut self, answers: Answers, in_force: &RemoteValues) -> Result<(), LoadError> {
        let mut values = RemoteValues::clone(&self.values);
        let mut failed = Vec::new();
        let mut passes = true;
        for (remote, answer) in answers {
            match (answer, in_force.get(&remote)) {
                (Ok(value), _) => {
                    values.insert(remote, value);
                }
                (Err(error), Some(old)) => {
                    tracing::warn!(secret = %remote, %error, "a secret could not be read again; the value in force stays");
                    self.late.insert(remote.keeper());
                    values.insert(remote, old.clone());
                }
                (Err(error), None) => {
                    passes &= error.passes();
                    let error = error.to_string();
                    // One reason for many is said once.
                    if !failed.contains(&error) {
                        failed.push(error);
                    }
                }
            }
        }
        self.values = Arc::new(values);
        if failed.is_empty() {
            return Ok(());
        }
        Err(LoadError::Unavailable {
            what: format!("secrets cannot be read: {}", failed.join("; ")),
            passes,
        })
    }
}

/// Keeps the secrets of other systems fresh for one process.
#[derive(Debug)]
pub struct Secrets {
    keeper: Keeper,
    ambient: Ambient,
    /// The values of the configuration in force: what holds while nobody can be asked.
    in_force: ArcSwap<RemoteValues>,
}

impl Secrets {
    /// Nothing was fetched yet.
    pub fn new(ambient: Ambient) -> Self {
        Self {
            keeper: Keeper::new(ambient.clone()),
            ambient,
            in_force: ArcSwap::default(),
        }
    }

    /// Reads the configuration with all its secrets. A secret that cannot be had now keeps the value that is in force;
    /// one that has none is an error.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn load(&self, sources: &Sources) -> Result<(Loaded, Fetched), LoadError> {
        let in_force = self.in_force.load_full();
        let mut fetched = Fetched::default();
        for _ in 0..READINGS {
            let mut sources = sources.clone();
            sources.remote = Arc::clone(&fetched.values);
            let loaded = tokio::task::spawn_blocking(move || load(&sources))
                .await
                .map_err(|error| LoadError::Unavailable {
                    what: format!("the configuration could not be read: {error}"),
                    passes: false,
                })?
                .map_err(LoadError::Wrong)?;
            if loaded.unread.is_empty() {
                return Ok((loaded, fetched));
            }
            let answers = self.keeper.read(&loaded.config, &loaded.unread).await;
            fetched.settle(answers, &in_force)?;
        }
        Err(LoadError::Unavailable {
            what: "the configuration changes while it is read".to_owned(),
            passes: true,
        })
    }

    /// The same, trying again for as long as the configuration allows while somebody does not answer.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn load_patiently(
        &self,
        sources: &Sources,
        patience: Duration,
    ) -> Result<(Loaded, Fetched), LoadError> {
        let end = Instant::now() + patience;
        let mut pause = PAUSE.0;
        loop {
            let error = match self.load(sources).await {
                Err(LoadError::Unavailable { what, passes: true }) => what,
                other => return other,
            };
            if Instant::now() + pause >= end {
                return Err(LoadError::Unavailable {
                    what: format!("{error}; gave up after {} s", patience.as_secs()),
                    passes: true,
                });
            }
            tracing::warn!(
                error,
                "waiting for the secrets that the configuration names"
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// These values are in force from now on.
    pub fn took(&self, fetched: &Fetched, metrics: &Metrics) {
        let now = keepers(fetched.values.keys());
        let before = self.in_force.swap(Arc::clone(&fetched.values));
        for keeper in now.difference(&fetched.late) {
            self.read_now(metrics, keeper);
        }
        for gone in keepers(before.keys()).difference(&now) {
            // Nothing is read there any more, and nothing is late.
            metrics
                .gauge(Name::SecretRefresh, &[("source", *gone)])
                .set(f64::NAN);
        }
    }

    /// Looks at everything in force until dropped: renews logins, and calls `reload` when a value changed. `config`
    /// gives the configuration in force.
    pub async fn follow(
        &self,
        metrics: &Metrics,
        config: impl Fn() -> Arc<Config>,
        reload: impl AsyncFn(),
    ) {
        let mut looked = Instant::now();
        let mut due = self.jittered(config().secrets.refresh.0);
        let mut was = config().secrets.refresh;
        loop {
            let now = Instant::now();
            let refresh = config().secrets.refresh;
            if refresh != was {
                (was, due) = (refresh, self.jittered(refresh.0));
            }
            let next_look = (!refresh.0.is_zero()).then(|| looked + due);
            let renew_at = self.keeper.renew_at().await;
            let wake = [next_look, renew_at].into_iter().flatten().min();
            tokio::time::sleep_until(wake.unwrap_or(now + NAP).min(now + NAP)).await;
            if let Err(error) = self.keeper.renew().await {
                tracing::warn!(%error, "the login at Vault could not be renewed; it is tried again");
            }
            if next_look.is_some_and(|next| next <= Instant::now()) {
                if self.look(&config(), metrics).await {
                    reload().await;
                }
                looked = Instant::now();
                due = self.jittered(refresh.0);
            }
        }
    }

    /// Reads all that is in force; tells whether something changed. What cannot be read stays as it is.
    async fn look(&self, config: &Config, metrics: &Metrics) -> bool {
        let in_force = self.in_force.load_full();
        if in_force.is_empty() {
            return false;
        }
        let wanted: BTreeSet<Remote> = in_force.keys().cloned().collect();
        let answers = self.keeper.read(config, &wanted).await;
        let mut changed = false;
        let mut late = BTreeSet::new();
        for (remote, answer) in &answers {
            match answer {
                Ok(value) => {
                    if in_force.get(remote) != Some(value) {
                        tracing::info!(secret = %remote, "a secret changed; loading the configuration again");
                        changed = true;
                    }
                }
                Err(error) => {
                    tracing::warn!(secret = %remote, %error, "a secret could not be read again; the value in force stays");
                    late.insert(remote.keeper());
                }
            }
        }
        for keeper in keepers(answers.keys()).difference(&late) {
            self.read_now(metrics, keeper);
        }
        changed
    }

    /// Gives logins back.
    pub async fn finish(&self) {
        self.keeper.finish().await;
    }

    fn read_now(&self, metrics: &Metrics, keeper: &'static str) {
        // Seconds since the epoch are exact in a double until long after 2100.
        #[expect(clippy::cast_precision_loss, reason = "seconds fit")]
        metrics
            .gauge(Name::SecretRefresh, &[("source", keeper)])
            .set(self.ambient.now().as_secs() as f64);
    }

    /// Up to a tenth less, so that replicas do not ask all at once.
    fn jittered(&self, span: Duration) -> Duration {
        let [chance] = self.ambient.random::<1>();
        span.saturating_sub(span / 10 * u32::from(chance) / 255)
    }
}

fn keepers<'r>(remotes: impl Iterator<Item = &'r Remote>) -> BTreeSet<&'static str> {
    remotes.map(Remote::keeper).collect()
}

/// Loads with all secrets, once, for a command that does not go on.
///
/// # Errors
/// See [`LoadError`].
pub async fn load_once(sources: &Sources) -> Result<Loaded, LoadError> {
    let secrets = Secrets::new(Ambient::system());
    let outcome = Box::pin(secrets.load(sources)).await;
    secrets.finish().await;
    outcome.map(|(loaded, _)| loaded)
}
