//! Where a request goes: one table, compiled from the configuration; unknown paths go nowhere.

mod check;
mod pattern;
mod scopes;
mod target;

use std::sync::Arc;

use http::header::{ALLOW, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri};

pub use self::target::Target;

use self::check::Unjudgeable;
use self::pattern::{Index, Pattern};
use crate::config::Config;
use crate::config::route::Kind;
use crate::ids::{BackendName, RouteName};
use crate::paths::{OPENID_CONFIGURATION, Own, OwnPaths, RESOURCE_METADATA, SERVER_METADATA};
use crate::reject::{Code, Fault, Reject};
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
    /// Scopes for challenges and metadata: the least that a client needs.
    pub scopes: Vec<String>,
    /// Further scopes that rules ask for: granted to those who ask for them by name, as a challenge tells them to.
    pub more_scopes: Vec<String>,
    /// Backend pages share our origin.
    pub trust_content: bool,
    /// WebSocket upgrades pass.
    pub websocket: bool,
    pattern: Pattern,
    /// The absolute URL of the route's own path.
    resource: Arc<str>,
}

impl Route {
    /// The route's own path, without `/*` and final slash; empty for the whole site.
    pub fn base(&self) -> &str {
        &self.pattern.base
    }
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

/// All routes.
#[derive(Debug)]
pub struct Table {
    shared: Arc<Shared>,
}

/// What targets share with the table.
#[derive(Debug)]
struct Shared {
    public_url: PublicUrl,
    metrics: bool,
    authorization_server: bool,
    routes: Vec<Arc<Route>>,
    own: OwnPaths,
    index: Index,
    /// The same over lower-case patterns, for [`check::Clean::folded`].
    folded_own: OwnPaths,
    folded_index: Index,
    /// Some pattern has capitals, so that a path without any may be another spelling of it.
    capitals: bool,
}

/// What a path is, before it is looked at from all sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Own(Own),
    Metadata(Option<u32>),
    Route(u32),
    Nowhere,
}

/// Well-known documents of the authorization side that are ours whether served or not: a backend must not speak
/// for this origin (RFC 8414 section 3, OpenID Connect Discovery section 4, RFC 9728 section 3).
const OUR_WELL_KNOWNS: [&str; 3] = [RESOURCE_METADATA, SERVER_METADATA, OPENID_CONFIGURATION];

