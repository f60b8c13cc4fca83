//! What all connections of a set of listeners share.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;
use metrics::Counter;
use tokio_util::task::TaskTracker;

use super::permits::Permits;
use super::stages::Stages;
use crate::config::listen::Limits;
use crate::telemetry::metrics::{Metrics, Name};

/// hyper panics below this.
const MIN_BUFFER: usize = 8192;
/// Read and write buffer of an HTTP/1 connection at most: long bodies in large pieces, slow readers bounded.
const MAX_BUFFER: usize = 128 << 10;
/// What hyper holds on the stack; asking for exactly this many would make it allocate.
const DEFAULT_MAX_HEADERS: usize = 100;
/// An HTTP/2 client that is gone is found after twice this time.
const PING: Duration = Duration::from_secs(20);
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
const MAX_SEND_BUFFER: usize = 128 << 10;
/// Streams that a client may reset before they were looked at ("rapid reset"), and that we may have to reset.
const MAX_RESETS: usize = 20;
const MAX_OWN_RESETS: usize = 256;

/// Shared by all connections.
pub(super) struct Shared {
    pub(super) stages: Stages,
    pub(super) tuning: ArcSwap<Tuning>,
    pub(super) permits: Arc<Permits>,
    pub(super) tracker: TaskTracker,
    pub(super) counters: Counters,
    pub(super) metrics: Arc<Metrics>,
}

impl Shared {
    pub(super) fn new(limits: &Limits, metrics: &Arc<Metrics>) -> Arc<Self> {
        let counters = Counters::new(metrics);
        let tracker = TaskTracker::new();
        let executor = Tasks {
            tracker: tracker.clone(),
            panics: counters.panics.clone(),
        };
        Arc::new(Self {
            stages: Stages::new(),
            tuning: ArcSwap::from_pointee(Tuning::new(limits, executor)),
            permits: Permits::new(limits.max_connections as usize),
            tracker,
            counters,
            metrics: Arc::clone(metrics),
        })
    }

    /// New connections get the new limits, and the cap holds for all at once.
    pub(super) fn apply(&self, limits: &Limits) {
        let executor = Tasks {
            tracker: self.tracker.clone(),
            panics: self.counters.panics.clone(),
        };
        self.tuning.store(Arc::new(Tuning::new(limits, executor)));
        self.permits.resize(limits.max_connections as usize);
    }
}

/// Prepared handles.
pub(super) struct Counters {
    pub(super) panics: Counter,
    pub(super) handshake_tls12: Counter,
    pub(super) handshake_tls13: Counter,
    pub(super) handshake_error: Counter,
    pub(super) handshake_timeout: Counter,
}

impl Counters {
    fn new(metrics: &Metrics) -> Self {
        let handshakes = |result, version| {
            metrics.counter(
                Name::TlsHandshakes,
                &[("result", result), ("version", version)],
            )
        };
        Self {
            panics: metrics.counter(Name::Panics, &[]),
            handshake_tls12: handshakes("ok", "1.2"),
            handshake_tls13: handshakes("ok", "1.3"),
            handshake_error: handshakes("error", "none"),
            handshake_timeout: handshakes("timeout", "none"),
        }
    }
}

/// Limits, and the protocol settings made of them.
pub(super) struct Tuning {
    pub(super) handshake: Duration,
    pub(super) head: Duration,
    pub(super) idle: Duration,
    pub(super) max_headers: usize,
    pub(super) http1: http1::Builder,
    pub(super) http2: http2::Builder<Tasks>,
}

impl Tuning {
    fn new(limits: &Limits, tasks: Tasks) -> Self {
        let head_bytes = limits.max_header_bytes.as_usize();
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // `Activity` does this, apart from the time between requests.
            .header_read_timeout(None)
            .max_header_size(head_bytes)
            .max_buf_size(
                head_bytes
                    .clamp(MIN_BUFFER, usize::MAX - MAX_BUFFER)
                    .max(MAX_BUFFER),
            );
        if limits.max_headers != DEFAULT_MAX_HEADERS {
            http1.max_headers(limits.max_headers);
        }
        let mut http2 = http2::Builder::new(tasks);
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_concurrent_streams)
            .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(MAX_SEND_BUFFER)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_local_error_reset_streams(MAX_OWN_RESETS);
        Self {
            handshake: limits.handshake_timeout.0,
            head: limits.header_timeout.0,
            idle: limits.idle_timeout.0,
            max_headers: limits.max_headers,
            http1,
            http2,
        }
    }
}

/// Runs the streams of HTTP/2 connections: known to the tracker, and their panics counted.
#[derive(Clone)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    panics: Counter,
}

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        let panics = self.panics.clone();
        self.tracker.spawn(async move {
            if std::panic::AssertUnwindSafe(future)
                .catch_unwind()
                .await
                .is_err()
            {
                panics.increment(1);
            }
        });
    }
}
