//! Accepting connections: places, backing off, TLS handshakes, telling HTTP/2 from HTTP/1.

use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::FutureExt;
use metrics::Gauge;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Handler;
use super::activity::Activity;
use super::bind::ListenSocket;
use super::inherited::Role;
use super::permits::Guard;
use super::serve;
use super::shared::{Shared, Tuning};
use super::stages::{Stage, Stages};
use super::stream::{Seen, Socket, Stream, Watched};
use super::tls::TlsState;
use crate::peer::{Conn, Peer, TlsInfo, TokenMemo};
use crate::urls::PublicUrl;

/// How HTTP/2 without TLS begins (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Time for the head of a request, or a handshake, that was not there when we closed.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(1);
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// A bound listener.
pub(super) struct Bound {
    /// The configured address: names the listener in logs, metrics and at reload.
    pub(super) address: Arc<str>,
    /// Which of the sockets that were passed to us it is, when it is one.
    pub(super) passed: Option<Role>,
    pub(super) socket: ListenSocket,
    pub(super) live: ArcSwap<Live>,
    pub(super) open: Gauge,
    /// Fires when a reload takes this listener away.
    pub(super) stop: CancellationToken,
}

/// What a reload can change about a listener.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) tls: Option<Arc<TlsState>>,
    pub(super) redirect: bool,
}

/// A handler together with what its connections share.
pub(super) struct Server<H> {
    pub(super) handler: Arc<H>,
    pub(super) shared: Arc<Shared>,
    pub(super) public_url: Arc<ArcSwapOption<PublicUrl>>,
}

/// Accepts until the listener is taken away or the process closes.
pub(super) async fn run<H: Handler>(bound: Arc<Bound>, server: Arc<Server<H>>) {
    let shared = &server.shared;
    let mut backoff = FIRST_BACKOFF;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stages.reached(Stage::Closing) => return,
            () = bound.stop.cancelled() => return,
            accepted = bound.socket.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                backoff = FIRST_BACKOFF;
                let permit = tokio::select! {
                    biased;
                    // First, for whoever was accepted is served when there is a place.
                    permit = shared.permits.acquire() => permit,
                    () = shared.stages.reached(Stage::Closing) => return,
                };
                let Some(permit) = permit else { return };
                let guard = Guard::new(bound.open.clone(), permit, shared.tracker.token());
                start(socket, peer, guard, &bound, &server);
            }
            // The client was gone before we came to it: no reason to pause.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // No file descriptors or memory left. Trying again at once would burn the CPU that those who
                // could free some need.
                tracing::warn!(listener = %bound.address, error = %error, "Connections cannot be accepted just now.");
                tokio::select! {
                    () = shared.stages.reached(Stage::Closing) => return,
                    () = tokio::time::sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(LONGEST_BACKOFF);
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn start<H: Handler>(
    socket: Socket,
    peer: Peer,
    guard: Guard,
    bound: &Arc<Bound>,
    server: &Arc<Server<H>>,
) {
    let accepted = Accepted {
        peer,
        guard,
        at: Instant::now(),
        listener: Arc::clone(&bound.address),
        redirect: false,
        server: Arc::clone(server),
        tuning: server.shared.tuning.load_full(),
    };
    let live = bound.live.load();
    let accepted = Accepted {
        redirect: live.redirect,
        ..accepted
    };
    let tracker = &server.shared.tracker;
    match &live.tls {
        Some(tls) => drop(tracker.spawn(accepted.handshake(socket, Arc::clone(tls)))),
        None => drop(tracker.spawn(accepted.sniff(socket))),
    }
}

struct Accepted<H> {
    peer: Peer,
    guard: Guard,
    at: Instant,
    listener: Arc<str>,
    redirect: bool,
    server: Arc<Server<H>>,
    tuning: Arc<Tuning>,
}

impl<H: Handler> Accepted<H> {
    /// TLS. HTTP runs in a task of its own afterwards: a handshake's state is large, and here it is freed.
    async fn handshake(self, socket: Socket, tls: Arc<TlsState>) {
        let counters = &self.server.shared.counters;
        let shaking = timeout(self.tuning.handshake, tls.acceptor.accept(socket));
        let outcome = tokio::select! {
            biased;
            () = too_late(&self.server.shared.stages) => return,
            outcome = shaking => outcome,
        };
        let stream = match outcome {
            Ok(Ok(stream)) => Box::new(stream),
            Ok(Err(error)) => {
                counters.handshake_error.increment(1);
                tracing::debug!(listener = %self.listener, peer = ?self.peer, error = %error, "A TLS handshake failed.");
                return;
            }
            Err(_) => {
                counters.handshake_timeout.increment(1);
                return;
            }
        };
        let session = stream.get_ref().1;
        let http2 = session.alpn_protocol() == Some(b"h2");
        let version = if session.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_2) {
            counters.handshake_tls12.increment(1);
            "1.2"
        } else {
            counters.handshake_tls13.increment(1);
            "1.3"
        };
        let info = TlsInfo {
            version,
            server_name: session.server_name().map(Arc::from),
        };
        let tracker = self.server.shared.tracker.clone();
        tracker.spawn(self.http(Stream::Tls(stream), Seen::default(), Some(info), http2));
    }

    /// No TLS: the first bytes tell which HTTP is spoken.
    async fn sniff(self, mut socket: Socket) {
        let reading = timeout(self.tuning.head, read_preface(&mut socket));
        let outcome = tokio::select! {
            biased;
            () = too_late(&self.server.shared.stages) => return,
            outcome = reading => outcome,
        };
        let Ok(Ok((seen, http2))) = outcome else {
            return;
        };
        self.http(Stream::Plain(socket), seen, None, http2).await;
    }

    async fn http(self, stream: Stream, seen: Seen, tls: Option<TlsInfo>, http2: bool) {
        let activity = Activity::new(self.at, http2);
        let io = Watched::new(stream, seen, Arc::clone(&activity), self.guard);
        let conn = Arc::new(Conn {
            peer: self.peer,
            listener: self.listener,
            tls,
            memo: TokenMemo::default(),
        });
        let panics = self.server.shared.counters.panics.clone();
        let serving = serve::http(
            io,
            http2,
            self.redirect,
            conn,
            activity,
            self.server,
            self.tuning,
        );
        // Bodies run here, outside of the handler.
        if AssertUnwindSafe(serving).catch_unwind().await.is_err() {
            panics.increment(1);
        }
    }
}

