//! The session side of one request, there and back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::ledger::{Account, Of, Place, Set};
use super::sealed::{self, Binding, Session, TAG};
use super::{Facts, InUse, LAST_EVENT_ID, Owner, SESSION_ID, Sessions};
use crate::ids::Subject;
use crate::mcp::{Call, Era, Message};
use crate::reject::{Code, Fault, Reject};

/// What a client is told to wait when there is no room for another session.
const WAIT: Duration = Duration::from_secs(60);

/// The session side of one request.
pub struct Passage<'a> {
    sessions: &'a Sessions,
    facts: &'a Facts,
    pub(super) binding: Binding,
    /// The person whose sessions are limited.
    user: Option<Subject>,
    modern: bool,
    /// Asks for a new session.
    begins: bool,
    /// Asks for the end of its session.
    ends: bool,
    pub(super) opened: Option<Opened>,
    pub(super) events: Option<HeaderValue>,
    place: Option<Place>,
}

/// A session that the request named.
pub(super) struct Opened {
    pub(super) session: Session,
    /// The backend's own id.
    pub(super) id: HeaderValue,
    /// What the client calls it.
    pub(super) text: HeaderValue,
}

impl<'a> Passage<'a> {
    pub(super) fn new(
        sessions: &'a Sessions,
        facts: &'a Facts,
        owner: Owner<'_>,
        method: &Method,
        message: &Message,
    ) -> Self {
        let (who, user) = match owner {
            Owner::Nobody => (None, None),
            Owner::Everybody(subject) => (Some(subject), None),
            Owner::One(subject) => (Some(subject), Some(subject.clone())),
        };
        let begins = |call: &Call| call.method.as_deref() == Some("initialize");
        Self {
            sessions,
            facts,
            binding: Binding::new(&facts.path, &facts.backend, who),
            user,
            modern: message.era() == Era::Modern,
            begins: message.calls().iter().any(begins),
            ends: *method == Method::DELETE,
            opened: None,
            events: None,
            place: None,
        }
    }

    /// Whether the request asks for a new session: [`Self::admit`] it first.
    pub fn begins(&self) -> bool {
        self.begins && !self.modern && self.opened.is_none()
    }

    /// Makes sure that there is room for one more session, and holds the place until the answer is there. While the
    /// store cannot be asked there is room: the limits spare backends, and whoever may come in is not to be kept out
    /// because nobody can count.
    ///
    /// # Errors
    /// 503 when the person, or the backend, has as many sessions as may be.
    pub async fn admit(&mut self) -> Result<(), Reject> {
        let ledger = Arc::clone(&self.sessions.ledger);
        let slot = self.sessions.ambient.random();
        // Dropped on the way out, it gives back what it was given so far.
        let mut place = Place::new(ledger, slot, self.account());
        for at in 0..place.sets().len() {
            match place.take(at).await {
                Ok(true) => {}
                Ok(false) => return Err(self.full(&place.sets()[at])),
                Err(error) => {
                    self.facts.meters.uncounted.increment(1);
                    tracing::warn!(%error, "An MCP session begins uncounted.");
                }
            }
        }
        self.place = Some(place);
        Ok(())
    }

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

    /// Takes in the head of the backend's answer: what it says of the session, and the client's session id in place of
    /// the backend's own. Any answer may carry one, errors too: some clients take it from there.
    ///
    /// # Errors
    /// 502 when the backend's id is none that the protocol allows.
    pub fn arrive(
        &self,
        status: StatusCode,
        headers: &mut HeaderMap,
        endpoint: [u8; TAG],
    ) -> Result<(), Reject> {
        if let Some(opened) = &self.opened {
            self.note(opened, status);
        }
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
            _ => self.begin(id, endpoint)?,
        };
        headers.insert(SESSION_ID, text);
        Ok(())
    }

    /// Keeps the session in use while the answer is a stream.
    pub fn in_use(&self) -> Option<InUse> {
        let opened = self.opened.as_ref()?;
        self.sessions.ledger.stream(opened.session.slot)
    }

    fn note(&self, opened: &Opened, status: StatusCode) {
        let (ledger, slot) = (&self.sessions.ledger, opened.session.slot);
        if status == StatusCode::NOT_FOUND {
            // 2025-11-25, session management: so a server answers for a session that is gone.
            self.facts.meters.lost.increment(1);
            ledger.ended(slot, || self.account());
        } else if self.ends && status.is_success() {
            self.facts.meters.ended.increment(1);
            ledger.ended(slot, || self.account());
        } else {
            ledger.used(slot, || self.account());
        }
    }

    /// Seals a new session, which counts from now on.
    fn begin(&self, id: &HeaderValue, endpoint: [u8; TAG]) -> Result<HeaderValue, Reject> {
        let sessions = self.sessions;
        let slot = match &self.place {
            Some(place) => place.slot(),
            None => sessions.ambient.random(),
        };
        let session = Session {
            endpoint,
            slot,
            since: sessions.ambient.now(),
            id: id.as_bytes().into(),
        };
        let text = session.seal(&sessions.sealer, &self.binding);
        let text = HeaderValue::from_maybe_shared(Bytes::from(text))
            .ok()
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Reject::internal().because("a session id could not be sealed"))?;
        match &self.place {
            Some(place) => place.keep(),
            None => sessions.ledger.opened(slot, self.account(), false),
        }
        Ok(text)
    }

    fn account(&self) -> Arc<Account> {
        Arc::new(self.sessions.account(self.facts, self.user.as_ref()))
    }

    fn full(&self, set: &Set) -> Reject {
        let (meters, limit) = (&self.facts.meters, set.limit);
        let (refused, fault, message) = match set.of {
            Of::Person => (
                &meters.refused_user,
                Fault::Client,
                format!(
                    "You have {limit} MCP sessions open, which is as many as one person may have. End one, or try again when \
                     one was not used for {} minutes.",
                    self.sessions.timeout.as_secs().div_ceil(60)
                ),
            ),
            Of::Backend => (
                &meters.refused_backend,
                Fault::Backend,
                "The server behind this address has as many MCP sessions as it may have. Try again in a moment.".to_owned(),
            ),
        };
        refused.increment(1);
        Reject::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::TooManySessions,
            fault,
            message,
        )
        .retry_after(WAIT)
    }
}

impl std::fmt::Debug for Passage<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = self.opened.is_some();
        write!(f, "Passage({}, session: {named})", self.facts.path)
    }
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
