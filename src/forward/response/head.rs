//! Heads of answers: what is not the backend's to say.

use http::header::{CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::forward::request::REQUEST_ID;
use crate::http::Inbound;
use crate::http::cookie::CookieNames;
use crate::http::headers::{connection_listed, is_hop_by_hop, is_not_the_backends};

/// Takes out of an answer's head what means one connection only, and what speaks for our origin; on `mcp` routes also
/// who may read across origins, which is answered at the edge, and only once.
pub(in crate::forward) fn clean(
    headers: &mut HeaderMap,
    ours: &CookieNames,
    inbound: &Inbound,
    is_mcp: bool,
) {
    // One pass over the few that are there, rather than a look for each that might be.
    let listed = connection_listed(headers);
    for name in &listed {
        headers.remove(name.as_str());
    }
    let not_theirs = |name: &&HeaderName| {
        is_hop_by_hop(name.as_str())
            || is_not_the_backends(name.as_str())
            || is_mcp && is_cors(name.as_str())
    };
    let gone: Vec<HeaderName> = headers.keys().filter(not_theirs).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
    if headers.contains_key(SET_COOKIE) {
        drop_our_cookies(headers, ours);
    }
    if let Ok(id) = HeaderValue::from_bytes(&inbound.id.hex()) {
        headers.insert(REQUEST_ID, id);
    }
}

/// The answers of the CORS protocol (Fetch standard, section 3.3.3).
fn is_cors(name: &str) -> bool {
    matches!(
        name.strip_prefix("access-control-"),
        Some(
            "allow-origin"
                | "allow-credentials"
                | "allow-headers"
                | "allow-methods"
                | "expose-headers"
                | "max-age"
        )
    )
}

fn drop_our_cookies(headers: &mut HeaderMap, ours: &CookieNames) {
    let is_ours = |value: &HeaderValue| {
        let name = value
            .as_bytes()
            .split(|byte| matches!(byte, b'=' | b';'))
            .next()
            .unwrap_or_default();
        std::str::from_utf8(name.trim_ascii()).is_ok_and(|name| ours.is_ours(name))
    };
    if !headers.get_all(SET_COOKIE).iter().any(is_ours) {
        return;
    }
    let kept: Vec<HeaderValue> = headers
        .get_all(SET_COOKIE)
        .iter()
        .filter(|value| !is_ours(value))
        .cloned()
        .collect();
    headers.remove(SET_COOKIE);
    for value in kept {
        headers.append(SET_COOKIE, value);
    }
}

/// A backend's page shares our origin: sandboxed, its scripts cannot act as ours. A further policy beside the
/// backend's own; browsers enforce all of them.
pub(in crate::forward) fn sandbox(headers: &mut HeaderMap) {
    headers.append(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
}

pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    const NAME: &[u8] = b"text/event-stream";
    headers
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .is_some_and(|value| {
            value
                .get(..NAME.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(NAME))
                && matches!(value.get(NAME.len()), None | Some(b';' | b' ' | b'\t'))
        })
}

pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|encoding| encoding != "identity")
}
