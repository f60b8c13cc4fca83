//! A small bounded table of things that expire.

use std::collections::VecDeque;

use mcp_oidc_proxy::clock::Timestamp;

/// Entries kept at once; beyond it the oldest goes.
const CAPACITY: usize = 1000;

/// Things under secret names, each until its time.
pub(crate) struct Table<T>(VecDeque<(String, Timestamp, T)>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Clone> Table<T> {
    /// Keeps `value` until `expires`.
    pub(crate) fn put(&mut self, now: Timestamp, name: String, expires: Timestamp, value: T) {
        self.0.retain(|(_, expires, _)| *expires > now);
        if self.0.len() >= CAPACITY {
            self.0.pop_front();
        }
        self.0.push_back((name, expires, value));
    }

    /// A copy of what is kept under the name.
    pub(crate) fn get(&self, now: Timestamp, name: &str) -> Option<T> {
        self.0
            .iter()
            .find(|(key, expires, _)| key == name && *expires > now)
            .map(|(_, _, value)| value.clone())
    }

    /// Takes what is kept under the name: it is found once.
    pub(crate) fn take(&mut self, now: Timestamp, name: &str) -> Option<T> {
        let at = self.0.iter().position(|(key, _, _)| key == name)?;
        let (_, expires, value) = self.0.remove(at)?;
        (expires > now).then_some(value)
    }

    /// Forgets everything that `gone` holds true of.
    pub(crate) fn forget(&mut self, gone: impl Fn(&T) -> bool) {
        self.0.retain(|(_, _, value)| !gone(value));
    }
}
