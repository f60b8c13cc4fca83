//! Which sessions count: in the store over all replicas, and in this process for what it has to know without asking.
//!
//! In the store there is one set for each person and one for each backend with a limit; a session stands in them by a
//! random name, until it was idle for the timeout. Its use is told to the store now and then, not with each request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::meters::Meters;
use super::sealed::SLOT;
use crate::clock::{Ambient, Timestamp};
use crate::store::{Key, Outcome, Store};

/// The name under which a session is counted.
pub(super) type Slot = [u8; SLOT];

/// Sessions that one process follows at most. Beyond it further ones work, and stop counting after the timeout.
const MAX_FOLLOWED: usize = 100_000;

/// What waits to be told to the store, at most. What has no room is told again with the next use, or expires.
const MAX_WAITING: usize = 4096;

/// Members of a set at most, whatever the limits say.
const MAX_COUNTED: u32 = 10_000;

/// Longest time between two words to the store about a session in use.
const TELL: Duration = Duration::from_secs(60);

/// How often idle sessions are looked for.
const SWEEP: Duration = Duration::from_secs(15);

/// Sessions in use, and their count in the store. Lasts as long as the process, whatever the configuration becomes.
pub struct Ledger {
    store: Arc<dyn Store>,
    ambient: Ambient,
    followed: Mutex<HashMap<Slot, Entry>>,
    orders: mpsc::Sender<Order>,
    waiting: Mutex<Option<mpsc::Receiver<Order>>>,
}

/// Where a session counts.
pub(super) struct Account {
    /// Its sets in the store.
    pub(super) sets: Box<[Set]>,
    /// How long it counts after its last use.
    pub(super) timeout: Duration,
    /// Of its backend.
    pub(super) meters: Meters,
}

/// The sessions that somebody has, by name in the store.
pub(super) struct Set {
    /// Whose they are.
    pub(super) of: Of,
    /// Where they stand.
    pub(super) key: Key,
    /// How many there may be.
    pub(super) limit: u32,
}

/// Whose sessions a limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// A person's, or an API key's.
    Person,
    /// A backend's.
    Backend,
}

struct Entry {
    account: Arc<Account>,
    used: Timestamp,
    told: Timestamp,
    /// Streams that are open in it: as long as there is one, it is in use.
    streams: u32,
}

enum Order {
    Count {
        slot: Slot,
        account: Arc<Account>,
        until: Timestamp,
    },
    Release {
        slot: Slot,
        account: Arc<Account>,
    },
}

impl Account {
    /// Until when a session counts that is used now. What is told late is not to count too short.
    fn until(&self, now: Timestamp) -> Timestamp {
        now.plus(self.timeout).plus(self.tell_every())
    }

    fn tell_every(&self) -> Duration {
        TELL.min(self.timeout / 4)
    }
}

impl Ledger {
    /// Counts in a store.
    pub fn new(store: Arc<dyn Store>, ambient: Ambient) -> Arc<Self> {
        let (orders, waiting) = mpsc::channel(MAX_WAITING);
        Arc::new(Self {
            store,
            ambient,
            followed: Mutex::new(HashMap::new()),
            orders,
            waiting: Mutex::new(Some(waiting)),
        })
    }

