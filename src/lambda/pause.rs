//! Whether the process stood still between two invocations, and for how long.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Timestamp;

/// Others end idle connections after a few seconds at the earliest.
const LONG: Duration = Duration::from_secs(1);

/// A moment by all the clocks that there are. A virtual machine that stands still may take its own clocks with it; the
/// deadline of an invocation comes from outside and lies the same time after its beginning each time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// The machine's time of day.
    pub(super) wall: Timestamp,
    /// The machine's steady clock.
    pub(super) steady: Instant,
    /// The deadline of the invocation that began then.
    pub(super) deadline: Option<Timestamp>,
}

/// Looks at the clocks.
#[derive(Debug, Default)]
pub(super) struct Watchman {
    /// The beginning and the end of the last invocation.
    last: Option<(Moment, Moment)>,
}

impl Watchman {
    /// An invocation begins. Whether a long time has passed since the last one ended, by any clock; so it is when a
    /// clock ran backwards, and before the first one.
    pub(super) fn began(&self, now: &Moment) -> bool {
        let Some((began, ended)) = &self.last else {
            return true;
        };
        if now.wall < ended.wall {
            return true;
        }
        let outside = match (began.deadline, now.deadline) {
            (Some(before), Some(after)) => after
                .since(before)
                .saturating_sub(ended.steady.saturating_duration_since(began.steady)),
            _ => Duration::ZERO,
        };
        let wall = now.wall.since(ended.wall);
        let steady = now.steady.saturating_duration_since(ended.steady);
        wall.max(steady).max(outside) > LONG
    }

    /// It has ended.
    pub(super) fn ended(&mut self, began: Moment, ended: Moment) {
        self.last = Some((began, ended));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(start: Instant, wall: i64, steady: u64, deadline: i64) -> Moment {
        Moment {
            wall: Timestamp::from_millis(1_000_000 + wall),
            steady: start + Duration::from_millis(steady),
            deadline: Some(Timestamp::from_millis(1_030_000 + deadline)),
        }
    }

    #[test]
    fn any_clock_that_went_on_shows_a_pause() {
        let start = Instant::now();
        let at = |wall, steady, deadline| moment(start, wall, steady, deadline);
        let mut watchman = Watchman::default();
        assert!(watchman.began(&at(0, 0, 0)), "there was none before");
        // It took half a second.
        watchman.ended(at(0, 0, 0), at(500, 500, 0));
        for (now, long) in [
            (at(700, 700, 700), false),
            (at(1500, 1500, 1500), false),
            (at(1501, 1501, 1501), true),
            (at(60_000, 700, 700), true),
            (at(700, 60_000, 700), true),
            // Both clocks of the machine stood still.
            (at(700, 700, 60_000), true),
            (at(400, 700, 700), true),
        ] {
            assert_eq!(watchman.began(&now), long, "{now:?}");
        }
    }
}
