//! The admin listener: the only place that changes anything. A unix socket of the proxy's own user, or a loopback
//! address; JSON for programs, nothing for browsers.

mod answer;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Subjects;
use crate::audit::Audit;

/// What can be asked for, in force since the last reload.
pub struct Control {
    subjects: ArcSwap<Subjects>,
    audit: Audit,
}

/// The bound listener, not yet serving.
#[derive(Debug)]
pub struct ControlListener {
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// Why the listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[error(
    "admin.address: cannot listen on {address}: {source}; choose another address, or remove it"
)]
pub struct ControlBindError {
    address: String,
    source: io::Error,
}

impl Control {
    /// Over the parts in force.
    pub fn new(subjects: Subjects, audit: Audit) -> Arc<Self> {
        Arc::new(Self {
            subjects: ArcSwap::from_pointee(subjects),
            audit,
        })
    }

    /// Takes over the parts of a new configuration.
    pub fn configure(&self, subjects: Subjects) {
        self.subjects.store(Arc::new(subjects));
    }
}

impl ControlListener {
    /// Binds `unix:/path` or a loopback `address:port`.
    ///
    /// # Errors
    /// The address is taken, is not one of this machine alone, or the file cannot be made.
    pub async fn bind(address: &str) -> Result<Self, ControlBindError> {
        let wrong = |source| ControlBindError {
            address: address.to_owned(),
            source,
        };
        let socket = if let Some(path) = address.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            // A socket that nobody answers at any more has to be connected to, which blocks.
            let bound = tokio::task::spawn_blocking(move || unix(&path)).await;
            let (listener, file) = bound
                .map_err(io::Error::other)
                .and_then(|bound| bound)
                .map_err(wrong)?;
            let listener = UnixListener::from_std(listener).map_err(wrong)?;
            Socket::Unix(listener, file)
        } else {
            let literal: SocketAddr = address
                .parse()
                .map_err(|_| wrong(io::Error::other("it is no literal address")))?;
            if !literal.ip().is_loopback() {
                return Err(wrong(io::Error::other(
                    "it can be reached from other machines",
                )));
            }
            Socket::Tcp(TcpListener::bind(literal).await.map_err(wrong)?)
        };
        Ok(Self { socket })
    }

    /// The bound address: `unix:/path` or `address:port`.
    pub fn address(&self) -> String {
        match &self.socket {
            Socket::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|_| String::new(), |address| address.to_string()),
            Socket::Unix(_, file) => format!("unix:{}", file.0.display()),
        }
    }

    /// Serves until cancelled.
    pub async fn serve(self, control: Arc<Control>, until: CancellationToken) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        let tasks = TaskTracker::new();
        let accept = async {
            loop {
                let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                    return;
                };
                let stream: Result<Box<dyn Stream>, io::Error> = match &self.socket {
                    Socket::Tcp(listener) => {
                        listener.accept().await.map(|(tcp, _)| Box::new(tcp) as _)
                    }
                    Socket::Unix(listener, _) => {
                        listener.accept().await.map(|(unix, _)| Box::new(unix) as _)
                    }
                };
                let Ok(stream) = stream else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let (control, until) = (Arc::clone(&control), until.clone());
                let is_unix = matches!(self.socket, Socket::Unix(..));
                tasks.spawn(async move {
                    let service = service_fn(move |request: http::Request<Incoming>| {
                        let control = Arc::clone(&control);
                        async move {
                            let subjects = control.subjects.load_full();
                            let asked = answer::to(request, &subjects, &control.audit, is_unix);
                            Ok::<_, Infallible>(asked.await)
                        }
                    });
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(Duration::from_secs(10))
                        .serve_connection(TokioIo::new(stream), service);
                    // How an operator's connection ends is of no interest.
                    let _ = until.run_until_cancelled(connection).await;
                    drop(permit);
                });
            }
        };
        until.run_until_cancelled(accept).await;
        tasks.close();
        tasks.wait().await;
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A socket file of ours, removed when dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Makes the socket beside its place and moves it there, so that nobody else may connect at any moment. One that
/// nobody answers at is replaced.
fn unix(path: &Path) -> io::Result<(std::os::unix::net::UnixListener, SocketFile)> {
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(io::Error::other("it exists and is not a socket"));
        }
        let dead = std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if !dead {
            return Err(io::Error::other("another process serves it"));
        }
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let beside = folder.join(format!(".mcp-proxy-admin-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&beside);
    // Inside a folder of our own the socket cannot be reached before its mode is set.
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
        .create(&beside)?;
    let made = beside.join("s");
    let listener = std::os::unix::net::UnixListener::bind(&made).and_then(|listener| {
        std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        std::fs::rename(&made, path)?;
        Ok(listener)
    });
    let _ = std::fs::remove_dir_all(&beside);
    Ok((listener?, SocketFile(path.to_owned())))
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Control")
    }
}

/// Connections at once: operators are few.
const CONNECTIONS: usize = 16;
