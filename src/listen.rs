//! Accepting connections: TCP and unix sockets, TLS, limits, graceful end.

use std::sync::Arc;

use crate::config::Config;
use crate::http::{Request, Response};
use crate::peer::Conn;
use crate::telemetry::metrics::Metrics;
use crate::urls::PublicUrl;

/// Answers requests. One value serves all listeners.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request; never fails.
    fn handle(self: Arc<Self>, conn: Arc<Conn>, request: Request) -> impl Future<Output = Response> + Send;
}

/// Bound listeners, not yet serving.
pub struct Listeners {
    _private: (),
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
    /// Binds every listener of the configuration, and the certificates with it.
    pub fn bind(_config: &Config, _metrics: &Arc<Metrics>) -> Result<Self, BindError> {
        todo!()
    }

    /// The addresses that were bound, in the order of the configuration; unix sockets as `unix:/path`.
    pub fn addresses(&self) -> Vec<String> {
        todo!()
    }

    /// Serves until `drain` fires, then follows the drain order of the configuration: stop accepting, finish
    /// requests, end idle connections. Returns when the last connection is gone or time is up.
    pub async fn serve<H: Handler>(self, _handler: Arc<H>, _public_url: PublicUrl, _drain: Drain) {
        todo!()
    }

    /// Takes over a new configuration: limits, certificates; listeners that were added, removed or changed.
    pub fn reload(&self, _config: &Config) -> Result<(), BindError> {
        todo!()
    }
}

/// The steps of ending, each a token that fires once.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    /// `/ready` says 503; still accepting.
    pub announced: tokio_util::sync::CancellationToken,
    /// Stop accepting; finish what is under way.
    pub closing: tokio_util::sync::CancellationToken,
    /// End event streams between two events.
    pub streams: tokio_util::sync::CancellationToken,
    /// Cut what is left.
    pub cut: tokio_util::sync::CancellationToken,
}
