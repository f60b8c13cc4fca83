//! The cap on connections, and the guard that counts one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A number of places that can be changed while places are taken.
#[derive(Debug)]
pub(super) struct Permits {
    semaphore: Arc<Semaphore>,
    /// Places that were abolished while they were taken: the next ones to come free are not given out again.
    owed: AtomicUsize,
    size: AtomicUsize,
}

impl Permits {
    pub(super) fn new(size: usize) -> Arc<Self> {
        Arc::new(Self {
            semaphore: Arc::new(Semaphore::new(size.min(Semaphore::MAX_PERMITS))),
            owed: AtomicUsize::new(0),
            size: AtomicUsize::new(size),
        })
    }

    /// Waits for a place.
    pub(super) async fn acquire(self: &Arc<Self>) -> Option<Permit> {
        let permit = Arc::clone(&self.semaphore).acquire_owned().await.ok()?;
        Some(Permit {
            permit: Some(permit),
            of: Arc::clone(self),
        })
    }

    /// Changes the number of places.
    pub(super) fn resize(&self, size: usize) {
        let before = self.size.swap(size, Ordering::AcqRel);
        if size > before {
            let mut more = size - before;
            while more > 0 && self.pay() {
                more -= 1;
            }
            self.semaphore.add_permits(more);
        } else {
            let fewer = before - size;
            let gone = self.semaphore.forget_permits(fewer);
            self.owed.fetch_add(fewer - gone, Ordering::AcqRel);
        }
    }

    fn pay(&self) -> bool {
        self.owed
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |owed| {
                owed.checked_sub(1)
            })
            .is_ok()
    }
}

/// One place.
#[derive(Debug)]
pub(super) struct Permit {
    permit: Option<OwnedSemaphorePermit>,
    of: Arc<Permits>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.of.pay()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

/// An open connection: its place, its count, and its mark for those who wait for the last one to end.
#[derive(Debug)]
pub(super) struct Guard {
    open: OpenGauge,
    _permit: Permit,
    _token: TaskTrackerToken,
}

struct OpenGauge(Gauge);

impl std::fmt::Debug for OpenGauge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenGauge")
    }
}

impl Guard {
    pub(super) fn new(open: Gauge, permit: Permit, token: TaskTrackerToken) -> Self {
        open.increment(1.0);
        Self {
            open: OpenGauge(open),
            _permit: permit,
            _token: token,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.open.0.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_can_be_abolished_while_they_are_taken() {
        let permits = Permits::new(3);
        let (a, b) = (permits.acquire().await, permits.acquire().await);
        permits.resize(1);
        assert_eq!(permits.semaphore.available_permits(), 0);
        drop(a);
        assert_eq!(
            permits.semaphore.available_permits(),
            0,
            "one place is taken, one exists"
        );
        drop(b);
        assert_eq!(permits.semaphore.available_permits(), 1);

        let _c = permits.acquire().await;
        permits.resize(0);
        permits.resize(2);
        assert_eq!(permits.semaphore.available_permits(), 1);
    }
}
