//! Whether an endpoint answers: what checks find, joined with what requests meet.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

const UNKNOWN: u8 = 0;
const DOWN: u8 = 1;
const UP: u8 = 2;

/// For how long a request's failure outweighs a mere TCP connect that worked: a mesh's sidecar accepts every
/// connect, whether the server behind it lives or not.
const DOUBT: Duration = Duration::from_secs(30);

/// Failed requests in a row after which an endpoint is left out. One alone may be the request's own fault.
const STRIKES: u32 = 3;

/// For how long an endpoint is left out the first time; each further time in a row doubles it.
const OUT: Duration = Duration::from_secs(10);

/// An endpoint is never left out longer than `OUT` doubled this many times (320 s).
const DOUBLINGS: u32 = 5;

/// What a request says about the endpoint that it went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// The server itself answered.
    Answer,
    /// No answer, a broken one, or an intermediary's 502, 503 or 504.
    Failure,
    /// No connection.
    NoConnection,
}

/// What an endpoint counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing was seen yet.
    Unknown,
    /// It gets requests.
    Healthy,
    /// Left out for a while, because requests failed.
    Ejected,
    /// The last check failed.
    Unhealthy,
}

/// What is known of an endpoint's health.
pub(super) struct Health {
    state: AtomicU8,
    born: Instant,
    /// Milliseconds after `born` of the last failed request, plus one; zero when a later request was answered.
    failed: AtomicU64,
    check_failed: AtomicBool,
    /// Failed requests in a row.
    strikes: AtomicU32,
    /// Times in a row that it was left out.
    ejections: AtomicU32,
    /// Milliseconds after `born` until which it is left out.
    out_until: AtomicU64,
    /// It was left out because nothing could connect, which a check can disprove.
    was_unreachable: AtomicBool,
}

impl Health {
    pub(super) fn new() -> Self {
        Self {
            state: AtomicU8::new(UNKNOWN),
            born: Instant::now(),
            failed: AtomicU64::new(0),
            check_failed: AtomicBool::new(false),
            strikes: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            out_until: AtomicU64::new(0),
            was_unreachable: AtomicBool::new(false),
        }
    }

    /// By the last check or request; `None` before anything was seen.
    pub(super) fn is_up(&self) -> Option<bool> {
        match self.state.load(Ordering::Relaxed) {
            UNKNOWN => None,
            state => Some(state == UP),
        }
    }

    pub(super) fn condition(&self) -> Condition {
        if self.check_failed.load(Ordering::Relaxed) {
            Condition::Unhealthy
        } else if self.is_out() {
            Condition::Ejected
        } else if self.is_up().is_none() {
            Condition::Unknown
        } else {
            Condition::Healthy
        }
    }

    /// Takes in what a request met. `alone`: there is no other endpoint that could take this one's requests, so
    /// answers that failed do not put it out. Tells whether it was put out just now.
    pub(super) fn met(&self, met: Met, alone: impl FnOnce() -> bool) -> bool {
        match met {
            Met::Answer => {
                // Mostly there is nothing to change, and a load is cheaper than a store on a shared line.
                if self.failed.load(Ordering::Relaxed) != 0 {
                    self.failed.store(0, Ordering::Relaxed);
                }
                if self.strikes.load(Ordering::Relaxed) != 0 {
                    self.strikes.store(0, Ordering::Relaxed);
                    self.ejections.store(0, Ordering::Relaxed);
                }
                self.set(UP);
                false
            }
            Met::Failure | Met::NoConnection => {
                self.failed.store(self.age() + 1, Ordering::Relaxed);
                self.set(DOWN);
                let strikes = self
                    .strikes
                    .fetch_add(1, Ordering::Relaxed)
                    .saturating_add(1);
                let unreachable = met == Met::NoConnection;
                let due = (unreachable || strikes >= STRIKES) && !self.is_out();
                if due && !alone() {
                    self.put_out(unreachable);
                    return true;
                }
                false
            }
        }
    }

    /// A check asked over HTTP and was answered, or not.
    pub(super) fn checked(&self, good: bool) {
        if good {
            self.failed.store(0, Ordering::Relaxed);
            self.let_in_again();
        }
        self.check_failed.store(!good, Ordering::Relaxed);
        self.set(if good { UP } else { DOWN });
    }

