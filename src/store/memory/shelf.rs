//! One bounded space of the memory store.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::clock::Timestamp;

/// Entries with an expiry each, at most `bound` of them. All operations take logarithmic time.
pub(super) struct Shelf<T> {
    entries: HashMap<Arc<str>, Entry<T>>,
    by_use: BTreeSet<(u64, Arc<str>)>,
    by_expiry: BTreeSet<(Timestamp, Arc<str>)>,
    uses: u64,
    bound: usize,
}

struct Entry<T> {
    value: T,
    expires: Timestamp,
    used: u64,
}

impl<T> Shelf<T> {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            entries: HashMap::new(),
            by_use: BTreeSet::new(),
            by_expiry: BTreeSet::new(),
            uses: 0,
            bound,
        }
    }

    /// The living entry of an id, which counts as a use of it.
    pub(super) fn get(&mut self, id: &Arc<str>, now: Timestamp) -> Option<&T> {
        if self.entries.get(id)?.expires <= now {
            self.forget(id);
            return None;
        }
        self.uses += 1;
        let uses = self.uses;
        let entry = self.entries.get_mut(id)?;
        if let Some((_, id)) = self.by_use.take(&(entry.used, Arc::clone(id))) {
            self.by_use.insert((uses, id));
        }
        entry.used = uses;
        Some(&entry.value)
    }

    /// Puts an entry in place of what the id named before; makes room for it first.
    pub(super) fn insert(&mut self, id: &Arc<str>, value: T, expires: Timestamp, now: Timestamp) {
        self.forget(id);
        if self.entries.len() >= self.bound {
            self.drop_expired(now);
        }
        while self.entries.len() >= self.bound {
            let Some((_, oldest)) = self.by_use.first().cloned() else {
                break;
            };
            self.forget(&oldest);
        }
        self.uses += 1;
        self.by_use.insert((self.uses, Arc::clone(id)));
        self.by_expiry.insert((expires, Arc::clone(id)));
        self.entries.insert(
            Arc::clone(id),
            Entry {
                value,
                expires,
                used: self.uses,
            },
        );
    }

    /// Removes an entry and gives it if it was living.
    pub(super) fn remove(&mut self, id: &Arc<str>, now: Timestamp) -> Option<T> {
        self.forget(id)
            .filter(|entry| entry.expires > now)
            .map(|entry| entry.value)
    }

    /// Gives a living entry another expiry.
    pub(super) fn expire(&mut self, id: &Arc<str>, expires: Timestamp, now: Timestamp) -> bool {
        if self.get(id, now).is_none() {
            return false;
        }
        let Some(entry) = self.entries.get_mut(id) else {
            return false;
        };
        self.by_expiry.remove(&(entry.expires, Arc::clone(id)));
        self.by_expiry.insert((expires, Arc::clone(id)));
        entry.expires = expires;
        true
    }

    /// The number of living entries.
    pub(super) fn len(&mut self, now: Timestamp) -> usize {
        self.drop_expired(now);
        self.entries.len()
    }

    fn drop_expired(&mut self, now: Timestamp) {
        while let Some((expires, id)) = self.by_expiry.first().cloned() {
            if expires > now {
                return;
            }
            self.forget(&id);
        }
    }

    fn forget(&mut self, id: &Arc<str>) -> Option<Entry<T>> {
        let entry = self.entries.remove(id)?;
        self.by_use.remove(&(entry.used, Arc::clone(id)));
        self.by_expiry.remove(&(entry.expires, Arc::clone(id)));
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Get(u8),
        Insert(u8, i64),
        Remove(u8),
        Expire(u8, i64),
        Wait(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..12u8).prop_map(Step::Get),
            (0..12u8, 1..50i64).prop_map(|(id, ttl)| Step::Insert(id, ttl)),
            (0..12u8).prop_map(Step::Remove),
            (0..12u8, 1..50i64).prop_map(|(id, ttl)| Step::Expire(id, ttl)),
            (1..20i64).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn the_three_views_agree_and_the_bound_holds(steps in prop::collection::vec(step(), 0..200)) {
            let mut shelf = Shelf::new(5);
            let mut now = 0;
            for step in steps {
                let at = Timestamp::from_secs(now);
                let id = |id: u8| Arc::<str>::from(id.to_string());
                match step {
                    Step::Get(n) => {
                        if let Some(value) = shelf.get(&id(n), at) {
                            prop_assert_eq!(*value, n);
                        }
                    }
                    Step::Insert(n, ttl) => {
                        shelf.insert(&id(n), n, Timestamp::from_secs(now + ttl), at);
                        prop_assert_eq!(shelf.get(&id(n), at), Some(&n));
                    }
                    Step::Remove(n) => {
                        shelf.remove(&id(n), at);
                        prop_assert_eq!(shelf.get(&id(n), at), None);
                    }
                    Step::Expire(n, ttl) => {
                        shelf.expire(&id(n), Timestamp::from_secs(now + ttl), at);
                    }
                    Step::Wait(secs) => now += secs,
                }
                prop_assert!(shelf.entries.len() <= 5);
                prop_assert_eq!(shelf.entries.len(), shelf.by_use.len());
                prop_assert_eq!(shelf.entries.len(), shelf.by_expiry.len());
            }
            now += 1_000;
            prop_assert_eq!(shelf.len(Timestamp::from_secs(now)), 0);
        }
    }
}
