//! Backends: one value for each, with its limits, its pool of connections and its health.

pub mod connect;
pub mod fetch;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::config::backend::Backend;
use crate::ids::BackendName;
use crate::telemetry::metrics::Metrics;

/// A backend, ready for requests.
#[derive(Debug)]
pub struct Upstream {
    _private: (),
}

/// Why a backend's configuration cannot be used (an unreadable CA file, a bad address).
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct UpstreamConfigError {
    /// Key inside the backend's section (`tls.ca_file`).
    pub key: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

impl Upstream {
    /// Makes the value; connects to nothing.
    pub fn new(_config: &Backend, _metrics: &Arc<Metrics>) -> Result<Arc<Self>, UpstreamConfigError> {
        todo!()
    }

    /// Its name.
    pub fn name(&self) -> &BackendName {
        todo!()
    }

    /// Runs health checks until cancelled.
    pub async fn watch(self: Arc<Self>, _until: CancellationToken) {
        todo!()
    }

    /// Whether the backend answers, by checks and by what requests met; `None` before the first look.
    pub fn is_up(&self) -> Option<bool> {
        todo!()
    }

    /// Connects and asks once, for `check-config --online`.
    pub async fn probe(&self) -> Result<(), String> {
        todo!()
    }
}
