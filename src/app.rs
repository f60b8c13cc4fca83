//! The composition root: configuration in, running proxy out. The only file, with its parts below `app/`, that
//! knows every module.

mod built;
mod direct;
#[cfg(feature = "lambda")]
mod function;
mod restart;
mod run;
mod traces;
mod watch;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::built::Built;
pub use self::direct::subjects;
pub use self::run::serve;
use crate::admin::{Control, ControlListener, Health, MetricsListener};
use crate::audit::{Audit, Event, Kind, Outcome};
use crate::clock::Ambient;
use crate::config::{Config, Loaded};
use crate::listen::{Drain, Listeners};
use crate::mcp::session::Ledger;
use crate::proxy::Proxy;
use crate::revocation::Revocations;
use crate::session::keyring::{KeyRingError, key_ring};
use crate::store::Store;
use crate::telemetry::access::AccessLog;
use crate::telemetry::log::LogHandle;
use crate::telemetry::metrics::{Metrics, Name};
use crate::telemetry::trace::Traces;

/// Why the proxy did not start, or did not take over a configuration.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something in the configuration cannot be used. Exit code 78.
    #[error("{0}")]
    Config(String),
    /// An address, a port or a service that is needed from the first moment is not to be had. Exit code 69.
    #[error("{0}")]
    Unavailable(String),
    /// The system refused something. Exit code 1.
    #[error("{0}")]
    Failed(String),
}

/// What lasts from start to end, whatever the configuration becomes.
struct Lasting {
    ambient: Ambient,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    access: Arc<AccessLog>,
    traces: Arc<Traces>,
    audit: Audit,
    store: Arc<dyn Store>,
    store_state: Arc<watch::StoreState>,
    revocations: Arc<Revocations>,
    mcp_sessions: Arc<Ledger>,
    listeners: Listeners,
    drain: Drain,
    tracker: TaskTracker,
    /// Ends every background task.
    end: CancellationToken,
    log: Option<LogHandle>,
}

/// A proxy that serves.
pub struct Running {
    lasting: Arc<Lasting>,
    proxy: Arc<Proxy>,
    built: Mutex<Built>,
    config: ArcSwap<Config>,
    addresses: Vec<String>,
    metrics_address: Option<SocketAddr>,
    control: Arc<Control>,
    admin_address: Option<String>,
    serving: JoinHandle<()>,
    gone: CancellationToken,
}

