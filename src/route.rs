//! Where a request goes: one table, compiled from the configuration; unknown paths go nowhere.

use std::sync::Arc;

use crate::config::Config;
use crate::config::route::Kind;
use crate::ids::{BackendName, RouteName};
use crate::paths::Own;
use crate::reject::Reject;
use crate::urls::PublicUrl;

/// A compiled route.
#[derive(Debug)]
pub struct Route {
    /// Its place in the configuration: index into tables that are kept beside this one (policies, handles).
    pub index: usize,
    /// Name in logs and metrics.
    pub name: RouteName,
    /// MCP or plain.
    pub kind: Kind,
    /// Where it leads.
    pub backend: BackendName,
    /// Index of that backend in the configuration.
    pub backend_index: usize,
    /// Everybody may come in.
    pub public: bool,
    /// Audiences accepted besides the route's resource.
    pub audiences: Vec<String>,
    /// Scopes for challenges and metadata.
    pub scopes: Vec<String>,
    /// Backend pages share our origin.
    pub trust_content: bool,
    /// WebSocket upgrades pass.
    pub websocket: bool,
}

/// What a request-target was found to be.
#[derive(Debug)]
pub enum Matched {
    /// An endpoint of ours.
    Own(Own),
    /// Protected resource metadata (RFC 9728) of this route, or at the root when there is one resource.
    ResourceMetadata(Target),
    /// Something for a backend.
    Backend(Target),
}

/// A judged request-target on a route: what was judged is what will be forwarded. Made by [`Table::find`] only.
#[derive(Clone, Debug)]
pub struct Target {
    route: Arc<Route>,
    resource: Arc<str>,
    upstream: Arc<str>,
}

impl Target {
    /// The route.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The resource (RFC 8707) that was asked for, as an absolute URL on `public_url`: the audience of tokens.
    /// On an exact route its own URL; on a subtree the URL that was asked for, normalised.
    pub fn resource(&self) -> &Arc<str> {
        &self.resource
    }

    /// Path and query to ask the backend for, byte for byte as judged, below the path of its `upstream`.
    pub fn upstream(&self) -> &Arc<str> {
        &self.upstream
    }

    /// Whether this route's pattern holds the given absolute resource URL (the `aud` of a token).
    pub fn accepts_audience(&self, _audience: &str) -> bool {
        todo!()
    }
}

/// All routes.
#[derive(Debug)]
pub struct Table {
    _private: (),
}

impl Table {
    /// Compiles the routes. The configuration was validated: a collision here is a bug of the validation, which
    /// calls [`Table::problems`].
    pub fn compile(_config: &Config, _public_url: &PublicUrl) -> Self {
        todo!()
    }

    /// What is wrong with the routes, as (index of the route, key inside it, message).
    pub fn problems(_config: &Config) -> Vec<(usize, &'static str, String)> {
        todo!()
    }

    /// Judges a request-target. 400 for what cannot be judged, 404 for what leads nowhere.
    pub fn find(&self, _method: &http::Method, _uri: &http::Uri) -> Result<Matched, Reject> {
        todo!()
    }

    /// All routes, in order.
    pub fn routes(&self) -> &[Arc<Route>] {
        todo!()
    }
}
