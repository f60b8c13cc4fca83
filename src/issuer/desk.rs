//! What the pages of an authorization request work with.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::client::{Client, Clients, Place, Standing};
use super::grant::Grants;
use crate::audit::Audit;
use crate::claims::Claims;
use crate::clock::Ambient;
use crate::config::Config;
use crate::http::Inbound;
use crate::http::pages::{Destination, Pages, Trust, View, shown};
use crate::keys::{KeyRing, Purpose};
use crate::oidc::Browser;
use crate::paths::{Own, OwnPaths};
use crate::route::{Table, Target};
use crate::seal::Sealer;
use crate::store::Store;
use crate::urls::PublicUrl;

/// What lasts from request to request.
pub(crate) struct Desk {
    pub(super) clients: Arc<Clients>,
    pub(super) grants: Arc<Grants>,
    pub(super) browser: Arc<Browser>,
    pub(super) store: Arc<dyn Store>,
    pub(super) keys: KeyRing,
    pub(super) sealer: Sealer,
    pub(super) paths: OwnPaths,
    /// Our issuer: `public_url`.
    pub(super) issuer: Arc<str>,
    pub(super) public: PublicUrl,
    pub(super) default_route: Option<String>,
    pub(super) remember: Option<Duration>,
    pub(super) ambient: Ambient,
    pub(super) audit: Audit,
}

/// One request, and what it is judged by.
#[derive(Clone, Copy)]
pub(crate) struct Visit<'a> {
    /// Where it came in.
    pub(crate) inbound: &'a Inbound,
    /// The routes: they are the resources.
    pub(crate) routes: &'a Table,
    /// Whether somebody may use a route.
    pub(crate) admits: &'a (dyn Fn(&Arc<Claims>, &Target) -> bool + Send + Sync),
}

impl Desk {
    /// Puts the parts together.
    #[expect(clippy::too_many_arguments, reason = "a composition, called once")]
    pub(crate) fn new(
        config: &Config,
        public_url: &PublicUrl,
        clients: Arc<Clients>,
        grants: Arc<Grants>,
        browser: Arc<Browser>,
        store: Arc<dyn Store>,
        keys: &KeyRing,
        ambient: Ambient,
        audit: Audit,
    ) -> Self {
        let server = &config.authorization_server;
        Self {
            clients,
            grants,
            browser,
            store,
            sealer: keys.sealer(Purpose::Consent, None),
            keys: keys.clone(),
            paths: OwnPaths::new(&config.own_prefix, true),
            issuer: public_url.as_str().into(),
            public: public_url.clone(),
            default_route: server
                .default_route
                .as_ref()
                .map(|name| name.as_str().to_owned()),
            remember: server.consent.remember.map(|span| span.0),
            ambient,
            audit,
        }
    }

    pub(super) fn pages(&self) -> &Pages {
        self.browser.pages()
    }

    /// How the person behind a request sees pages.
    pub(super) fn view(
        &self,
        headers: &HeaderMap,
        ui_locales: Option<&str>,
        here: Option<&str>,
    ) -> View {
        self.pages().view(headers, ui_locales, here)
    }

    pub(super) fn path(&self, own: Own) -> String {
        self.paths.path(own)
    }
}

/// The name of a client for pages.
pub(super) fn name_of(client: &Client) -> Option<String> {
    let own = client.name.as_deref().and_then(shown);
    own.or_else(|| match &client.standing {
        Standing::Configured => shown(&client.id),
        Standing::Document { host } => shown(host),
        Standing::Registered => None,
    })
}

/// What the operator's people know of a client.
pub(super) fn trust_of(standing: &Standing) -> Trust<'_> {
    match standing {
        Standing::Configured => Trust::Operator,
        Standing::Document { host } => Trust::Host(host),
        Standing::Registered => Trust::Nobody,
    }
}

/// Where a redirect URI leads, for pages.
pub(super) fn destination_of(place: &Place) -> Destination<'_> {
    match place {
        Place::Web(host) => Destination::Web(host),
        Place::Loopback(host) => Destination::Loopback(host),
        Place::App(scheme) => Destination::App(scheme),
    }
}

/// The host, address or scheme of a place.
pub(super) fn where_to(place: &Place) -> &str {
    match place {
        Place::Web(text) | Place::Loopback(text) | Place::App(text) => text,
    }
}

/// What people call the server behind a target: the route's name, or its address where it has none.
pub(super) fn server_of(target: &Target) -> String {
    let name = target.route().name.as_str();
    if name.starts_with('/') {
        let resource = &**target.resource();
        resource
            .split_once("://")
            .map_or(resource, |(_, rest)| rest)
            .to_owned()
    } else {
        name.to_owned()
    }
}
