//! WebSocket upgrades on plain routes (RFC 6455): the handshake is forwarded, then bytes go both ways.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Method, Request, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::response::{clean, sandbox};
use super::{Ends, Forwarder, Leaves, reject};
use crate::http::{Body, Inbound, RequestBody, Response};
use crate::reject::{Code, Fault, Reject};
use crate::upstream::{CloseReason, Hold, Kind, Meters, Upstream};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADE_TOKEN: HeaderValue = HeaderValue::from_static("upgrade");

/// Time for both ends to hand over their connections once the backend has agreed.
const HAND_OVER: Duration = Duration::from_secs(10);

/// Time for the other end to close too when one has.
const CLOSING: Duration = Duration::from_secs(5);

/// Bytes that are copied at once, for each direction.
const COPY: usize = 8 << 10;

/// Whether this is a WebSocket handshake (RFC 6455 section 4.2.1; HTTP/1.1 only).
pub(super) fn is_upgrade(request: &Request<RequestBody>) -> bool {
    let has = |name, wanted: &str| {
        request
            .headers()
            .get_all(name)
            .iter()
            .filter_map(|value: &HeaderValue| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has(CONNECTION, "upgrade")
        && has(UPGRADE, "websocket")
}

impl Forwarder {
    /// Forwards a handshake. A backend that does not switch is relayed as it answers, without its body's stream: the
    /// handshake is over then.
    pub(super) async fn upgrade(
        &self,
        upstream: &Arc<Upstream>,
        inbound: &Inbound,
        trust_content: bool,
        mut request: Request<RequestBody>,
        mut outgoing: Request<RequestBody>,
        (ends, leaves): (Option<Ends>, &Leaves<'_>),
    ) -> Result<Response, Reject> {
        let client = hyper::upgrade::on(&mut request);
        outgoing.headers_mut().insert(CONNECTION, UPGRADE_TOKEN);
        outgoing.headers_mut().insert(UPGRADE, WEBSOCKET);
        let (mut response, hold) = upstream
            .upgrade(outgoing)
            .await
            .map_err(|error| reject(&error, self.max_body))?;

        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if switched
            && !response
                .headers()
                .get(UPGRADE)
                .is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
        {
            return Err(Reject::new(
                StatusCode::BAD_GATEWAY,
                Code::BackendFailed,
                Fault::Backend,
                "The server behind this address answered the WebSocket handshake with another protocol.",
            ));
        }
        let server = switched.then(|| hyper::upgrade::on(&mut response));
        let (mut head, body) = response.into_parts();
        clean(&mut head.headers, &self.rules.cookies, inbound, false);
        let Some(server) = server else {
            if !trust_content {
                sandbox(&mut head.headers);
            }
            let body = http_body_util::Limited::new(body, REFUSAL);
            return Ok(Response::from_parts(head, Body::streamed(body)));
        };
        head.headers.insert(CONNECTION, UPGRADE_TOKEN);
        head.headers.insert(UPGRADE, WEBSOCKET);
        let tunnel = Tunnel {
            client,
            server,
            idle: upstream.timeouts().stream_idle.0,
            ends,
            over: leaves().map(|leave| leave.over(&self.revocations, self.outage_grace).boxed()),
            drain: self.drain.clone(),
            meters: Arc::clone(upstream.meters()),
            _hold: hold,
        };
        // Ends with either end, by its own idle time, or when the process drains.
        tokio::spawn(tunnel.run());
        Ok(Response::from_parts(head, Body::Empty))
    }
}

/// Longest body of an answer that refuses a handshake.
const REFUSAL: usize = 1 << 20;

/// Two connections that become one.
struct Tunnel {
    client: OnUpgrade,
    server: OnUpgrade,
    idle: Duration,
    ends: Option<Ends>,
    over: Option<BoxFuture<'static, CloseReason>>,
    drain: CancellationToken,
    meters: Arc<Meters>,
    _hold: Hold,
}

impl Tunnel {
    async fn run(self) {
        let _open = self.meters.open(Kind::WebSocket);
        let began = Instant::now();
        let (client, server, ends) = (self.client, self.server, self.ends);
        let reason = match timeout(HAND_OVER, async { tokio::try_join!(client, server) }).await {
            Ok(Ok((client, server))) => tokio::select! {
                reason = carry(client, server, self.idle) => reason,
                reason = end_of(ends) => reason,
                reason = over_of(self.over) => reason,
                () = self.drain.cancelled() => CloseReason::Drain,
            },
            Ok(Err(_)) | Err(_) => CloseReason::Error,
        };
        self.meters
            .stream_ended(Kind::WebSocket, reason, began.elapsed());
    }
}

/// Ready when the caller's leave ends.
async fn end_of(ends: Option<Ends>) -> CloseReason {
    let Some(ends) = ends else {
        return std::future::pending().await;
    };
    tokio::time::sleep_until(ends.at).await;
    ends.reason
}

/// Ready when what the caller's leave rests on is over.
async fn over_of(over: Option<BoxFuture<'static, CloseReason>>) -> CloseReason {
    match over {
        Some(over) => over.await,
        None => std::future::pending().await,
    }
}

async fn carry(client: Upgraded, server: Upgraded, idle: Duration) -> CloseReason {
    let seen = Arc::new(Seen::default());
    let mut client = End {
        io: TokioIo::new(client),
        seen: Arc::clone(&seen),
        side: CLIENT,
    };
    let mut server = End {
        io: TokioIo::new(server),
        seen: Arc::clone(&seen),
        side: SERVER,
    };
    let copied = tokio::select! {
        copied = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut server, COPY, COPY) => copied.is_ok(),
        () = seen.quiet(idle) => return CloseReason::Idle,
        () = seen.closing() => true,
    };
    match seen.closed.load(Ordering::Relaxed) {
        CLIENT => CloseReason::Client,
        SERVER if copied => CloseReason::Backend,
        _ => CloseReason::Error,
    }
}

const CLIENT: u8 = 1;
const SERVER: u8 = 2;

/// What was seen on both ends.
#[derive(Default)]
struct Seen {
    /// Pieces read; only its changing matters.
    pieces: AtomicU64,
    /// Which end closed first.
    closed: AtomicU8,
    close: Notify,
}

impl Seen {
    /// Ready when nothing was read for `idle`, or up to twice that.
    async fn quiet(&self, idle: Duration) {
        loop {
            let before = self.pieces.load(Ordering::Relaxed);
            tokio::time::sleep(idle).await;
            if self.pieces.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }

    /// Ready some time after one end has closed: the other had its chance to say goodbye.
    async fn closing(&self) {
        self.close.notified().await;
        tokio::time::sleep(CLOSING).await;
    }
}

/// One end, whose reads are noted.
struct End {
    io: TokioIo<Upgraded>,
    seen: Arc<Seen>,
    side: u8,
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        if read.is_ok() && buf.filled().len() > before {
            self.seen.pieces.fetch_add(1, Ordering::Relaxed);
        } else {
            let _ = self.seen.closed.compare_exchange(
                0,
                self.side,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            self.seen.close.notify_one();
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for End {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
