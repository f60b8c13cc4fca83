//! The flight of one request: where to, who, what, may they, send it. Every step hands a value to the next; a
//! step that fails hands a [`Reject`], and `exit` writes the answer.

mod denied;
mod docket;
mod exit;
mod forward_auth;
mod guide;
mod leave;
mod led_away;
mod own;
mod record;

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::request::Parts;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use self::docket::{Docket, McpSession};
use self::record::Flight;
use crate::admin::Health;
use crate::audit::Audit;
use crate::authn::{Authn, Caller, Credential};
use crate::authz::Policy;
use crate::clock::Ambient;
use crate::config::backend::UnknownNames;
use crate::config::route::Kind;
use crate::forward::{Errand, Follow, Forwarder};
use crate::http::inbound::TrustedProxies;
use crate::http::{Inbound, Request, RequestBody, Response, navigation};
use crate::issuer::Issuer;
use crate::listen::Handler;
use crate::mcp::edge::{self, Edge};
use crate::mcp::learned::Learned;
use crate::mcp::session::{Owner, Sessions};
use crate::mcp::{self, Message, Tally};
use crate::oidc::Browser;
use crate::peer::Conn;
use crate::reject::{Code, Fault, Reject};
use crate::route::{Matched, Table, Target};
use crate::signing::SigningKeys;
use crate::telemetry::access::{self, AccessLog};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::requests::RequestMetrics;
use crate::telemetry::trace::Traces;

/// Everything that a request is judged and sent by. Built whole by `app`, swapped whole at a reload; a request
/// keeps the one that it started with.
pub struct Snapshot {
    /// Where to.
    pub routes: Table,
    /// Host, Origin, CORS.
    pub edge: Edge,
    /// Whose forwarded headers count.
    pub trusted: TrustedProxies,
    /// Who.
    pub authn: Arc<Authn>,
    /// May they.
    pub policy: Policy,
    /// How denials that hide look, by backend in the order of the configuration.
    pub unknown_names: Vec<UnknownNames>,
    /// What was learned of the backends, in the order of the configuration.
    pub learned: Vec<Arc<Learned>>,
    /// In which session.
    pub sessions: Sessions,
    /// Send it.
    pub forwarder: Forwarder,
    /// Login and its pages.
    pub browser: Arc<Browser>,
    /// The authorization server, where we are one.
    pub issuer: Option<Arc<Issuer>>,
    /// The keys of what backends are told about callers, where any is.
    pub assertion_keys: Option<Arc<SigningKeys>>,
    /// Prepared handles.
    pub requests: Arc<RequestMetrics>,
    /// Bounds of bodies that are collected.
    pub bounds: Bounds,
    /// Ends the background tasks that belong to this snapshot alone, when the last request lets go of it.
    pub tasks: DropGuard,
}

/// Bounds of request bodies that are collected whole.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of a body on `mcp` routes.
    pub mcp_body: usize,
    /// Longest pause inside a body.
    pub body_idle: std::time::Duration,
}

/// The proxy as listeners see it.
pub struct Proxy {
    snapshot: ArcSwap<Snapshot>,
    ambient: Ambient,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    access: Arc<AccessLog>,
    traces: Arc<Traces>,
    audit: Audit,
}

