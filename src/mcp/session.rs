//! MCP sessions (revisions up to 2025-11-25, transports, session management): bound to whoever opened them.
//!
//! The `Mcp-Session-Id` that a client is given is the backend's own, sealed to the route, its backend, the endpoint that
//! has the session, and the person or key: not to a token, so a refreshed or new token of the same person goes on.
//! Any replica opens it. Whatever does not open is answered like a session that never was, and the backend is not
//! asked.
//!
//! Callers who are nobody, on public routes, share one binding: whoever has such an id can use it, as without a proxy,
//! but it cannot be guessed, nor used by or against somebody who is signed in.

mod sealed;

use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use self::sealed::{Binding, SLOT, Session, TAG};
use super::{Era, Message};
use crate::clock::Ambient;
use crate::config::Config;
use crate::ids::Subject;
use crate::keys::{KeyRing, Purpose};
use crate::reject::{Code, Fault, Reject};
use crate::seal::Sealer;

/// `Mcp-Session-Id`.
const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// `Last-Event-ID`.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// How long a sealed id opens after it was given out.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Opens and seals the session ids of all routes.
pub struct Sessions {
    /// In the order of the configuration.
    routes: Box<[Facts]>,
    sealer: Sealer,
    ambient: Ambient,
}

/// Of a route.
struct Facts {
    path: Box<str>,
    backend: Box<str>,
}

impl Sessions {
    /// For the routes of a configuration.
    pub fn new(config: &Config, keys: &KeyRing, ambient: Ambient) -> Self {
        let routes = config.routes.iter().map(|route| Facts {
            path: route.path.as_str().into(),
            backend: route.backend.as_str().into(),
        });
        Self {
            routes: routes.collect(),
            sealer: keys.sealer(Purpose::McpSession, None),
            ambient,
        }
    }

    /// Opens the session that a request names, if it names one. `route` is its place in the configuration, `who` the
    /// caller's issuer and subject. Requests of 2026-07-28 have no sessions: what they name is ignored, as servers of
    /// that revision do.
    ///
    /// # Errors
    /// 404 for whatever does not open, always the same: clients begin a new session then.
    pub fn enter(
        &self,
        route: usize,
        who: Option<&Subject>,
        method: &Method,
        headers: &HeaderMap,
        message: &Message,
    ) -> Result<Passage<'_>, Reject> {
        let facts = self.routes.get(route).ok_or_else(Reject::internal)?;
        let binding = Binding::new(&facts.path, &facts.backend, who);
        let mut passage = Passage {
            sessions: self,
            binding,
            modern: message.era() == Era::Modern,
            opened: None,
            events: None,
        };
        if passage.modern {
            return Ok(passage);
        }
        let mut named = headers.get_all(SESSION_ID).iter();
        let Some(text) = named.next() else {
            return Ok(passage);
        };
        if named.next().is_some() {
            return Err(unknown().because("the request names several sessions"));
        }
        let session = Session::open(&self.sealer, &passage.binding, text.as_bytes())
            .map_err(|error| unknown().because(error.to_string()))?;
        if self.ambient.now() >= session.since.plus(LIFETIME) {
            return Err(unknown().because("the session id was given out too long ago"));
        }
        let id = HeaderValue::from_bytes(&session.id)
            .map_err(|_| unknown().because("the session id holds none of the backend's"))?;
        // An event id means something only together with the session that the event was sent in.
        if *method == Method::GET {
            passage.events = headers.get(LAST_EVENT_ID).cloned();
        }
        passage.opened = Some(Opened {
            session,
            id,
            text: text.clone(),
        });
        Ok(passage)
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sessions({} routes)", self.routes.len())
    }
}

/// The session side of one request, there and back.
#[derive(Debug)]
pub struct Passage<'a> {
    sessions: &'a Sessions,
    binding: Binding,
    modern: bool,
    opened: Option<Opened>,
    events: Option<HeaderValue>,
}

/// A session that the request named.
#[derive(Debug)]
struct Opened {
    session: Session,
    /// The backend's own id.
    id: HeaderValue,
    /// What the client calls it.
    text: HeaderValue,
}

impl Passage<'_> {
    /// The endpoint that has the session; only there does the request make sense.
    pub fn endpoint(&self) -> Option<[u8; TAG]> {
        Some(self.opened.as_ref()?.session.endpoint)
    }

    /// Puts the backend's own session id, and the id of the last event seen in it, on the request for the backend. What
    /// the client wrote must be gone from it.
    pub fn depart(&self, to: &mut HeaderMap) {
        if let Some(opened) = &self.opened {
            to.insert(SESSION_ID, opened.id.clone());
        }
        if let Some(events) = &self.events {
            to.insert(LAST_EVENT_ID, events.clone());
        }
    }

    /// Puts the client's session id on the backend's answer, in place of the backend's own. Any answer may carry one,
    /// errors too: some clients take it from there.
    ///
    /// # Errors
    /// 502 when the backend's id is none that the protocol allows.
    pub fn arrive(&self, headers: &mut HeaderMap, endpoint: [u8; TAG]) -> Result<(), Reject> {
        let mut given = headers.get_all(SESSION_ID).iter();
        let Some(id) = given.next() else {
            return Ok(());
        };
        if self.modern || id.is_empty() {
            headers.remove(SESSION_ID);
            return Ok(());
        }
        if given.next().is_some() || !sealed::is_good(id.as_bytes()) {
            return Err(bad_id());
        }
        let text = match &self.opened {
            // The same text as before, so that its time does not begin anew.
            Some(opened) if opened.id == *id && opened.session.endpoint == endpoint => {
                opened.text.clone()
            }
            _ => self.seal(id, endpoint)?,
        };
        headers.insert(SESSION_ID, text);
        Ok(())
    }

    fn seal(&self, id: &HeaderValue, endpoint: [u8; TAG]) -> Result<HeaderValue, Reject> {
        let slot: [u8; SLOT] = self.sessions.ambient.random();
        let session = Session {
            endpoint,
            slot,
            since: self.sessions.ambient.now(),
            id: id.as_bytes().into(),
        };
        let text = session.seal(&self.sessions.sealer, &self.binding);
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
            .ok()
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Reject::internal().because("a session id could not be sealed"))
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

fn bad_id() -> Reject {
    Reject::new(
        StatusCode::BAD_GATEWAY,
        Code::BackendFailed,
        Fault::Backend,
        "The server behind this address gave a session id that cannot be handed on.",
    )
    .because("the backend's Mcp-Session-Id is not one text of visible ASCII of at most 2048 bytes")
}

#[cfg(test)]
mod tests;
