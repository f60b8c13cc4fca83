//! Answers of backends: what belongs to our origin or to one connection is taken out, the rest is relayed.

mod head;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_LENGTH, ETAG};
use http::{HeaderName, HeaderValue, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

pub(super) use self::head::{clean, sandbox};
use self::head::{is_encoded, is_event_stream};
use super::answer::{Json, Look};
use super::events::{EventStream, Life};
use super::legacy::Rewriter;
use super::request::HeadRules;
use super::{Ends, Leaves, chain};
use crate::config::route::Mcp;
use crate::http::body::{BodyError, IdleTimer, Upload, UploadState};
use crate::http::{Body, Inbound, Response};
use crate::mcp::Kind;
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
    pub(super) look: Option<Look>,
}

impl Relayed<'_> {
    /// Whether the answer has to be whole before any of it is handed on.
    fn withholds(&self, answer: &Answer) -> bool {
        let head = &answer.response;
        self.look
            .as_ref()
            .is_some_and(|look| look.withholds(head.status()))
            && !is_event_stream(head.headers())
            && !head.body().is_end_stream()
    }
}

/// How an answer is relayed.
pub(super) enum Relay<'a> {
    /// It goes on as it comes.
    Now(Result<Response, Reject>),
    /// It has to be whole first. Boxed: seldom taken, and it would make room for itself in every request's task.
    Later(BoxFuture<'a, Result<Response, Reject>>),
}

/// Relays an answer: status and body as they are, the head without what is not the backend's to say, and lists without
/// what their reader may not see.
pub(super) fn relay<'a>(
    answer: Answer,
    relayed: Relayed<'a>,
    rules: &'a HeadRules,
    inbound: &'a Inbound,
) -> Relay<'a> {
    if relayed.withholds(&answer) {
        Relay::Later(Box::pin(filter(answer, relayed, rules, inbound)))
    } else {
        Relay::Now(pass(answer, relayed, rules, inbound))
    }
}

fn pass(
    answer: Answer,
    mut relayed: Relayed<'_>,
    rules: &HeadRules,
    inbound: &Inbound,
) -> Result<Response, Reject> {
    let Answer {
        response, lease, ..
    } = answer;
    let (mut head, body) = response.into_parts();
    clean_head(&mut head, &relayed, rules, inbound)?;
    if head.status != StatusCode::OK {
        relayed.endpoint = None;
    }

    let body = if body.is_end_stream() {
        give_back(lease, relayed.upload.as_ref());
        if let Some(json) = relayed.look.and_then(|look| look.json(head.status)) {
            json.end();
        }
        Body::Empty
    } else if is_event_stream(&head.headers) {
        head.headers
            .insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
        // Comments come in between, and lists may become shorter.
        head.headers.remove(CONTENT_LENGTH);
        let opaque = is_encoded(&head.headers);
        events(body, lease, relayed, opaque)
    } else {
        plain(body, lease, relayed, head.status)?
    };
    Ok(Response::from_parts(head, body))
}

/// Relays an answer with lists, without what its reader may not see. It is whole before any of it is handed on, for
/// what cannot be filtered is not handed on at all.
async fn filter(
    answer: Answer,
    mut relayed: Relayed<'_>,
    rules: &HeadRules,
    inbound: &Inbound,
) -> Result<Response, Reject> {
    let Answer {
        response, lease, ..
    } = answer;
    let (mut head, mut body) = response.into_parts();
    clean_head(&mut head, &relayed, rules, inbound)?;
    let Some(look) = relayed.look.take() else {
        return Err(Reject::internal().because("an answer was withheld that nobody looks at"));
    };
    let idle = relayed.upstream.timeouts().body_idle.0;
    let mut whole = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(idle, body.frame())
            .await
            .map_err(|_| silent())?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| broken(chain(&error)))?;
        if let Ok(data) = frame.into_data() {
            if whole.len() + data.len() > look.limit() {
                return Err(unfiltered("it is longer than mcp.max_list"));
            }
            whole.extend_from_slice(&data);
        }
    }
    give_back(lease, relayed.upload.as_ref());
    let whole = whole.freeze();
    let filtered = look
        .filter(&whole)
        .map_err(|error| unfiltered(error.to_string()))?;
    if let Some(mut json) = look.json(head.status) {
        // It is withheld, so nothing of it can come unasked.
        let _ = json.push(&whole);
        json.end();
    }
    let body = match filtered {
        None => whole,
        Some(filtered) => {
            for name in OF_THE_BYTES {
                head.headers.remove(name);
            }
            Bytes::from(filtered)
        }
    };
    head.headers
        .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    Ok(Response::from_parts(head, Body::full(body)))
}

