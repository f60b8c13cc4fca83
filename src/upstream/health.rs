//! Whether a backend answers: what checks find, joined with what requests meet.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use metrics::Gauge;
use tokio::time::Instant;

const UNKNOWN: u8 = 0;
const DOWN: u8 = 1;
const UP: u8 = 2;

/// For how long a request's failure outweighs a mere TCP connect that worked: a mesh's sidecar accepts every
/// connect, whether the server behind it lives or not.
const DOUBT: Duration = Duration::from_secs(30);

/// What is known of a backend's health.
pub(super) struct Health {
    state: AtomicU8,
    born: Instant,
    /// Milliseconds after `born` of the last failed request, plus one; zero when a later request was answered.
    failed: AtomicU64,
    gauge: Gauge,
}

impl Health {
    pub(super) fn new(gauge: Gauge) -> Self {
        Self {
            state: AtomicU8::new(UNKNOWN),
            born: Instant::now(),
            failed: AtomicU64::new(0),
            gauge,
        }
    }

    /// `None` before anything was seen.
    pub(super) fn is_up(&self) -> Option<bool> {
        match self.state.load(Ordering::Relaxed) {
            UNKNOWN => None,
            state => Some(state == UP),
        }
    }

    /// A request was answered by the server itself.
    pub(super) fn request_answered(&self) {
        // Mostly there is nothing to change, and a load is cheaper than a store on a shared line.
        if self.failed.load(Ordering::Relaxed) != 0 {
            self.failed.store(0, Ordering::Relaxed);
        }
        self.set(UP);
    }

    /// A request met no connection, no answer, or an intermediary's 502, 503 or 504.
    pub(super) fn request_failed(&self) {
        let at = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        self.failed.store(at, Ordering::Relaxed);
        self.set(DOWN);
    }

    /// A check asked over HTTP and was answered, or not.
    pub(super) fn checked(&self, good: bool) {
        if good {
            self.failed.store(0, Ordering::Relaxed);
        }
        self.set(if good { UP } else { DOWN });
    }

    /// A check connected, or not. A connect alone does not undo what a request met a moment ago.
    pub(super) fn connected(&self, good: bool) {
        let failed = self.failed.load(Ordering::Relaxed);
        let doubt = failed != 0 && self.born.elapsed() < Duration::from_millis(failed - 1) + DOUBT;
        if !good {
            self.set(DOWN);
        } else if !doubt {
            self.set(UP);
        }
    }

    fn set(&self, state: u8) {
        if self.state.load(Ordering::Relaxed) != state {
            self.state.store(state, Ordering::Relaxed);
            self.gauge.set(if state == UP { 1.0 } else { 0.0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connect_alone_does_not_undo_what_a_request_met() {
        let health = Health::new(Gauge::noop());
        assert_eq!(health.is_up(), None);
        health.connected(true);
        assert_eq!(health.is_up(), Some(true));
        health.request_failed();
        health.connected(true);
        assert_eq!(health.is_up(), Some(false));
        health.request_answered();
        assert_eq!(health.is_up(), Some(true));
        health.request_failed();
        tokio::time::advance(DOUBT).await;
        health.connected(true);
        assert_eq!(health.is_up(), Some(true));
        health.request_failed();
        health.checked(true);
        assert_eq!(health.is_up(), Some(true));
        health.connected(false);
        assert_eq!(health.is_up(), Some(false));
    }
}
