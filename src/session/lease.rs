//! One owner at a time for a piece of work, across replicas (the refresh of a login).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::MissedTickBehavior;

use crate::clock::Ambient;
use crate::store::{Key, Replaced, Space, Store, Unavailable};

/// Gives out leases.
#[derive(Clone)]
pub struct Leases {
    store: Arc<dyn Store>,
    ambient: Ambient,
    term: Duration,
}

impl Leases {
    /// The record that stands for the lease of a name.
    pub(super) fn key(name: &str) -> Key {
        Key::new(Space::Lease, name)
    }

    /// Over a store. A lease ends after `term` unless its owner prolongs it, so work of an owner that died can
    /// be taken up after that time.
    pub fn new(store: Arc<dyn Store>, ambient: Ambient, term: Duration) -> Self {
        Self {
            store,
            ambient,
            term,
        }
    }

    /// Takes the lease of a name (hex or base64url, made by us); `None` while somebody else has it.
    pub async fn acquire(&self, name: &str) -> Result<Option<Lease>, Unavailable> {
        let key = Self::key(name);
        let token = Bytes::copy_from_slice(&self.ambient.random::<16>());
        if !self.store.put_new(&key, token.clone(), self.term).await? {
            return Ok(None);
        }
        let ours = self
            .store
            .get(&key)
            .await?
            .filter(|stored| stored.blob == token);
        Ok(ours.map(|stored| Lease {
            store: Arc::clone(&self.store),
            key,
            token,
            revision: stored.revision,
            term: self.term,
            held: true,
        }))
    }
}

/// Held by one owner. Give it back with [`Self::release`]; one that is dropped ends by its term.
#[must_use]
pub struct Lease {
    store: Arc<dyn Store>,
    key: Key,
    token: Bytes,
    revision: u64,
    term: Duration,
    held: bool,
}

impl Lease {
    /// Prolongs the lease by its term; `false` when it was lost, after which the work must not be finished.
    pub async fn renew(&mut self) -> Result<bool, Unavailable> {
        if self.held {
            let replaced = self
                .store
                .replace_if(&self.key, self.revision, self.token.clone(), self.term)
                .await?;
            match replaced {
                Replaced::Done(revision) => self.revision = revision,
                Replaced::Changed | Replaced::Absent => self.held = false,
            }
        }
        Ok(self.held)
    }

    /// Does the work and prolongs the lease meanwhile. The work is not cut short when the lease is lost (a
    /// refresh that is under way has spent its refresh token); the caller asks [`Self::held`] or writes
    /// its result with a revision.
    pub async fn keep<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut due = tokio::time::interval(self.term / 3);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        due.reset();
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = due.tick() => {}
            }
            tokio::select! {
                done = &mut work => return done,
                renewed = self.renew() => {
                    if let Err(error) = renewed {
                        tracing::debug!(%error, "A lease was not prolonged; it is tried again.");
                    }
                }
            }
        }
    }

    /// Whether the lease was ours when that was last looked at.
    pub fn held(&self) -> bool {
        self.held
    }

    /// Gives the lease back. A store that is away gives it back by its term.
    pub async fn release(self) {
        if let Err(error) = self.store.remove_if(&self.key, self.revision).await {
            tracing::debug!(%error, "A lease was not given back; it ends by itself.");
        }
    }
}
