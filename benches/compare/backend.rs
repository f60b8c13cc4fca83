//! The server behind: answers at once, streams on demand.

use std::convert::Infallible;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::Outcome;

/// How many events a stream has (`x-bench-events`); 0 is one event, then silence.
pub(crate) const EVENTS: &str = "x-bench-events";
/// Milliseconds between two events.
pub(crate) const GAP: &str = "x-bench-gap-ms";
/// Bytes of the answer.
pub(crate) const SIZE: &str = "x-bench-size";

/// Where the backend listens. Its tasks end with the program.
pub(crate) struct Backend {
    pub(crate) port: u16,
}

/// Nanoseconds since the program began: load and backend are one process, so one clock serves both.
pub(crate) fn now_nanos() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let began = BEGAN.get_or_init(Instant::now);
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

impl Backend {
    pub(crate) async fn start() -> Outcome<Self> {
        now_nanos();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service_fn(answer)),
                );
            }
        });
        Ok(Self { port })
    }
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let headers = request.headers();
    if request.method() == Method::GET && headers.contains_key(EVENTS) {
        return Ok(events(number(headers, EVENTS), number(headers, GAP)));
    }
    let size = number(headers, SIZE).max(200);
    // The whole request is read before anything is answered.
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            break;
        }
    }
    let mut response = Response::new(Full::new(json(size)).boxed());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// A JSON-RPC result of so many bytes.
fn json(size: u64) -> Bytes {
    const HEAD: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":""#;
    const TAIL: &str = r#""}]}}"#;
    static LARGE: OnceLock<Bytes> = OnceLock::new();
    let make = |size: u64| {
        let fill = usize::try_from(size)
            .unwrap_or(0)
            .saturating_sub(HEAD.len() + TAIL.len());
        Bytes::from(format!("{HEAD}{}{TAIL}", "x".repeat(fill)))
    };
    if size > 4096 {
        LARGE.get_or_init(|| make(size)).clone()
    } else {
        make(size)
    }
}

fn events(count: u64, gap: u64) -> Response<Body> {
    let gap = Duration::from_millis(gap.max(1));
    let frames = stream::unfold(0, move |sent| async move {
        if sent > 0 && (count == 0 || sent >= count) {
            if count > 0 {
                return None;
            }
            // Quiet until the client leaves.
            return std::future::pending().await;
        }
        if sent > 0 {
            tokio::time::sleep(gap).await;
        }
        let event = format!("data: {}\n\n", now_nanos());
        Some((
            Ok::<_, Infallible>(Frame::data(Bytes::from(event))),
            sent + 1,
        ))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed());
    *response.status_mut() = StatusCode::OK;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

fn number(headers: &HeaderMap, name: &str) -> u64 {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .unwrap_or(0)
}