impl Proxy {
    /// Puts the lasting parts together with a first snapshot.
    pub fn new(
        snapshot: Snapshot,
        ambient: Ambient,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        access: Arc<AccessLog>,
        traces: Arc<Traces>,
        audit: Audit,
    ) -> Arc<Self> {
        Arc::new(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            ambient,
            metrics,
            health,
            access,
            traces,
            audit,
        })
    }

    /// Puts a new snapshot in force for requests that begin from now on.
    pub fn swap(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    async fn fly(
        self: &Arc<Self>,
        snapshot: &Snapshot,
        inbound: &Inbound,
        request: Request,
        flight: &mut Flight,
    ) -> Result<Response, Reject> {
        let matched = snapshot.routes.find(request.method(), request.uri())?;
        match matched {
            Matched::Own(own) => {
                flight.on_own();
                Box::pin(own::answer(self, snapshot, own, inbound, request, flight)).await
            }
            Matched::ResourceMetadata(target) => {
                flight.on_own();
                let (parts, _) = request.into_parts();
                snapshot.edge.host(&parts)?;
                snapshot
                    .authn
                    .resource_metadata(inbound, &target, &parts.method, &parts.headers)
            }
            Matched::Backend(target) => {
                flight.on_route(&target);
                let (parts, body) = request.into_parts();
                snapshot.edge.host(&parts)?;
                match target.route().kind {
                    Kind::Mcp => {
                        let origin = snapshot.edge.origin(&parts.headers)?;
                        if let Some(preflight) = snapshot.edge.preflight(&parts, &origin) {
                            return Ok(preflight);
                        }
                        let page = Box::pin(guide::answer(snapshot, inbound, &target, &parts));
                        if let Some(page) = page.await {
                            return Ok(page);
                        }
                        let judged = self
                            .mcp(snapshot, inbound, target, parts, body, flight)
                            .await;
                        flight.origin = Some(origin);
                        judged
                    }
                    Kind::Http => {
                        if is_websocket(&parts) {
                            snapshot.edge.websocket(&parts.headers)?;
                        }
                        let told = snapshot.forwarder.told();
                        let caller = self.caller(snapshot, inbound, &target, &parts).await?;
                        flight.by(&caller);
                        let asked = leave::Asked::of(&caller, &parts, told);
                        let message = Message::default();
                        let said = docket::Asked {
                            target: &target,
                            method: &parts.method,
                            headers: &parts.headers,
                            path: Some(parts.uri.path()),
                            message: &message,
                        };
                        let docket = Docket::open(&self.audit, inbound, &caller, said).await?;
                        let permit = match snapshot.policy.decide(caller, target, &message) {
                            Ok(permit) => permit,
                            Err(denied) => {
                                if let Some(docket) = docket {
                                    docket.denied(&denied).await?;
                                }
                                return Err(denied::reject(denied, &snapshot.authn));
                            }
                        };
                        if let Some(docket) = docket {
                            flight.trail = Some(docket.permitted(&permit).await?);
                        }
                        let request = Request::from_parts(parts, body);
                        flight.sent(Instant::now());
                        let leave = || asked.as_ref().map(|asked| asked.leave(self, &message));
                        let errand = Errand {
                            message: &message,
                            session: None,
                            follow: None,
                            leave: &leave,
                            trace: flight.trace.as_ref(),
                        };
                        let sent = snapshot
                            .forwarder
                            .send(permit, inbound, request, errand)
                            .await;
                        flight.answered(Instant::now());
                        sent
                    }
                }
            }
        }
    }

    /// An MCP request: its body is read only for somebody who may send one, then looked at once and sent whole.
    async fn mcp(
        self: &Arc<Self>,
        snapshot: &Snapshot,
        inbound: &Inbound,
        target: Target,
        parts: Parts,
        body: RequestBody,
        flight: &mut Flight,
    ) -> Result<Response, Reject> {
        let told = snapshot.forwarder.told();
        let caller = self.caller(snapshot, inbound, &target, &parts).await?;
        flight.by(&caller);
        let asked = leave::Asked::of(&caller, &parts, told);
        let bytes = body
            .collect(snapshot.bounds.mcp_body, snapshot.bounds.body_idle)
            .await?;
        flight.bytes_in = bytes.len() as u64;
        flight.message = Message::of(&parts.method, &parts.headers, &bytes)?;
        flight.called();
        let said = docket::Asked {
            target: &target,
            method: &parts.method,
            headers: &parts.headers,
            path: None,
            message: &flight.message,
        };
        let mut session = snapshot
            .sessions
            .enter(
                target.route().index,
                owner(&caller),
                &parts.method,
                &parts.headers,
                &flight.message,
            )
            .inspect_err(|reject| {
                docket::session_refused(&self.audit, inbound, &caller, said, reject);
            })?;
        let learned = snapshot
            .learned
            .get(target.route().backend_index)
            .ok_or_else(Reject::internal)?;
        let docket = Docket::open(&self.audit, inbound, &caller, said).await?;
        let noted = McpSession::of(&self.audit, inbound, &caller, said);
        let permit = match snapshot.policy.decide(caller, target, &flight.message) {
            Ok(permit) => permit,
            Err(denied) => {
                if let Some(docket) = docket {
                    docket.denied(&denied).await?;
                }
                learned.denied(&flight.message);
                let (response, rejected) =
                    denied::answer(denied, snapshot, &flight.message, inbound, &parts.headers)?;
                flight.refused = Some(rejected);
                return Ok(response);
            }
        };
        if session.begins() {
            // Boxed: seldom taken, and it would make room for itself in every request's task.
            Box::pin(session.admit()).await.inspect_err(|reject| {
                if let Some(noted) = &noted {
                    noted.refused(&self.audit, reject);
                }
            })?;
        }
        if let Some(docket) = docket {
            flight.trail = Some(docket.permitted(&permit).await?);
        }
        let body = if bytes.is_empty() {
            RequestBody::Empty
        } else {
            RequestBody::full(bytes)
        };
        let request = Request::from_parts(parts, body);
        flight.sent(Instant::now());
        flight.tally = Tally::begin(learned, &flight.message, flight.observer_of_calls());
        let message = &flight.message;
        let leave = || asked.as_ref().map(|asked| asked.leave(self, message));
        let errand = Errand {
            message,
            session: Some(&session),
            follow: Some(Follow {
                learned,
                tally: flight.tally.as_ref(),
            }),
            leave: &leave,
            trace: flight.trace.as_ref(),
        };
        let sent = snapshot
            .forwarder
            .send(permit, inbound, request, errand)
            .await;
        flight.answered(Instant::now());
        if let (Some(noted), Ok(response)) = (noted, &sent) {
            noted.answered(&self.audit, response);
        }
        if let (Some(tally), Err(reject)) = (&flight.tally, &sent) {
            tally.end(unanswered(reject));
        }
        sent
    }

    /// Who asks; a refusal goes on record.
    async fn caller(
        &self,
        snapshot: &Snapshot,
        inbound: &Inbound,
        target: &Target,
        parts: &Parts,
    ) -> Result<Caller, Reject> {
        let asked = snapshot.authn.authenticate(inbound, target, parts).await;
        asked.inspect_err(|reject| {
            docket::refused(
                &self.audit,
                inbound,
                Some(target.route()),
                &parts.headers,
                reject,
            );
        })
    }
}