    /// A check connected, or not. A connect alone does not undo what a request met a moment ago.
    pub(super) fn connected(&self, good: bool) {
        let failed = self.failed.load(Ordering::Relaxed);
        let doubt = failed != 0 && self.born.elapsed() < Duration::from_millis(failed - 1) + DOUBT;
        self.check_failed.store(!good, Ordering::Relaxed);
        if good {
            self.let_in_again();
        }
        if !good {
            self.set(DOWN);
        } else if !doubt {
            self.set(UP);
        }
    }

    fn is_out(&self) -> bool {
        let until = self.out_until.load(Ordering::Relaxed);
        until != 0 && self.age() < until
    }

    fn put_out(&self, unreachable: bool) {
        let before = self.ejections.fetch_add(1, Ordering::Relaxed);
        let span = OUT * 2_u32.pow(before.min(DOUBLINGS));
        self.was_unreachable.store(unreachable, Ordering::Relaxed);
        let until = self
            .age()
            .saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        self.out_until.store(until, Ordering::Relaxed);
        // The first failure after its return puts it out again.
        self.strikes.store(STRIKES - 1, Ordering::Relaxed);
    }

    /// A check connected: what was out for lack of a connection need not wait any longer. Failed answers say more
    /// than a check, and their time runs to its end.
    fn let_in_again(&self) {
        if self.was_unreachable.swap(false, Ordering::Relaxed) {
            self.out_until.store(0, Ordering::Relaxed);
        }
    }

    /// Milliseconds of life.
    fn age(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    fn set(&self, state: u8) {
        if self.state.load(Ordering::Relaxed) != state {
            self.state.store(state, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connect_alone_does_not_undo_what_a_request_met() {
        let health = Health::new();
        let failed = || health.met(Met::Failure, || true);
        assert_eq!(health.is_up(), None);
        health.connected(true);
        assert_eq!(health.is_up(), Some(true));
        failed();
        health.connected(true);
        assert_eq!(health.is_up(), Some(false));
        health.met(Met::Answer, || true);
        assert_eq!(health.is_up(), Some(true));
        failed();
        tokio::time::advance(DOUBT).await;
        health.connected(true);
        assert_eq!(health.is_up(), Some(true));
        failed();
        health.checked(true);
        assert_eq!(health.is_up(), Some(true));
        health.connected(false);
        assert_eq!(health.is_up(), Some(false));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_put_an_endpoint_out_for_a_bounded_time() {
        let health = Health::new();
        let failed = || health.met(Met::Failure, || false);
        assert_eq!(health.condition(), Condition::Unknown);
        assert!(!failed() && !failed());
        health.met(Met::Answer, || false);
        assert!(!failed() && !failed(), "an answer in between begins anew");
        assert_eq!(health.condition(), Condition::Healthy);
        assert!(failed());
        assert_eq!(health.condition(), Condition::Ejected);
        health.connected(true);
        assert_eq!(
            health.condition(),
            Condition::Ejected,
            "a connect says little"
        );
        let mut span = OUT;
        for _ in 0..8 {
            tokio::time::advance(span.saturating_sub(Duration::from_millis(1))).await;
            assert_eq!(health.condition(), Condition::Ejected);
            assert!(!failed(), "it is out already");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert_eq!(health.condition(), Condition::Healthy);
            assert!(failed(), "one failure is enough now");
            span = (span * 2).min(OUT * 32);
        }
        tokio::time::advance(OUT * 32).await;
        health.met(Met::Answer, || false);
        assert!(!failed() && !failed() && failed());
        tokio::time::advance(OUT).await;
        assert_eq!(
            health.condition(),
            Condition::Healthy,
            "the first time again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_unreachable_returns_when_a_check_connects() {
        let health = Health::new();
        assert!(health.met(Met::NoConnection, || false));
        assert_eq!(health.condition(), Condition::Ejected);
        health.connected(false);
        assert_eq!(health.condition(), Condition::Unhealthy);
        health.connected(true);
        assert_eq!(health.condition(), Condition::Healthy);
        assert!(
            !Health::new().met(Met::NoConnection, || true),
            "nobody else is there"
        );
    }
}
