//! We as client of the identity provider: discovery, keys, login, refresh, logout.

pub mod jwks;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::clock::Ambient;
use crate::config::Config;
use crate::config::oidc::Oidc;
use crate::http::{Inbound, Request, Response};
use crate::keys::KeyRing;
use crate::paths::Own;
use crate::reject::Reject;
use crate::session::{Session, Sessions};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::urls::PublicUrl;

/// The configured provider: known by name, then discovered, refreshed in the background, retried while it is down.
pub struct Provider {
    _private: (),
}

impl Provider {
    /// Makes the value; [`Self::watch`] does the discovery.
    pub fn new(_config: &Oidc, _ambient: Ambient, _metrics: &Arc<Metrics>) -> Result<Arc<Self>, String> {
        todo!()
    }

    /// Discovers, retries with backoff, refreshes, until cancelled.
    pub async fn watch(self: Arc<Self>, _until: CancellationToken) {
        todo!()
    }

    /// The provider's exact issuer, once discovered.
    pub fn issuer(&self) -> Option<Arc<str>> {
        todo!()
    }

    /// The provider's keys, once discovered.
    pub fn jwks(&self) -> Option<Arc<jwks::Jwks>> {
        todo!()
    }

    /// Whether discovery has worked (for health), with the last error otherwise.
    pub fn health(&self) -> Result<(), String> {
        todo!()
    }
}

/// The browser's side: the endpoints under `/oauth2/`, and sessions kept fresh.
pub struct Browser {
    _private: (),
}

impl Browser {
    /// Puts the parts together. `provider` is absent in bypass mode and when there are only API keys.
    #[expect(clippy::too_many_arguments, reason = "a composition, called once")]
    pub fn new(
        _config: &Config,
        _public_url: &PublicUrl,
        _provider: Option<Arc<Provider>>,
        _sessions: Arc<Sessions>,
        _store: Arc<dyn Store>,
        _keys: &KeyRing,
        _ambient: Ambient,
        _metrics: &Arc<Metrics>,
    ) -> Self {
        todo!()
    }

    /// Answers `start`, `sign_in`, `callback`, `sign_out`, `userinfo`, `session`, `style.css`.
    pub async fn handle(&self, _own: Own, _inbound: &Inbound, _request: Request) -> Result<Response, Reject> {
        todo!()
    }

    /// The redirect to login for a browser that navigated to `path_and_query` without a session: 302 with a new
    /// flow and its cookie.
    pub async fn login_redirect(&self, _inbound: &Inbound, _path_and_query: &str) -> Result<Response, Reject> {
        todo!()
    }

    /// The living session of a request's cookie, refreshed when due. `Ok(None)`: no or no living session. Does not
    /// judge whether the cookie counts for the request (cross-site rules); the caller has done that.
    pub async fn session(&self, _headers: &http::HeaderMap) -> Result<Option<Arc<Session>>, Reject> {
        todo!()
    }
}
