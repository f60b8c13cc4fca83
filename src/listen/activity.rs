//! What a connection is busy with, and until when it may be.
//!
//! hyper's own header timeout also runs while a connection waits for its next request, so one figure would
//! have to serve for both. This keeps them apart with one timer a connection, armed only while no request is
//! under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Shared by a connection's socket, its requests and its timer. Times are milliseconds since it was accepted.
#[derive(Debug)]
pub(super) struct Activity {
    base: Instant,
    multiplexed: bool,
    requests: AtomicU32,
    reading_head: AtomicBool,
    since: AtomicU64,
    /// When a write first found the socket full, plus one; 0 while writes go through.
    stalled: AtomicU64,
}

/// What a connection has run out of time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// For the end of a request's head.
    Head,
    /// For the next request.
    Next,
    /// For the client to read.
    Write,
}

impl Activity {
    /// Of a fresh connection. The head of an HTTP/1 connection's first request is due at once: whoever connects
    /// and says nothing gets no more time than whoever speaks slowly.
    pub(super) fn new(base: Instant, multiplexed: bool) -> Arc<Self> {
        Arc::new(Self {
            base,
            multiplexed,
            requests: AtomicU32::new(0),
            reading_head: AtomicBool::new(!multiplexed),
            since: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
        })
    }

    /// A request's head is there; the request lasts until the guard is dropped.
    pub(super) fn request(self: &Arc<Self>) -> InRequest {
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.reading_head.store(false, Ordering::Release);
        InRequest(Arc::clone(self))
    }

    /// Bytes came in.
    pub(super) fn received(&self) {
        if !self.multiplexed && self.is_idle() && !self.reading_head.load(Ordering::Acquire) {
            self.since.store(self.elapsed(), Ordering::Release);
            self.reading_head.store(true, Ordering::Release);
        }
    }

    /// Bytes went out.
    pub(super) fn sent(&self) {
        self.stalled.store(0, Ordering::Release);
        if self.is_idle() && !self.reading_head.load(Ordering::Acquire) {
            self.since.store(self.elapsed(), Ordering::Release);
        }
    }

    /// The socket takes no more.
    pub(super) fn write_blocked(&self) {
        if self.stalled.load(Ordering::Acquire) == 0 {
            self.stalled.store(self.elapsed() + 1, Ordering::Release);
        }
    }

    /// Until when the present state may last; `None` while requests are under way and the client reads.
    pub(super) fn deadline(&self, head: Duration, idle: Duration) -> Option<(Instant, Waiting)> {
        let stalled = self.stalled.load(Ordering::Acquire);
        if stalled > 0 {
            return Some((self.at(stalled - 1) + idle, Waiting::Write));
        }
        if !self.is_idle() {
            return None;
        }
        let since = self.at(self.since.load(Ordering::Acquire));
        Some(if self.reading_head.load(Ordering::Acquire) {
            (since + head, Waiting::Head)
        } else {
            (since + idle, Waiting::Next)
        })
    }

    /// Whether the head of a request is waited for: of the first one, or of one that has begun.
    pub(super) fn is_reading_head(&self) -> bool {
        self.is_idle() && self.reading_head.load(Ordering::Acquire)
    }

    fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Acquire) == 0
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }

    fn at(&self, millis: u64) -> Instant {
        self.base + Duration::from_millis(millis)
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct InRequest(Arc<Activity>);

impl Drop for InRequest {
    fn drop(&mut self) {
        self.0.since.store(self.0.elapsed(), Ordering::Release);
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(15);
    const IDLE: Duration = Duration::from_secs(120);

    #[tokio::test(start_paused = true)]
    async fn heads_and_pauses_have_their_own_time() {
        let start = Instant::now();
        let activity = Activity::new(start, false);
        let due = || activity.deadline(HEAD, IDLE);
        assert_eq!(
            due(),
            Some((start + HEAD, Waiting::Head)),
            "the first head is due at once"
        );

        tokio::time::advance(Duration::from_secs(1)).await;
        activity.received();
        assert_eq!(
            due(),
            Some((start + HEAD, Waiting::Head)),
            "bytes do not prolong it"
        );

        let request = activity.request();
        assert_eq!(due(), None);
        tokio::time::advance(Duration::from_secs(500)).await;
        drop(request);
        let ended = Instant::now();
        assert_eq!(due(), Some((ended + IDLE, Waiting::Next)));

        tokio::time::advance(Duration::from_secs(10)).await;
        activity.received();
        assert_eq!(due(), Some((Instant::now() + HEAD, Waiting::Head)));
    }

    #[tokio::test(start_paused = true)]
    async fn pings_of_http2_are_no_heads() {
        let start = Instant::now();
        let activity = Activity::new(start, true);
        tokio::time::advance(Duration::from_secs(1)).await;
        activity.received();
        assert_eq!(
            activity.deadline(HEAD, IDLE),
            Some((start + IDLE, Waiting::Next))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_runs_out_of_time() {
        let start = Instant::now();
        let activity = Activity::new(start, false);
        let _request = activity.request();
        activity.write_blocked();
        tokio::time::advance(Duration::from_secs(1)).await;
        activity.write_blocked();
        assert_eq!(
            activity.deadline(HEAD, IDLE),
            Some((start + IDLE, Waiting::Write))
        );
        activity.sent();
        assert_eq!(activity.deadline(HEAD, IDLE), None);
    }
}
