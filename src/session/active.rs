//! The sessions that this process knows to be living, counted without asking a shared store.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ticket::LoginId;
use crate::clock::Timestamp;

/// Ends of sessions by login; at most `bound` of them, beyond which the count stays too low.
pub(super) struct Active {
    ends: Mutex<HashMap<LoginId, Timestamp>>,
    bound: usize,
}

impl Active {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            ends: Mutex::new(HashMap::new()),
            bound,
        }
    }

    pub(super) fn note(&self, login: LoginId, ends: Timestamp) {
        let mut known = self.lock();
        if known.len() < self.bound || known.contains_key(&login) {
            known.insert(login, ends);
        }
    }

    pub(super) fn remove(&self, login: LoginId) {
        self.lock().remove(&login);
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// Their number; those that have ended by themselves count until the next [`Self::sweep`].
    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.lock().len()).unwrap_or(u64::MAX)
    }

    /// Drops those that have ended.
    pub(super) fn sweep(&self, now: Timestamp) {
        self.lock().retain(|_, ends| *ends > now);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LoginId, Timestamp>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
