//! Sessions that were just seen: what a request may use without asking the store.
//!
//! Keyed by login, recognised by the digest of the ticket. Three things end an entry's use: its age, an event that
//! names its login, and a gap in the events, after which nobody knows what was missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;

use super::Session;
use super::record::Opened;
use super::ticket::{LoginId, Ticket};
use crate::clock::Timestamp;
use crate::secret::Digest;

pub(super) struct Seen {
    entries: Cache<LoginId, Entry>,
    /// Raised when a login is forgotten, so that a read that was under way does not bring it back. Several
    /// logins share a slot; a collision costs one read more.
    epochs: Box<[AtomicU64]>,
    /// Raised when events may have been missed.
    generation: AtomicU64,
    fresh_for: Duration,
    grace: Duration,
}

#[derive(Clone)]
struct Entry {
    digest: Digest,
    session: Arc<Session>,
    opened: Arc<Opened>,
    read: Timestamp,
    generation: u64,
    serves: bool,
}

/// What was so before a read began.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    epoch: u64,
    generation: u64,
    serves: bool,
}

impl Mark {
    /// What is remembered with it serves no request while the store can be asked.
    pub(super) fn for_outages_only(self) -> Self {
        Self {
            serves: false,
            ..self
        }
    }
}

impl Seen {
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

    /// The session, if it was read a moment ago and nothing was heard against it.
    pub(super) fn fresh(&self, ticket: &Ticket, now: Timestamp) -> Option<Arc<Session>> {
        let entry = self.living(ticket, now)?;
        let fresh = entry.serves
            && now.since(entry.read) < self.fresh_for
            && entry.generation == self.generation.load(Ordering::Acquire);
        fresh.then_some(entry.session)
    }

    /// The session, if the last read is not too long ago to go on without the store.
    pub(super) fn in_outage(&self, ticket: &Ticket, now: Timestamp) -> Option<Arc<Session>> {
        let entry = self.living(ticket, now)?;
        (now.since(entry.read) < self.grace).then_some(entry.session)
    }

    /// What was opened when the ticket was last read, whenever that was: of use only with blobs that were read just
    /// now and are the same.
    pub(super) fn opened(&self, ticket: &Ticket) -> Option<Arc<Opened>> {
        let entry = self.entries.get(&ticket.login())?;
        (entry.digest == ticket.digest()).then_some(entry.opened)
    }

    pub(super) fn mark(&self, login: LoginId) -> Mark {
        Mark {
            epoch: self.epochs[login.slot(SLOTS)].load(Ordering::Acquire),
            generation: self.generation.load(Ordering::Acquire),
            serves: true,
        }
    }

    /// Remembers what was read, unless its login was forgotten since the mark.
    pub(super) fn remember(
        &self,
        ticket: &Ticket,
        session: &Arc<Session>,
        opened: Arc<Opened>,
        read: Timestamp,
        mark: Mark,
    ) {
        let login = ticket.login();
        let entry = Entry {
            digest: ticket.digest(),
            session: Arc::clone(session),
            opened,
            read,
            generation: mark.generation,
            serves: mark.serves,
        };
        self.entries.insert(login, entry);
        // Looked at after the insertion: whoever forgets raises the epoch first and removes then, so one of
        // the two sees the other.
        if self.epochs[login.slot(SLOTS)].load(Ordering::Acquire) != mark.epoch {
            self.entries.remove(&login);
        }
    }

    pub(super) fn forget(&self, login: LoginId) {
        self.epochs[login.slot(SLOTS)].fetch_add(1, Ordering::AcqRel);
        self.entries.remove(&login);
    }

    /// Forgets everything, also for outages.
    pub(super) fn forget_all(&self) {
        for epoch in &self.epochs {
            epoch.fetch_add(1, Ordering::AcqRel);
        }
        self.entries.clear();
    }

    /// Events may have been missed: everything is asked for again. The entries stay for an outage of the store.
    pub(super) fn distrust_all(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Drops what is of no use any more.
    pub(super) fn sweep(&self, now: Timestamp) {
        let useful = self.grace.max(self.fresh_for);
        self.entries
            .retain(|_, entry| now.since(entry.read) < useful);
    }

    fn living(&self, ticket: &Ticket, now: Timestamp) -> Option<Entry> {
        let entry = self.entries.get(&ticket.login())?;
        let ours = entry.digest == ticket.digest();
        (ours && now < entry.session.idle_end && now < entry.session.absolute_end).then_some(entry)
    }
}

const SLOTS: usize = 1024;
