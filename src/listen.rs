//! Accepting connections: TCP and unix sockets, TLS, limits, graceful end.
//!
//! A connection goes through two tasks when it speaks TLS (handshake, then HTTP) and one when it does not. All
//! of them are known to a tracker, as are sockets that an upgrade took over, so that the end can be waited for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::accept::{Bound, Live, Server};
use self::bind::ListenSocket;
pub use self::inherited::{InheritError, Inherited, InheritedSocket};
use self::inherited::{Role, roles};
use self::shared::Shared;
use self::stages::Stage;
use self::tls::TlsState;
use crate::clock::Ambient;
use crate::config::Config;
use crate::config::listen::{Limits, Listener};
use crate::http::{Request, Response};
use crate::peer::Conn;
use crate::telemetry::metrics::{Metrics, Name};
use crate::urls::PublicUrl;

mod accept;
mod activity;
mod bind;
mod certificate;
mod der;
mod inherited;
mod late;
mod permits;
mod redirect;
mod serve;
mod shared;
mod stages;
mod stream;
mod tls;
mod unix;

/// How often certificate files are looked at.
const CERTIFICATE_POLL: Duration = Duration::from_secs(10);
/// How long connections get to notice that they were cut.
const AFTER_CUT: Duration = Duration::from_secs(1);

/// Answers requests. One value serves all listeners.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request; never fails. A panic is caught, counted and answered with 500.
    fn handle(
        self: Arc<Self>,
        conn: Arc<Conn>,
        request: Request,
    ) -> impl Future<Output = Response> + Send;

    /// Notes an answer by which a listener led a client to https.
    fn led_away(&self, conn: Arc<Conn>, head: &http::request::Parts, status: http::StatusCode) {
        let _ = (conn, head, status);
    }
}

/// Bound listeners. A handle: clones are the same listeners, so that one can serve and another reload.
#[derive(Clone)]
pub struct Listeners {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    /// All listeners in the order of the configuration.
    bound: Mutex<Vec<Arc<Bound>>>,
    /// Those that are bound and not yet accepted from.
    waiting: Mutex<Vec<Arc<Bound>>>,
    arrived: Notify,
    inherited: Inherited,
    ambient: Ambient,
    /// Where redirecting listeners lead to; set once serving.
    public_url: Arc<ArcSwapOption<PublicUrl>>,
}

