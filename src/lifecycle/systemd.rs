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
        let feeding = feed(every, || send(&[NotifyState::Watchdog]));
        until.run_until_cancelled(feeding).await;
    }

    /// Whether anybody is told.
    pub fn is_heard() -> bool {
        std::env::var_os("NOTIFY_SOCKET").is_some()
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
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

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
