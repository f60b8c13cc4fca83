//! The load: connections in a closed loop, event streams, handshakes.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsConnector, rustls};

use crate::Outcome;
use crate::backend::now_nanos;

/// One HTTP/1.1 connection.
pub(crate) type Connection = SendRequest<Full<Bytes>>;

/// Where load goes: over TLS, or straight to the backend.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) port: u16,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
}

impl Target {
    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Outcome<Connection> {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).await?;
        socket.set_nodelay(true)?;
        match &self.tls {
            None => handshake(socket).await,
            Some(_) => handshake(self.secure(socket).await?).await,
        }
    }

    async fn secure(&self, socket: TcpStream) -> Outcome<TlsStream<TcpStream>> {
        let config = self.tls.clone().ok_or("no TLS here")?;
        Ok(TlsConnector::from(config)
            .connect(ServerName::try_from("localhost")?, socket)
            .await?)
    }

    /// So many full TLS handshakes, eight at a time; each connection is closed in order, and seen to be closed.
    pub(crate) async fn handshakes(&self, count: u32) -> Outcome<()> {
        let left = Rc::new(Cell::new(count));
        crowd(8, |_| {
            let (target, left) = (self.clone(), left.clone());
            async move {
                while take(&left) {
                    let socket = TcpStream::connect(("127.0.0.1", target.port)).await?;
                    let mut stream = target.secure(socket).await?;
                    stream.shutdown().await?;
                    let mut rest = Vec::new();
                    // A reset is an end as well.
                    let _ = stream.read_to_end(&mut rest).await;
                }
                Ok(())
            }
        })
        .await?;
        Ok(())
    }
}

async fn handshake<S>(socket: S) -> Outcome<Connection>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Sends `count` requests over the connections, each connection one after the other. Any status but 200 fails.
pub(crate) async fn closed_loop<F>(
    connections: Vec<Connection>,
    count: u32,
    make: F,
) -> Outcome<Vec<Connection>>
where
    F: Fn(u32) -> Outcome<Request<Full<Bytes>>> + 'static,
{
    let left = Rc::new(Cell::new(count));
    let make = Rc::new(make);
    let mut connections: Vec<_> = connections.into_iter().map(Some).collect();
    let number = connections.len();
    crowd(number, |index| {
        let connection = connections.get_mut(index).and_then(Option::take);
        let (left, make) = (left.clone(), make.clone());
        async move {
            let mut connection = connection.ok_or("a connection is used twice")?;
            while take(&left) {
                connection.ready().await?;
                let response = connection.send_request(make(left.get())?).await?;
                finish(response).await?;
            }
            Ok(connection)
        }
    })
    .await
}

/// Reads an answer to its end.
async fn finish(response: Response<Incoming>) -> Outcome<()> {
    let status = response.status();
    let mut body = response.into_body();
    let mut first = Bytes::new();
    while let Some(frame) = body.frame().await {
        if let (true, Ok(data)) = (first.is_empty(), frame?.into_data()) {
            first = data;
        }
    }
    if status == StatusCode::OK {
        return Ok(());
    }
    Err(format!("{status}: {}", String::from_utf8_lossy(&first)).into())
}

/// Reads event streams to their ends, and gives the delay of each event in nanoseconds.
pub(crate) async fn streams(
    target: &Target,
    number: usize,
    stagger: std::time::Duration,
    request: impl Fn() -> Outcome<Request<Full<Bytes>>> + 'static,
) -> Outcome<Vec<u64>> {
    let request = Rc::new(request);
    let delays = crowd(number, |index| {
        let (target, request) = (target.clone(), request.clone());
        async move {
            tokio::time::sleep(stagger * u32::try_from(index)?).await;
            let mut connection = target.connect().await?;
            let response = connection.send_request(request()?).await?;
            if response.status() != StatusCode::OK {
                finish(response).await?;
                return Err("a stream was not opened".into());
            }
            let mut delays = Vec::new();
            let mut body = response.into_body();
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame?.into_data() else {
                    continue;
                };
                let now = now_nanos();
                let text = std::str::from_utf8(&data)?;
                for sent in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
                    delays.push(now.saturating_sub(sent.parse()?));
                }
            }
            Ok(delays)
        }
    })
    .await?;
    Ok(delays.into_iter().flatten().collect())
}

/// Opens streams, and reads the first event of each; they stay open as long as what is given back.
pub(crate) async fn open_streams(
    target: &Target,
    number: usize,
    request: impl Fn() -> Outcome<Request<Full<Bytes>>>,
) -> Outcome<Vec<(Connection, Incoming)>> {
    let mut open = Vec::with_capacity(number);
    for _ in 0..number {
        let mut connection = target.connect().await?;
        let response = connection.send_request(request()?).await?;
        if response.status() != StatusCode::OK {
            finish(response).await?;
            return Err("a stream was not opened".into());
        }
        let mut body = response.into_body();
        body.frame().await.ok_or("the stream ended at once")??;
        open.push((connection, body));
    }
    Ok(open)
}

fn take(left: &Cell<u32>) -> bool {
    let now = left.get();
    left.set(now.saturating_sub(1));
    now > 0
}

/// Runs so many tasks on this thread to their ends.
async fn crowd<T, F>(number: usize, mut task: impl FnMut(usize) -> F) -> Outcome<Vec<T>>
where
    T: 'static,
    F: Future<Output = Outcome<T>> + 'static,
{
    let local = tokio::task::LocalSet::new();
    let mut tasks = JoinSet::new();
    for index in 0..number {
        tasks.spawn_local_on(task(index), &local);
    }
    local
        .run_until(async move {
            let mut done = Vec::with_capacity(number);
            while let Some(joined) = tasks.join_next().await {
                done.push(joined??);
            }
            Ok(done)
        })
        .await
}
