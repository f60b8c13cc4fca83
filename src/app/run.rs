//! The process: runtime, log, signals and orders, and the proxy between them.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Interval, MissedTickBehavior};

use super::files::{self, Files, Wish};
use super::reload::{self, Trigger};
use super::secrets::Fetched;
use super::{Running, Secrets, StartError, Surroundings};
use crate::admin::{Ending, Inbox, Orders, Status};
use crate::audit::{Event, Kind, Who};
use crate::clock::Ambient;
use crate::config::{Loaded, Sources, service};
use crate::lifecycle::{Ask, Notifier, Signals};
use crate::listen::Inherited;
use crate::telemetry::log;
use crate::telemetry::metrics::Name;

/// Why the process ends, when a signal asked for it.
const SIGNAL: &str = "signal";
/// Time between two looks at what the service manager is told.
const STATUS_EVERY: std::time::Duration = std::time::Duration::from_secs(2);

/// Serves until the process is asked to end, and ends in order. `sources` are loaded again when asked.
///
/// # Errors
/// What kept the proxy from starting.
pub fn serve(loaded: Loaded, sources: Sources) -> Result<(), StartError> {
    // A second installation means that somebody embeds us and chose a provider before; that is theirs to decide.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // Before there are other threads, for it takes the names out of the environment.
    let inherited = Inherited::take().map_err(|error| StartError::Config(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError::Failed(format!("the runtime cannot start: {error}")))?;
    runtime.block_on(run(loaded, sources, inherited))
}

async fn run(loaded: Loaded, sources: Sources, inherited: Inherited) -> Result<(), StartError> {
    let log =
        log::init(&loaded.config.logging).map_err(|error| StartError::Config(error.to_string()))?;
    let mut signals = Signals::take()
        .map_err(|error| StartError::Failed(format!("signals cannot be handled: {error}")))?;
    announce(&loaded);
    let files = Arc::new(Files::default());
    files.look(&sources);
    let secrets = Arc::new(Secrets::new(Ambient::system()));
    let (loaded, values) = tokio::select! {
        found = Box::pin(with_secrets(loaded, &sources, &secrets)) => found?,
        _ = signals.end() => return Ok(()),
    };
    let (orders, inbox) = Orders::new();
    let surroundings = Surroundings {
        log: Some(log),
        files: Arc::clone(&files),
        orders,
        inherited,
        secrets: Arc::clone(&secrets),
    };
    let (clock, access) = (Ambient::system(), std::io::stdout());
    let start = Running::start_with(loaded, clock, surroundings, access);
    let started = tokio::select! {
        started = Box::pin(start) => started.map(Some),
        _ = signals.end() => Ok(None),
    };
    let running = match started {
        Ok(Some(running)) => running,
        ended => {
            secrets.finish().await;
            return ended.map(drop);
        }
    };
    let lasting = Arc::clone(&running.lasting);
    secrets.took(&values, &lasting.metrics);
    let notifier = Notifier::default();
    tracing::info!(
        addresses = ?running.addresses(),
        metrics = running.metrics_address().map(tracing::field::display),
        public_url = %running.built.lock().await.public_url,
        "listening"
    );
    let (settings, told) = watch::channel(running.config().reload.clone());
    let (wishes, changed) = mpsc::channel(1);
    lasting.tracker.spawn(files::watch(
        files,
        told,
        wishes.clone(),
        lasting.end.clone(),
    ));
    let refresh = secrets.follow(
        &lasting.metrics,
        || running.config(),
        async || {
            let (wish, done) = oneshot::channel();
            if wishes.send(wish).await.is_ok() {
                // Dropped without an answer when the process ends instead.
                let _ = done.await;
            }
        },
    );
    {
        let (notifier, end) = (notifier.clone(), lasting.end.clone());
        lasting
            .tracker
            .spawn(async move { notifier.feed_watchdog(end).await });
    }
    let process = Process {
        running: &running,
        sources: &sources,
        notifier,
        settings,
        signals,
        inbox,
        changed,
        said: String::new(),
    };
    tokio::select! {
        () = process.follow() => {}
        () = running.gone() => {}
        () = refresh => {}
    }
    running.finish().await;
    tracing::info!("ended");
    Ok(())
}

/// Fetches the secrets of other systems that the configuration names.
///
/// # Errors
/// They are not to be had, or break a rule.
async fn with_secrets(
    loaded: Loaded,
    sources: &Sources,
    secrets: &Secrets,
) -> Result<(Loaded, Fetched), StartError> {
    if loaded.unread.is_empty() {
        return Ok((loaded, Fetched::default()));
    }
    let patience = loaded.config.secrets.start_timeout.0;
    let found = secrets.load_patiently(sources, patience).await;
    if found.is_err() {
        secrets.finish().await;
    }
    Ok(found?)
}

/// The process while it serves: what it is asked by signals, operators and changed files.
struct Process<'a> {
    running: &'a Running,
    sources: &'a Sources,
    notifier: Notifier,
    settings: watch::Sender<service::Reload>,
    signals: Signals,
    inbox: Inbox,
    changed: mpsc::Receiver<Wish>,
    /// What the service manager was told last.
    said: String,
}

/// How the process is asked to end.
struct End {
    /// Without the time in which load balancers notice.
    now: bool,
    why: &'static str,
    who: Who,
    answer: Option<oneshot::Sender<Ending>>,
}

