//! What is known about a connection before its first request.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// One accepted connection.
#[derive(Debug)]
pub struct Conn {
    /// The other end of the socket.
    pub peer: Peer,
    /// The listener's configured address, for logs.
    pub listener: Arc<str>,
    /// TLS facts, when the listener speaks TLS.
    pub tls: Option<TlsInfo>,
    /// The bearer token recognised last on this connection.
    pub memo: TokenMemo,
}

/// The other end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix socket, which has no address; it counts as loopback.
    Unix,
}

impl Peer {
    /// The IP address, if there is one.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip().to_canonical()),
            Self::Unix => None,
        }
    }
}

/// Facts of a finished TLS handshake.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The name that the client asked for.
    pub server_name: Option<Arc<str>>,
}

/// A slot for what `authn` recognised last on this connection, so that the same `Authorization` bytes cost
/// one comparison. Holds an own copy of the header: a slice of it would pin the read buffer.
#[derive(Default)]
pub struct TokenMemo(std::sync::Mutex<Option<Memo>>);

type Memo = (Box<[u8]>, Arc<dyn std::any::Any + Send + Sync>);

impl TokenMemo {
    /// What was remembered for exactly these bytes.
    pub fn recall<T: Send + Sync + 'static>(&self, header: &[u8]) -> Option<Arc<T>> {
        let slot = self.0.lock().ok()?;
        let (bytes, value) = slot.as_ref()?;
        if aws_lc_rs::constant_time::verify_slices_are_equal(bytes, header).is_err() {
            return None;
        }
        Arc::clone(value).downcast().ok()
    }

    /// Remembers a value for these bytes, in place of what was remembered before.
    pub fn remember<T: Send + Sync + 'static>(&self, header: &[u8], value: Arc<T>) {
        if let Ok(mut slot) = self.0.lock() {
            *slot = Some((header.into(), value));
        }
    }
}

impl std::fmt::Debug for TokenMemo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenMemo")
    }
}
