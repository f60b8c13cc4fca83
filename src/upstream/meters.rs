//! Handles of the metrics of one backend, asked for once.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::health::Condition;
use crate::telemetry::metrics::{Metrics, Name, Shown};

/// What became of a request to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// An answer below 400.
    Ok,
    /// An answer of 400 to 499.
    ClientError,
    /// An answer of 500 and more.
    ServerError,
    /// No head of an answer in time.
    Timeout,
    /// No connection.
    Unreachable,
    /// All connections were in use.
    Busy,
    /// The exchange broke off before the head of the answer.
    Failed,
}

const OUTCOMES: [&str; 7] = [
    "ok",
    "client_error",
    "server_error",
    "timeout",
    "unreachable",
    "busy",
    "failed",
];

const CONDITIONS: [(Condition, &str); 4] = [
    (Condition::Unknown, "unknown"),
    (Condition::Healthy, "healthy"),
    (Condition::Ejected, "ejected"),
    (Condition::Unhealthy, "unhealthy"),
];

/// What kind of exchange is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A plain answer.
    Http,
    /// An event stream that a GET opened.
    SseGet,
    /// An event stream that answers a POST.
    SsePost,
    /// A WebSocket.
    WebSocket,
}

const KINDS: [&str; 4] = ["http", "sse_get", "sse_post", "websocket"];

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The client went away.
    Client,
    /// The backend ended it.
    Backend,
    /// The backend was silent for too long.
    Idle,
    /// It reached the greatest age.
    MaxAge,
    /// The credential that opened it ended.
    TokenExpired,
    /// What the caller's leave rested on was ended, or no longer suffices.
    Revoked,
    /// The process is ending.
    Drain,
    /// The backend broke off, or sent what cannot be handed on.
    Error,
}

const REASONS: [&str; 8] = [
    "client",
    "backend",
    "idle",
    "max_age",
    "token_expired",
    "revoked",
    "drain",
    "error",
];

/// The handles.
pub(crate) struct Meters {
    connect: Histogram,
    pub(super) active: Gauge,
    pub(super) idle: Gauge,
    pub(super) retried_unsent: Counter,
    pub(super) retried_idempotent: Counter,
    pub(super) retried_elsewhere: Counter,
    durations: [Histogram; 7],
    open: [Gauge; 4],
    streams: [[Histogram; 8]; 4],
    pub(super) up: Shown,
    endpoints: [Shown; 4],
    pub(super) ejections: Counter,
    pub(super) checks_good: Counter,
    pub(super) checks_bad: Counter,
}

impl Meters {
    pub(super) fn new(metrics: &Metrics, backend: &str, tls: bool) -> Self {
        let tls = if tls { "true" } else { "false" };
        let connections = |state| {
            metrics.gauge(
                Name::UpstreamConnections,
                &[("backend", backend), ("state", state)],
            )
        };
        let retries = |reason| {
            metrics.counter(
                Name::UpstreamRetries,
                &[("backend", backend), ("reason", reason)],
            )
        };
        let checks = |result| {
            metrics.counter(
                Name::BackendHealthChecks,
                &[("backend", backend), ("result", result)],
            )
        };
        let this = Self {
            connect: metrics
                .histogram(Name::UpstreamConnect, &[("backend", backend), ("tls", tls)]),
            active: connections("active"),
            idle: connections("idle"),
            retried_unsent: retries("not_sent"),
            retried_idempotent: retries("idempotent"),
            retried_elsewhere: retries("other_endpoint"),
            durations: OUTCOMES.map(|outcome| {
                metrics.histogram(
                    Name::UpstreamDuration,
                    &[("backend", backend), ("outcome", outcome)],
                )
            }),
            open: KINDS.map(|kind| {
                metrics.gauge(
                    Name::ActiveConnections,
                    &[("kind", kind), ("backend", backend)],
                )
            }),
            streams: KINDS.map(|kind| {
                REASONS.map(|reason| {
                    let labels = [
                        ("backend", backend),
                        ("kind", kind),
                        ("close_reason", reason),
                    ];
                    metrics.histogram(Name::StreamDuration, &labels)
                })
            }),
            up: metrics.shown(Name::BackendUp, &[("backend", backend)]),
            endpoints: CONDITIONS.map(|(_, state)| {
                metrics.shown(
                    Name::BackendEndpoints,
                    &[("backend", backend), ("state", state)],
                )
            }),
            ejections: metrics.counter(Name::BackendEjections, &[("backend", backend)]),
            checks_good: checks("success"),
            checks_bad: checks("failure"),
        };
        // Shown from the start, so that dashboards and alerts need no special case for "not seen yet".
        for gauge in this.open.iter().chain([&this.active, &this.idle]) {
            gauge.set(0.0);
        }
        this.up.set(0.0);
        this
    }

    /// Handles for tests of streams alone.
    #[cfg(test)]
    pub(crate) fn for_test(metrics: &Metrics) -> Self {
        Self::new(metrics, "test", false)
    }

    /// Shows how many endpoints are in which condition.
    pub(super) fn show_endpoints(&self, all: impl Iterator<Item = Condition>) {
        let mut counts = [0_u32; 4];
        for condition in all {
            if let Some(at) = CONDITIONS.iter().position(|(each, _)| *each == condition) {
                counts[at] += 1;
            }
        }
        for (gauge, count) in self.endpoints.iter().zip(counts) {
            gauge.set(f64::from(count));
        }
    }

    pub(super) fn connected(&self, took: Duration) {
        self.connect.record(took.as_secs_f64());
    }

    pub(super) fn answered(&self, outcome: Outcome, took: Duration) {
        self.durations[outcome as usize].record(took.as_secs_f64());
    }

    /// Counts an exchange as open until the guard is dropped.
    pub(crate) fn open(&self, kind: Kind) -> Open {
        let gauge = self.open[kind as usize].clone();
        gauge.increment(1.0);
        Open(gauge)
    }

    pub(crate) fn stream_ended(&self, kind: Kind, reason: CloseReason, lived: Duration) {
        self.streams[kind as usize][reason as usize].record(lived.as_secs_f64());
    }
}

/// An exchange that is open.
pub(crate) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
