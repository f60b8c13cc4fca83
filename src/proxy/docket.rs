//! What the audit log says of a request that is judged: who asks for what, how it was decided, and by which rule.

use std::sync::Arc;

use http::HeaderMap;

use crate::audit::event::{clip, digest};
use crate::audit::{Audit, Event, Full, Kind, Outcome, Place, Slot, Trail, What, Who};
use crate::authn::{Caller, Identity};
use crate::authz::{Denied, Permit};
use crate::http::Inbound;
use crate::mcp::{Call, Message, Reach};
use crate::reject::{Code, Fault, Reject};
use crate::revocation::Name;
use crate::route::{Route, Target};
use crate::telemetry::trace::Context;

/// A request with room reserved for the records of its decision.
pub(super) struct Docket {
    slot: Slot,
    who: Who,
    place: Place,
    whats: Vec<What>,
}

/// What is said about a request besides its calls.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) target: &'a Target,
    pub(super) method: &'a http::Method,
    pub(super) headers: &'a HeaderMap,
    /// The path, where no message says what is asked for.
    pub(super) path: Option<&'a str>,
    pub(super) message: &'a Message,
}

impl Docket {
    /// Reserves the room. `None` when there is no audit log.
    ///
    /// # Errors
    /// 503 when there is no room, and the request must not go on without a record.
    pub(super) async fn open(
        audit: &Audit,
        inbound: &Inbound,
        caller: &Caller,
        asked: Asked<'_>,
    ) -> Result<Option<Self>, Reject> {
        if !audit.is_on() {
            return Ok(None);
        }
        let calls = asked.message.calls();
        let slot = audit.reserve(calls.len()).await.map_err(unrecorded)?;
        let mcp_session = session(asked.headers);
        let whats = if calls.is_empty() {
            vec![What {
                method: Some(clip(asked.method.as_str())),
                path: asked.path.map(|path| audit.text(path)),
                mcp_session,
                ..What::default()
            }]
        } else {
            let what = |call| What {
                mcp_session: mcp_session.clone(),
                ..of_call(audit, call)
            };
            calls.iter().map(what).collect()
        };
        Ok(Some(Self {
            slot,
            who: who(audit, caller),
            place: place(inbound, Some(asked.target.route()), asked.headers),
            whats,
        }))
    }

    /// It was let through.
    ///
    /// # Errors
    /// 503 when that could not be written, and must be before it is forwarded.
    pub(super) async fn permitted(self, permit: &Permit) -> Result<Trail, Reject> {
        let rule = permit.rule().map_or_else(
            || Arc::from(permit.target().route().name.as_str()),
            Arc::from,
        );
        let decisions: Vec<Event> = self
            .whats
            .into_iter()
            .enumerate()
            .map(|(index, what)| {
                let what = What {
                    rule: Some(Arc::clone(&rule)),
                    ..what
                };
                decision(&self.who, &self.place, index, what, Outcome::Success)
            })
            .collect();
        let admitted = self.slot.decide(decisions.clone()).await;
        let admitted = admitted.map_err(unrecorded)?;
        Ok(Trail::new(admitted, decisions))
    }

    /// It was not.
    ///
    /// # Errors
    /// 503 when that could not be written, and must be before it is answered.
    pub(super) async fn denied(self, denied: &Denied) -> Result<(), Reject> {
        let (code, at) = match denied {
            Denied::SignIn { .. } => (Code::Unauthenticated, None),
            Denied::Route(_) => (Code::Forbidden, None),
            Denied::StepUp { .. } => (Code::InsufficientScope, None),
            Denied::Call(refusal) => (Code::PolicyDenied, Some(refusal.call)),
        };
        let route = self.place.route.clone();
        let rule = denied.rule().map(Arc::from).or(route);
        let decisions = self
            .whats
            .into_iter()
            .enumerate()
            .map(|(index, what)| {
                let what = What {
                    rule: rule.clone(),
                    ..what
                };
                let event = decision(&self.who, &self.place, index, what, Outcome::Denied);
                if at.is_some_and(|at| at != index) {
                    event.because("denied_with_batch")
                } else {
                    event.because(code.as_str()).detail(denied.reason())
                }
            })
            .collect();
        self.slot.decide(decisions).await.map_err(unrecorded)?;
        Ok(())
    }
}

fn decision(who: &Who, place: &Place, index: usize, what: What, outcome: Outcome) -> Event {
    let place = Place {
        index: u32::try_from(index).ok(),
        ..place.clone()
    };
    Event::new(Kind::Decision, outcome)
        .by(who.clone())
        .at(place)
        .what(what)
}

/// A credential was refused, or could not be judged. A browser that is led to sign in is neither.
pub(super) fn refused(
    audit: &Audit,
    inbound: &Inbound,
    route: Option<&Route>,
    headers: &HeaderMap,
    reject: &Reject,
) {
    if reject.wants_login() {
        return;
    }
    audit.note_with(|_| {
        let mut event = Event::rejected(Kind::Refused, reject).at(place(inbound, route, headers));
        // Its cause is one of a fixed set, and says more than the code.
        if reject.fault() == Fault::Client
            && let Some(reason) = reject.reason()
        {
            event = event.because(reason.replace(' ', "_")).without_detail();
        }
        event
    });
}

