//! Send it: takes a [`Permit`] by value, strips and adds headers, streams both ways.

mod answer;
mod assertion;
mod events;
mod identity;
mod leave;
mod legacy;
mod request;
mod response;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use http::header::EXPECT;
use http::uri::PathAndQuery;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::answer::Look;
pub use self::assertion::Assertions;
pub use self::leave::{Judge, Leave, Verdict};
use self::legacy::Endpoints;
pub(crate) use self::legacy::fuzz::is_refused as is_refused_endpoint;
use self::request::HeadRules;
use self::response::{Relay, Relayed};
use crate::authn::{Credential, Identity};
use crate::authz::Permit;
use crate::config::Config;
use crate::config::route::{Kind, Mcp};
use crate::http::body::{Guarded, Upload, UploadState};
use crate::http::{Inbound, Request, RequestBody, Response};
use crate::keys::KeyRing;
use crate::mcp::learned::Learned;
use crate::mcp::session::{self, Passage};
use crate::mcp::{Message, Tally};
use crate::reject::{Code, Fault, Reject};
use crate::revocation::Revocations;
use crate::telemetry::trace::Trace;
use crate::upstream::{
    self, Answer, CloseReason, EndpointTag, ExchangeError, Open, Pick, Upstream,
};
use crate::urls::PublicUrl;

/// Forwards permitted requests to their backends.
pub struct Forwarder {
    upstreams: Box<[Arc<Upstream>]>,
    rules: HeadRules,
    assertions: Option<Assertions>,
    endpoints: Endpoints,
    mcp: Mcp,
    max_body: u64,
    body_timeout: Duration,
    drain: CancellationToken,
    revocations: Arc<Revocations>,
    outage_grace: Duration,
}

impl Forwarder {
    /// Over the backends, in the order of the configuration. `drain` fires when event streams have to end.
    pub fn new(
        config: &Config,
        public_url: &PublicUrl,
        upstreams: Vec<Arc<Upstream>>,
        assertions: Option<Assertions>,
        keys: &KeyRing,
        revocations: &Arc<Revocations>,
        drain: CancellationToken,
    ) -> Self {
        Self {
            rules: HeadRules::new(config, public_url),
            assertions,
            endpoints: Endpoints::new(config, public_url, keys),
            upstreams: upstreams.into(),
            mcp: config.mcp.clone(),
            max_body: config.limits.max_body.map_or(u64::MAX, |size| size.0),
            body_timeout: config.limits.body_timeout.0,
            drain,
            revocations: Arc::clone(revocations),
            outage_grace: config.sessions.outage_grace.0,
        }
    }

    /// A number that changes with everything that is told of logins and grants: taken before a caller is found out,
    /// it shows whether a stream of theirs missed something.
    pub fn told(&self) -> u64 {
        self.revocations.told()
    }

    /// Puts the identity headers that backends are sent on an answer of forward-auth.
    pub fn introduce(&self, identity: &Identity, headers: &mut HeaderMap) {
        self.rules.identify(identity, headers);
    }

    /// Sends a permitted request. On `mcp` routes the body was collected for the look at the call and is whole.
    ///
    /// # Errors
    /// 502 when there is no connection or the exchange broke off, 503 when all connections are in use, 504 when no
    /// answer came in time; 413, 408 and 400 for a body that failed; 404 for an endpoint of somebody else's.
    pub async fn send(
        &self,
        permit: Permit,
        inbound: &Inbound,
        request: Request,
        errand: Errand<'_>,
    ) -> Result<Response, Reject> {
        let target = permit.target();
        let leave = errand.leave;
        let route = target.route();
        let identity = permit.identity();
        let upstream = self.upstreams.get(route.backend_index).ok_or_else(|| {
            Reject::internal().because("a route names a backend that is not there")
        })?;
        let is_mcp = route.kind == Kind::Mcp;
        let below: &str = target.upstream();
        let sealed = legacy::sealed(below).filter(|_| is_mcp);
        let (uri, giver) = match sealed {
            Some(sealed) => self.endpoints.open(route.index, identity, sealed)?,
            None => (
                upstream.join(below).ok_or_else(|| {
                    Reject::internal().because("the judged path does not go below the backend's")
                })?,
                Pick::Any,
            ),
        };
        let pick = giver
            .and(errand.pick())
            .ok_or_else(|| reject(&ExchangeError::NoEndpoint, 0))?;
        if !is_mcp && route.websocket && websocket::is_upgrade(&request) {
            let mut head = self
                .rules
                .head(&request, upstream, identity, inbound, false);
            self.assert(route.backend_index, identity, &mut head)?;
            if let Some(trace) = errand.trace {
                trace.inject(&mut head);
            }
            let mut outgoing = http::Request::new(RequestBody::Empty);
            *outgoing.uri_mut() = uri.into();
            *outgoing.headers_mut() = head;
            let ends = self.ends(identity, inbound);
            // Boxed: seldom taken, and it would make room for itself in every request's task.
            let upgrade = self.upgrade(
                upstream,
                inbound,
                route.trust_content,
                request,
                outgoing,
                (ends, leave),
            );
            return Box::pin(upgrade).await;
        }

        let is_get = request.method() == http::Method::GET;
        let legacy = is_get && is_mcp;
        let base = legacy.then(|| uri.clone());
        let mut headers = self
            .rules
            .head(&request, upstream, identity, inbound, is_mcp);
        self.assert(route.backend_index, identity, &mut headers)?;
        if let Some(trace) = errand.trace {
            trace.inject(&mut headers);
        }
        if let Some(session) = errand.session {
            session.depart(&mut headers);
        }
        let limit = self.limit(is_mcp);
        let (outgoing, upload) = self.outgoing(request, headers, uri, limit)?;
        let open = upstream.meters().open(upstream::Kind::Http);
        let answer = upstream
            .exchange(outgoing, upload.as_ref(), pick)
            .await
            .map_err(|error| reject(&error, limit))?;
        let sent = Sent {
            upstream,
            upload,
            open,
            is_get,
            base,
        };
        let later = match self.relay(answer, sent, &permit, inbound, errand)? {
            Relay::Now(response) => return response,
            Relay::Later(response) => response,
        };
        later.await
    }

