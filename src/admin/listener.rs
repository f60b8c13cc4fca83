//! The metrics listener: `/metrics`, `/health` and `/health/*`, nothing else, nothing that changes anything.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::health::{Health, Question};
use crate::http::{Body, Response};
use crate::telemetry::metrics::Metrics;

/// Connections at once: scrapers and probes are few.
const CONNECTIONS: usize = 64;

/// The bound listener, not yet serving.
#[derive(Debug)]
pub struct MetricsListener {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why the listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[error(
    "metrics.address: cannot listen on {address}: {source}; choose another port or set metrics.enabled to false"
)]
pub struct MetricsBindError {
    /// The configured address.
    pub address: String,
    /// What the system said.
    pub source: std::io::Error,
}

impl MetricsListener {
    /// Binds `host:port`.
    ///
    /// # Errors
    /// The port is taken, or the address is not one of this host.
    pub async fn bind(address: &str) -> Result<Self, MetricsBindError> {
        let wrong = |source| MetricsBindError {
            address: address.to_owned(),
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(wrong)?;
        let bound = listener.local_addr().map_err(wrong)?;
        Ok(Self {
            listener,
            address: bound,
        })
    }

    /// Over a socket that listens already.
    ///
    /// # Errors
    /// The system does not take it.
    pub fn over(socket: std::net::TcpListener) -> Result<Self, MetricsBindError> {
        let wrong = |source| MetricsBindError {
            address: "the socket `metrics` that was passed".to_owned(),
            source,
        };
        socket.set_nonblocking(true).map_err(wrong)?;
        let listener = TcpListener::from_std(socket).map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        Ok(Self { listener, address })
    }

    /// The address that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until cancelled.
    pub async fn serve(self, metrics: Arc<Metrics>, health: Arc<Health>, until: CancellationToken) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        let tasks = TaskTracker::new();
        let accept = async {
            loop {
                let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                    return;
                };
                let Ok((stream, _)) = self.listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let (metrics, health, until) =
                    (Arc::clone(&metrics), Arc::clone(&health), until.clone());
                tasks.spawn(async move {
                    let service = service_fn(move |request: http::Request<Incoming>| {
                        let response = answer(&request, &metrics, &health);
                        async move { Ok::<_, Infallible>(response) }
                    });
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(Duration::from_secs(10))
                        .serve_connection(TokioIo::new(stream), service);
                    // How a scraper's connection ends is of no interest.
                    let _ = until.run_until_cancelled(connection).await;
                    drop(permit);
                });
            }
        };
        until.run_until_cancelled(accept).await;
        tasks.close();
        tasks.wait().await;
    }
}

/// The text format that Prometheus asks for.
pub(crate) fn exposition(metrics: &Metrics, method: &Method) -> Response {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = status(StatusCode::METHOD_NOT_ALLOWED);
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let mut response = http::Response::new(Body::full(metrics.render()));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    response
}

fn answer(request: &http::Request<Incoming>, metrics: &Metrics, health: &Health) -> Response {
    let question = match request.uri().path() {
        "/metrics" => return exposition(metrics, request.method()),
        "/health" => Question::Health,
        "/health/live" | "/healthz" => Question::Live,
        "/health/ready" | "/ready" | "/readyz" => Question::Ready,
        "/health/startup" => Question::Startup,
        _ => return status(StatusCode::NOT_FOUND),
    };
    health.detailed(question, request.method())
}

fn status(status: StatusCode) -> Response {
    let mut response = http::Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}
