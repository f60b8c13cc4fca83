//! Making sockets that listen.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};

use super::BindError;
use super::inherited::InheritedSocket;
use super::stream::Socket;
use super::unix::{self, SocketFile};
use crate::peer::Peer;

const BACKLOG: i32 = 1024;
/// Clients that vanish without a word are found after about two minutes.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A socket that listens.
#[derive(Debug)]
pub(super) enum ListenSocket {
    Tcp(TcpListener),
    Unix(
        UnixListener,
        /// Held, for dropping it removes the file. None where the file is not ours.
        Option<SocketFile>,
    ),
}

impl ListenSocket {
    /// Binds `host:port`, `[v6]:port` or `unix:/path`. `key` names the address in messages.
    pub(super) fn bind(key: &str, address: &str) -> Result<Self, BindError> {
        let wrong = |message: String| BindError {
            key: key.to_owned(),
            message,
        };
        if let Some(path) = address.strip_prefix("unix:") {
            let (listener, file) =
                unix::bind(path.as_ref()).map_err(|error| wrong(error.to_string()))?;
            return Ok(Self::Unix(listener, Some(file)));
        }
        let resolved = address.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(|| {
            wrong(format!(
                "`{address}` is no address of this machine that can be found; write host:port, [v6]:port or unix:/path"
            ))
        })?;
        tcp(resolved)
            .map(Self::Tcp)
            .map_err(|error| wrong(explain(address, resolved, &error)))
    }

    /// Takes over a socket that was passed to us.
    pub(super) fn passed(key: &str, socket: InheritedSocket) -> Result<Self, BindError> {
        let taken = match socket {
            InheritedSocket::Tcp(socket) => of_tcp(socket).map(Self::Tcp),
            InheritedSocket::Unix(socket) => socket
                .set_nonblocking(true)
                .and_then(|()| UnixListener::from_std(socket))
                .map(|listener| Self::Unix(listener, None)),
        };
        taken.map_err(|error| BindError {
            key: key.to_owned(),
            message: format!("the socket that was passed cannot be used: {error}"),
        })
    }

    /// As it can be connected to: the port is the one that was taken.
    pub(super) fn address(&self, configured: &str) -> String {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|_| configured.to_owned(), |bound| bound.to_string()),
            Self::Unix(_, Some(_)) => configured.to_owned(),
            Self::Unix(listener, None) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                path.map_or_else(
                    || configured.to_owned(),
                    |path| format!("unix:{}", path.display()),
                )
            }
        }
    }

    pub(super) async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Answers are written whole; waiting for more to send only adds delay.
                let _ = stream.set_nodelay(true);
                Ok((Socket::Tcp(stream), Peer::Tcp(peer)))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream), Peer::Unix))
            }
        }
    }
}

fn of_tcp(socket: std::net::TcpListener) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    TcpListener::from_std(socket)
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = RawSocket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // Accepted sockets inherit this.
    SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn explain(address: &str, resolved: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{address} is already in use; stop what listens there (`ss -ltnp` shows it), or choose another port"
        ),
        io::ErrorKind::PermissionDenied if resolved.port() < 1024 => format!(
            "port {} may only be bound with CAP_NET_BIND_SERVICE; grant it, or choose a port from 1024",
            resolved.port()
        ),
        io::ErrorKind::PermissionDenied => {
            format!(
                "{address} may not be bound by this user: {error}; check security policies of the system"
            )
        }
        io::ErrorKind::AddrNotAvailable => format!(
            "{address} is not an address of this machine; use one that `ip address` lists, or 0.0.0.0 for all"
        ),
        _ => format!("{address} cannot be bound: {error}"),
    }
}
