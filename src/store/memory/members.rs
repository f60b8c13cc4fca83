//! One index set of the memory store.

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::store::MAX_MEMBERS;

/// Members with an expiry each; beyond [`MAX_MEMBERS`] the one that expires first goes.
#[derive(Default)]
pub(super) struct Members(HashMap<Box<str>, Timestamp>);

impl Members {
    pub(super) fn add(&mut self, member: &str, until: Timestamp, now: Timestamp) {
        self.0.insert(member.into(), until);
        if self.0.len() > MAX_MEMBERS {
            self.0.retain(|_, until| *until > now);
        }
        while self.0.len() > MAX_MEMBERS {
            let Some(first) = self
                .0
                .iter()
                .min_by_key(|(_, until)| **until)
                .map(|(member, _)| member.clone())
            else {
                return;
            };
            self.0.remove(&first);
        }
    }

    /// Adds a member or sets its end anew; `false` when `limit` other living ones are there.
    pub(super) fn admit(
        &mut self,
        member: &str,
        until: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> bool {
        self.0.retain(|_, until| *until > now);
        if self.0.len() >= limit && !self.0.contains_key(member) {
            return false;
        }
        self.0.insert(member.into(), until);
        true
    }

    pub(super) fn remove(&mut self, member: &str) {
        self.0.remove(member);
    }

    pub(super) fn living(&self, now: Timestamp) -> Vec<String> {
        self.0
            .iter()
            .filter(|(_, until)| **until > now)
            .map(|(member, _)| member.to_string())
            .collect()
    }

    /// When the last member expires, and the set with it.
    pub(super) fn ends(&self) -> Timestamp {
        self.0
            .values()
            .copied()
            .max()
            .unwrap_or(Timestamp::from_millis(0))
    }
}