impl Running {
    /// Binds, builds, and serves. Gives back once connections are accepted.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub async fn start(loaded: Loaded, ambient: Ambient) -> Result<Self, StartError> {
        Self::start_with(loaded, ambient, None, std::io::stdout()).await
    }

    /// The same with access records going elsewhere than to standard output.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub async fn start_writing(
        loaded: Loaded,
        ambient: Ambient,
        access: impl Write + Send + 'static,
    ) -> Result<Self, StartError> {
        Self::start_with(loaded, ambient, None, access).await
    }

    async fn start_with(
        loaded: Loaded,
        ambient: Ambient,
        log: Option<LogHandle>,
        access: impl Write + Send + 'static,
    ) -> Result<Self, StartError> {
        let mut config = loaded.config;
        let metrics = Metrics::new();
        let health = Health::new(ambient.clone());
        let listeners = Listeners::bind(&config, &metrics, &ambient)
            .map_err(|error| StartError::Unavailable(error.to_string()))?;
        let addresses = listeners.addresses();
        name_free_port(&mut config, &addresses);
        let metrics_listener = if config.metrics.enabled {
            Some(bind_metrics(&config).await?)
        } else {
            None
        };
        let control_listener = bind_control(&config).await?;
        let store = crate::store::open(&config.sessions, ambient.clone(), &metrics)
            .await
            .map_err(|error| StartError::Unavailable(format!("sessions.redis: {error}")))?;
        let access = AccessLog::start(
            access,
            config.logging.format,
            config.logging.access,
            &metrics,
        )
        .map_err(|error| StartError::Failed(format!("the access log cannot start: {error}")))?;
        let traces = traces::start(&config, &ambient, &metrics)?;
        let audit = open_audit(&config, &ambient, &metrics)?;
        let revocations = Revocations::new(Arc::clone(&store), ambient.clone());
        let mcp_sessions = Ledger::new(Arc::clone(&store), ambient.clone());
        let lasting = Arc::new(Lasting {
            revocations,
            mcp_sessions,
            ambient,
            metrics,
            health,
            access,
            traces,
            audit,
            store,
            store_state: Arc::default(),
            listeners,
            drain: Drain::default(),
            tracker: TaskTracker::new(),
            end: CancellationToken::new(),
            log,
        });
        // From here on tasks run; whoever fails below ends them.
        let ending = lasting.end.clone().drop_guard();
        let metrics_address = metrics_listener.as_ref().map(MetricsListener::address);
        if let Some(listener) = metrics_listener {
            let (metrics, health) = (Arc::clone(&lasting.metrics), Arc::clone(&lasting.health));
            lasting
                .tracker
                .spawn(listener.serve(metrics, health, lasting.end.clone()));
        }
        watch::all(&lasting);
        let keys = keys_when_there(&config, &lasting).await?;
        let (snapshot, built) = built::build(&lasting, &config, &keys, None)?;
        built.read_keys().await;
        built.start(&lasting);
        built.configure_health(&lasting, &config);
        let admin_address = control_listener.as_ref().map(ControlListener::address);
        let control = control(&lasting, &built, control_listener);
        let public_url = built.public_url.clone();
        let proxy = Proxy::new(
            snapshot,
            lasting.ambient.clone(),
            Arc::clone(&lasting.metrics),
            Arc::clone(&lasting.health),
            Arc::clone(&lasting.access),
            Arc::clone(&lasting.traces),
            lasting.audit.clone(),
        );
        begun(&lasting);
        lasting.health.set_ready();
        let gone = CancellationToken::new();
        let serving = tokio::spawn({
            let serve = lasting.listeners.clone().serve(
                Arc::clone(&proxy),
                public_url,
                lasting.drain.clone(),
            );
            let gone = gone.clone();
            async move {
                serve.await;
                gone.cancel();
            }
        });
        ending.disarm();
        Ok(Self {
            lasting,
            proxy,
            built: Mutex::new(built),
            config: ArcSwap::from_pointee(config),
            addresses,
            metrics_address,
            control,
            admin_address,
            serving,
            gone,
        })
    }

    /// The bound traffic addresses, in the order of the configuration; unix sockets as `unix:/path`.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The first TCP address of the traffic listeners.
    pub fn address(&self) -> Option<SocketAddr> {
        self.addresses
            .iter()
            .find_map(|address| address.parse().ok())
    }

    /// The address of the metrics listener.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// What `/metrics` says now, also where no listener offers it.
    pub fn exposition(&self) -> String {
        self.lasting.metrics.render()
    }

    /// The address of the admin listener: `unix:/path` or `address:port`.
    pub fn admin_address(&self) -> Option<&str> {
        self.admin_address.as_deref()
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Takes over another configuration by one swap; requests and streams under way finish on what they started
    /// with. Gives what only a restart would change.
    ///
    /// # Errors
    /// What cannot be used; then nothing has changed.
    pub async fn reload(&self, loaded: Loaded) -> Result<Vec<&'static str>, StartError> {
        let outcome = self.take_over(loaded.config).await;
        loaded_now(&self.lasting, outcome.is_ok());
        self.lasting.audit.note(match &outcome {
            Ok(kept) => Event::ok(Kind::Reloaded).detail(&kept.join("; ")),
            Err(error) => Event::new(Kind::Reloaded, Outcome::Error)
                .because("unusable")
                .detail(&error.to_string()),
        });
        outcome
    }

    async fn take_over(&self, mut config: Config) -> Result<Vec<&'static str>, StartError> {
        let mut built = self.built.lock().await;
        let before = self.config.load_full();
        let kept = restart::restart_only(&before, &config);
        config
            .sessions
            .clone_from(&restart::with_store_of(&before, &config));
        name_free_port(&mut config, &self.addresses);
        let keys = key_ring(&config, &*self.lasting.store, &self.lasting.ambient)
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
        self.control.configure(next.subjects());
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

    /// Ends in order with the times of the configuration, then lets go of everything.
    pub async fn stop(self) {
        let shutdown = self.config.load().shutdown.clone();
        let drain = self.lasting.drain.clone();
        self.lasting.health.set_draining();
        tokio::select! {
            () = drain.run(&shutdown, true) => {}
            () = self.gone() => {}
        }
        self.finish().await;
    }

    /// Waits until the last connection is gone, which happens only after the drain began.
    async fn gone(&self) {
        self.gone.cancelled().await;
    }

    async fn finish(self) {
        self.lasting.drain.cut_now();
        // Cut connections need a moment at most; the listener bounds it.
        let _ = self.serving.await;
        self.proxy.snapshot().browser.finish().await;
        self.lasting.end.cancel();
        self.lasting.tracker.close();
        self.lasting.tracker.wait().await;
        self.lasting.audit.note(Event::ok(Kind::Stopped));
        let access = Arc::clone(&self.lasting.access);
        let traces = Arc::clone(&self.lasting.traces);
        let audit = self.lasting.audit.clone();
        let close = move || {
            audit.close();
            access.close();
            traces.flush();
        };
        let _ = tokio::task::spawn_blocking(close).await;
    }
}

