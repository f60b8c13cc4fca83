//! The socket of a connection as HTTP sees it: TCP or unix, plain or TLS, watched.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use super::activity::Activity;
use super::permits::Guard;

/// An accepted socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Plain or TLS. TLS is boxed: inline, its state would be moved into every future that holds a connection.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

macro_rules! delegate {
    ($self:ident, $($variant:ident)|+, $socket:ident => $call:expr) => {
        match $self.get_mut() { $(Self::$variant($socket) => { let $socket = Pin::new($socket); $call })+ }
    };
}

macro_rules! delegate_io {
    ($type:ty, $($variant:ident)|+) => {
        impl AsyncRead for $type {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                delegate!(self, $($variant)|+, io => io.poll_read(cx, buf))
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                delegate!(self, $($variant)|+, io => io.poll_write(cx, buf))
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                delegate!(self, $($variant)|+, io => io.poll_write_vectored(cx, bufs))
            }

            fn is_write_vectored(&self) -> bool {
                match self { $(Self::$variant(io) => io.is_write_vectored()),+ }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                delegate!(self, $($variant)|+, io => io.poll_flush(cx))
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                delegate!(self, $($variant)|+, io => io.poll_shutdown(cx))
            }
        }
    };
}

delegate_io!(Socket, Tcp | Unix);
delegate_io!(Stream, Plain | Tls);

/// A stream that tells its [`Activity`] what passes, gives back bytes that were read to recognise the
/// protocol, and holds the connection's place: also after an upgrade, when nothing else of ours is left.
#[derive(Debug)]
pub(super) struct Watched {
    stream: Stream,
    seen: Seen,
    activity: Arc<Activity>,
    _guard: Guard,
}

/// Bytes that were read to tell HTTP/2 from HTTP/1.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) bytes: [u8; 24],
    pub(super) from: u8,
    pub(super) until: u8,
}

impl Watched {
    pub(super) fn new(stream: Stream, seen: Seen, activity: Arc<Activity>, guard: Guard) -> Self {
        Self {
            stream,
            seen,
            activity,
            _guard: guard,
        }
    }

    fn written(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &outcome {
            Poll::Ready(Ok(_)) => self.activity.sent(),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.activity.write_blocked(),
        }
        outcome
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.seen.from < this.seen.until {
            let left = &this.seen.bytes[usize::from(this.seen.from)..usize::from(this.seen.until)];
            let take = left.len().min(buf.remaining());
            buf.put_slice(&left[..take]);
            this.seen.from += u8::try_from(take).unwrap_or(u8::MAX);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let outcome = Pin::new(&mut this.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.activity.received();
        }
        outcome
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
