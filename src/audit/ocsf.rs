//! A record as one line of JSON in the Open Cybersecurity Schema Framework, version 1.3.0: the classes and attributes
//! that are used here are a subset of it (`docs/audit-ocsf.schema.json`).
//!
//! What the framework has no place for stands in `unmapped`, which comes last: the place in the chain, and the parts of
//! our own schema that `audit verify` reads.

use serde_json::{Map, Value, json};

use super::chain::Link;
use super::event::{Class, Event, Kind, Log, MAX_LIST, Outcome};
use super::line::{VERSION, put};
use crate::clock::Timestamp;

/// Version of the framework.
pub(super) const OCSF: &str = "1.3.0";

/// Class and activity of a kind.
struct Of {
    class: u32,
    activity: u32,
}

const AUTHENTICATION: u32 = 3002;
const AUTHORIZE: u32 = 3003;
const ENTITY: u32 = 3004;
const LIFECYCLE: u32 = 6002;
const API: u32 = 6003;
const OTHER: u32 = 99;

fn class(kind: Kind) -> Of {
    let (class, activity) = match kind {
        Kind::Login | Kind::Refused => (AUTHENTICATION, 1),
        Kind::Logout => (AUTHENTICATION, 2),
        Kind::TokenIssued
        | Kind::TokenRefreshed
        | Kind::TokenRefused
        | Kind::CodeIssued
        | Kind::McpSessionRefused => (AUTHENTICATION, OTHER),
        Kind::ConsentGiven | Kind::ConsentDenied => (AUTHORIZE, 1),
        Kind::SessionCreated | Kind::McpSessionOpened | Kind::ClientRegistered => (ENTITY, 1),
        Kind::Looked => (ENTITY, 2),
        Kind::SessionEnded
        | Kind::SessionRevoked
        | Kind::McpSessionEnded
        | Kind::TokenRevoked
        | Kind::GrantEnded
        | Kind::Revoked => (ENTITY, 4),
        Kind::Decision | Kind::Result => (API, OTHER),
        Kind::Started => (LIFECYCLE, 3),
        Kind::Stopped => (LIFECYCLE, 4),
        Kind::Reloaded => (LIFECYCLE, 8),
        Kind::Draining
        | Kind::LogOpened
        | Kind::LogCheckpoint
        | Kind::LogRecovered
        | Kind::LogRemoved
        | Kind::LogDropped => (LIFECYCLE, OTHER),
    };
    Of { class, activity }
}

fn class_name(class: u32) -> &'static str {
    match class {
        AUTHENTICATION => "Authentication",
        AUTHORIZE => "Authorize Session",
        ENTITY => "Entity Management",
        LIFECYCLE => "Application Lifecycle",
        _ => "API Activity",
    }
}

fn activity_name(of: &Of, kind: Kind) -> &'static str {
    match (of.class, of.activity) {
        (AUTHENTICATION, 1) => "Logon",
        (AUTHENTICATION, 2) => "Logoff",
        (AUTHORIZE, 1) => "Assign Privileges",
        (ENTITY, 1) => "Create",
        (ENTITY, 2) => "Read",
        (ENTITY, 4) => "Delete",
        (LIFECYCLE, 3) => "Start",
        (LIFECYCLE, 4) => "Stop",
        (LIFECYCLE, 8) => "Update",
        _ => kind.as_str(),
    }
}

/// Informational, low, medium, high.
fn severity(event: &Event) -> u32 {
    match (event.kind, event.outcome) {
        (Kind::LogRecovered | Kind::LogDropped, _) => 4,
        (Kind::GrantEnded, Outcome::Failure) | (_, Outcome::Error) => 3,
        (_, Outcome::Denied | Outcome::Failure) => 2,
        (_, Outcome::Success) => 1,
    }
}

