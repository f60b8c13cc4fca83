//! What becomes of sessions, by backend.

use metrics::{Counter, Gauge};

use crate::telemetry::metrics::{Metrics, Name};

/// Prepared handles of one backend.
#[derive(Clone)]
pub(super) struct Meters {
    /// Sessions that this process knows to be in use.
    pub(super) active: Gauge,
    /// The backend gave a new one.
    pub(super) opened: Counter,
    /// The client ended one, and the backend agreed.
    pub(super) ended: Counter,
    /// The backend answered that it does not know one.
    pub(super) lost: Counter,
    /// A client named one that is none.
    pub(super) unknown: Counter,
    /// A person had as many as one may have.
    pub(super) refused_user: Counter,
    /// The backend had as many as it may have.
    pub(super) refused_backend: Counter,
    /// One began while the store could not be asked for the count.
    pub(super) uncounted: Counter,
}

impl Meters {
    pub(super) fn new(metrics: &Metrics, backend: &str) -> Self {
        let event = |event| {
            let labels = [("backend", backend), ("event", event)];
            metrics.counter(Name::McpSessionEvents, &labels)
        };
        let active = metrics.gauge(Name::McpSessionsActive, &[("backend", backend)]);
        // Shown from the start; what is counted there already stays.
        active.increment(0.0);
        Self {
            active,
            opened: event("opened"),
            ended: event("ended"),
            lost: event("lost"),
            unknown: event("unknown"),
            refused_user: event("refused_user"),
            refused_backend: event("refused_backend"),
            uncounted: event("uncounted"),
        }
    }
}
