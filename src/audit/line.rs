//! A record as one line of JSON, in our own schema.
//!
//! Field names and meanings are stable: fields may be added under the same version, never renamed or taken away.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::chain::Link;
use super::event::{Event, Log, MAX_LIST};
use crate::clock::Timestamp;

/// Version of the schema, in each record.
pub(super) const VERSION: u32 = 1;

/// A record of the audit log. One line, one record. After the last field follow `sig` (of checkpoints, when the log is
/// signed) and `hash`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "Audit record", deny_unknown_fields)]
pub(super) struct Line<'a> {
    /// Version of this schema.
    v: u32,
    /// The chain that the record belongs to: random, made when the log begins, the same in all its files.
    chain: &'a str,
    /// Number of the record in its chain, from 1, without gaps.
    seq: u64,
    /// When it happened, in milliseconds since 1970-01-01T00:00:00Z.
    time: i64,
    /// Hash of the record before it; 64 zeros for the first.
    prev: &'a str,
    /// What happened.
    kind: &'static str,
    /// How it went: `success`, `denied` (a rule or a person said no), `failure` (whoever asked did something wrong),
    /// `error` (the proxy, the provider or the backend could not).
    outcome: &'static str,
    /// Why: a stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// More, for eyes; its wording may change.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    /// Who.
    #[serde(skip_serializing_if = "Who::is_empty")]
    who: Who<'a>,
    /// From where, to where, in which request.
    #[serde(rename = "where", skip_serializing_if = "Where::is_empty")]
    place: Where<'a>,
    /// What was asked for.
    #[serde(skip_serializing_if = "What::is_empty")]
    what: What<'a>,
    /// What became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Done>,
    /// Several alike that were written as one record.
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated: Option<Repeated>,
    /// About the log itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<LogPart<'a>>,
}

/// Who.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Who<'a> {
    /// The `iss` that vouches for the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'a str>,
    /// The `sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    /// E-mail address, with `audit.identity.email`.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    /// Groups, with `audit.identity.groups`; 64 at most.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    groups: &'a [Box<str>],
    /// What proved it: `session`, `bearer_jwt`, `access_token`, `api_key`, `bypass`, a grant type at the token
    /// endpoint, or for operators `admin_socket` and `admin_loopback`.
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
    /// The OAuth client.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    /// First 8 bytes of the SHA-256 of the session's id, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    /// The grant of an MCP client.
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<&'a str>,
}

/// From where, to where, in which request.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Where<'a> {
    /// The client's address, as far as it is believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    /// Name of the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    /// Name of the backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<&'a str>,
    /// The request id: as in access records, in `X-Request-Id` towards the backend, and in error answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    /// Which call of a batch, from 0. Decision and result of one call have the same `request` and `index`.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    /// The trace id (W3C Trace Context), where the client sent one.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
}

/// What was asked for.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct What<'a> {
    /// JSON-RPC method; the HTTP method where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    /// Path without query, on routes of kind `http`.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    /// Name of the tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<&'a str>,
    /// Name of the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<&'a str>,
    /// URI of the resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a str>,
    /// Id of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'a str>,
    /// Arguments with secrets and personal data blanked out, with `audit.arguments.include`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    arguments: Option<&'a RawValue>,
    /// Bytes of arguments that were too long to be written, or could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments_omitted: Option<u64>,
    /// Scopes that were asked for or given.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    scopes: &'a [Box<str>],
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    /// First 8 bytes of the SHA-256 of the MCP session's id, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    mcp_session: Option<&'a str>,
}

/// What became of it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Done {
    /// HTTP status of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Of a call, where it was seen: `ok`, `tool_error` (`isError: true`), `protocol_error` (a JSON-RPC error),
    /// `input_required`, `task` (both: it goes on), `timeout`, `upstream_error`, `cancelled`, `unknown`; else
    /// `http_error`, or `cut` (the answer did not come to its end).
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    /// From the head of the request to the end of the answer, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    /// Bytes of the answer's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

/// Several alike that were written as one record.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Repeated {
    /// How many.
    count: u64,
    /// When the first of them happened, in milliseconds.
    first: i64,
    /// When the last of them happened, in milliseconds.
    last: i64,
}

