//! HTTP on one connection: answers requests until the client, a limit or the drain ends it.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::Handler;
use super::accept::{LAST_WORDS, Server};
use super::activity::{Activity, InRequest, Waiting};
use super::late;
use super::redirect;
use super::shared::{Shared, Tuning};
use super::stages::Stage;
use super::stream::Watched;
use crate::http::body::BodyError;
use crate::http::{Body, RequestBody, Response};
use crate::peer::Conn;

/// How long a connection may take to say goodbye after it was asked to.
const GOODBYE: Duration = Duration::from_secs(5);

/// Serves a connection to its end.
pub(super) async fn http<H: Handler>(
    io: Watched,
    http2: bool,
    redirect: bool,
    conn: Arc<Conn>,
    activity: Arc<Activity>,
    server: Arc<Server<H>>,
    tuning: Arc<Tuning>,
) {
    let service = service_fn(|request: http::Request<Incoming>| {
        let under_way = activity.request();
        let (server, conn) = (Arc::clone(&server), Arc::clone(&conn));
        let max_headers = tuning.max_headers;
        async move {
            let response = answer(server, conn, request, redirect, max_headers).await;
            Ok::<_, Infallible>(response.map(|body| Counted {
                body,
                _request: under_way,
            }))
        }
    });
    let shared = &server.shared;
    let io = TokioIo::new(io);
    let outcome = if http2 {
        let mut connection = Box::pin(tuning.http2.serve_connection(io, service));
        drive(connection.as_mut(), &activity, &tuning, shared).await
    } else {
        let mut connection = Box::pin(tuning.http1.serve_connection(io, service).with_upgrades());
        let outcome = drive(connection.as_mut(), &activity, &tuning, shared).await;
        if let Err(Ended::TimedOut(Waiting::Head)) = outcome
            && let Some(parts) = Pin::into_inner(connection).into_parts()
            // Whoever has said nothing has asked nothing.
            && !parts.read_buf.is_empty()
        {
            Box::pin(late::answer(parts.io.into_inner())).await;
        }
        outcome
    };
    if let Err(error) = outcome {
        tracing::debug!(listener = %conn.listener, peer = ?conn.peer, error = %error, "A connection ended early.");
    }
}

/// Why a connection ended otherwise than by both sides being done.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Hyper(#[from] hyper::Error),
    #[error("the client took too long ({0:?})")]
    TimedOut(Waiting),
    #[error("it did not close in time after it was asked to")]
    Goodbye,
    #[error("the process ends")]
    Cut,
}

trait Connection: Future<Output = hyper::Result<()>> {
    /// Finish what is under way, take nothing new.
    fn close(self: Pin<&mut Self>);
}

impl<S, B> Connection for http1::UpgradeableConnection<TokioIo<Watched>, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<BodyError>,
    B: http_body::Body + 'static,
    B::Error: Into<BodyError>,
{
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S, B> Connection for http2::Connection<TokioIo<Watched>, S, super::shared::Tasks>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<BodyError>,
    B: http_body::Body + 'static,
    B::Error: Into<BodyError>,
    super::shared::Tasks: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Polls a connection, its one timer, and the bell of the drain. The connection is boxed: every place that it
/// passed through would keep room for it in this task.
async fn drive(
    mut connection: Pin<&mut impl Connection>,
    activity: &Activity,
    tuning: &Tuning,
    shared: &Shared,
) -> Result<(), Ended> {
    let mut timer = pin!(tokio::time::sleep(tuning.head));
    let mut bell = pin!(shared.stages.bell());
    let mut seen = None;
    let mut goodbye: Option<Instant> = None;
    let mut last_words: Option<Instant> = None;
    poll_fn(|cx| {
        // The bell keeps this task's waker, so that it need not be asked again before it rings. Asking it takes
        // a lock that all connections share.
        while seen != Some(shared.stages.get()) {
            bell.set(shared.stages.bell());
            let stage = shared.stages.get();
            if bell.as_mut().poll(cx).is_ready() {
                continue;
            }
            seen = Some(stage);
            match stage {
                Stage::Serving | Stage::Announced => {}
                // Its answer tells the client that the connection ends.
                Stage::Closing if activity.is_reading_head() => {
                    last_words = Some(Instant::now() + LAST_WORDS);
                }
                Stage::Closing => connection.as_mut().close(),
                Stage::Cut => return Poll::Ready(Err(Ended::Cut)),
            }
        }
        loop {
            if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
                return Poll::Ready(outcome.map_err(Ended::Hyper));
            }
            let due = match goodbye {
                Some(at) => Some((at, None)),
                None => activity
                    .deadline(tuning.head, tuning.idle)
                    .map(|(at, waiting)| match last_words {
                        Some(last) if waiting == Waiting::Head => (at.min(last), Some(waiting)),
                        _ => (at, Some(waiting)),
                    }),
            };
            let Some((at, waiting)) = due else {
                return Poll::Pending;
            };
            // A timer that is set too early only costs a look; moving it for every request would cost more.
            if timer.deadline() > at {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() < at {
                timer.as_mut().reset(at);
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
            match waiting {
                None => return Poll::Ready(Err(Ended::Goodbye)),
                Some(Waiting::Next) => {
                    connection.as_mut().close();
                    goodbye = Some(Instant::now() + GOODBYE);
                    timer.as_mut().reset(Instant::now() + GOODBYE);
                }
                Some(waiting) => return Poll::Ready(Err(Ended::TimedOut(waiting))),
            }
        }
    })
    .await
}

async fn answer<H: Handler>(
    server: Arc<Server<H>>,
    conn: Arc<Conn>,
    request: http::Request<Incoming>,
    redirect: bool,
    max_headers: usize,
) -> Response {
    let version = request.version();
    let mut response = if request.headers().len() > max_headers {
        // hyper counts on HTTP/1 only.
        own(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers_too_large",
            "The request has too many headers.",
        )
    } else if redirect {
        let public_url = server.public_url.load();
        let (head, _) = request.into_parts();
        let response = redirect::to_public_url(public_url.as_deref(), &head.method, &head.uri);
        redirect::count(&server.shared.metrics, &head.method, response.status());
        server.handler.led_away(conn, &head, response.status());
        response
    } else {
        let handler = Arc::clone(&server.handler);
        let handling = handler.handle(conn, request.map(RequestBody::Incoming));
        if let Ok(response) = AssertUnwindSafe(handling).catch_unwind().await {
            response
        } else {
            server.shared.counters.panics.increment(1);
            own(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal_error",
                "The proxy met an error of its own. The log says more.",
            )
        }
    };
    if version < http::Version::HTTP_2
        && server.shared.stages.get() > Stage::Serving
        && response.status() != StatusCode::SWITCHING_PROTOCOLS
    {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// An answer where no request was understood well enough to have an id.
fn own(status: StatusCode, code: &str, message: &str) -> Response {
    let body = serde_json::json!({ "error": code, "message": message }).to_string();
    let mut response = http::Response::new(Body::full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer's body that ends its request when it is dropped.
struct Counted {
    body: Body,
    _request: InRequest,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
