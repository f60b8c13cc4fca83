//! Telling systemd: ready, reloading, stopping, alive (`sd_notify(3)`). Without systemd every call does nothing.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// Where the service manager listens (`sd_notify(3)`).
const SOCKET: &str = "NOTIFY_SOCKET";

/// How long is waited for a service manager that does not read: it must not hold up what we serve.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells the service manager what the process is doing.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    _private: (),
}

impl Notifier {
    /// Serving; also after a reload.
    pub fn ready(&self) {
        send(&[NotifyState::Ready]);
    }

    /// One line for `systemctl status`.
    pub fn status(&self, line: &str) {
        send(&[NotifyState::Status(line)]);
    }

    /// Reading the configuration again.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(_) => send(&[NotifyState::Reloading]),
        }
    }

    /// Ending, which takes up to this long.
    pub fn stopping(&self, up_to: Duration) {
        let micros =
            u32::try_from((up_to + Duration::from_secs(5)).as_micros()).unwrap_or(u32::MAX);
        send(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(micros),
        ]);
    }

    /// Feeds the watchdog from the runtime that serves requests, so that a stuck runtime is noticed.
    pub async fn feed_watchdog(&self, until: CancellationToken) {
        let Some(every) = watchdog_interval() else {
            return;
        };
        let feeding = feed(every, || send(&[NotifyState::Watchdog]));
        until.run_until_cancelled(feeding).await;
    }

    /// Whether anybody is told.
    pub fn is_heard() -> bool {
        std::env::var_os(SOCKET).is_some()
    }
}

/// Twice in the time that is allowed, from the runtime that this is awaited on: where that stands still, so does this.
async fn feed(every: Duration, mut food: impl FnMut()) {
    let mut ticks = tokio::time::interval(every / 2);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        food();
    }
}

fn watchdog_interval() -> Option<Duration> {
    let micros: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    let ours =
        std::env::var("WATCHDOG_PID").map_or(true, |pid| pid.parse() == Ok(std::process::id()));
    (ours && micros > 0).then(|| Duration::from_micros(micros))
}

fn send(states: &[NotifyState<'_>]) {
    let Some(socket) = std::env::var_os(SOCKET) else {
        return;
    };
    if let Err(error) = tell(&socket, states, PATIENCE) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}

/// Sends one datagram, to a path or, where it begins with `@`, to an abstract name. Waits at most `patience`.
fn tell(socket: &OsStr, states: &[NotifyState<'_>], patience: Duration) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
    let message = lines.join("\n") + "\n";
    let ours = UnixDatagram::unbound()?;
    ours.set_write_timeout(Some(patience))?;
    // One datagram goes whole or not at all.
    ours.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(target_os = "linux")]
fn abstract_name(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name)
}

/// Only Linux has such names, and service managers that give them.
#[cfg(not(target_os = "linux"))]
fn abstract_name(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_manager_that_does_not_read_holds_nothing_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let tell = || {
            tell(
                path.as_os_str(),
                &[NotifyState::Ready],
                Duration::from_millis(5),
            )
        };
        // Its queue is bounded (`net.unix.max_dgram_qlen`), so it is full some time.
        let error = (0..100_000)
            .find_map(|_| tell().err())
            .expect("a full queue");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let mut message = [0; 64];
        let length = manager.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"READY=1\n");
        tell().unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn managers_with_an_abstract_name_are_told() {
        let name = format!("mcp-oidc-proxy-test-{}", std::process::id());
        let address = abstract_name(name.as_bytes()).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let states = [NotifyState::Stopping, NotifyState::Status("Ending.")];
        tell(OsStr::new(&format!("@{name}")), &states, PATIENCE).unwrap();
        let mut message = [0; 64];
        let length = manager.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"STOPPING=1\nSTATUS=Ending.\n");
    }

    /// A runtime with one worker, and a task on it that lets nobody else go on.
    #[test]
    fn a_runtime_that_stands_still_is_not_fed() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let (fed, (stand, still), (go, on)) = (
            Arc::new(AtomicUsize::new(0)),
            std::sync::mpsc::channel(),
            std::sync::mpsc::channel::<()>(),
        );
        let count = Arc::clone(&fed);
        let feeding = runtime.spawn(feed(Duration::from_millis(2), move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        let reaches = |least: usize| {
            while fed.load(Ordering::SeqCst) < least {
                std::thread::yield_now();
            }
        };
        reaches(3);
        runtime.spawn(async move {
            stand.send(()).unwrap();
            on.recv().unwrap();
        });
        still.recv().unwrap();
        let before = fed.load(Ordering::SeqCst);
        // As long as a watchdog that is due a hundred times.
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(fed.load(Ordering::SeqCst), before);
        go.send(()).unwrap();
        reaches(before + 1);
        feeding.abort();
    }
}
