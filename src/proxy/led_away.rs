//! The access record of an answer that led to https: given by the listener, before anything was judged.

use http::StatusCode;
use http::header::USER_AGENT;
use http::request::Parts;

use crate::http::Inbound;
use crate::telemetry::access::{AccessLog, Record};

/// Writes the record. Such an answer has no body, and is there at once.
pub(super) fn record(inbound: Inbound, head: &Parts, status: StatusCode, log: &AccessLog) {
    if !log.enabled() {
        return;
    }
    let took = inbound.started.elapsed();
    log.note(&Record {
        at: inbound.received,
        id: inbound.id,
        conn: inbound.conn,
        client: inbound.client,
        method: head.method.clone(),
        path: Record::clip(head.uri.path()),
        version: head.version,
        user_agent: head
            .headers
            .get(USER_AGENT)
            .and_then(|agent| agent.to_str().ok())
            .map(Record::clip),
        status,
        to_head: took,
        backend_took: None,
        route: None,
        credential: None,
        subject: None,
        client_id: None,
        mcp_method: None,
        mcp_name: None,
        mcp_verdict: None,
        rejected: None,
        bytes_in: 0,
        https: inbound.https,
        sent_after: None,
        trace: None,
        trail: None,
    });
}