/// Why a listener could not be made. The message names the key, the address or file, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {message}")]
pub struct BindError {
    /// Key path (`listen[0].address`).
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Listeners {
    /// Binds every listener of the configuration, or takes the socket that was passed for it, and the certificates
    /// with it. Inside a runtime only.
    pub fn bind(
        config: &Config,
        inherited: Inherited,
        metrics: &Arc<Metrics>,
        ambient: &Ambient,
    ) -> Result<Self, BindError> {
        let bound = config
            .listen
            .iter()
            .zip(roles(&config.listen))
            .enumerate()
            .map(|(index, (listener, role))| {
                let key = format!("listen[{index}]");
                let passed = passed(&key, &inherited, role)?;
                bind_one(&key, listener, passed, metrics, ambient)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self::of(bound, inherited, &config.limits, metrics, ambient))
    }

    fn of(
        bound: Vec<Arc<Bound>>,
        inherited: Inherited,
        limits: &Limits,
        metrics: &Arc<Metrics>,
        ambient: &Ambient,
    ) -> Self {
        let inner = Inner {
            shared: Shared::new(limits, metrics),
            waiting: Mutex::new(bound.clone()),
            bound: Mutex::new(bound),
            arrived: Notify::new(),
            inherited,
            ambient: ambient.clone(),
            public_url: Arc::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The addresses that were bound, in the order of the configuration; unix sockets as `unix:/path`.
    pub fn addresses(&self) -> Vec<String> {
        let bound = self
            .inner
            .bound
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        bound
            .iter()
            .map(|each| each.socket.address(&each.address))
            .collect()
    }

    /// Serves until `drain` fires, then follows its steps: announced (HTTP/1 clients are told to connect anew),
    /// closing (stop accepting, finish requests, end idle connections), cut. Returns when the last connection
    /// is gone, or shortly after `cut`. To be called once.
    pub async fn serve<H: Handler>(self, handler: Arc<H>, public_url: PublicUrl, drain: Drain) {
        self.inner.public_url.store(Some(Arc::new(public_url)));
        let shared = Arc::clone(&self.inner.shared);
        let server = Arc::new(Server {
            handler,
            shared: Arc::clone(&shared),
            public_url: Arc::clone(&self.inner.public_url),
        });

        let certificates = shared.tracker.spawn(self.clone().watch_certificates());
        let announced = async {
            drain.announced.cancelled().await;
            shared.stages.advance(Stage::Announced);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = drain.closing.cancelled() => {}
            () = drain.cut.cancelled() => {}
            () = announced => {}
            () = self.accept_from_all(&server) => {}
        }
        shared.stages.advance(Stage::Closing);
        certificates.abort();
        // Closes the sockets: their accept loops have ended, or end now.
        self.inner
            .bound
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.inner
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        shared.tracker.close();
        tokio::select! {
            () = shared.tracker.wait() => {}
            () = drain.cut.cancelled() => {}
        }
        shared.stages.advance(Stage::Cut);
        // What was upgraded belongs to who upgraded it, and ends with the process at the latest.
        let _ = tokio::time::timeout(AFTER_CUT, shared.tracker.wait()).await;
    }

    /// Takes over a new configuration: limits, certificates; listeners that were added, removed or changed.
    /// Connections go on as they began. Blocking: reads certificate files.
    ///
    /// # Errors
    /// The first thing that cannot be done; then nothing was changed, except that certificates whose files are
    /// good may be newer.
    pub fn reload(&self, config: &Config) -> Result<(), BindError> {
        let (metrics, ambient) = (&self.inner.shared.metrics, &self.inner.ambient);
        let inherited = &self.inner.inherited;
        inherited.traffic_fits(config).map_err(|error| BindError {
            key: "listen".to_owned(),
            message: error.to_string(),
        })?;
        let mut bound = self
            .inner
            .bound
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut next = Vec::with_capacity(config.listen.len());
        let mut changed = Vec::new();
        let mut fresh = Vec::new();
        for (index, (listener, role)) in config.listen.iter().zip(roles(&config.listen)).enumerate()
        {
            let key = format!("listen[{index}]");
            let passed = passed(&key, inherited, role)?;
            // What was passed to us stays, whatever address is written for it.
            let is_it = |old: &&Arc<Bound>| match passed {
                Some(_) => old.passed == Some(role),
                None => old.passed.is_none() && *old.address == *listener.address,
            };
            let Some(old) = bound.iter().find(is_it) else {
                let new = bind_one(&key, listener, passed, metrics, ambient)?;
                fresh.push(Arc::clone(&new));
                next.push(new);
                continue;
            };
            let before = old.live.load().tls.clone();
            let tls = match (&listener.tls, before) {
                (Some(spec), Some(state)) if state.spec == *spec => {
                    state.certificates.refresh()?;
                    state.certificates.remind();
                    Some(state)
                }
                (Some(spec), _) => Some(TlsState::new(
                    &key,
                    &listener.address,
                    spec,
                    metrics,
                    ambient,
                )?),
                (None, _) => None,
            };
            changed.push((
                Arc::clone(old),
                Live {
                    tls,
                    redirect: listener.redirect_to_https,
                },
            ));
            next.push(Arc::clone(old));
        }
        // From here on nothing fails.
        for (old, live) in changed {
            old.live.store(Arc::new(live));
        }
        for gone in bound
            .iter()
            .filter(|old| !next.iter().any(|new| Arc::ptr_eq(old, new)))
        {
            gone.stop.cancel();
        }
        *bound = next;
        drop(bound);
        self.inner
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(fresh);
        self.inner.arrived.notify_one();
        self.inner.shared.apply(&config.limits);
        if let Some(url) = config
            .public_url
            .as_deref()
            .and_then(|url| PublicUrl::parse(url).ok())
        {
            self.inner.public_url.store(Some(Arc::new(url)));
        }
        Ok(())
    }

    /// Starts an accept loop for every listener that is there and that comes.
    async fn accept_from_all<H: Handler>(&self, server: &Arc<Server<H>>) {
        loop {
            let arrived = {
                let mut waiting = self
                    .inner
                    .waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *waiting)
            };
            for bound in arrived {
                server
                    .shared
                    .tracker
                    .spawn(accept::run(bound, Arc::clone(server)));
            }
            self.inner.arrived.notified().await;
        }
    }

    async fn watch_certificates(self) {
        let mut tick = tokio::time::interval(CERTIFICATE_POLL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tick.tick().await;
        loop {
            tick.tick().await;
            let this = self.clone();
            let looked = tokio::task::spawn_blocking(move || this.refresh_certificates());
            // Refusals are in the log and counted; there is nobody else to tell.
            let _ = looked.await;
        }
    }

    /// Looks at all certificate files now. Blocking.
    fn refresh_certificates(&self) {
        let states: Vec<_> = {
            let bound = self
                .inner
                .bound
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            bound
                .iter()
                .filter_map(|each| each.live.load().tls.clone())
                .collect()
        };
        for state in states {
            let _ = state.certificates.refresh();
        }
    }
}

impl std::fmt::Debug for Listeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Listeners").field(&self.addresses()).finish()
    }
}

/// The socket that was passed for a listener, and for which one it is.
fn passed(
    key: &str,
    inherited: &Inherited,
    role: Role,
) -> Result<Option<(Role, InheritedSocket)>, BindError> {
    let socket = inherited.of(role).map_err(|error| BindError {
        key: format!("{key}.address"),
        message: format!("the socket that was passed cannot be used: {error}"),
    })?;
    Ok(socket.map(|socket| (role, socket)))
}

fn bind_one(
    key: &str,
    listener: &Listener,
    passed: Option<(Role, InheritedSocket)>,
    metrics: &Arc<Metrics>,
    ambient: &Ambient,
) -> Result<Arc<Bound>, BindError> {
    let tls = listener
        .tls
        .as_ref()
        .map(|spec| TlsState::new(key, &listener.address, spec, metrics, ambient))
        .transpose()?;
    let at = format!("{key}.address");
    let (socket, role) = match passed {
        Some((role, socket)) => (ListenSocket::passed(&at, socket)?, Some(role)),
        None => (ListenSocket::bind(&at, &listener.address)?, None),
    };
    let live = Live {
        tls,
        redirect: listener.redirect_to_https,
    };
    Ok(bound(&listener.address, role, socket, live, metrics))
}

fn bound(
    address: &str,
    passed: Option<Role>,
    socket: ListenSocket,
    live: Live,
    metrics: &Metrics,
) -> Arc<Bound> {
    let open = metrics.gauge(Name::Connections, &[("listener", address)]);
    open.set(0.0);
    Arc::new(Bound {
        address: address.into(),
        passed,
        socket,
        live: ArcSwap::from_pointee(live),
        open,
        stop: CancellationToken::new(),
    })
}

/// The steps of ending, each a token that fires once.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    /// `/ready` says 503; still accepting.
    pub announced: CancellationToken,
    /// Stop accepting; finish what is under way.
    pub closing: CancellationToken,
    /// End event streams between two events.
    pub streams: CancellationToken,
    /// Cut what is left.
    pub cut: CancellationToken,
}

#[cfg(test)]
mod tests;
