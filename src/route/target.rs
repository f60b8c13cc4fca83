//! `Target`: a judged request-target on a route.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use http::uri::PathAndQuery;

use super::{Route, Shared, check};
use crate::urls::PublicUrl;

/// A judged request-target on a route: what was judged is what will be forwarded. Made by the route table only.
#[derive(Clone, Debug)]
pub struct Target {
    route: Arc<Route>,
    shared: Arc<Shared>,
    asked: PathAndQuery,
    /// Where in `asked` the part below the route begins.
    cut: usize,
    /// Where in `asked` the path of the resource begins (behind the well-known prefix, in metadata requests).
    resource_at: usize,
    resource: OnceLock<Arc<str>>,
}

impl Target {
    pub(super) fn new(
        route: &Arc<Route>,
        shared: &Arc<Shared>,
        asked: PathAndQuery,
        cut: usize,
        resource_at: usize,
    ) -> Self {
        Self {
            route: Arc::clone(route),
            shared: Arc::clone(shared),
            asked,
            cut,
            resource_at,
            resource: OnceLock::new(),
        }
    }

    /// The route.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The resource (RFC 8707) that was asked for, as an absolute URL on `public_url`: the audience of tokens.
    /// On an exact route its own URL; on a subtree the URL that was asked for, without query and final slash.
    pub fn resource(&self) -> &Arc<str> {
        self.resource.get_or_init(|| {
            if !self.route.pattern.subtree {
                return Arc::clone(&self.route.resource);
            }
            let path = self
                .asked
                .path()
                .get(self.resource_at..)
                .unwrap_or_default();
            let path = path.strip_suffix('/').unwrap_or(path);
            if path.len() <= self.route.pattern.base.len() {
                return Arc::clone(&self.route.resource);
            }
            format!("{}{path}", self.shared.public_url.as_str()).into()
        })
    }

    /// What follows the route's own path in the request-target, byte for byte as judged: to be appended to the
    /// path of the backend's `upstream`. Empty, or it starts with `/` (a subtree's remainder) or `?` (the query).
    pub fn upstream(&self) -> &str {
        self.asked.as_str().get(self.cut..).unwrap_or_default()
    }

    /// Whether this route's pattern holds the given absolute resource URL (the `aud` of a token), and no other
    /// route's does so better.
    pub fn accepts_audience(&self, audience: &str) -> bool {
        audience == &*self.route.resource
            || path_of_resource(&self.shared.public_url, audience)
                .is_some_and(|path| self.holds(&path))
    }

    fn holds(&self, path: &str) -> bool {
        let Ok(clean) = check::path(path) else {
            return false;
        };
        let found = self.shared.index.find(clean.path);
        found
            .and_then(|at| self.shared.routes.get(at as usize))
            .is_some_and(|route| route.index == self.route.index)
    }
}

/// The path of an absolute URL on `public_url`, compared by RFC 3986 sections 6.2.2 and 6.2.3: scheme and host without
/// case, default port dropped. `None` for what is elsewhere or has more than a path.
pub(super) fn path_of_resource<'a>(public_url: &PublicUrl, url: &'a str) -> Option<Cow<'a, str>> {
    match url.strip_prefix(public_url.as_str()) {
        Some("") => return Some(Cow::Borrowed("/")),
        Some(path) if path.starts_with('/') && !path.contains(['?', '#']) => {
            return Some(Cow::Borrowed(path));
        }
        _ => {}
    }
    let parsed = url::Url::parse(url).ok()?;
    // Url removes dot segments and turns backslashes around; what needed that is not judged.
    let written = url
        .split_once("://")
        .and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
    let plain = parsed.query().is_none()
        && parsed.fragment().is_none()
        && parsed.username().is_empty()
        && parsed.password().is_none()
        && written.unwrap_or("/") == parsed.path();
    (plain && parsed.origin().ascii_serialization() == public_url.as_str())
        .then(|| Cow::Owned(parsed.path().to_owned()))
}
