//! A timer that is re-armed seldom: reading the clock is cheap, moving a timer is not.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Fires when nothing happened for a while. What happens is noted with [`IdleTimer::touch`]; the timer itself is
/// moved only when it fires early, and does not exist before the first wait.
pub(crate) struct IdleTimer {
    after: Duration,
    last: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl IdleTimer {
    /// Fires `after` the last touch; begins now.
    pub(crate) fn new(after: Duration) -> Self {
        Self {
            after,
            last: Instant::now(),
            sleep: None,
        }
    }

    /// Notes that something happened.
    pub(crate) fn touch(&mut self) {
        self.last = Instant::now();
    }

    /// Ready when the time is over. To be polled while there is nothing else to do.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let due = self.last + self.after;
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}
