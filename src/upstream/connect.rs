//! Connecting: DNS, TCP, unix sockets and TLS as a client.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

mod tls;

pub(crate) use self::tls::server_name;
pub use self::tls::{TlsConfigError, client_config};

/// How long one address may be tried before the next is tried beside it (RFC 8305 section 8).
const STAGGER: Duration = Duration::from_millis(250);

/// At most this many addresses of one name are tried.
const MAX_ADDRESSES: usize = 8;

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host name or IP address (IPv6 without brackets), and a port.
    Tcp(Arc<str>, u16),
    /// A unix socket.
    Unix(Arc<Path>),
}

impl Address {
    /// A host and port; brackets around an IPv6 address are taken off.
    pub fn tcp(host: &str, port: u16) -> Self {
        let host = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        Self::Tcp(host.into(), port)
    }

    /// A unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::Unix(path.into().into())
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why there is no connection. Names the address; for logs, never for clients.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name was not resolved.
    #[error("the name of {address} was not resolved: {source}")]
    Resolve {
        /// Which address.
        address: Address,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address of the name took the connection.
    #[error("no connection to {address}: {source}")]
    Refused {
        /// Which address.
        address: Address,
        /// What the last try met.
        source: io::Error,
    },
    /// TLS was not agreed upon: an unknown CA, a wrong name, no common version.
    #[error("no TLS with {address}: {source}")]
    Tls {
        /// Which address.
        address: Address,
        /// What TLS said.
        source: io::Error,
    },
}

/// TLS towards one server.
#[derive(Clone)]
pub struct ClientTlsSetup {
    /// Whom to trust and what to show.
    pub config: Arc<ClientConfig>,
    /// The name to expect in the certificate.
    pub server_name: ServerName<'static>,
}

/// Connects to one address, with TLS when there is a set-up for it.
#[derive(Clone)]
pub struct Connector {
    address: Address,
    tls: Option<ClientTlsSetup>,
}

impl Connector {
    /// A connector; connects to nothing yet.
    pub fn new(address: Address, tls: Option<ClientTlsSetup>) -> Self {
        Self { address, tls }
    }

    /// Where it connects to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Connects. Has no timeout of its own: the caller's deadline covers DNS, TCP and TLS together.
    pub async fn connect(&self) -> Result<Io, ConnectError> {
        let tcp = match &self.address {
            Address::Unix(path) => {
                let socket = UnixStream::connect(path).await;
                return socket.map(Io::Unix).map_err(|source| self.refused(source));
            }
            Address::Tcp(host, port) => self.tcp(host, *port).await?,
        };
        self.over(tcp).await
    }

    /// Connects to one of these addresses, which somebody looked up and judged before; nobody is asked again what
    /// the name stands for.
    pub(super) async fn connect_to(&self, addresses: Vec<SocketAddr>) -> Result<Io, ConnectError> {
        let tcp = self.any_of(addresses).await?;
        self.over(tcp).await
    }

    async fn over(&self, tcp: TcpStream) -> Result<Io, ConnectError> {
        let Some(tls) = &self.tls else {
            return Ok(Io::Tcp(tcp));
        };
        let stream = TlsConnector::from(Arc::clone(&tls.config))
            .connect(tls.server_name.clone(), tcp)
            .await
            .map_err(|source| ConnectError::Tls {
                address: self.address.clone(),
                source,
            })?;
        Ok(Io::Tls(Box::new(stream)))
    }

    async fn tcp(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let resolve = |source| ConnectError::Resolve {
            address: self.address.clone(),
            source,
        };
        let found = tokio::net::lookup_host((host, port))
            .await
            .map_err(resolve)?;
        self.any_of(found.collect()).await
    }

    async fn any_of(&self, addresses: Vec<SocketAddr>) -> Result<TcpStream, ConnectError> {
        let addresses = interleave(addresses);
        if addresses.is_empty() {
            return Err(ConnectError::Resolve {
                address: self.address.clone(),
                source: io::Error::new(io::ErrorKind::NotFound, "it has no address"),
            });
        }
        let stream = race(addresses)
            .await
            .map_err(|source| self.refused(source))?;
        // Small writes must not wait for acknowledgements of earlier ones.
        stream
            .set_nodelay(true)
            .map_err(|source| self.refused(source))?;
        Ok(stream)
    }

    fn refused(&self, source: io::Error) -> ConnectError {
        ConnectError::Refused {
            address: self.address.clone(),
            source,
        }
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Connector({}{})",
            self.address,
            if self.is_tls() { ", tls" } else { "" }
        )
    }
}

/// Alternates between the two families, starting with the resolver's first (RFC 8305 section 4).
fn interleave(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|a| a.is_ipv6() == first_is_v6);
    let mut out = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        let pair = (first.next(), second.next());
        if pair == (None, None) {
            break;
        }
        out.extend(pair.0.into_iter().chain(pair.1));
    }
    out.truncate(MAX_ADDRESSES);
    out
}

/// The first address that answers; the next is tried when one failed or was silent for a moment.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    if let [only] = addresses[..] {
        return TcpStream::connect(only).await;
    }
    let mut waiting = addresses.into_iter();
    let mut trying = FuturesUnordered::new();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    loop {
        if let Some(next) = waiting.next() {
            trying.push(TcpStream::connect(next));
        }
        let more = waiting.len() > 0;
        tokio::select! {
            done = trying.next() => match done {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => failed = error,
                None => return Err(failed),
            },
            () = tokio::time::sleep(STAGGER), if more => {}
        }
    }
}

/// A connected stream.
#[derive(Debug)]
pub enum Io {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// TLS over TCP; boxed, because its state is large and would be moved about with every future.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    /// Whether ALPN chose HTTP/2 (RFC 9113 section 3.2).
    pub fn is_h2(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Io::Tcp($stream) => $call,
            Io::Unix($stream) => $call,
            Io::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_alternate_and_are_bounded() {
        let v6: SocketAddr = "[::1]:1".parse().unwrap();
        let v4 = |n: u8| SocketAddr::from(([127, 0, 0, n], 1));
        assert_eq!(
            interleave(vec![v6, v6, v4(1), v4(2), v4(3)]),
            [v6, v4(1), v6, v4(2), v4(3)]
        );
        assert_eq!(interleave(vec![v4(1); 20]).len(), MAX_ADDRESSES);
    }

    #[tokio::test]
    async fn a_dead_first_address_does_not_hide_a_living_second() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let gone = dead.local_addr().unwrap();
        drop(dead);
        let stream = race(vec![gone, listener.local_addr().unwrap()])
            .await
            .unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
        assert!(race(vec![gone, gone]).await.is_err());
    }

    #[tokio::test]
    async fn errors_name_the_address() {
        let error = Connector::new(Address::unix("/nowhere/x.sock"), None)
            .connect()
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("unix:/nowhere/x.sock"),
            "{error}"
        );
        assert_eq!(Address::tcp("[::1]", 80).to_string(), "[::1]:80");
    }
}
