//! What is known of the backends' tools: kept for as long as the backend has its name.

use std::sync::Arc;

use crate::app::Lasting;
use crate::config::Config;
use crate::config::glob::Glob;
use crate::config::service::Metrics;
use crate::ids::BackendName;
use crate::mcp::learned::Learned;

/// What is known of a backend, and what that was begun from.
pub(super) struct Known {
    backend: BackendName,
    metrics: Metrics,
    pub(super) value: Arc<Learned>,
}

/// For the backends of a configuration, in its order.
pub(super) fn learned(lasting: &Lasting, config: &Config, old: &[Known]) -> Vec<Known> {
    let all = config.backends.iter().map(|backend| {
        let before = old
            .iter()
            .find(|known| known.backend == backend.name && known.metrics == config.metrics);
        let names = spelt_out(config, &backend.name);
        let value = match before {
            Some(known) => Arc::clone(&known.value),
            None => Learned::new(&lasting.metrics, &config.metrics, backend.name.as_str()),
        };
        value.spelt_out(names);
        Known {
            backend: backend.name.clone(),
            metrics: config.metrics.clone(),
            value,
        }
    });
    all.collect()
}

/// Names of tools that rules spell out.
fn spelt_out<'a>(config: &'a Config, backend: &'a BackendName) -> impl Iterator<Item = &'a str> {
    config
        .routes
        .iter()
        .filter(move |route| route.backend == *backend)
        .flat_map(|route| &route.tools)
        .flat_map(|rule| &rule.r#match.names)
        .map(Glob::as_str)
        .filter(|name| !name.contains(['*', '?']))
}