/// What speaks of the very bytes of an answer, and is no longer true when some were taken out.
const OF_THE_BYTES: [HeaderName; 5] = [
    ETAG,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

fn clean_head(
    head: &mut http::response::Parts,
    relayed: &Relayed<'_>,
    rules: &HeadRules,
    inbound: &Inbound,
) -> Result<(), Reject> {
    clean(&mut head.headers, &rules.cookies, inbound, relayed.is_mcp);
    if relayed.sandboxed {
        sandbox(&mut head.headers);
    }
    head.version = http::Version::HTTP_11;
    // Upgrades have a way of their own; a 101 that nobody asked for cannot be relayed.
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(broken("the backend switched protocols without being asked"));
    }
    let must_be_plain = relayed
        .look
        .as_ref()
        .is_some_and(|look| look.must_be_plain(head.status));
    if must_be_plain && is_encoded(&head.headers) {
        return Err(unfiltered(
            "it is encoded, though nothing but identity was accepted",
        ));
    }
    Ok(())
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
        watch: relayed.look.filter(|_| !opaque).map(Look::events),
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

fn plain(
    mut body: Incoming,
    lease: Lease,
    relayed: Relayed<'_>,
    status: StatusCode,
) -> Result<Body, Reject> {
    let mut watch = relayed.look.and_then(|look| look.json(status));
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
        if let (Some(watch), Some(first)) = (&mut watch, &first) {
            watch
                .push(first)
                .map_err(|error| unfiltered(error.to_string()))?;
        }
        if body.is_end_stream() {
            if let Some(watch) = &watch {
                watch.end();
            }
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
    Ok(Body::streamed(Plain {
        first,
        body,
        held: Some(held),
        timer,
        watch: watch.map(Box::new),
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

fn silent() -> Reject {
    Reject::new(
        StatusCode::GATEWAY_TIMEOUT,
        Code::BackendTimeout,
        Fault::Backend,
        "The server behind this address paused for too long inside its answer.",
    )
}

fn unfiltered(because: impl Into<std::borrow::Cow<'static, str>>) -> Reject {
    Reject::new(
        StatusCode::BAD_GATEWAY,
        Code::BackendFailed,
        Fault::Backend,
        "The server's answer has a list that could not be filtered for you, so it was not handed on. Tell whoever runs the server.",
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
struct Plain {
    first: Option<Bytes>,
    body: Incoming,
    held: Option<Held>,
    timer: IdleTimer,
    watch: Option<Box<Json>>,
}

impl Plain {
    /// Looks at a piece; an error when it must not be handed on.
    fn watch(&mut self, piece: &[u8]) -> Result<(), BodyError> {
        let Some(watch) = &mut self.watch else {
            return Ok(());
        };
        watch.push(piece).map_err(|error| {
            tracing::warn!(reason = %error, "an answer was cut off");
            self.fail(Kind::UpstreamError);
            error.into()
        })
    }

    fn fail(&mut self, kind: Kind) {
        self.held = None;
        if let Some(watch) = &self.watch {
            watch.fail(kind);
        }
    }

    fn finish(&mut self) {
        if let Some(watch) = &self.watch {
            watch.end();
        }
        if let Some(held) = self.held.take() {
            held.finish();
        }
    }
}

impl HttpBody for Plain {
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
                    this.fail(Kind::Timeout);
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
                    if let Err(error) = this.watch(&data) {
                        return Poll::Ready(Some(Err(error)));
                    }
                    if this.body.is_end_stream() {
                        this.finish();
                    }
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Some(Err(error)) => {
                    this.fail(Kind::UpstreamError);
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
