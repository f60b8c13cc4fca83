//! The composition root: configuration in, running proxy out. The only file, with its parts below `app/`, that
//! knows every module.

mod built;
mod direct;
mod files;
#[cfg(feature = "lambda")]
mod function;
mod reload;
mod restart;
mod run;
mod secrets;
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
use self::files::Files;
pub use self::run::serve;
pub use self::secrets::{Fetched, LoadError, Secrets, load_once};
use crate::admin::{Control, ControlListener, Health, LoadedConfig, MetricsListener, Orders};
use crate::audit::{Audit, Event, Kind};
use crate::clock::Ambient;
use crate::config::{Config, Loaded};
use crate::keys::KeyRing;
use crate::listen::{Drain, Inherited, InheritedSocket, Listeners};
use crate::mcp::session::Ledger;
use crate::proxy::Proxy;
use crate::revocation::Revocations;
use crate::session::keyring::{KeyRingError, key_ring};
use crate::store::Store;
use crate::telemetry::access::AccessLog;
use crate::telemetry::log::LogHandle;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::trace::Traces;
use crate::urls::PublicUrl;

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
    /// What seals where no root secret is configured or kept: a reload ends no session.
    own_keys: KeyRing,
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

/// What a process has around a proxy, and who embeds one has not.
struct Surroundings {
    log: Option<LogHandle>,
    /// The files behind the configuration.
    files: Arc<Files>,
    /// Where operators give orders to the process.
    orders: Orders,
    inherited: Inherited,
    /// Who fetched the secrets of other systems, and fetches them again.
    secrets: Arc<Secrets>,
}

impl Default for Surroundings {
    /// Nobody carries out orders.
    fn default() -> Self {
        Self {
            log: None,
            files: Arc::default(),
            orders: Orders::new().0,
            inherited: Inherited::default(),
            secrets: Arc::new(Secrets::new(Ambient::system())),
        }
    }
}

