//! Backends: one value for each, with its limits, its pool of connections and its health.

pub mod connect;
pub mod fetch;
pub(crate) mod guarded;

mod endpoint;
mod exchange;
mod health;
mod lease;
mod meters;
mod pool;
mod probe;
mod target;

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use self::connect::{ClientTlsSetup, Connector, TlsConfigError};
use self::health::Health;
use self::pool::{Bounds, Pool};
use crate::config::backend::{Backend, BackendTimeouts, HealthCheck, HostPolicy, Protocol};
use crate::ids::BackendName;
use crate::telemetry::metrics::Metrics;

pub(crate) use self::endpoint::{EndpointTag, Pick};
pub(crate) use self::exchange::{Answer, ExchangeError};
pub(crate) use self::lease::Lease;
pub(crate) use self::meters::{CloseReason, Kind, Meters, Open};
pub(crate) use self::target::Place;

/// A backend, ready for requests.
pub struct Upstream {
    name: BackendName,
    place: Place,
    tag: EndpointTag,
    pool: Arc<Pool>,
    /// For upgrades, which only HTTP/1.1 has; `None` where the backend speaks HTTP/2 alone.
    upgrades: Option<Connector>,
    timeouts: BackendTimeouts,
    host: Host,
    headers: Box<[(HeaderName, HeaderValue)]>,
    forward_origin: bool,
    check: Option<HealthCheck>,
    health: Health,
    meters: Arc<Meters>,
}

/// What is sent as `Host`.
pub(crate) enum Host {
    /// Always this.
    Fixed(HeaderValue),
    /// What the client sent.
    Client,
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
    /// When the address, a header, or a file of `tls` cannot be used. The message says which and why.
    pub fn new(config: &Backend, metrics: &Arc<Metrics>) -> Result<Arc<Self>, UpstreamConfigError> {
        let wrong = |key, message| UpstreamConfigError { key, message };
        let place = Place::parse(&config.upstream).map_err(|message| wrong("upstream", message))?;
        let alpn: &[&[u8]] = match config.protocol {
            Protocol::Auto => &[b"h2", b"http/1.1"],
            Protocol::Http1 => &[b"http/1.1"],
            Protocol::Http2 => &[b"h2"],
        };
        let connector = connector(&place, config, alpn)?;
        let upgrades = match config.protocol {
            Protocol::Http2 => None,
            Protocol::Auto | Protocol::Http1 => Some(connector_h1(&connector, &place, config)?),
        };
        let meters = Arc::new(Meters::new(metrics, config.name.as_str(), place.is_tls()));
        let bounds = Bounds {
            connect: config.timeouts.connect.0,
            keep_alive: config.timeouts.keep_alive.0,
            connections: usize::try_from(config.max_connections)
                .unwrap_or(usize::MAX)
                .max(1),
        };
        let host = |text: &str| {
            HeaderValue::from_str(text)
                .map_err(|_| wrong("host", format!("`{text}` cannot be sent as Host")))
        };
        Ok(Arc::new(Self {
            name: config.name.clone(),
            host: match &config.host {
                HostPolicy::Backend => Host::Fixed(host(place.authority.as_str())?),
                HostPolicy::Client => Host::Client,
                HostPolicy::Literal(text) => Host::Fixed(host(text)?),
            },
            headers: static_headers(config)?,
            pool: Arc::new(Pool::new(
                connector,
                config.protocol,
                bounds,
                Arc::clone(&meters),
            )),
            upgrades,
            tag: EndpointTag::of(&config.upstream),
            place,
            timeouts: config.timeouts.clone(),
            forward_origin: config.forward_origin,
            check: config.health.clone(),
            health: Health::new(meters.up.clone()),
            meters,
        }))
    }

    /// Its name.
    pub fn name(&self) -> &BackendName {
        &self.name
    }

    /// Whether the backend answers, by checks and by what requests met; `None` before the first look.
    pub fn is_up(&self) -> Option<bool> {
        self.health.is_up()
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn timeouts(&self) -> &BackendTimeouts {
        &self.timeouts
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Headers added to every request.
    pub(crate) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    pub(crate) fn forward_origin(&self) -> bool {
        self.forward_origin
    }

    pub(crate) fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upstream({} at {})", self.name, self.place.address)
    }
}

fn connector(
    place: &Place,
    config: &Backend,
    alpn: &[&[u8]],
) -> Result<Connector, UpstreamConfigError> {
    let tls = if place.is_tls() {
        Some(ClientTlsSetup::new(&config.tls, place.authority.host(), alpn).map_err(tls_error)?)
    } else {
        None
    };
    Ok(Connector::new(place.address.clone(), tls))
}

fn connector_h1(
    any: &Connector,
    place: &Place,
    config: &Backend,
) -> Result<Connector, UpstreamConfigError> {
    if any.is_tls() && config.protocol == Protocol::Auto {
        connector(place, config, &[b"http/1.1"])
    } else {
        Ok(any.clone())
    }
}

fn tls_error(error: TlsConfigError) -> UpstreamConfigError {
    let key = match error.key {
        "cert_file" => "tls.cert_file",
        "key_file" => "tls.key_file",
        "server_name" => "tls.server_name",
        _ => "tls.ca_file",
    };
    UpstreamConfigError {
        key,
        message: error.message,
    }
}

fn static_headers(
    config: &Backend,
) -> Result<Box<[(HeaderName, HeaderValue)]>, UpstreamConfigError> {
    let wrong = |message| UpstreamConfigError {
        key: "headers",
        message,
    };
    config
        .headers
        .iter()
        .map(|(name, value)| {
            let key = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| wrong(format!("`{name}` is not a header name")))?;
            if crate::http::headers::is_hop_by_hop(key.as_str())
                || matches!(key.as_str(), "host" | "content-length")
            {
                return Err(wrong(format!(
                    "`{name}` frames the message and cannot be set; leave it out"
                )));
            }
            // The value is not shown: it may be a secret.
            let mut value =
                HeaderValue::from_str(value.secret().expose_secret()).map_err(|_| {
                    wrong(format!(
                        "the value of `{name}` has characters that headers cannot have"
                    ))
                })?;
            value.set_sensitive(true);
            Ok((key, value))
        })
        .collect()
}

#[cfg(test)]
mod tests;
