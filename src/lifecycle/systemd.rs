//! Telling systemd: ready, reloading, stopping, alive (`sd_notify(3)`). Without systemd every call does nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

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
        let mut ticks = tokio::time::interval(every / 2);
        while until.run_until_cancelled(ticks.tick()).await.is_some() {
            send(&[NotifyState::Watchdog]);
        }
    }
}

fn watchdog_interval() -> Option<Duration> {
    let micros: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    let ours =
        std::env::var("WATCHDOG_PID").map_or(true, |pid| pid.parse() == Ok(std::process::id()));
    (ours && micros > 0).then(|| Duration::from_micros(micros))
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