/// About the log itself.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct LogPart<'a> {
    /// The file that this is about, without its folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    /// Number of the file in its chain, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    /// Version of the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    /// Public key of the checkpoints that follow, base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    /// The file before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_file: Option<&'a str>,
    /// Number of the last record of the file that was ended or removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seq: Option<u64>,
    /// Hash of the last record of the file that was ended or removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_hash: Option<&'a str>,
    /// Records since the checkpoint before.
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<u64>,
    /// The last record of a file, or of a process that ended in order.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    end: bool,
    /// Bytes of a line that was not finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    torn_bytes: Option<u64>,
    /// SHA-256 of these bytes, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    torn_sha256: Option<&'a str>,
    /// What was found at the end of the file cannot come from a crash.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    damaged: bool,
    /// Records that were dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

impl Who<'_> {
    fn is_empty(&self) -> bool {
        self.issuer.is_none()
            && self.subject.is_none()
            && self.email.is_none()
            && self.groups.is_empty()
            && self.credential.is_none()
            && self.client_id.is_none()
            && self.session.is_none()
            && self.grant.is_none()
    }
}

impl Where<'_> {
    fn is_empty(&self) -> bool {
        self.client.is_none()
            && self.route.is_none()
            && self.backend.is_none()
            && self.request.is_none()
            && self.index.is_none()
            && self.trace.is_none()
    }
}

impl What<'_> {
    fn is_empty(&self) -> bool {
        self.method.is_none()
            && self.path.is_none()
            && self.tool.is_none()
            && self.prompt.is_none()
            && self.resource.is_none()
            && self.task.is_none()
            && self.arguments.is_none()
            && self.arguments_omitted.is_none()
            && self.scopes.is_empty()
            && self.rule.is_none()
            && self.mcp_session.is_none()
    }
}

/// Appends the record up to its last field, open: `hash` and the closing brace follow.
pub(super) fn write(out: &mut Vec<u8>, event: &Event, at: Timestamp, link: &Link) {
    let (who, place, what) = (&event.who, &event.place, &event.what);
    let record = Line {
        v: VERSION,
        chain: link.chain,
        seq: link.seq,
        time: at.as_millis(),
        prev: link.prev,
        kind: event.kind.as_str(),
        outcome: event.outcome.as_str(),
        reason: event.reason.as_deref(),
        detail: event.detail.as_deref(),
        who: Who {
            issuer: who.issuer.as_deref(),
            subject: who.subject.as_deref(),
            email: who.email.as_deref(),
            groups: bounded(&who.groups),
            credential: who.credential,
            client_id: who.client_id.as_deref(),
            session: who.session.as_deref(),
            grant: who.grant.as_deref(),
        },
        place: Where {
            client: place.client.map(|ip| ip.to_string()),
            route: place.route.as_deref(),
            backend: place.backend.as_deref(),
            request: place.request.map(|id| id.to_string()),
            index: place.index,
            trace: place.trace.as_deref(),
        },
        what: What {
            method: what.method.as_deref(),
            path: what.path.as_deref(),
            tool: what.tool.as_deref(),
            prompt: what.prompt.as_deref(),
            resource: what.resource.as_deref(),
            task: what.task.as_deref(),
            arguments: what.arguments.as_ref().and_then(|a| a.text.as_deref()),
            arguments_omitted: what.arguments.as_ref().and_then(|a| a.omitted),
            scopes: bounded(&what.scopes),
            rule: what.rule.as_deref(),
            mcp_session: what.mcp_session.as_deref(),
        },
        result: event.done.as_ref().map(|done| Done {
            status: done.status,
            outcome: done.outcome,
            duration_ms: done.duration_ms,
            bytes: done.bytes,
        }),
        repeated: event.repeated.map(|repeated| Repeated {
            count: repeated.count,
            first: repeated.first.as_millis(),
            last: repeated.last.as_millis(),
        }),
        log: event.log.as_deref().map(log),
    };
    put(out, &record);
    // The brace: the chain closes the line.
    out.pop();
}

fn log(log: &Log) -> LogPart<'_> {
    LogPart {
        file: log.file.as_deref(),
        number: log.number,
        version: log.version,
        key: log.key.as_deref(),
        previous_file: log.previous_file.as_deref(),
        last_seq: log.last_seq,
        last_hash: log.last_hash.as_deref(),
        records: log.records,
        end: log.end,
        torn_bytes: log.torn_bytes,
        torn_sha256: log.torn_sha256.as_deref(),
        damaged: log.damaged,
        count: log.count,
    }
}

fn bounded(list: &[Box<str>]) -> &[Box<str>] {
    &list[..list.len().min(MAX_LIST)]
}

/// Appends JSON on one line. Nothing that is written here has keys that are no texts, so it cannot fail.
pub(super) fn put(out: &mut Vec<u8>, value: &impl Serialize) {
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.extend_from_slice(b"{}");
    }
}