/// A session id was refused.
pub(super) fn session_refused(
    audit: &Audit,
    inbound: &Inbound,
    caller: &Caller,
    asked: Asked<'_>,
    reject: &Reject,
) {
    audit.note_with(|audit| {
        Event::rejected(Kind::McpSessionRefused, reject)
            .by(who(audit, caller))
            .at(place(inbound, Some(asked.target.route()), asked.headers))
            .what(What {
                mcp_session: session(asked.headers),
                ..What::default()
            })
    });
}

/// What an answer says about the MCP session: it began, or it ended. `before`: the request's own headers.
pub(super) struct McpSession {
    who: Who,
    place: Place,
    before: Option<Box<str>>,
    deletes: bool,
}

impl McpSession {
    pub(super) fn of(
        audit: &Audit,
        inbound: &Inbound,
        caller: &Caller,
        asked: Asked<'_>,
    ) -> Option<Self> {
        audit.is_on().then(|| Self {
            who: who(audit, caller),
            place: place(inbound, Some(asked.target.route()), asked.headers),
            before: session(asked.headers),
            deletes: *asked.method == http::Method::DELETE,
        })
    }

    /// There are too many of them.
    pub(super) fn refused(&self, audit: &Audit, reject: &Reject) {
        audit.note(
            Event::rejected(Kind::McpSessionRefused, reject)
                .by(self.who.clone())
                .at(self.place.clone()),
        );
    }

    pub(super) fn answered(self, audit: &Audit, response: &http::Response<crate::http::Body>) {
        let after = session(response.headers());
        let (kind, why, session) = match (self.before, after) {
            (Some(before), _) if self.deletes && response.status().is_success() => {
                (Kind::McpSessionEnded, "client", before)
            }
            (Some(before), _) if response.status() == http::StatusCode::NOT_FOUND => {
                (Kind::McpSessionEnded, "backend", before)
            }
            (None, Some(after)) if response.status().is_success() => {
                (Kind::McpSessionOpened, "opened", after)
            }
            _ => return,
        };
        audit.note(
            Event::ok(kind)
                .because(why)
                .by(self.who)
                .at(self.place)
                .what(What {
                    mcp_session: Some(session),
                    ..What::default()
                }),
        );
    }
}

/// The record of a stream whose caller lost the right to it.
pub(super) fn right_lost(audit: &Audit, identity: &Identity, route: &Route, denied: &Denied) {
    audit.note_with(|audit| {
        Event::new(Kind::Decision, Outcome::Denied)
            .because("right_to_stream_lost")
            .detail(denied.reason())
            .by(who_is(audit, identity))
            .at(Place {
                route: Some(route.name.as_str().into()),
                backend: Some(route.backend.as_str().into()),
                ..Place::default()
            })
    });
}

/// 503: what must be on record cannot be.
pub(super) fn unrecorded(_: Full) -> Reject {
    Reject::unavailable(
        Code::AuditUnavailable,
        Fault::Proxy,
        "What happens here has to be recorded, and cannot be just now, so nothing was done. Try again in a moment.",
    )
}

fn who(audit: &Audit, caller: &Caller) -> Who {
    match caller {
        Caller::Anonymous => Who::default(),
        Caller::Known(identity) => who_is(audit, identity),
    }
}

fn who_is(audit: &Audit, identity: &Identity) -> Who {
    let mut who = audit
        .who(identity.claims())
        .with_credential(identity.credential().as_str())
        .with_client(identity.client_id());
    for name in identity.basis() {
        match name {
            Name::Session(id) => who = who.with_session(&**id),
            Name::Grant(id) => who = who.with_grant(id),
            Name::Login(_) => {}
        }
    }
    who
}

fn place(inbound: &Inbound, route: Option<&Route>, headers: &HeaderMap) -> Place {
    let trace = headers
        .get("traceparent")
        .and_then(|value| Context::parse(value.to_str().ok()?))
        .map(|context| String::from_utf8_lossy(&context.trace_hex()).into());
    Place {
        route: route.map(|route| route.name.as_str().into()),
        backend: route.map(|route| route.backend.as_str().into()),
        trace,
        ..inbound.place()
    }
}

fn session(headers: &HeaderMap) -> Option<Box<str>> {
    headers.get("mcp-session-id").map(digest)
}

fn of_call(audit: &Audit, call: &Call) -> What {
    let mut what = What {
        // An answer of the client's to a question of the backend's has none.
        method: Some(
            call.method
                .as_deref()
                .map_or_else(|| "response".into(), |method| audit.text(method)),
        ),
        arguments: call
            .arguments
            .as_ref()
            .and_then(|json| audit.arguments(json)),
        ..What::default()
    };
    for reach in call.reach.iter().take(1) {
        let name = Some(audit.text(reach.name()));
        match reach {
            Reach::Tool(_) => what.tool = name,
            Reach::Prompt(_) => what.prompt = name,
            Reach::Resource(_) => what.resource = name,
            Reach::Task(_) => what.task = name,
        }
    }
    what
}