/// A proxy that serves.
pub struct Running {
    lasting: Arc<Lasting>,
    files: Arc<Files>,
    secrets: Arc<Secrets>,
    /// The configuration at the start: what only a restart changes is still as it says.
    began: Arc<Config>,
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
        Self::start_with(loaded, ambient, Surroundings::default(), std::io::stdout()).await
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
        Self::start_with(loaded, ambient, Surroundings::default(), access).await
    }

    async fn start_with(
        loaded: Loaded,
        ambient: Ambient,
        surroundings: Surroundings,
        access: impl Write + Send + 'static,
    ) -> Result<Self, StartError> {
        let Surroundings {
            log,
            files,
            orders,
            mut inherited,
            secrets,
        } = surroundings;
        let about = reload::about(&loaded, &ambient);
        let mut config = complete(loaded)?;
        let metrics = Metrics::new();
        let health = Health::new(ambient.clone());
        inherited
            .fits(&config)
            .map_err(|error| StartError::Config(error.to_string()))?;
        let passed = (inherited.take_metrics(), inherited.take_admin());
        let listeners = Listeners::bind(&config, inherited, &metrics, &ambient)
            .map_err(|error| StartError::Unavailable(error.to_string()))?;
        let addresses = listeners.addresses();
        name_free_port(&mut config, &addresses);
        let metrics_listener = if config.metrics.enabled {
            Some(bind_metrics(&config, passed.0).await?)
        } else {
            None
        };
        let control_listener = bind_control(&config, passed.1).await?;
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
            own_keys: KeyRing::ephemeral(ambient.clone()),
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
        let metrics_address = metrics_listener.map(|listener| serve_metrics(&lasting, listener));
        watch::all(&lasting);
        let keys = keys_when_there(&config, &lasting).await?;
        let (snapshot, built) = built::build(&lasting, &config, &keys, None)?;
        built.read_keys().await;
        built.start(&lasting);
        built.configure_health(&lasting, &config);
        let admin_address = control_listener.as_ref().map(ControlListener::address);
        let control = control(&lasting, &built, about, orders, control_listener);
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
        let (serving, gone) = serve_traffic(&lasting, &proxy, public_url);
        ending.disarm();
        Ok(Self {
            lasting,
            files,
            secrets,
            began: Arc::new(config.clone()),
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
        self.secrets.finish().await;
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

/// A configuration whose secrets are all known; an unknown one must never count as an empty one.
fn complete(loaded: Loaded) -> Result<Config, StartError> {
    if loaded.left {
        let what = "the configuration was read without its secrets, and cannot be run";
        return Err(StartError::Failed(what.to_owned()));
    }
    match loaded.unread.first() {
        None => Ok(loaded.config),
        Some(unread) => Err(StartError::Unavailable(format!(
            "the secret {unread} was not fetched"
        ))),
    }
}

fn open_audit(config: &Config, ambient: &Ambient, metrics: &Metrics) -> Result<Audit, StartError> {
    Audit::start(&config.audit, ambient, metrics)
        .map_err(|error| StartError::Unavailable(error.to_string()))
}

/// The first configuration is in force.
fn begun(lasting: &Lasting) {
    reload::loaded_now(lasting, true);
    let started = Event::ok(Kind::Started).detail(crate::build::VERSION);
    lasting.audit.note(started);
}

async fn bind_metrics(
    config: &Config,
    passed: Option<InheritedSocket>,
) -> Result<MetricsListener, StartError> {
    let bound = match passed {
        Some(InheritedSocket::Tcp(socket)) => MetricsListener::over(socket),
        // `fits` has seen to it that it is none but TCP.
        Some(InheritedSocket::Unix(_)) | None => {
            MetricsListener::bind(&config.metrics.address).await
        }
    };
    bound.map_err(|error| StartError::Unavailable(error.to_string()))
}

async fn bind_control(
    config: &Config,
    passed: Option<InheritedSocket>,
) -> Result<Option<ControlListener>, StartError> {
    let Some(address) = &config.admin.address else {
        return Ok(None);
    };
    let bound = match passed {
        Some(InheritedSocket::Tcp(socket)) => ControlListener::over_tcp(socket),
        Some(InheritedSocket::Unix(socket)) => ControlListener::over_unix(socket),
        None => ControlListener::bind(address).await,
    };
    bound
        .map(Some)
        .map_err(|error| StartError::Unavailable(error.to_string()))
}

/// Serves metrics until the end, and gives their address.
fn serve_metrics(lasting: &Lasting, listener: MetricsListener) -> SocketAddr {
    let address = listener.address();
    let (metrics, health) = (Arc::clone(&lasting.metrics), Arc::clone(&lasting.health));
    let serve = listener.serve(metrics, health, lasting.end.clone());
    lasting.tracker.spawn(serve);
    address
}

/// Serves traffic; the token fires when the last connection is gone.
fn serve_traffic(
    lasting: &Lasting,
    proxy: &Arc<Proxy>,
    public_url: PublicUrl,
) -> (JoinHandle<()>, CancellationToken) {
    let (listeners, drain) = (lasting.listeners.clone(), lasting.drain.clone());
    let serve = listeners.serve(Arc::clone(proxy), public_url, drain);
    let gone = CancellationToken::new();
    let tell = gone.clone();
    let serving = tokio::spawn(async move {
        serve.await;
        tell.cancel();
    });
    (serving, gone)
}

/// Lets operators ask, where there is a listener for it.
fn control(
    lasting: &Lasting,
    built: &Built,
    about: LoadedConfig,
    orders: Orders,
    listener: Option<ControlListener>,
) -> Arc<Control> {
    let (health, audit) = (Arc::clone(&lasting.health), lasting.audit.clone());
    let control = Control::new(built.subjects(), about, orders, health, audit);
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
async fn keys_when_there(config: &Config, lasting: &Lasting) -> Result<KeyRing, StartError> {
    let mut pause = std::time::Duration::from_millis(250);
    loop {
        match key_ring(config, &*lasting.store, &lasting.own_keys, &lasting.ambient).await {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn a_configuration_without_its_secrets_is_never_run() {
        let folder = tempfile::tempdir().unwrap();
        let (file, key) = (folder.path().join("c.yaml"), folder.path().join("key"));
        std::fs::write(&key, "a-key-of-more-than-sixteen-bytes").unwrap();
        let text = format!(
            "version: 1\nauth: {{ api_keys: [{{ name: ci, key: {{ file: {} }} }}] }}\nbackends: [{{ name: b, upstream: 'http://127.0.0.1:9/' }}]\nroutes: [{{ path: /b, backend: b, allow: {{ any_user: true }} }}]\n",
            key.display()
        );
        std::fs::write(&file, text).unwrap();
        let sources = Sources::file(&file);
        assert!(complete(load(&sources).unwrap()).is_ok());
        let left = load(&sources.without_secrets()).unwrap();
        assert!(matches!(complete(left), Err(StartError::Failed(_))));
    }
}
