//! Send it: takes a [`Permit`] by value, strips and adds headers, streams both ways.

use std::sync::Arc;

use crate::authz::Permit;
use crate::config::Config;
use crate::http::{Inbound, Request, Response};
use crate::keys::KeyRing;
use crate::reject::Reject;
use crate::telemetry::metrics::Metrics;
use crate::upstream::Upstream;
use crate::urls::PublicUrl;

/// Forwards permitted requests to their backends.
pub struct Forwarder {
    _private: (),
}

impl Forwarder {
    /// Over the backends, in the order of the configuration. `drain` fires when event streams have to end.
    pub fn new(
        _config: &Config,
        _public_url: &PublicUrl,
        _upstreams: Vec<Arc<Upstream>>,
        _keys: &KeyRing,
        _metrics: &Arc<Metrics>,
        _drain: tokio_util::sync::CancellationToken,
    ) -> Self {
        todo!()
    }

    /// Sends a permitted request. On `mcp` routes the body was collected for the look at the call and is whole.
    pub async fn send(&self, _permit: Permit, _inbound: &Inbound, _request: Request) -> Result<Response, Reject> {
        todo!()
    }
}
