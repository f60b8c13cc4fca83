//! The admin listener: the only place that changes anything. A unix socket of the proxy's own user, or a loopback
//! address; JSON for programs, nothing for browsers.

mod answer;
mod process;

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

pub use self::process::Loaded as LoadedConfig;
use super::{Health, Orders, Subjects};
use crate::audit::Audit;

/// What can be asked for, in force since the last reload.
pub struct Control {
    subjects: ArcSwap<Subjects>,
    loaded: ArcSwap<LoadedConfig>,
    orders: Orders,
    health: Arc<Health>,
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
    /// One that was passed to us is not ours to remove.
    Unix(UnixListener, Option<SocketFile>),
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
    pub fn new(
        subjects: Subjects,
        loaded: LoadedConfig,
        orders: Orders,
        health: Arc<Health>,
        audit: Audit,
    ) -> Arc<Self> {
        Arc::new(Self {
            subjects: ArcSwap::from_pointee(subjects),
            loaded: ArcSwap::from_pointee(loaded),
            orders,
            health,
            audit,
        })
    }

    /// Takes over the parts of a new configuration.
    pub fn configure(&self, subjects: Subjects, loaded: LoadedConfig) {
        self.subjects.store(Arc::new(subjects));
        self.loaded.store(Arc::new(loaded));
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
            Socket::Unix(listener, Some(file))
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

    /// Over a TCP socket that listens already.
    ///
    /// # Errors
    /// It can be reached from other machines.
    pub fn over_tcp(socket: std::net::TcpListener) -> Result<Self, ControlBindError> {
        let address = socket.local_addr().map_err(wrong_passed)?;
        if !address.ip().is_loopback() {
            let why = format!("{address} can be reached from other machines");
            return Err(wrong_passed(io::Error::other(why)));
        }
        socket.set_nonblocking(true).map_err(wrong_passed)?;
        let listener = TcpListener::from_std(socket).map_err(wrong_passed)?;
        Ok(Self {
            socket: Socket::Tcp(listener),
        })
    }

    /// Over a unix socket that listens already. Who made it chose its mode, so that is looked at.
    ///
    /// # Errors
    /// Everybody on this machine may connect, or it cannot be told who may.
    pub fn over_unix(socket: std::os::unix::net::UnixListener) -> Result<Self, ControlBindError> {
        let address = socket.local_addr().map_err(wrong_passed)?;
        let path = address.as_pathname().ok_or_else(|| {
            wrong_passed(io::Error::other("it has no path, so everybody may connect"))
        })?;
        let mode = std::fs::metadata(path)
            .map_err(wrong_passed)?
            .permissions()
            .mode();
        if mode & 0o002 != 0 {
            let why = format!(
                "{} may be used by everybody on this machine (mode {:o}); set SocketMode=0600",
                path.display(),
                mode & 0o777
            );
            return Err(wrong_passed(io::Error::other(why)));
        }
        socket.set_nonblocking(true).map_err(wrong_passed)?;
        let listener = UnixListener::from_std(socket).map_err(wrong_passed)?;
        Ok(Self {
            socket: Socket::Unix(listener, None),
        })
    }

    /// The bound address: `unix:/path` or `address:port`.
    pub fn address(&self) -> String {
        match &self.socket {
            Socket::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|_| String::new(), |address| address.to_string()),
            Socket::Unix(_, Some(file)) => format!("unix:{}", file.0.display()),
            Socket::Unix(listener, None) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                path.map_or_else(String::new, |path| format!("unix:{}", path.display()))
            }
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
                    let ended = until.clone();
                    let service = service_fn(move |request: http::Request<Incoming>| {
                        let (control, ended) = (Arc::clone(&control), ended.clone());
                        async move {
                            let asked = answer::to(request, &control, is_unix, &ended);
                            Ok::<_, Infallible>(asked.await)
                        }
                    });
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(Duration::from_secs(10))
                        .serve_connection(TokioIo::new(stream), service);
                    let mut connection = std::pin::pin!(connection);
                    // How an operator's connection ends is of no interest.
                    let open = until.run_until_cancelled(connection.as_mut()).await;
                    if open.is_none() {
                        connection.as_mut().graceful_shutdown();
                        let _ = tokio::time::timeout(LAST_ANSWERS, connection).await;
                    }
                    drop(permit);
                });
            }
        };
        until.run_until_cancelled(accept).await;
        tasks.close();
        tasks.wait().await;
    }
}

fn wrong_passed(source: io::Error) -> ControlBindError {
    ControlBindError {
        address: "the socket `admin` that was passed".to_owned(),
        source,
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
/// Time for the last answers when the process ends.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
