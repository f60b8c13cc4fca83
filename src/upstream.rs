//! Backends: one value for each, with its limits, its pool of connections and its health.

pub mod connect;
pub mod fetch;
pub(crate) mod guarded;

mod choice;
mod endpoint;
mod exchange;
mod fixed;
mod health;
mod lease;
mod meters;
mod pool;
mod probe;
mod target;

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use self::choice::{Choice, Set};
use self::health::{Condition, Met};
use crate::config::backend::{Backend, BackendTimeouts, HealthCheck};
use crate::ids::BackendName;
use crate::telemetry::metrics::Metrics;

pub(crate) use self::endpoint::{Endpoint, EndpointTag, Pick};
pub(crate) use self::exchange::{Answer, ExchangeError};
pub(crate) use self::lease::Lease;
pub(crate) use self::meters::{CloseReason, Kind, Meters, Open};
pub(crate) use self::pool::Hold;

/// A backend, ready for requests: one value for its endpoints together.
pub struct Upstream {
    name: BackendName,
    /// One at least, and no more than a [`Set`] has bits.
    endpoints: Box<[Arc<Endpoint>]>,
    choice: Choice,
    timeouts: BackendTimeouts,
    headers: Box<[(HeaderName, HeaderValue)]>,
    forward_origin: bool,
    check: Option<HealthCheck>,
    meters: Arc<Meters>,
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
    ///
    /// # Errors
    /// When an address, a header, or a file of `tls` cannot be used. The message says which and why.
    pub fn new(config: &Backend, metrics: &Arc<Metrics>) -> Result<Arc<Self>, UpstreamConfigError> {
        let is_tls = config
            .addresses()
            .any(|address| address.starts_with("https:"));
        let meters = Arc::new(Meters::new(metrics, config.name.as_str(), is_tls));
        Self::make(config, meters, |_| None)
    }

    /// Like [`Self::new`], for a backend that differs from `old` in its list of endpoints only: those that stay keep
    /// their connections and what is known of their health.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn with_endpoints_of(
        old: &Self,
        config: &Backend,
    ) -> Result<Arc<Self>, UpstreamConfigError> {
        // The meters stay too: gauges of what is carried over must not begin anew.
        Self::make(config, Arc::clone(&old.meters), |tag| {
            old.endpoint(tag).cloned()
        })
    }

    fn make(
        config: &Backend,
        meters: Arc<Meters>,
        known: impl Fn(EndpointTag) -> Option<Arc<Endpoint>>,
    ) -> Result<Arc<Self>, UpstreamConfigError> {
        let endpoints = config
            .addresses()
            .take(Set::BITS as usize)
            .map(|address| match known(EndpointTag::of(address)) {
                Some(known) => Ok(known),
                None => Endpoint::new(address, config, &meters).map(Arc::new),
            })
            .collect::<Result<Box<[_]>, _>>()?;
        if endpoints.is_empty() {
            return Err(UpstreamConfigError {
                key: "upstream",
                message: "the backend has no address; write `upstream`, or `endpoints` for several"
                    .to_owned(),
            });
        }
        let this = Arc::new(Self {
            name: config.name.clone(),
            endpoints,
            choice: Choice::new(config.balance),
            timeouts: config.timeouts.clone(),
            headers: fixed::headers(config)?,
            forward_origin: config.forward_origin,
            check: config.health.clone(),
            meters,
        });
        this.show();
        Ok(this)
    }

    /// Its name.
    pub fn name(&self) -> &BackendName {
        &self.name
    }

    /// Whether the backend answers at any endpoint, by checks and by what requests met; `None` before the first look.
    pub fn is_up(&self) -> Option<bool> {
        let mut some = Some(false);
        for endpoint in &self.endpoints {
            match endpoint.health.is_up() {
                Some(true) => return Some(true),
                Some(false) => {}
                None => some = None,
            }
        }
        some
    }

    /// The process stood still for a while: connections from before may be gone without a word, so none of them is
    /// used for a further request.
    pub fn let_go(&self) {
        self.endpoints.iter().for_each(|each| each.pool.let_go());
    }

    /// Whether it has more than one endpoint, so that something may belong to one of them.
    pub(crate) fn is_several(&self) -> bool {
        self.endpoints.len() > 1
    }

    /// The endpoint of a tag; `None` when it is not configured (any more).
    pub(crate) fn endpoint(&self, tag: EndpointTag) -> Option<&Arc<Endpoint>> {
        self.endpoints.iter().find(|endpoint| endpoint.tag == tag)
    }

    /// A path and query below the backend's own path, which all endpoints share.
    pub(crate) fn join(&self, below: &str) -> Option<http::uri::PathAndQuery> {
        self.endpoints.first()?.place.join(below)
    }

    pub(crate) fn timeouts(&self) -> &BackendTimeouts {
        &self.timeouts
    }

    /// Whether the client's own `Host` is sent on.
    pub(crate) fn keeps_host(&self) -> bool {
        self.endpoints
            .first()
            .is_some_and(|endpoint| endpoint.host().is_none())
    }

    /// Headers added to every request: those of the configuration, and the proxy's credential.
    pub(crate) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    pub(crate) fn forward_origin(&self) -> bool {
        self.forward_origin
    }

    pub(crate) fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Where a request goes: to the one it belongs to, however that one does, else to one of those that are well
    /// and not in `tried`. When none is well, to one that only requests found failing, and else to any.
    fn pick(&self, pick: Pick, tried: Set) -> Option<usize> {
        if let Pick::Only(tag) = pick {
            let at = self
                .endpoints
                .iter()
                .position(|endpoint| endpoint.tag == tag)?;
            return (tried & 1 << at == 0).then_some(at);
        }
        if self.endpoints.len() == 1 {
            return (tried == 0).then_some(0);
        }
        let (mut well, mut ejected, mut all) = (0, 0, 0);
        for (at, endpoint) in self.endpoints.iter().enumerate() {
            let bit = 1 << at & !tried;
            all |= bit;
            match endpoint.health.condition() {
                Condition::Unknown | Condition::Healthy => well |= bit,
                Condition::Ejected => ejected |= bit,
                Condition::Unhealthy => {}
            }
        }
        let set = [well, ejected, all].into_iter().find(|set| *set != 0)?;
        self.choice.of(set, |at| self.endpoints[at].pool.in_use())
    }

    /// Takes in what a request met at an endpoint.
    fn met(&self, at: usize, met: Met) {
        let health = &self.endpoints[at].health;
        let before = (health.is_up(), health.condition());
        // An endpoint that nothing connects to is out even when all are: then any of them is as good.
        let others = || {
            self.endpoints.iter().enumerate().any(|(other, endpoint)| {
                other != at
                    && (met == Met::NoConnection
                        || matches!(
                            endpoint.health.condition(),
                            Condition::Unknown | Condition::Healthy
                        ))
            })
        };
        if health.met(met, || !others()) {
            self.meters.ejections.increment(1);
            tracing::warn!(
                backend = %self.name,
                endpoint = %self.endpoints[at].place.address,
                "An endpoint failed and is left out for a while; the others take its requests."
            );
        }
        if before != (health.is_up(), health.condition()) {
            self.show();
        }
    }

    /// Shows the endpoints' health in the metrics.
    fn show(&self) {
        let up = self.is_up() == Some(true);
        self.meters.up.set(if up { 1.0 } else { 0.0 });
        self.meters
            .show_endpoints(self.endpoints.iter().map(|each| each.health.condition()));
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upstream({} at", self.name)?;
        for endpoint in &self.endpoints {
            write!(f, " {}", endpoint.place.address)?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests;