impl End {
    fn signal(ask: Ask) -> Self {
        Self {
            now: ask == Ask::Interrupt,
            why: SIGNAL,
            who: Who::default(),
            answer: None,
        }
    }

    fn order(order: crate::admin::End) -> Self {
        Self {
            now: order.now,
            why: "api",
            who: Who::default().with_credential(order.by),
            answer: Some(order.answer),
        }
    }
}

impl Process<'_> {
    /// Loads the configuration again as often as it is asked to, then goes through the steps of the end.
    async fn follow(mut self) {
        let mut ticks = tokio::time::interval(STATUS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.say_status();
        self.notifier.ready();
        let end = loop {
            if let Some(end) = Box::pin(self.next(&mut ticks)).await {
                break end;
            }
        };
        self.end(end).await;
    }

    /// Does the next thing that is asked for, one after the other. Gives how to end, when that is asked.
    async fn next(&mut self, ticks: &mut Interval) -> Option<End> {
        tokio::select! {
            ask = self.signals.next() => match ask {
                Ask::Reload => self.reload(Trigger::Signal, |_| ()).await,
                ask => Some(End::signal(ask)),
            },
            Some(order) = self.inbox.ends.recv() => Some(End::order(order)),
            Some(order) = self.inbox.reloads.recv() => {
                // Whoever asked may have hung up.
                let tell = |outcome| drop(order.answer.send(outcome));
                self.reload(Trigger::Api(order.by), tell).await
            }
            Some(wish) = self.changed.recv() => {
                let tell = |_| {
                    // It waits for as long as it lives.
                    let _ = wish.send(());
                };
                self.reload(Trigger::Watch, tell).await
            }
            _ = ticks.tick(), if Notifier::is_heard() => {
                self.say_status();
                None
            }
        }
    }

    /// An end that is asked for meanwhile does not wait for a store or a provider that is slow.
    async fn reload(
        &mut self,
        trigger: Trigger,
        tell: impl FnOnce(reload::Outcome),
    ) -> Option<End> {
        self.notifier.reloading();
        let end = tokio::select! {
            outcome = Box::pin(reload::again(self.running, self.sources, trigger)) => {
                if outcome.is_ok() {
                    let reload = self.running.config().reload.clone();
                    self.settings.send_if_modified(|old| {
                        let differs = *old != reload;
                        *old = reload;
                        differs
                    });
                }
                tell(outcome);
                None
            }
            ask = self.signals.end() => Some(End::signal(ask)),
            Some(order) = self.inbox.ends.recv() => Some(End::order(order)),
        };
        self.notifier.ready();
        self.say_status();
        end
    }

    async fn end(mut self, end: End) {
        let times = self.running.config().shutdown.clone();
        let ending = Ending {
            draining: true,
            delay: times.delay,
            stream_grace: times.stream_grace,
            timeout: times.timeout,
        };
        tracing::info!(
            why = end.why,
            delay = %times.delay,
            timeout = %times.timeout,
            "draining: the process was asked to end"
        );
        let lasting = &self.running.lasting;
        lasting.health.set_draining();
        lasting.metrics.gauge(Name::Draining, &[]).set(1.0);
        let event = Event::ok(Kind::Draining).because(end.why).by(end.who);
        lasting.audit.note(event);
        self.notifier.stopping(times.delay.0 + times.timeout.0);
        self.notifier.status("ending: requests under way finish");
        // Whoever asked may have hung up.
        let _ = end.answer.map(|answer| answer.send(ending.clone()));
        let drain = &lasting.drain;
        // A supervisor that has ordered the end sends its signal all the same; it is no wish to cut anything.
        let mut signalled = end.why == SIGNAL;
        let mut steps = Box::pin(drain.run(&times, end.now));
        loop {
            let now = tokio::select! {
                () = &mut steps => return,
                ask = self.signals.end() => {
                    if std::mem::replace(&mut signalled, true) {
                        tracing::warn!("a second signal: ending at once");
                        return drain.cut_now();
                    }
                    ask == Ask::Interrupt
                }
                Some(order) = self.inbox.ends.recv() => {
                    let _ = order.answer.send(ending.clone());
                    order.now
                }
            };
            if now && !drain.closing.is_cancelled() {
                steps = Box::pin(drain.run(&times, true));
            }
        }
    }

    /// Tells the service manager how it goes, when that has changed.
    fn say_status(&mut self) {
        let checks = self.running.lasting.health.checks();
        let backends: Vec<_> = checks
            .iter()
            .filter(|check| check.name.starts_with("backend:"))
            .collect();
        // One that nobody has asked yet is not down.
        let up = backends
            .iter()
            .filter(|check| check.status != Status::Unhealthy)
            .count();
        let status = format!(
            "serving {} routes, {up}/{} backends up",
            self.running.config().routes.len(),
            backends.len()
        );
        if self.said != status {
            self.notifier.status(&status);
            self.said = status;
        }
    }
}

fn announce(loaded: &Loaded) {
    let files: Vec<String> = loaded
        .files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        files = ?files,
        "{}",
        if files.is_empty() { "starting from the environment alone" } else { "starting" }
    );
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(warning) = loaded.config.bypass_warning() {
        tracing::warn!("{warning}");
    }
}