fn open_audit(config: &Config, ambient: &Ambient, metrics: &Metrics) -> Result<Audit, StartError> {
    Audit::start(&config.audit, ambient, metrics)
        .map_err(|error| StartError::Unavailable(error.to_string()))
}

/// The first configuration is in force.
fn begun(lasting: &Lasting) {
    loaded_now(lasting, true);
    let started = Event::ok(Kind::Started).detail(crate::build::VERSION);
    lasting.audit.note(started);
}

async fn bind_metrics(config: &Config) -> Result<MetricsListener, StartError> {
    MetricsListener::bind(&config.metrics.address)
        .await
        .map_err(|error| StartError::Unavailable(error.to_string()))
}

async fn bind_control(config: &Config) -> Result<Option<ControlListener>, StartError> {
    match &config.admin.address {
        None => Ok(None),
        Some(address) => ControlListener::bind(address)
            .await
            .map(Some)
            .map_err(|error| StartError::Unavailable(error.to_string())),
    }
}

/// Lets operators ask, where there is a listener for it.
fn control(lasting: &Lasting, built: &Built, listener: Option<ControlListener>) -> Arc<Control> {
    let control = Control::new(built.subjects(), lasting.audit.clone());
    if let Some(listener) = listener {
        let serve = listener.serve(Arc::clone(&control), lasting.end.clone());
        lasting.tracker.spawn(serve);
    }
    control
}

/// A listener on port 0 got some port; without a `public_url` that is the one people use.
fn name_free_port(config: &mut Config, addresses: &[String]) {
    let free = config
        .listen
        .first()
        .is_some_and(|listener| listener.address.ends_with(":0"));
    if config.public_url.is_none()
        && free
        && let Some(Ok(address)) = addresses
            .first()
            .map(|address| address.parse::<SocketAddr>())
    {
        let scheme = if config.listen.first().is_some_and(|l| l.tls.is_some()) {
            "https"
        } else {
            "http"
        };
        let url = format!("{scheme}://localhost:{}", address.port());
        tracing::warn!("public_url is not set; links and redirect URIs use {url}");
        config.public_url = Some(url);
    }
}

/// Own keys are needed before the first request. Where they are kept in a store that is away, start waits for it
/// and says so; the listeners are bound and the health listener answers meanwhile.
async fn keys_when_there(
    config: &Config,
    lasting: &Lasting,
) -> Result<crate::keys::KeyRing, StartError> {
    let mut pause = std::time::Duration::from_millis(250);
    loop {
        match key_ring(config, &*lasting.store, &lasting.ambient).await {
            Ok(keys) => return Ok(keys),
            Err(KeyRingError::Store(error)) => {
                tracing::warn!(%error, "waiting for the store, which keeps the root secret; secret_keys would make this unnecessary");
            }
            Err(error) => return Err(StartError::Config(error.to_string())),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(std::time::Duration::from_secs(5));
    }
}

fn loaded_now(lasting: &Lasting, worked: bool) {
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
