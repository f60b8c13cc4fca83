//! MCP sessions (revisions up to 2025-11-25, transports, session management): bound to whoever opened them.
//!
//! The `Mcp-Session-Id` that a client is given is the backend's own, sealed to the route, its backend, the endpoint that
//! has the session, and the person or key: not to a token, so a refreshed or new token of the same person goes on.
//! Any replica opens it. Whatever does not open is answered like a session that never was, and the backend is not
//! asked.
//!
//! Callers who are nobody, on public routes, share one binding: whoever has such an id can use it, as without a proxy,
//! but it cannot be guessed, nor used by or against somebody who is signed in.
//!
//! How many sessions a person and a backend may have is counted in the store, over all replicas (see [`Ledger`]).

mod ledger;
mod meters;
mod passage;
mod sealed;

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use self::ledger::{Account, Of, Set};
pub use self::ledger::{InUse, Ledger};
use self::meters::Meters;
use self::passage::Opened;
pub use self::passage::Passage;
use self::sealed::{Binding, Session};
use super::{Era, Message};
use crate::clock::Ambient;
use crate::config::Config;
use crate::ids::Subject;
use crate::keys::{KeyRing, Purpose};
use crate::reject::{Code, Fault, Reject};
use crate::seal::Sealer;
use crate::store::{Key, Space};
use crate::telemetry::metrics::Metrics;

/// `Mcp-Session-Id`.
const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// `Last-Event-ID`.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Opens, seals and counts the sessions of all routes.
pub struct Sessions {
    /// In the order of the configuration.
    routes: Box<[Facts]>,
    per_user: Option<u32>,
    timeout: Duration,
    lifetime: Duration,
    sealer: Sealer,
    keys: KeyRing,
    ambient: Ambient,
    ledger: Arc<Ledger>,
}

/// Of a route.
struct Facts {
    path: Box<str>,
    backend: Box<str>,
    /// Sessions that the backend may have.
    limit: Option<u32>,
    meters: Meters,
}

/// Whose sessions a request may use.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'a> {
    /// Somebody unknown, on a public route.
    Nobody,
    /// Everybody, by one name (`AUTH_MODE=bypass`). The limit for a person is not theirs.
    Everybody(&'a Subject),
    /// A person, or an API key.
    One(&'a Subject),
}

impl Sessions {
    /// For the routes of a configuration.
    pub fn new(
        config: &Config,
        keys: &KeyRing,
        ambient: Ambient,
        ledger: Arc<Ledger>,
        metrics: &Metrics,
    ) -> Self {
        let routes = config.routes.iter().map(|route| {
            let backend = config
                .backends
                .iter()
                .find(|backend| backend.name == route.backend);
            Facts {
                path: route.path.as_str().into(),
                backend: route.backend.as_str().into(),
                limit: backend.and_then(|backend| backend.max_sessions),
                meters: Meters::new(metrics, route.backend.as_str()),
            }
        });
        Self {
            routes: routes.collect(),
            per_user: config.mcp.sessions_per_user(),
            timeout: config.mcp.idle_session_counts().0,
            lifetime: config.mcp.session_lifetime.0,
            sealer: keys.sealer(Purpose::McpSession, None),
            keys: keys.clone(),
            ambient,
            ledger,
        }
    }

    /// Opens the session that a request names, if it names one. `route` is its place in the configuration. Requests of
    /// 2026-07-28 have no sessions: what they name is ignored, as servers of that revision do.
    ///
    /// # Errors
    /// 404 for whatever does not open, always the same: clients begin a new session then.
    pub fn enter(
        &self,
        route: usize,
        owner: Owner<'_>,
        method: &Method,
        headers: &HeaderMap,
        message: &Message,
    ) -> Result<Passage<'_>, Reject> {
        let facts = self.routes.get(route).ok_or_else(Reject::internal)?;
        let mut passage = Passage::new(self, facts, owner, method, message);
        if message.era() == Era::Modern {
            return Ok(passage);
        }
        let opened = self.open(&passage.binding, headers).map_err(|why| {
            facts.meters.unknown.increment(1);
            unknown().because(why)
        })?;
        // An event id means something only together with the session that the event was sent in.
        if *method == Method::GET && opened.is_some() {
            passage.events = headers.get(LAST_EVENT_ID).cloned();
        }
        passage.opened = opened;
        Ok(passage)
    }

    fn open(&self, binding: &Binding, headers: &HeaderMap) -> Result<Option<Opened>, String> {
        let mut named = headers.get_all(SESSION_ID).iter();
        let Some(text) = named.next() else {
            return Ok(None);
        };
        if named.next().is_some() {
            return Err("the request names several sessions".to_owned());
        }
        let session = Session::open(&self.sealer, binding, text.as_bytes())
            .map_err(|error| error.to_string())?;
        if self.ambient.now() >= session.since.plus(self.lifetime) {
            return Err("the session id was given out too long ago".to_owned());
        }
        let id = HeaderValue::from_bytes(&session.id)
            .map_err(|_| "the session id holds none of a backend's")?;
        Ok(Some(Opened {
            session,
            id,
            text: text.clone(),
        }))
    }

    /// Where sessions of a route count; `user`: the person, if theirs are limited.
    fn account(&self, facts: &Facts, user: Option<&Subject>) -> Account {
        let person = self.per_user.zip(user).map(|(limit, user)| Set {
            of: Of::Person,
            key: self.set(&["person", &user.issuer, &user.subject]),
            limit,
        });
        let backend = facts.limit.map(|limit| Set {
            of: Of::Backend,
            key: self.set(&["backend", &facts.backend]),
            limit,
        });
        Account {
            sets: person.into_iter().chain(backend).collect(),
            timeout: self.timeout,
            meters: facts.meters.clone(),
        }
    }

    /// Named by a keyed digest, so that the store does not tell who it is about.
    fn set(&self, parts: &[&str]) -> Key {
        let mac = self
            .keys
            .mac(Purpose::McpSession, parts.join("\0").as_bytes());
        let id = mac.iter().fold(String::with_capacity(64), |id, byte| {
            let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
            id + &String::from_iter([digit(byte >> 4), digit(byte & 15)])
        });
        Key::new(Space::McpSession, id)
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sessions({} routes)", self.routes.len())
    }
}

/// The one answer to every session id that is not good here.
pub fn unknown() -> Reject {
    Reject::new(
        StatusCode::NOT_FOUND,
        Code::UnknownSession,
        Fault::Client,
        "This session is not known here. Initialize again to begin a new one.",
    )
}

#[cfg(test)]
mod tests;