    /// Hands an answer on. Not part of `send`, whose future would hold the answer.
    fn relay<'a>(
        &'a self,
        mut answer: Answer,
        sent: Sent<'a>,
        permit: &Permit,
        inbound: &'a Inbound,
        errand: Errand<'a>,
    ) -> Result<Relay<'a>, Reject> {
        let route = permit.target().route();
        let identity = permit.identity();
        let is_mcp = route.kind == Kind::Mcp;
        if let Some(session) = errand.session {
            let (status, endpoint) = (answer.response.status(), answer.endpoint.to_bytes());
            session.arrive(status, answer.response.headers_mut(), endpoint)?;
        }
        let relayed = Relayed {
            upstream: sent.upstream,
            upload: sent.upload,
            open: sent.open,
            kind: if sent.is_get {
                upstream::Kind::SseGet
            } else {
                upstream::Kind::SsePost
            },
            mcp: &self.mcp,
            drain: &self.drain,
            ends: self.ends(identity, inbound),
            leave: errand.leave,
            session: errand.session,
            revocations: &self.revocations,
            outage_grace: self.outage_grace,
            endpoint: sent.base.and_then(|base| {
                self.endpoints.rewriter(
                    route.index,
                    identity,
                    sent.upstream,
                    answer.endpoint,
                    base.as_str(),
                )
            }),
            sandboxed: is_mcp || !route.trust_content,
            is_mcp,
            look: errand
                .follow
                .map(|follow| self.look(permit, errand.message, follow)),
        };
        Ok(response::relay(answer, relayed, &self.rules, inbound))
    }

    /// How the answer is to be looked at.
    fn look(&self, permit: &Permit, message: &Message, follow: Follow<'_>) -> Look {
        Look::new(
            message,
            permit.sight(),
            follow.tally,
            follow.learned,
            self.mcp.max_list.as_usize(),
        )
    }

    /// Puts the signed statement about the caller on a request, where the backend wants one.
    fn assert(
        &self,
        backend: usize,
        identity: Option<&Identity>,
        headers: &mut HeaderMap,
    ) -> Result<(), Reject> {
        match (&self.assertions, identity) {
            (Some(assertions), Some(identity)) => assertions.tell(backend, identity, headers),
            _ => Ok(()),
        }
    }

    /// Bytes that a request's body may have.
    fn limit(&self, is_mcp: bool) -> u64 {
        if is_mcp {
            self.mcp.max_body.0
        } else {
            self.max_body
        }
    }

    /// The request for the backend. Not part of `send`, whose future would hold both requests.
    fn outgoing(
        &self,
        request: Request,
        headers: HeaderMap,
        uri: PathAndQuery,
        limit: u64,
    ) -> Result<(http::Request<RequestBody>, Option<Upload>), Reject> {
        let (parts, body) = request.into_parts();
        let waits = parts.headers.contains_key(EXPECT);
        let (body, upload) = self.guard(body, limit, waits)?;
        let mut outgoing = http::Request::new(body);
        *outgoing.method_mut() = parts.method;
        *outgoing.uri_mut() = uri.into();
        *outgoing.headers_mut() = headers;
        request::set_length(&mut outgoing, &parts.headers);
        Ok((outgoing, upload))
    }

    /// Bounds a streamed body in size and in silence. `waits`: the client sends it only when it is asked for it.
    fn guard(
        &self,
        body: RequestBody,
        limit: u64,
        waits: bool,
    ) -> Result<(RequestBody, Option<Upload>), Reject> {
        match body {
            RequestBody::Incoming(body) if http_body::Body::is_end_stream(&body) => {
                Ok((RequestBody::Empty, None))
            }
            RequestBody::Incoming(body) => {
                let (mut guarded, upload) = Guarded::new(body, limit, self.body_timeout)?;
                if !waits && let Some(whole) = guarded.whole() {
                    return Ok((RequestBody::full(whole), None));
                }
                Ok((RequestBody::Guarded(Box::new(guarded)), Some(upload)))
            }
            RequestBody::Full(Some(bytes)) if bytes.len() as u64 > limit => {
                Err(UploadState::TooLarge.reject(limit))
            }
            whole => Ok((whole, None)),
        }
    }

    /// How long a stream may go on for this caller, and what its end is called. A session's stream ends with the
    /// session, and one of our own tokens with the grant. A foreign token says nothing of its revocation, and its own end comes too soon for a long call, so its
    /// streams have a greatest age.
    fn ends(&self, identity: Option<&Identity>, inbound: &Inbound) -> Option<Ends> {
        let identity = identity?;
        let (after, reason) = match identity.credential() {
            Credential::Session | Credential::AccessToken => (
                identity.expires()?.since(inbound.received),
                CloseReason::TokenExpired,
            ),
            Credential::Bearer | Credential::ApiKey => {
                (self.mcp.max_stream_age.0, CloseReason::MaxAge)
            }
            Credential::Bypass => return None,
        };
        Some(Ends {
            at: inbound.started.checked_add(after)?,
            reason,
        })
    }
}

