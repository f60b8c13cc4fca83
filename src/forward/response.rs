//! Answers of backends: what belongs to our origin or to one connection is taken out, the rest is relayed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use super::events::{EventStream, Life};
use super::legacy::Rewriter;
use super::request::{HeadRules, REQUEST_ID};
use super::{Ends, Leaves, chain};
use crate::config::route::Mcp;
use crate::http::body::{BodyError, IdleTimer, Upload, UploadState};
use crate::http::cookie::CookieNames;
use crate::http::headers::{connection_listed, is_hop_by_hop, is_not_the_backends};
use crate::http::{Body, Inbound, Response};
use crate::mcp::session::{InUse, Passage};
use crate::reject::{Code, Fault, Reject};
use crate::revocation::Revocations;
use crate::upstream::{self, Answer, Lease, Open, Upstream};

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Answers up to this length are taken whole when they are there at once.
const SMALL: u64 = 64 << 10;

/// What is known of the request whose answer is relayed.
pub(super) struct Relayed<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) upload: Option<Upload>,
    pub(super) open: Open,
    pub(super) kind: upstream::Kind,
    pub(super) mcp: &'a Mcp,
    pub(super) drain: &'a CancellationToken,
    pub(super) ends: Option<Ends>,
    pub(super) leave: &'a Leaves<'a>,
    pub(super) session: Option<&'a Passage<'a>>,
    pub(super) revocations: &'a Arc<Revocations>,
    pub(super) outage_grace: Duration,
    pub(super) endpoint: Option<Rewriter>,
    pub(super) sandboxed: bool,
    pub(super) is_mcp: bool,
}

/// Relays an answer: status and body as they are, the head without what is not the backend's to say.
pub(super) fn relay(
    answer: Answer,
    mut relayed: Relayed<'_>,
    rules: &HeadRules,
    inbound: &Inbound,
) -> Result<Response, Reject> {
    let Answer {
        response, lease, ..
    } = answer;
    let (mut head, body) = response.into_parts();
    clean(&mut head.headers, &rules.cookies, inbound, relayed.is_mcp);
    if relayed.sandboxed {
        sandbox(&mut head.headers);
    }
    head.version = http::Version::HTTP_11;
    // Upgrades have a way of their own; a 101 that nobody asked for cannot be relayed.
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(broken("the backend switched protocols without being asked"));
    }

    if head.status != StatusCode::OK {
        relayed.endpoint = None;
    }

    let body = if body.is_end_stream() {
        give_back(lease, relayed.upload.as_ref());
        Body::Empty
    } else if is_event_stream(&head.headers) {
        head.headers
            .insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
        let opaque = head
            .headers
            .get(CONTENT_ENCODING)
            .is_some_and(|encoding| encoding != "identity");
        events(body, lease, relayed, opaque)
    } else {
        plain(body, lease, relayed)?
    };
    Ok(Response::from_parts(head, body))
}

