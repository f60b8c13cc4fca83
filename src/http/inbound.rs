//! `Inbound`: the facts about one request that every later step may need, worked out once.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use ipnet::IpNet;
use tokio::time::Instant;

use self::forwarded::Said;
use crate::audit::Place;
use crate::clock::{Ambient, Timestamp};
use crate::ids::RequestId;
use crate::peer::{Conn, Peer};

mod forwarded;

/// Facts about one request.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// Names the request in logs, answers and towards the backend. Always our own.
    pub id: RequestId,
    /// Time of day at which its head was read.
    pub received: Timestamp,
    /// The same moment on the monotonic clock.
    pub started: Instant,
    /// The connection it came on.
    pub conn: Arc<Conn>,
    /// The client's address: the peer's, or what a trusted proxy said. `None` on a unix socket.
    pub client: Option<IpAddr>,
    /// The scheme that the client used: the listener's, or what a trusted proxy said.
    pub https: bool,
}

impl Inbound {
    /// Works the facts out. Forwarding headers are read only when the peer itself is trusted.
    pub fn new(
        ambient: &Ambient,
        conn: Arc<Conn>,
        headers: &HeaderMap,
        trusted: &TrustedProxies,
    ) -> Self {
        let said = if trusted.believes(conn.peer) {
            forwarded::read(headers, trusted)
        } else {
            Said::default()
        };
        Self {
            id: RequestId::new(ambient.name()),
            received: ambient.now(),
            started: Instant::now(),
            client: said.client.or_else(|| conn.peer.ip()),
            https: said.https.unwrap_or(conn.tls.is_some()),
            conn,
        }
    }
}

impl Inbound {
    /// The request as the audit log names it.
    pub fn place(&self) -> Place {
        Place {
            client: self.client,
            request: Some(self.id),
            ..Place::default()
        }
    }
}

/// The networks whose forwarding headers are believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Arc<[IpNet]>,
    unix: bool,
}

impl TrustedProxies {
    /// From `trusted_proxies`. A unix socket counts as loopback, so it is believed when a loopback address is.
    pub fn new(networks: &[IpNet]) -> Self {
        let loopback = [
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1u16]),
        ];
        Self {
            unix: networks
                .iter()
                .any(|network| loopback.iter().any(|address| network.contains(address))),
            networks: networks.into(),
        }
    }

    /// Whether an address belongs to one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }

    /// Whether the forwarding headers of this peer are believed.
    pub fn believes(&self, peer: Peer) -> bool {
        if self.networks.is_empty() {
            return false;
        }
        match peer.ip() {
            Some(address) => self.contains(address),
            None => self.unix,
        }
    }
}

#[cfg(test)]
mod tests;