/// A request that was sent, when its answer is there.
struct Sent<'a> {
    upstream: &'a Upstream,
    upload: Option<Upload>,
    open: Open,
    is_get: bool,
    /// What was asked of a backend whose stream may name an endpoint.
    base: Option<PathAndQuery>,
}

/// What goes along with a permitted request.
#[derive(Clone, Copy)]
pub struct Errand<'a> {
    /// What its body says; empty on `http` routes.
    pub message: &'a Message,
    /// The spans of the request.
    pub trace: Option<&'a Trace>,
    /// Its session side; `None` on `http` routes.
    pub session: Option<&'a Passage<'a>>,
    /// How its answers are followed; `None` on `http` routes.
    pub follow: Option<Follow<'a>>,
    /// Gives what a stream rests on, if the answer becomes one.
    pub leave: &'a Leaves<'a>,
}

/// How the answers to MCP requests are followed.
#[derive(Clone, Copy)]
pub struct Follow<'a> {
    /// What is known of the backend.
    pub learned: &'a Arc<Learned>,
    /// The requests of the message; `None` when none awaits an answer.
    pub tally: Option<&'a Arc<Tally>>,
}

impl Errand<'_> {
    /// Where the request may go: a session is at one endpoint only.
    fn pick(&self) -> Pick {
        let endpoint = self.session.and_then(Passage::endpoint);
        endpoint.map_or(Pick::Any, |tag| Pick::Only(EndpointTag::from_bytes(tag)))
    }
}

/// Gives the leave of a stream; `None` when only its age bounds it. Asked only when there is a stream.
pub type Leaves<'a> = dyn Fn() -> Option<Leave> + Sync + 'a;

/// When a caller's leave for a stream ends, and what that is called.
#[derive(Clone, Copy, Debug)]
struct Ends {
    at: Instant,
    reason: CloseReason,
}

impl std::fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forwarder")
            .field("upstreams", &self.upstreams)
            .finish_non_exhaustive()
    }
}

/// What a client may know of a failed exchange.
fn reject(error: &ExchangeError, limit: u64) -> Reject {
    let because = chain(error);
    match error {
        ExchangeError::Busy => Reject::unavailable(
            Code::BackendBusy,
            Fault::Backend,
            "All connections to the server behind this address are in use. Try again in a moment.",
        ),
        ExchangeError::Unreachable(_) => Reject::new(
            StatusCode::BAD_GATEWAY,
            Code::BackendUnreachable,
            Fault::Backend,
            "The server behind this address cannot be reached. Try again later, or tell its operator.",
        ),
        ExchangeError::Timeout(_) => Reject::new(
            StatusCode::GATEWAY_TIMEOUT,
            Code::BackendTimeout,
            Fault::Backend,
            "The server behind this address did not answer in time. It may still be working on the request.",
        ),
        ExchangeError::Broken(_) => Reject::new(
            StatusCode::BAD_GATEWAY,
            Code::BackendFailed,
            Fault::Backend,
            "The server behind this address broke off the exchange. It may have seen the request.",
        ),
        ExchangeError::NoEndpoint => session::unknown(),
        ExchangeError::NoUpgrade => Reject::new(
            StatusCode::BAD_GATEWAY,
            Code::BackendFailed,
            Fault::Backend,
            "The server behind this address does not take WebSockets.",
        ),
        ExchangeError::Upload(state) => state.reject(limit),
    }
    .because(because)
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
