//! One of the addresses under which a backend runs: its connections, its health, and a name that does not say it.

use std::sync::Arc;

use http::HeaderValue;

use super::UpstreamConfigError;
use super::connect::{ClientTlsSetup, Connector, TlsConfigError};
use super::health::Health;
use super::meters::Meters;
use super::pool::{Bounds, Pool};
use super::target::Place;
use crate::config::backend::{Backend, HostPolicy, Protocol};

/// One address of a backend, ready for requests.
pub(crate) struct Endpoint {
    pub(super) tag: EndpointTag,
    pub(crate) place: Place,
    /// What is sent as `Host`; `None`: what the client sent.
    host: Option<HeaderValue>,
    pub(super) pool: Arc<Pool>,
    /// For upgrades, which only HTTP/1.1 has; `None` where the backend speaks HTTP/2 alone.
    pub(super) upgrades: Option<Connector>,
    pub(super) health: Health,
}

impl Endpoint {
    /// Makes the value; connects to nothing.
    ///
    /// # Errors
    /// When the address, the `Host` or a file of `tls` cannot be used.
    pub(super) fn new(
        address: &str,
        config: &Backend,
        meters: &Arc<Meters>,
    ) -> Result<Self, UpstreamConfigError> {
        let wrong = |key, message| UpstreamConfigError { key, message };
        let key = if config.upstream.is_some() {
            "upstream"
        } else {
            "endpoints"
        };
        let place = Place::parse(address).map_err(|message| wrong(key, message))?;
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
        Ok(Self {
            tag: EndpointTag::of(address),
            host: match &config.host {
                HostPolicy::Backend => Some(host(place.authority.as_str())?),
                HostPolicy::Client => None,
                HostPolicy::Literal(text) => Some(host(text)?),
            },
            pool: Arc::new(Pool::new(
                connector,
                config.protocol,
                bounds,
                Arc::clone(meters),
            )),
            upgrades,
            place,
            health: Health::new(),
        })
    }

    /// What is sent as `Host`; `None`: what the client sent.
    pub(crate) fn host(&self) -> Option<&HeaderValue> {
        self.host.as_ref()
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

/// Names an endpoint of a backend: a digest of its address, the same on every replica and after every restart, wherever
/// it stands in the configuration. It is only ever compared with those that are configured, never dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EndpointTag([u8; 8]);

impl EndpointTag {
    /// Of an address as the configuration writes it.
    pub(crate) fn of(address: &str) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, address.as_bytes());
        let mut tag = [0; 8];
        tag.copy_from_slice(&digest.as_ref()[..8]);
        Self(tag)
    }

    /// As it stands in a sealed session id.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        self.0
    }

    /// From a sealed session id.
    pub(crate) fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }
}

/// Which endpoint a request may go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pick {
    /// Whichever is best.
    #[default]
    Any,
    /// This one only: it holds the session.
    Only(EndpointTag),
}

impl Pick {
    /// What satisfies both; `None` when they name different ones.
    pub(crate) fn and(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, pick) | (pick, Self::Any) => Some(pick),
            (one, other) => (one == other).then_some(one),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_tell_addresses_apart_and_survive_being_written() {
        let one = EndpointTag::of("http://10.0.0.1:3001/mcp");
        assert_ne!(one, EndpointTag::of("http://10.0.0.2:3001/mcp"));
        assert_eq!(EndpointTag::from_bytes(one.to_bytes()), one);
    }
}
