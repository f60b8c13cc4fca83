//! What was read from the store a moment ago, and may be used without asking again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;

use crate::clock::Timestamp;

/// Values by their id. Three things end an entry's use: its age, news about it, and a gap in the news.
pub(super) struct Seen<V> {
    entries: Cache<Arc<str>, Entry<V>>,
    /// Raised when something is forgotten, so that a read that was under way does not bring it back. Many ids share
    /// a slot; a collision costs one read more.
    epochs: Box<[AtomicU64]>,
    /// Raised when news may have been missed.
    generation: AtomicU64,
    fresh_for: Duration,
    grace: Duration,
}

struct Entry<V> {
    value: Arc<V>,
    read: Timestamp,
    generation: u64,
}

impl<V> Clone for Entry<V> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            ..*self
        }
    }
}

/// What was so before a read began.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    epoch: u64,
    generation: u64,
    at: Timestamp,
}

impl<V> Seen<V> {
    /// `fresh_for`: how long an entry serves without asking; `grace`: how long while the store cannot be asked.
    pub(super) fn new(bound: usize, fresh_for: Duration, grace: Duration) -> Self {
        Self {
            entries: Cache::new(bound),
            epochs: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            generation: AtomicU64::new(0),
            fresh_for,
            grace,
        }
    }

    /// The value, if it was read a moment ago and nothing was heard against it.
    pub(super) fn fresh(&self, id: &str, now: Timestamp) -> Option<Arc<V>> {
        let entry = self.entries.get(id)?;
        let fresh = now.since(entry.read) < self.fresh_for
            && entry.generation == self.generation.load(Ordering::Acquire);
        fresh.then_some(entry.value)
    }

    /// The value, if the last read is not too long ago to go on without the store.
    pub(super) fn in_outage(&self, id: &str, now: Timestamp) -> Option<Arc<V>> {
        let entry = self.entries.get(id)?;
        (now.since(entry.read) < self.grace).then_some(entry.value)
    }

    /// To be taken before a read.
    pub(super) fn mark(&self, id: &str, now: Timestamp) -> Mark {
        Mark {
            epoch: self.slot(id).load(Ordering::Acquire),
            generation: self.generation.load(Ordering::Acquire),
            at: now,
        }
    }

    /// Remembers what was read, unless it was forgotten since the mark.
    pub(super) fn remember(&self, id: &Arc<str>, value: &Arc<V>, mark: Mark) {
        let entry = Entry {
            value: Arc::clone(value),
            read: mark.at,
            generation: mark.generation,
        };
        self.entries.insert(Arc::clone(id), entry);
        // Looked at after the insertion: whoever forgets raises the epoch first and removes then, so one of the two
        // sees the other.
        if self.slot(id).load(Ordering::Acquire) != mark.epoch {
            self.entries.remove(id);
        }
    }

    /// Forgets one.
    pub(super) fn forget(&self, id: &str) {
        self.slot(id).fetch_add(1, Ordering::AcqRel);
        self.entries.remove(id);
    }

    /// Forgets everything, also for outages.
    pub(super) fn forget_all(&self) {
        for epoch in &self.epochs {
            epoch.fetch_add(1, Ordering::AcqRel);
        }
        self.entries.clear();
    }

    /// News may have been missed: everything is asked for again. The entries stay for an outage of the store.
    pub(super) fn distrust_all(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    fn slot(&self, id: &str) -> &AtomicU64 {
        // Ids are random hex digits: their end is as good as a hash.
        let at = id.bytes().rev().take(8).fold(0usize, |at, byte| {
            at.wrapping_mul(31).wrapping_add(usize::from(byte))
        });
        &self.epochs[at % SLOTS]
    }
}

const SLOTS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_serves_for_a_while_and_not_after_news() {
        let seen = Seen::new(10, Duration::from_secs(60), Duration::from_secs(90));
        let id: Arc<str> = "0123456789abcdef".into();
        let at = |secs: i64| Timestamp::from_millis(secs * 1000);
        seen.remember(&id, &Arc::new(1), seen.mark(&id, at(0)));
        assert_eq!(seen.fresh(&id, at(59)).as_deref(), Some(&1));
        assert!(seen.fresh(&id, at(60)).is_none());
        assert_eq!(seen.in_outage(&id, at(89)).as_deref(), Some(&1));
        assert!(seen.in_outage(&id, at(90)).is_none());

        seen.distrust_all();
        assert!(seen.fresh(&id, at(1)).is_none());
        assert!(seen.in_outage(&id, at(1)).is_some());
        seen.forget(&id);
        assert!(seen.in_outage(&id, at(1)).is_none());

        // Everything ends, also while it is read.
        let mark = seen.mark(&id, at(0));
        seen.remember(&id, &Arc::new(1), mark);
        seen.forget_all();
        assert!(seen.in_outage(&id, at(1)).is_none());
        seen.remember(&id, &Arc::new(1), mark);
        assert!(seen.in_outage(&id, at(1)).is_none());

        // News that come while it is read.
        let mark = seen.mark(&id, at(0));
        seen.forget(&id);
        seen.remember(&id, &Arc::new(2), mark);
        assert!(seen.fresh(&id, at(0)).is_none());
    }
}