    /// Tells the store, and forgets what is idle, until cancelled. One task for the process.
    pub async fn run(self: Arc<Self>, until: CancellationToken) {
        let waiting = self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waiting) = waiting {
            tokio::select! {
                () = until.cancelled() => {}
                () = self.work(waiting) => {}
            }
        }
    }

    async fn work(&self, mut waiting: mpsc::Receiver<Order>) {
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(order) = waiting.recv() => self.carry_out(order).await,
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    /// The backend gave a new session. `counted`: the store knows it.
    pub(super) fn opened(&self, slot: Slot, account: Arc<Account>, counted: bool) {
        account.meters.opened.increment(1);
        let now = self.ambient.now();
        self.follow(slot, account, counted, now);
    }

    /// A session was used. `account` is asked for when this process meets it for the first time.
    pub(super) fn used(&self, slot: Slot, account: impl FnOnce() -> Arc<Account>) {
        let now = self.ambient.now();
        {
            let mut followed = self.lock();
            if let Some(entry) = followed.get_mut(&slot) {
                entry.used = now;
                self.tell_if_due(slot, entry, now);
                return;
            }
        }
        self.follow(slot, account(), false, now);
    }

    /// A session is over.
    pub(super) fn ended(&self, slot: Slot, account: impl FnOnce() -> Arc<Account>) {
        let entry = self.lock().remove(&slot);
        let account = match entry {
            Some(entry) => {
                entry.account.meters.active.decrement(1.0);
                entry.account
            }
            None => account(),
        };
        self.release(slot, account);
    }

    fn release(&self, slot: Slot, account: Arc<Account>) {
        if !account.sets.is_empty() {
            // Without room it expires by itself.
            let _ = self.orders.try_send(Order::Release { slot, account });
        }
    }

    /// Keeps a session in use as long as a stream in it is open; `None` when it is not followed.
    pub(super) fn stream(self: &Arc<Self>, slot: Slot) -> Option<InUse> {
        self.lock().get_mut(&slot)?.streams += 1;
        Some(InUse {
            ledger: Arc::clone(self),
            slot,
        })
    }

    fn follow(&self, slot: Slot, account: Arc<Account>, counted: bool, now: Timestamp) {
        let mut followed = self.lock();
        if followed.len() >= MAX_FOLLOWED {
            return;
        }
        let never = Timestamp::from_millis(0);
        let told = if counted { now } else { never };
        let entry = followed.entry(slot).or_insert_with(|| {
            account.meters.active.increment(1.0);
            Entry {
                account,
                used: now,
                told,
                streams: 0,
            }
        });
        self.tell_if_due(slot, entry, now);
    }

    fn tell_if_due(&self, slot: Slot, entry: &mut Entry, now: Timestamp) {
        let account = &entry.account;
        if account.sets.is_empty() || now.since(entry.told) < account.tell_every() {
            return;
        }
        let order = Order::Count {
            slot,
            account: Arc::clone(account),
            until: account.until(now),
        };
        if self.orders.try_send(order).is_ok() {
            entry.told = now;
        }
    }

    fn sweep(&self) {
        let now = self.ambient.now();
        self.lock().retain(|slot, entry| {
            if entry.streams > 0 {
                entry.used = now;
                self.tell_if_due(*slot, entry, now);
            }
            let idle = now.since(entry.used) >= entry.account.timeout;
            if idle {
                entry.account.meters.active.decrement(1.0);
            }
            !idle
        });
    }

    async fn carry_out(&self, order: Order) {
        match order {
            Order::Count {
                slot,
                account,
                until,
            } => {
                for set in &account.sets {
                    let name = name(slot);
                    let told = self
                        .store
                        .index_admit(&set.key, &name, until, MAX_COUNTED)
                        .await;
                    if let Err(error) = told {
                        tracing::debug!(%error, "The use of an MCP session was not told to the store.");
                    }
                }
            }
            Order::Release { slot, account } => {
                for set in &account.sets {
                    if let Err(error) = self.store.index_remove(&set.key, &name(slot)).await {
                        tracing::debug!(%error, "An MCP session that ended counts until it expires.");
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Slot, Entry>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ledger({} sessions)", self.lock().len())
    }
}

/// A place for a session that is about to begin. Dropped before it is kept, it is given back.
pub(super) struct Place {
    ledger: Arc<Ledger>,
    slot: Slot,
    account: Arc<Account>,
    /// The store did not answer for one of the sets.
    uncounted: bool,
    kept: AtomicBool,
}

impl Place {
    pub(super) fn new(ledger: Arc<Ledger>, slot: Slot, account: Arc<Account>) -> Self {
        Self {
            ledger,
            slot,
            account,
            uncounted: false,
            kept: AtomicBool::new(false),
        }
    }

    pub(super) fn sets(&self) -> &[Set] {
        &self.account.sets
    }

    pub(super) fn slot(&self) -> Slot {
        self.slot
    }

    /// Takes a place in a set, unless as many as may be are there. One atomic step over all replicas.
    pub(super) async fn take(&mut self, at: usize) -> Outcome<bool> {
        let (set, until) = (
            &self.account.sets[at],
            self.account.until(self.ledger.ambient.now()),
        );
        let name = name(self.slot);
        let taken = self
            .ledger
            .store
            .index_admit(&set.key, &name, until, set.limit)
            .await;
        self.uncounted |= taken.is_err();
        taken
    }

    /// The session began.
    pub(super) fn keep(&self) {
        if !self.kept.swap(true, Ordering::AcqRel) {
            self.ledger
                .opened(self.slot, Arc::clone(&self.account), !self.uncounted);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !*self.kept.get_mut() {
            self.ledger.release(self.slot, Arc::clone(&self.account));
        }
    }
}

/// A stream that is open in a session.
#[derive(Debug)]
pub struct InUse {
    ledger: Arc<Ledger>,
    slot: Slot,
}

impl Drop for InUse {
    fn drop(&mut self) {
        let now = self.ledger.ambient.now();
        if let Some(entry) = self.ledger.lock().get_mut(&self.slot) {
            entry.streams = entry.streams.saturating_sub(1);
            entry.used = now;
        }
    }
}

/// As it stands in the store.
fn name(slot: Slot) -> String {
    format!("{:016x}", u64::from_be_bytes(slot))
}

#[cfg(test)]
mod tests;