/// Takes out of an answer's head what means one connection only, and what speaks for our origin; on `mcp` routes also
/// who may read across origins, which is answered at the edge, and only once.
pub(super) fn clean(headers: &mut HeaderMap, ours: &CookieNames, inbound: &Inbound, is_mcp: bool) {
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
pub(super) fn sandbox(headers: &mut HeaderMap) {
    headers.append(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
}

fn is_event_stream(headers: &HeaderMap) -> bool {
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

fn events(body: Incoming, lease: Lease, relayed: Relayed<'_>, opaque: bool) -> Body {
    let meters = relayed.upstream.meters();
    // Not an HTTP exchange of the plain kind after all.
    let open = meters.open(relayed.kind);
    drop(relayed.open);
    let life = Life {
        keep_alive: Some(relayed.mcp.keep_alive.0).filter(|span| !span.is_zero()),
        idle: relayed.upstream.timeouts().stream_idle.0,
        ends: relayed.ends,
        over: (relayed.leave)().map(|leave| {
            leave
                .over(relayed.revocations, relayed.outage_grace)
                .boxed()
        }),
        opaque,
        drain: relayed.drain.clone(),
        kind: relayed.kind,
        meters: meters.clone(),
    };
    let endpoint = relayed.endpoint.filter(|_| !opaque);
    Body::streamed(EventStream::new(
        body,
        Held {
            lease,
            upload: relayed.upload,
            _open: open,
            _session: relayed.session.and_then(Passage::in_use),
        },
        endpoint,
        life,
    ))
}

fn plain(mut body: Incoming, lease: Lease, relayed: Relayed<'_>) -> Result<Body, Reject> {
    let mut first = None;
    if body
        .size_hint()
        .exact()
        .is_some_and(|length| length <= SMALL)
    {
        // A short answer mostly comes together with its head; then nothing has to be wrapped and waited for.
        match body.frame().now_or_never() {
            Some(Some(Ok(frame))) => {
                first = frame.into_data().ok().filter(|data| !data.is_empty());
            }
            Some(Some(Err(error))) => return Err(broken(chain(&error))),
            Some(None) | None => {}
        }
        if body.is_end_stream() {
            give_back(lease, relayed.upload.as_ref());
            return Ok(first.map_or(Body::Empty, Body::full));
        }
    }
    let held = Held {
        lease,
        upload: relayed.upload,
        _open: relayed.open,
        _session: None,
    };
    let timer = IdleTimer::new(relayed.upstream.timeouts().body_idle.0);
    Ok(Body::streamed(Relay {
        first,
        body,
        held: Some(held),
        timer,
    }))
}

fn broken(because: impl Into<std::borrow::Cow<'static, str>>) -> Reject {
    Reject::new(
        StatusCode::BAD_GATEWAY,
        Code::BackendFailed,
        Fault::Backend,
        "The server behind this address broke off its answer. It may have seen the request.",
    )
    .because(because)
}

/// Gives a connection back, if the request went out whole too: else the rest of it would stand before the next.
fn give_back(lease: Lease, upload: Option<&Upload>) {
    if upload.is_none_or(|upload| upload.state() == UploadState::Done) {
        lease.finish();
    }
}

/// What an answer holds until its end. Dropped early, the connection is closed or the stream is reset, and the
/// backend knows at once that nobody listens.
pub(super) struct Held {
    pub(super) lease: Lease,
    pub(super) upload: Option<Upload>,
    pub(super) _open: Open,
    /// The session that a stream is part of.
    pub(super) _session: Option<InUse>,
}

impl Held {
    /// The answer was read to its end.
    pub(super) fn finish(self) {
        give_back(self.lease, self.upload.as_ref());
    }
}

/// A plain answer on its way, with a bound on the backend's silence.
struct Relay {
    first: Option<Bytes>,
    body: Incoming,
    held: Option<Held>,
    timer: IdleTimer,
}

impl Relay {
    fn finish(&mut self) {
        if let Some(held) = self.held.take() {
            held.finish();
        }
    }
}

impl HttpBody for Relay {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        loop {
            let frame = match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending if this.timer.poll(cx).is_ready() => {
                    this.held = None;
                    return Poll::Ready(Some(Err(
                        "the backend paused for too long inside its answer".into(),
                    )));
                }
                Poll::Pending => return Poll::Pending,
            };
            return match frame.map(|frame| frame.map(Frame::into_data)) {
                // An empty frame at the end, which HTTP/2 backends may send, would not be the last when it is handed
                // on, and clients end connections that carry many such frames.
                Some(Ok(Ok(data))) if data.is_empty() => continue,
                Some(Ok(Ok(data))) => {
                    this.timer.touch();
                    if this.body.is_end_stream() {
                        this.finish();
                    }
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Some(Err(error)) => {
                    this.held = None;
                    Poll::Ready(Some(Err(error.into())))
                }
                // Trailers are handed on in neither direction, and are the end.
                Some(Ok(Err(_trailers))) => {
                    // The connection is given back with the poll that meets the end itself.
                    if this.body.is_end_stream() {
                        this.finish();
                    }
                    Poll::Ready(None)
                }
                None => {
                    this.finish();
                    Poll::Ready(None)
                }
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, |first| first.len() as u64);
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + first);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(first));
        }
        hint
    }
}
