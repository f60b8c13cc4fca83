//! `mcp_proxy_auth_requests_total`, prepared for what goes well.

use std::sync::Arc;

use metrics::Counter;

use super::refusal::Refusal;
use crate::telemetry::metrics::{Metrics, Name};

/// Provider label where no provider is concerned.
pub(super) const NOBODY: &str = "none";

/// Counters of authentications.
pub(super) struct Meters {
    metrics: Arc<Metrics>,
    pub(super) session: Counter,
    pub(super) api_key: Counter,
    pub(super) bypass: Counter,
}

impl Meters {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        let flow = |flow| accepted(metrics, NOBODY, flow);
        Self {
            session: flow("session"),
            api_key: flow("api_key"),
            bypass: flow("bypass"),
            metrics: Arc::clone(metrics),
        }
    }

    /// Counts a refused credential.
    pub(super) fn denied(&self, provider: &str, flow: &str, refusal: Refusal) {
        self.count(provider, flow, "denied", refusal.as_str());
    }

    /// Counts an outage met on the way. `reason` is one of a fixed set.
    pub(super) fn error(&self, provider: &str, flow: &str, reason: &'static str) {
        self.count(provider, flow, "error", reason);
    }

    fn count(&self, provider: &str, flow: &str, result: &str, reason: &str) {
        let labels = [
            ("provider", provider),
            ("flow", flow),
            ("result", result),
            ("reason", reason),
        ];
        self.metrics
            .counter(Name::AuthRequests, &labels)
            .increment(1);
    }
}

/// The counter of accepted credentials of a flow.
pub(super) fn accepted(metrics: &Metrics, provider: &str, flow: &str) -> Counter {
    metrics.counter(
        Name::AuthRequests,
        &[
            ("provider", provider),
            ("flow", flow),
            ("result", "ok"),
            ("reason", "none"),
        ],
    )
}
