//! What is noted while a request is on its way, and becomes its access record.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode, Version};
use tokio::time::Instant;

use crate::audit::Trail;
use crate::authn::{Caller, Credential};
use crate::claims::Claims;
use crate::http::pages::Account;
use crate::http::{Inbound, Request};
use crate::mcp::edge::Origin;
use crate::mcp::{self, Message, Tally};
use crate::route::{Route, Target};
use crate::telemetry::access::{AccessLog, Observer, Record, Rejected};
use crate::telemetry::mcp::Verdict;
use crate::telemetry::requests::{RequestMetrics, Row};
use crate::telemetry::trace::{Trace, Traces};

/// Notes on one request. When it is dropped before it has ended, the client went away before an answer: that is
/// recorded too.
pub(super) struct Flight {
    pub(super) message: Message,
    pub(super) origin: Option<Origin>,
    /// What was refused within the protocol: the answer's status does not tell.
    pub(super) refused: Option<Rejected>,
    pub(super) bytes_in: u64,
    /// What becomes of the requests of the message.
    pub(super) tally: Option<Arc<Tally>>,
    pub(super) route: Option<Arc<Route>>,
    row: Option<Row>,
    head: Option<Head>,
    inbound: Inbound,
    credential: Option<&'static str>,
    /// Who a session belongs to, for pages that refuse something.
    person: Option<Arc<Claims>>,
    subject: Option<[u8; 16]>,
    client_id: Option<Box<str>>,
    sent: Option<Instant>,
    pub(super) trace: Option<Trace>,
    pub(super) trail: Option<Trail>,
    backend_took: Option<Duration>,
    metrics: Arc<RequestMetrics>,
    log: Arc<AccessLog>,
}

/// What the request itself said; taken when the record is made.
struct Head {
    method: Method,
    path: Box<str>,
    version: Version,
    user_agent: Option<Box<str>>,
}

/// "Client closed request": nobody is there to read a status, so none of RFC 9110 fits.
const CLIENT_GONE: u16 = 499;

impl Flight {
    pub(super) fn begin(
        inbound: &Inbound,
        request: &Request,
        metrics: &Arc<RequestMetrics>,
        log: &Arc<AccessLog>,
        traces: &Arc<Traces>,
    ) -> Self {
        let head = Head {
            method: request.method().clone(),
            path: Record::clip(request.uri().path()),
            version: request.version(),
            user_agent: request
                .headers()
                .get(http::header::USER_AGENT)
                .and_then(|agent| agent.to_str().ok())
                .map(Record::clip),
        };
        Self {
            message: Message::default(),
            origin: None,
            refused: None,
            bytes_in: 0,
            tally: None,
            route: None,
            row: None,
            head: Some(head),
            inbound: inbound.clone(),
            credential: None,
            person: None,
            subject: None,
            client_id: None,
            sent: None,
            trace: traces.begin(request.headers()),
            trail: None,
            backend_took: None,
            metrics: Arc::clone(metrics),
            log: Arc::clone(log),
        }
    }

    /// The request is one for an endpoint of our own.
    pub(super) fn on_own(&mut self) {
        self.enter(Row::Own);
    }

    pub(super) fn on_route(&mut self, target: &Target) {
        self.enter(Row::Route(target.route().index));
        self.route = Some(Arc::clone(target.route()));
    }

    pub(super) fn is_own(&self) -> bool {
        self.row == Some(Row::Own)
    }

    fn enter(&mut self, row: Row) {
        self.metrics.row(row).begin();
        self.row = Some(row);
    }

    /// The subject is shown as a digest: the same person is recognised in all lines and not named in any.
    pub(super) fn by(&mut self, caller: &Caller) {
        let Caller::Known(identity) = caller else {
            return;
        };
        self.credential = Some(identity.credential().as_str());
        if *identity.credential() == Credential::Session {
            self.person = Some(Arc::clone(identity.claims()));
        }
        self.client_id = identity.client_id().map(Record::clip);
        if !self.log.enabled() {
            return;
        }
        self.subject = Some(identity.claims().tag());
    }

    /// The message was read: a call has a span of its own.
    pub(super) fn called(&mut self) {
        let call = self.message.only().filter(|call| call.method.is_some());
        if let (Some(call), Some(trace)) = (call, &mut self.trace) {
            trace.call(call.trace.as_deref());
        }
    }

    /// Tells the audit log what becomes of each call.
    pub(super) fn observer_of_calls(&self) -> Option<mcp::Observer> {
        let outcomes = self.trail.as_ref()?.outcomes();
        Some(Box::new(move |outcome| {
            outcomes.set(outcome.call, outcome.kind.as_str());
        }))
    }

    /// The account of the session, where one decided.
    pub(super) fn account(&self) -> Option<Account> {
        self.person.as_deref().map(Account::of)
    }

    pub(super) fn sent(&mut self, at: Instant) {
        self.sent = Some(at);
    }

    pub(super) fn answered(&mut self, at: Instant) {
        self.backend_took = self.sent.map(|sent| at.saturating_duration_since(sent));
    }

    /// The head of the answer is there. Gives what watches the rest of it.
    pub(super) fn end(
        mut self,
        status: StatusCode,
        rejected: Option<Rejected>,
    ) -> Option<Observer> {
        self.observer(status, rejected)
    }

    fn observer(&mut self, status: StatusCode, rejected: Option<Rejected>) -> Option<Observer> {
        let head = self.head.take()?;
        let to_head = self.inbound.started.elapsed();
        if self.row.is_none() {
            self.enter(Row::Unmatched);
        }
        let row = self.row.unwrap_or(Row::Unmatched);
        self.metrics.answered(
            row,
            &head.method,
            status,
            to_head,
            self.backend_took.unwrap_or_default(),
        );
        let call = self.message.calls().first();
        let record = Record {
            at: self.inbound.received,
            id: self.inbound.id,
            conn: Arc::clone(&self.inbound.conn),
            client: self.inbound.client,
            method: head.method,
            path: head.path,
            version: head.version,
            user_agent: head.user_agent,
            status,
            to_head,
            backend_took: self.backend_took,
            route: self.route.take(),
            credential: self.credential,
            subject: self.subject,
            client_id: self.client_id.take(),
            mcp_method: call.and_then(|call| call.method.clone()),
            mcp_name: call.and_then(|call| call.name().map(Box::from)),
            mcp_verdict: self.tally.take().map(|tally| tally as Arc<dyn Verdict>),
            rejected,
            bytes_in: self.bytes_in,
            https: self.inbound.https,
            sent_after: self
                .sent
                .map(|sent| sent.saturating_duration_since(self.inbound.started)),
            trace: self.trace.take().map(Box::new),
            trail: self.trail.take().map(Box::new),
        };
        Some(Observer::of(
            record,
            row,
            self.inbound.started,
            Arc::clone(&self.metrics),
            Arc::clone(&self.log),
        ))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let status = StatusCode::from_u16(CLIENT_GONE).unwrap_or(StatusCode::REQUEST_TIMEOUT);
        // The observer records the end as it is dropped.
        drop(self.observer(status, None));
    }
}