impl Table {
    /// Compiles the routes. The configuration was validated: what is wrong was told by [`Table::problems`], and
    /// a route that is wrong nevertheless leads nowhere.
    pub fn compile(config: &Config, public_url: &PublicUrl) -> Self {
        let mut index = Index::default();
        let mut folded = Index::default();
        let mut routes: Vec<Arc<Route>> = Vec::new();
        for (at, route) in config.routes.iter().enumerate() {
            let Ok(pattern) = Pattern::parse(&route.path) else {
                continue;
            };
            let Some(backend_index) = config
                .backends
                .iter()
                .position(|each| each.name == route.backend)
            else {
                continue;
            };
            let Ok(value) = u32::try_from(routes.len()) else {
                break;
            };
            index.add(&pattern.base, pattern.subtree, value);
            folded.add(&pattern.base.to_lowercase(), pattern.subtree, value);
            let (scopes, more_scopes) = scopes::of(route);
            routes.push(Arc::new(Route {
                index: at,
                name: route
                    .name
                    .clone()
                    .unwrap_or_else(|| RouteName::new(route.path.as_str())),
                kind: route.kind,
                backend: route.backend.clone(),
                backend_index,
                public: route.public,
                audiences: route.audiences.clone(),
                scopes,
                more_scopes,
                trust_content: route.trust_content,
                websocket: route.websocket,
                resource: public_url.join(&pattern.base).into(),
                pattern,
            }));
        }
        let capital = |text: &str| text.bytes().any(|b| b.is_ascii_uppercase());
        let capitals =
            capital(&config.own_prefix) || routes.iter().any(|route| capital(&route.pattern.base));
        let shared = Shared {
            public_url: public_url.clone(),
            metrics: config.metrics.enabled && config.metrics.on_traffic_listener,
            authorization_server: config.is_authorization_server(),
            routes,
            own: OwnPaths::new(&config.own_prefix, config.is_authorization_server()),
            index,
            folded_own: OwnPaths::new(
                &config.own_prefix.to_lowercase(),
                config.is_authorization_server(),
            ),
            folded_index: folded,
            capitals,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// What is wrong with the routes, as (index of the route, key inside it, message).
    pub fn problems(config: &Config) -> Vec<(usize, &'static str, String)> {
        let own = OwnPaths::new(
            &config.own_prefix.to_lowercase(),
            config.is_authorization_server(),
        );
        let mut problems = Vec::new();
        let mut seen: Vec<(usize, Pattern)> = Vec::new();
        for (at, route) in config.routes.iter().enumerate() {
            let pattern = match Pattern::parse(&route.path) {
                Ok(pattern) => pattern,
                Err(message) => {
                    problems.push((at, "path", message));
                    continue;
                }
            };
            let base = pattern.base.to_lowercase();
            let ours = own.find(&base).is_some()
                || (base == "/metrics" && config.metrics.on_traffic_listener)
                || OUR_WELL_KNOWNS
                    .iter()
                    .any(|each| below(&base, each).is_some());
            if ours {
                let message = format!(
                    "`{}` is a path of the proxy's own; choose another",
                    route.path
                );
                problems.push((at, "path", message));
            }
            let twin = seen.iter().find(|(_, other)| {
                other.subtree == pattern.subtree && other.base.to_lowercase() == base
            });
            if let Some((other, twin)) = twin {
                let difference = if twin.base == pattern.base {
                    ""
                } else {
                    ", which differs only by upper and lower case"
                };
                let message = format!(
                    "`{}` is taken by routes[{other}] (`{}`){difference}; give each route a path of its own",
                    route.path, config.routes[*other].path
                );
                problems.push((at, "path", message));
            }
            let name = route
                .name
                .as_ref()
                .map_or(route.path.as_str(), RouteName::as_str);
            let same_name = config.routes[..at].iter().position(|other| {
                other
                    .name
                    .as_ref()
                    .map_or(other.path.as_str(), RouteName::as_str)
                    == name
            });
            if let Some(other) = same_name.filter(|_| route.name.is_some()) {
                problems.push((
                    at,
                    "name",
                    format!("`{name}` is the name of routes[{other}] already; choose another"),
                ));
            }
            seen.push((at, pattern));
        }
        problems
    }

    /// Judges a request-target. 400 for what cannot be judged, 404 for what leads nowhere, 405 for CONNECT and
    /// TRACE. In absolute form the authority is not looked at here; the Host policy does that.
    pub fn find(&self, method: &Method, uri: &Uri) -> Result<Matched, Reject> {
        if matches!(*method, Method::CONNECT | Method::TRACE) {
            return Err(Reject::new(
                StatusCode::METHOD_NOT_ALLOWED,
                Code::MethodNotAllowed,
                Fault::Client,
                "This proxy is no tunnel and echoes nothing: CONNECT and TRACE are not served.",
            )
            .header(
                ALLOW,
                HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            ));
        }
        let Some(asked) = uri.path_and_query() else {
            return Err(unjudged(Unjudgeable::NotAPath));
        };
        if asked.as_str() == "*" && *method == Method::OPTIONS {
            return Err(nowhere());
        }
        let clean = check::path(asked.path()).map_err(unjudged)?;
        if let Some(query) = asked.query() {
            check::query(query).map_err(unjudged)?;
        }
        let place = self.place(clean.path, &self.shared.own, &self.shared.index);
        if place == Place::Nowhere {
            return Err(nowhere());
        }
        let folded = clean
            .folded
            .as_deref()
            .or(self.shared.capitals.then_some(clean.path));
        if let Some(folded) = folded
            && self.place(folded, &self.shared.folded_own, &self.shared.folded_index) != place
        {
            return Err(ambiguous());
        }
        match place {
            Place::Own(own) => Ok(Matched::Own(own)),
            Place::Metadata(None) | Place::Nowhere => Err(nowhere()),
            Place::Metadata(Some(at)) => {
                let cut = asked.as_str().len();
                let path_form = asked.path().len() > RESOURCE_METADATA.len();
                let resource_at = if path_form {
                    RESOURCE_METADATA.len()
                } else {
                    cut
                };
                self.target(at, asked, cut, resource_at)
                    .map(Matched::ResourceMetadata)
            }
            Place::Route(at) => {
                let route = self.shared.routes.get(at as usize);
                let cut = match route {
                    Some(route) if route.pattern.subtree => route.pattern.base.len(),
                    _ => asked.path().len(),
                };
                self.target(at, asked, cut, 0).map(Matched::Backend)
            }
        }
    }

    /// The route of a name, as a target of its own URL (for forward-auth).
    pub fn named(&self, name: &str) -> Option<Target> {
        let route = self
            .shared
            .routes
            .iter()
            .find(|route| route.name.as_str() == name)?;
        let root = PathAndQuery::from_static("/");
        Some(Target::new(route, &self.shared, root, 1, 1))
    }

    /// The `mcp` route that a resource indicator (RFC 8707 section 2) names: an absolute URL on `public_url` that the
    /// route's pattern holds, compared as in [`Target::accepts_audience`].
    pub fn resource(&self, url: &str) -> Option<Target> {
        let path = target::path_of_resource(&self.shared.public_url, url)?;
        let at = self.shared.index.find(check::path(&path).ok()?.path)?;
        if !self.is_mcp(at) {
            return None;
        }
        let asked = PathAndQuery::try_from(&*path).ok()?;
        self.target(at, &asked, asked.path().len(), 0).ok()
    }

    /// The resource that is meant when none is named: that of the route of this name, else of the only `mcp` route.
    pub fn default_resource(&self, name: Option<&str>) -> Option<Target> {
        if let Some(name) = name {
            return self
                .named(name)
                .filter(|target| target.route().kind == Kind::Mcp);
        }
        let at = self.only_resource()?;
        self.target(at, &PathAndQuery::from_static("/"), 1, 1).ok()
    }

    /// All routes, in order.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.shared.routes
    }

    fn target(
        &self,
        at: u32,
        asked: &PathAndQuery,
        cut: usize,
        resource_at: usize,
    ) -> Result<Target, Reject> {
        let route = self
            .shared
            .routes
            .get(at as usize)
            .ok_or_else(Reject::internal)?;
        Ok(Target::new(
            route,
            &self.shared,
            asked.clone(),
            cut,
            resource_at,
        ))
    }

    fn place(&self, path: &str, own: &OwnPaths, index: &Index) -> Place {
        if let Some(own) = own.find(path) {
            return Place::Own(own);
        }
        if self.shared.metrics && path == "/metrics" {
            return Place::Own(Own::Metrics);
        }
        if path.starts_with("/.well-known/")
            && let Some(found) = OUR_WELL_KNOWNS
                .iter()
                .find_map(|each| Some((*each, below(path, each)?)))
        {
            if self.shared.authorization_server
                && matches!(found, (SERVER_METADATA | OPENID_CONFIGURATION, ""))
            {
                return Place::Own(Own::ServerMetadata);
            }
            return Place::Metadata(match found {
                // The path form of the whole site's resource is the root form.
                (RESOURCE_METADATA, "" | "/") => index
                    .find("/")
                    .filter(|at| self.is_mcp(*at))
                    .or_else(|| self.only_resource()),
                (RESOURCE_METADATA, resource) => index.find(resource).filter(|at| self.is_mcp(*at)),
                _ => None,
            });
        }
        index.find(path).map_or(Place::Nowhere, Place::Route)
    }

    fn is_mcp(&self, at: u32) -> bool {
        self.shared
            .routes
            .get(at as usize)
            .is_some_and(|route| route.kind == Kind::Mcp)
    }

    /// The one `mcp` route, if there is just one.
    fn only_resource(&self) -> Option<u32> {
        let mut found = (0u32..)
            .zip(&self.shared.routes)
            .filter(|(_, route)| route.kind == Kind::Mcp);
        let (at, _) = found.next()?;
        found.next().is_none().then_some(at)
    }
}

/// What follows a prefix that ends at a segment's end.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn unjudged(why: Unjudgeable) -> Reject {
    let status = if why == Unjudgeable::TooLong {
        StatusCode::URI_TOO_LONG
    } else {
        StatusCode::BAD_REQUEST
    };
    Reject::new(
        status,
        Code::BadTarget,
        Fault::Client,
        format!("The address cannot be judged: {why}."),
    )
}

fn ambiguous() -> Reject {
    Reject::new(
        StatusCode::BAD_REQUEST,
        Code::BadTarget,
        Fault::Client,
        "The address is spelt so that another server could read it as a different one. Write it plainly.",
    )
}

fn nowhere() -> Reject {
    Reject::new(
        StatusCode::NOT_FOUND,
        Code::NotFound,
        Fault::Client,
        "There is nothing at this address.",
    )
}

#[cfg(test)]
mod tests;