/// Appends the record up to the last field of `unmapped`, open: `hash` and two braces follow.
pub(super) fn write(out: &mut Vec<u8>, event: &Event, at: Timestamp, link: &Link) {
    let of = class(event.kind);
    let mut root = Map::new();
    let mut set = |key: &str, value: Value| {
        root.insert(key.to_owned(), value);
    };
    set("activity_id", of.activity.into());
    set("activity_name", activity_name(&of, event.kind).into());
    set("category_uid", (of.class / 1000).into());
    set("class_uid", of.class.into());
    set("class_name", class_name(of.class).into());
    set("type_uid", (of.class * 100 + of.activity).into());
    set("time", at.as_millis().into());
    set("severity_id", severity(event).into());
    set(
        "status_id",
        if event.outcome == Outcome::Success {
            1
        } else {
            2
        }
        .into(),
    );
    set("status", event.outcome.as_str().into());
    if let Some(reason) = event.reason.as_deref() {
        set("status_code", reason.into());
    }
    set(
        "message",
        event
            .detail
            .as_deref()
            .unwrap_or(event.kind.as_str())
            .into(),
    );
    set("metadata", metadata(event, link));
    let user = user(event);
    let mut actor = Map::new();
    actor.insert("user".to_owned(), user.clone());
    if let Some(session) = session(event) {
        actor.insert("session".to_owned(), session);
    }
    if let Some(client) = event.who.client_id.as_deref() {
        actor.insert("invoked_by".to_owned(), client.into());
    }
    set("actor", actor.into());
    let client = event.place.client.map_or_else(
        || json!({ "name": "unix" }),
        |ip| json!({ "ip": ip.to_string() }),
    );
    set("src_endpoint", client);
    if let Some(request) = event.place.request {
        set("http_request", json!({ "uid": request.to_string() }));
    }
    if let Some(backend) = event.place.backend.as_deref() {
        set("dst_endpoint", json!({ "svc_name": backend }));
    }
    of_class(&mut root, &of, event, user);
    put_closed(out, &root, &unmapped(event, link));
}

fn metadata(event: &Event, link: &Link) -> Value {
    let mut metadata = json!({
        "version": OCSF,
        "product": { "name": "mcp-oidc-proxy", "vendor_name": "mcp-oidc-proxy", "version": crate::build::VERSION },
        "uid": format!("{}-{}", link.chain, link.seq),
        "sequence": link.seq,
        "log_name": "audit",
    });
    if let Some(trace) = event.place.trace.as_deref() {
        metadata["correlation_uid"] = trace.into();
    }
    metadata
}

fn user(event: &Event) -> Value {
    let who = &event.who;
    let mut user = Map::new();
    let uid = who.subject.as_deref().unwrap_or("anonymous");
    user.insert("uid".to_owned(), uid.into());
    if let Some(issuer) = who.issuer.as_deref() {
        user.insert("domain".to_owned(), issuer.into());
    }
    if let Some(email) = who.email.as_deref() {
        user.insert("email_addr".to_owned(), email.into());
    }
    if !who.groups.is_empty() {
        let groups = who.groups.iter().take(MAX_LIST);
        user.insert(
            "groups".to_owned(),
            groups.map(|name| json!({ "name": &**name })).collect(),
        );
    }
    user.into()
}

fn session(event: &Event) -> Option<Value> {
    let uid = event
        .who
        .session
        .as_deref()
        .or(event.who.grant.as_deref())?;
    let mut session = Map::new();
    session.insert("uid".to_owned(), uid.into());
    if let Some(issuer) = event.who.issuer.as_deref() {
        session.insert("issuer".to_owned(), issuer.into());
    }
    Some(session.into())
}