/// Waits until nobody's first words are waited for any more. Whoever connected just before we closed has not been
/// refused, and does not expect to be cut.
async fn too_late(stages: &Stages) {
    stages.reached(Stage::Closing).await;
    // Boxed, for every waiting connection would keep room for it.
    let _ = Box::pin(timeout(LAST_WORDS, stages.reached(Stage::Cut))).await;
}

/// Reads until the bytes differ from HTTP/2's preface, or are all of it. An end of the stream is an error: there
/// is nobody to serve.
async fn read_preface(socket: &mut Socket) -> io::Result<(Seen, bool)> {
    let mut seen = Seen::default();
    loop {
        let from = usize::from(seen.until);
        let mut buffer = ReadBuf::new(&mut seen.bytes[from..]);
        poll_fn(|cx| Pin::new(&mut *socket).poll_read(cx, &mut buffer)).await?;
        let read = buffer.filled().len();
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        seen.until += u8::try_from(read).unwrap_or(0);
        let until = usize::from(seen.until);
        if seen.bytes[..until] != PREFACE[..until] {
            return Ok((seen, false));
        }
        if until == PREFACE.len() {
            return Ok((seen, true));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Body, Request, Response};

    struct Nothing;

    impl Handler for Nothing {
        async fn handle(self: Arc<Self>, _: Arc<Conn>, _: Request) -> Response {
            http::Response::new(Body::Empty)
        }
    }

    fn size<A, B, F: Future>(_: fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// Idle streams are counted by the thousand, and every byte here is in each of them.
    #[test]
    fn a_waiting_connection_is_small() {
        let plain = size(Accepted::<Nothing>::sniff);
        assert!(
            plain <= 1536,
            "a plain connection's task takes {plain} bytes"
        );
        assert!(size_of::<Watched>() <= 160, "{}", size_of::<Watched>());
    }
}
