//! Answers in the form that the sender of an event reads.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, SET_COOKIE,
};
use http::response::Parts;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::event::Kind;
use crate::headers::is_hop_by_hop;
use crate::http::{Body, Response};

/// Bytes of an answer that is given whole: 6 MB (quotas of Lambda, "invocation payload").
const WHOLE: usize = 6 * 1024 * 1024;
/// Bytes of an answer to a load balancer: 1 MB (quotas of Application Load Balancers).
const TO_LOAD_BALANCER: usize = 1024 * 1024;

/// How answers are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// Piece by piece to function URLs, whole to everybody else.
    #[default]
    Auto,
    /// Piece by piece to REST APIs as well, which have to be set up for it.
    Stream,
    /// Whole to everybody, for function URLs that are set up so.
    Buffer,
}

impl Mode {
    /// Reads `auto`, `stream` or `buffer`; empty is `auto`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "auto" => Some(Self::Auto),
            "stream" => Some(Self::Stream),
            "buffer" => Some(Self::Buffer),
            _ => None,
        }
    }

    /// Whether an answer goes out piece by piece. HTTP APIs and load balancers cannot take it so.
    pub(super) fn streams(self, kind: Kind) -> bool {
        match kind {
            Kind::Url => self != Self::Buffer,
            Kind::RestApi => self == Self::Stream,
            Kind::HttpApi | Kind::LoadBalancer { .. } => false,
        }
    }
}

/// What stands in front of an answer that goes out piece by piece.
pub(super) fn prelude(kind: Kind, head: &Parts) -> Bytes {
    let answer = Answer::of(kind, head);
    let mut out = serde_json::to_vec(&answer).unwrap_or_default();
    out.extend_from_slice(&[0; 8]);
    out.into()
}

/// An answer as a whole. One that is not complete by the deadline, or too large, is replaced by an error; so is an
/// event stream that a client opened to listen, for it has no end.
pub(super) async fn whole(
    kind: Kind,
    method: &Method,
    response: Response,
    deadline: Option<Instant>,
) -> Vec<u8> {
    if *method == Method::GET && is_event_stream(response.headers()) {
        return written(kind, no_stream()).await;
    }
    let limit = match kind {
        Kind::LoadBalancer { .. } => TO_LOAD_BALANCER,
        _ => WHOLE,
    };
    let (head, body) = response.into_parts();
    let collecting = collect(body, limit);
    let collected = match deadline {
        Some(at) => timeout_at(at, collecting).await.unwrap_or(Err(Short::Late)),
        None => collecting.await,
    };
    let out = match collected {
        Ok(body) => json(kind, &head, &body),
        Err(short) => return written(kind, short.response()).await,
    };
    if out.len() > limit {
        return written(kind, Short::TooLarge.response()).await;
    }
    out
}

/// An answer of our own, which is short.
async fn written(kind: Kind, response: Response) -> Vec<u8> {
    let (head, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    json(kind, &head, &body.unwrap_or_default())
}

/// Whether the answer is an event stream.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|value| value.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// Why an answer is not given as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Short {
    Late,
    TooLarge,
    Broken,
}

impl Short {
    fn response(self) -> Response {
        match self {
            Self::Late => late(),
            Self::TooLarge => own(
                StatusCode::BAD_GATEWAY,
                "answer_too_large",
                "The answer is larger than this way to the function can carry. Use the function URL with response streaming.",
            ),
            Self::Broken => own(
                StatusCode::BAD_GATEWAY,
                "backend_failed",
                "The server's answer broke off before its end.",
            ),
        }
    }
}

/// 504: the invocation is nearly over.
pub(super) fn late() -> Response {
    own(
        StatusCode::GATEWAY_TIMEOUT,
        "backend_timeout",
        "The answer was not complete in the time that the function has for it.",
    )
}

fn no_stream() -> Response {
    // MCP, transports: 405 is how a server says that it offers no stream to listen on; clients go on without.
    let mut response = own(
        StatusCode::METHOD_NOT_ALLOWED,
        "no_stream",
        "Event streams cannot be opened on this way to the function. Use the function URL with response streaming.",
    );
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("POST, DELETE"));
    response
}

/// An answer where no request was understood well enough to have an id.
pub(super) fn own(status: StatusCode, code: &str, message: &str) -> Response {
    let body = serde_json::json!({ "error": code, "message": message }).to_string();
    let mut response = http::Response::new(Body::full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn collect(mut body: Body, limit: usize) -> Result<Bytes, Short> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(Short::Broken);
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if all.len() + data.len() > limit {
            return Err(Short::TooLarge);
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

fn json(kind: Kind, head: &Parts, body: &[u8]) -> Vec<u8> {
    let mut answer = Answer::of(kind, head);
    let text = std::str::from_utf8(body)
        .ok()
        .filter(|_| !head.headers.contains_key(CONTENT_ENCODING));
    answer.is_base64_encoded = Some(text.is_none());
    answer.body = Some(text.map_or_else(|| STANDARD.encode(body), str::to_owned));
    serde_json::to_vec(&answer).unwrap_or_default()
}

/// What all of them read, each with its own members.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status_code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multi_value_headers: Option<BTreeMap<String, Vec<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cookies: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_base64_encoded: Option<bool>,
}

impl Answer {
    fn of(kind: Kind, head: &Parts) -> Self {
        let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut cookies = Vec::new();
        for (name, value) in &head.headers {
            // The length is that of what the sender of the event makes of it.
            if *name == CONTENT_LENGTH || is_hop_by_hop(name.as_str()) {
                continue;
            }
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            if *name == SET_COOKIE {
                cookies.push(text);
            } else {
                lines
                    .entry(name.as_str().to_owned())
                    .or_default()
                    .push(text);
            }
        }
        let mut answer = Self {
            status_code: head.status.as_u16(),
            status_description: None,
            headers: None,
            multi_value_headers: None,
            cookies: None,
            body: None,
            is_base64_encoded: None,
        };
        let multi_value = match kind {
            Kind::Url | Kind::HttpApi => {
                answer.cookies = Some(std::mem::take(&mut cookies));
                false
            }
            Kind::RestApi => true,
            Kind::LoadBalancer { multi_value } => {
                let reason = head.status.canonical_reason().unwrap_or("Unknown");
                answer.status_description = Some(format!("{} {reason}", head.status.as_u16()));
                multi_value
            }
        };
        if multi_value {
            if !cookies.is_empty() {
                lines.insert(SET_COOKIE.as_str().to_owned(), cookies);
            }
            answer.multi_value_headers = Some(lines);
        } else {
            let joined = lines.into_iter().map(|(name, all)| (name, all.join(", ")));
            // There is room for one header of a name, and cookies cannot be joined. Names in other letters are other
            // names here and the same to browsers.
            let cookies = cookies
                .into_iter()
                .enumerate()
                .map(|(at, cookie)| (spelling(SET_COOKIE.as_str(), at), cookie));
            answer.headers = Some(joined.chain(cookies).collect());
        }
        answer
    }
}

/// The name with some of its letters in upper case: a different one for each number.
fn spelling(name: &str, number: usize) -> String {
    let mut bits = number;
    name.chars()
        .map(|c| {
            if !c.is_ascii_alphabetic() {
                return c;
            }
            let upper = bits & 1 == 1;
            bits >>= 1;
            if upper { c.to_ascii_uppercase() } else { c }
        })
        .collect()
}

/// How long before the end of an invocation its answer has to have ended.
pub(super) fn margin(left: Duration) -> Duration {
    Duration::from_secs(1).min(left / 4)
}

#[cfg(test)]
mod tests;