/// What became of requests that got no answer from the backend.
fn unanswered(reject: &Reject) -> mcp::Kind {
    match (reject.code(), reject.fault()) {
        (Code::BackendTimeout, _) => mcp::Kind::Timeout,
        (_, Fault::Client) => mcp::Kind::Cancelled,
        _ => mcp::Kind::UpstreamError,
    }
}

impl Handler for Proxy {
    async fn handle(self: Arc<Self>, conn: Arc<Conn>, request: Request) -> Response {
        let snapshot = self.snapshot.load_full();
        let inbound = Inbound::new(&self.ambient, conn, request.headers(), &snapshot.trusted);
        let mut flight = Flight::begin(
            &inbound,
            &request,
            &snapshot.requests,
            &self.access,
            &self.traces,
        );
        let asked = exit::Asked::of(&request, &snapshot);
        let outcome = self.fly(&snapshot, &inbound, request, &mut flight).await;
        let (mut response, rejected) = match outcome {
            Ok(response) => (response, flight.refused.take()),
            Err(reject) => exit::answer(&snapshot, &inbound, &asked, &flight, reject).await,
        };
        if let Some(origin) = &flight.origin {
            edge::cors(origin, response.headers_mut());
        }
        match flight.end(response.status(), rejected) {
            Some(observer) => response.map(|body| access::observe(body, observer)),
            None => response,
        }
    }

    fn led_away(&self, conn: Arc<Conn>, head: &Parts, status: http::StatusCode) {
        let snapshot = self.snapshot.load();
        let inbound = Inbound::new(&self.ambient, conn, &head.headers, &snapshot.trusted);
        led_away::record(inbound, head, status, &self.access);
    }
}

/// Whose MCP sessions a caller may use.
fn owner(caller: &Caller) -> Owner<'_> {
    match caller {
        Caller::Anonymous => Owner::Nobody,
        Caller::Known(identity) => {
            let subject = &identity.claims().subject;
            match identity.credential() {
                Credential::Bypass => Owner::Everybody(subject),
                _ => Owner::One(subject),
            }
        }
    }
}

fn is_websocket(parts: &Parts) -> bool {
    parts
        .headers
        .get(http::header::UPGRADE)
        .is_some_and(|upgrade| {
            upgrade
                .as_bytes()
                .split(|byte| *byte == b',')
                .any(|each| each.trim_ascii().eq_ignore_ascii_case(b"websocket"))
        })
        || parts.method == http::Method::CONNECT
}

/// Whether an error is for a person's eyes.
fn wants_page(method: &http::Method, headers: &http::HeaderMap) -> bool {
    navigation::wants_page(method, headers)
}