/// What a class asks for beside the common attributes.
fn of_class(root: &mut Map<String, Value>, of: &Of, event: &Event, user: Value) {
    let what = &event.what;
    match of.class {
        AUTHENTICATION => {
            root.insert("user".to_owned(), user);
            let service = event.place.route.as_deref().unwrap_or("mcp-oidc-proxy");
            root.insert("service".to_owned(), json!({ "name": service }));
            if let Some(by) = event.who.credential {
                root.insert("auth_protocol".to_owned(), by.into());
            }
        }
        AUTHORIZE => {
            root.insert("user".to_owned(), user);
            let scopes = what.scopes.iter().take(MAX_LIST);
            root.insert(
                "privileges".to_owned(),
                scopes.map(|scope| Value::from(&**scope)).collect(),
            );
        }
        ENTITY => {
            let kind = match event.kind.class() {
                Class::Session => "session",
                Class::Administration => "subject",
                _ if event.kind == Kind::ClientRegistered => "client",
                _ => "grant",
            };
            let who = &event.who;
            let uid = [
                what.mcp_session.as_deref(),
                who.session.as_deref(),
                who.grant.as_deref(),
                who.client_id.as_deref(),
                who.subject.as_deref(),
            ];
            let mut entity = Map::new();
            entity.insert("type".to_owned(), kind.into());
            let uid = uid.into_iter().flatten().next().unwrap_or("unknown");
            entity.insert("uid".to_owned(), uid.into());
            root.insert("entity".to_owned(), entity.into());
        }
        LIFECYCLE => {
            let app = json!({ "name": "mcp-oidc-proxy", "version": crate::build::VERSION });
            root.insert("app".to_owned(), app);
        }
        _ => {
            let operation = what.method.as_deref().unwrap_or("unknown");
            let mut api = Map::new();
            api.insert("operation".to_owned(), operation.into());
            if let Some(route) = event.place.route.as_deref() {
                api.insert("service".to_owned(), json!({ "name": route }));
            }
            if let Some(request) = event.place.request {
                api.insert("request".to_owned(), json!({ "uid": request.to_string() }));
            }
            if let Some(status) = event.done.as_ref().and_then(|done| done.status) {
                api.insert("response".to_owned(), json!({ "code": status }));
            }
            root.insert("api".to_owned(), api.into());
            let resources: Vec<Value> = [
                ("tool", &what.tool),
                ("prompt", &what.prompt),
                ("resource", &what.resource),
                ("task", &what.task),
            ]
            .into_iter()
            .filter_map(|(kind, name)| Some(json!({ "type": kind, "name": name.as_deref()? })))
            .collect();
            if !resources.is_empty() {
                root.insert("resources".to_owned(), resources.into());
            }
            if let Some(took) = event.done.as_ref().and_then(|done| done.duration_ms) {
                root.insert("duration".to_owned(), took.into());
            }
            if let Some(rule) = what.rule.as_deref() {
                root.insert("policy".to_owned(), json!({ "name": rule }));
            }
        }
    }
}

fn unmapped(event: &Event, link: &Link) -> Map<String, Value> {
    let mut map = Map::new();
    let mut set = |key: &str, value: Value| {
        map.insert(key.to_owned(), value);
    };
    set("v", VERSION.into());
    set("chain", link.chain.into());
    set("seq", link.seq.into());
    set("prev", link.prev.into());
    set("kind", event.kind.as_str().into());
    let place = &event.place;
    if let Some(index) = place.index {
        set("index", index.into());
    }
    if let Some(grant) = event.who.grant.as_deref() {
        set("grant", grant.into());
    }
    if let Some(path) = event.what.path.as_deref() {
        set("path", path.into());
    }
    if let Some(session) = event.what.mcp_session.as_deref() {
        set("mcp_session", session.into());
    }
    if let Some(arguments) = &event.what.arguments {
        let text = arguments
            .text
            .as_deref()
            .map(serde_json::value::RawValue::get);
        if let Some(Ok(value)) = text.map(serde_json::from_str) {
            set("arguments", value);
        }
        if let Some(omitted) = arguments.omitted {
            set("arguments_omitted", omitted.into());
        }
    }
    if let Some(done) = &event.done {
        if let Some(outcome) = done.outcome {
            set("result", outcome.into());
        }
        if let Some(bytes) = done.bytes {
            set("bytes", bytes.into());
        }
    }
    if let Some(repeated) = event.repeated {
        set(
            "repeated",
            json!({ "count": repeated.count, "first": repeated.first.as_millis(), "last": repeated.last.as_millis() }),
        );
    }
    if let Some(about) = &event.log {
        set("log", log(about));
    }
    map
}

fn log(log: &Log) -> Value {
    let text = |value: &Option<Box<str>>| value.as_deref().map(Value::from);
    let number = |value: Option<u64>| value.map(Value::from);
    let all = [
        ("file", text(&log.file)),
        ("number", number(log.number)),
        ("key", text(&log.key)),
        ("previous_file", text(&log.previous_file)),
        ("last_seq", number(log.last_seq)),
        ("last_hash", text(&log.last_hash)),
        ("records", number(log.records)),
        ("end", log.end.then_some(Value::Bool(true))),
        ("torn_bytes", number(log.torn_bytes)),
        ("torn_sha256", text(&log.torn_sha256)),
        ("damaged", log.damaged.then_some(Value::Bool(true))),
        ("count", number(log.count)),
    ];
    all.into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect::<Map<_, _>>()
        .into()
}

/// The object with `unmapped` as its last key, both without their closing braces.
fn put_closed(out: &mut Vec<u8>, root: &Map<String, Value>, unmapped: &Map<String, Value>) {
    put(out, root);
    out.pop();
    out.extend_from_slice(b",\"unmapped\":");
    put(out, unmapped);
    out.pop();
}
