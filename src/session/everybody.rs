//! Ending everything of everybody at once, for an emergency.
//!
//! One mark says until when sessions, logins and grants were made that do not count any more. Nothing is listed or
//! removed: each replica keeps the mark in memory, and looks at it whenever it reads a record. It reads the mark again
//! each minute, whenever it is told or may have missed something; where it cannot, nobody knows, and nothing counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::ticket::hex;
use super::{Inner, Sessions};
use crate::clock::Timestamp;
use crate::keys::{KeyRing, Purpose};
use crate::store::{Key, Space, Unavailable, records};

/// What was made until this moment does not count.
#[derive(Serialize, Deserialize)]
struct Mark {
    until: Timestamp,
}

/// Why not everything was ended at once.
#[derive(Debug, thiserror::Error)]
pub enum NotEnded {
    /// The mark was not written for certain.
    #[error(
        "The mark that ends everything was not written for certain: {0}. Nothing may have ended. Do it again."
    )]
    Mark(Unavailable),
    /// The mark is there, but the other replicas do not know of it yet.
    #[error(
        "The mark that ends everything is written, but the replicas could not be told: {0}. They find it within a \
         minute; what they hold open goes on until then. Do it again until this succeeds, or restart them."
    )]
    Told(Unavailable),
}

/// The mark, as far as this process knows.
pub(super) struct Cutoff {
    /// Its names under all roots: a replica whose key ring is about to change looks under another first one.
    pub(super) keys: Box<[Key]>,
    known: Mutex<Known>,
    /// Raised when what is known has to be read again.
    generation: AtomicU64,
}

#[derive(Default)]
struct Known {
    until: Option<Timestamp>,
    /// When it was read, and the generation of before.
    read: Option<(Timestamp, u64)>,
}

impl Cutoff {
    pub(super) fn new(keys: &KeyRing) -> Self {
        Self {
            keys: keys
                .macs(Purpose::Index, b"revoked everything")
                .map(|mac| Key::new(Space::Revoked, hex(&mac)))
                .collect(),
            known: Mutex::default(),
            generation: AtomicU64::new(0),
        }
    }

    /// It has to be read again before anything counts.
    pub(super) fn distrust(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The mark, if it was read within `valid`, and nothing was heard since; `Some(None)`: there is none.
    #[expect(
        clippy::option_option,
        reason = "not known, none and one are three answers"
    )]
    fn fresh(&self, now: Timestamp, valid: Duration) -> Option<Option<Timestamp>> {
        let known = self.lock();
        let (read, generation) = known.read?;
        (now.since(read) < valid && generation == self.generation()).then_some(known.until)
    }

    /// Takes over what was read at `read`; gives the latest mark that was ever seen.
    fn learn(
        &self,
        until: Option<Timestamp>,
        read: Timestamp,
        generation: u64,
    ) -> Option<Timestamp> {
        let mut known = self.lock();
        known.until = known.until.max(until);
        known.read = Some((read, generation));
        known.until
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    /// Ends every session, login and grant of everybody on every replica, and gives the moment until which they were
    /// made: ten seconds from now, so that what a replica makes before it hears of it ends too. A login that is under
    /// way ends as well. Credentials of other issuers and API keys are not ours to end.
    ///
    /// # Errors
    /// See [`NotEnded`].
    pub async fn end_everything(&self) -> Result<Timestamp, NotEnded> {
        let inner = &*self.0;
        let until = inner.mark_everything().await.map_err(NotEnded::Mark)?;
        inner
            .revocations
            .tell_all_ended()
            .await
            .map_err(NotEnded::Told)?;
        inner.count_active().await;
        Ok(until)
    }

    /// Whether what was made at a moment was ended with everything else.
    ///
    /// # Errors
    /// The mark has to be read, and the store is away.
    pub async fn is_cut_off(&self, made: Timestamp) -> Result<bool, Unavailable> {
        self.0.is_cut_off(made).await
    }
}

impl Inner {
    /// See [`Sessions::is_cut_off`].
    pub(super) async fn is_cut_off(&self, made: Timestamp) -> Result<bool, Unavailable> {
        let until = self.cut_off_until().await?;
        Ok(until.is_some_and(|until| made <= until))
    }

    async fn cut_off_until(&self) -> Result<Option<Timestamp>, Unavailable> {
        let now = self.ambient.now();
        let valid = if self.revocations.is_trusted(now) {
            VALID
        } else {
            VALID_UNHEARD
        };
        if let Some(until) = self.cutoff.fresh(now, valid) {
            return Ok(until);
        }
        // Before the reading: what is told meanwhile makes it count no more.
        let generation = self.cutoff.generation();
        let until = self.read_mark().await?;
        Ok(self.cutoff.learn(until, now, generation))
    }

    async fn read_mark(&self) -> Result<Option<Timestamp>, Unavailable> {
        let keys = &self.cutoff.keys;
        let found = try_join_all(keys.iter().map(|key| self.store.get(key))).await?;
        let mut until = None;
        for (key, stored) in keys.iter().zip(found) {
            let Some(stored) = stored else { continue };
            let mark: Option<Mark> = records::open(&self.logins, key, &stored);
            // Not "there is none": whoever has the newer keys has ended everything.
            let mark = mark.ok_or_else(|| {
                Unavailable(
                    "everything was ended by a replica with other secret_keys; give all replicas the same ones"
                        .into(),
                )
            })?;
            until = until.max(Some(mark.until));
        }
        Ok(until)
    }

    async fn mark_everything(&self) -> Result<Timestamp, Unavailable> {
        let now = self.ambient.now();
        let until = now.plus(MARGIN);
        let generation = self.cutoff.generation();
        // One that another clock set later stays.
        let before = self.read_mark().await?;
        let until = before.map_or(until, |before| before.max(until));
        let mark = Mark { until };
        let keys = &self.cutoff.keys;
        try_join_all(keys.iter().map(|key| {
            let blob = records::seal(&self.logins, key, &mark);
            self.store.put(key, blob, LIFE)
        }))
        .await?;
        self.cutoff.learn(Some(until), now, generation);
        Ok(until)
    }
}

/// How far ahead of now the mark is. A replica that stopped hearing believes itself for 3 s, and reads the mark each
/// second afterwards; the rest is for clocks that differ.
pub(super) const MARGIN: Duration = Duration::from_secs(10);
/// How long the mark that was read counts while news are heard.
pub(super) const VALID: Duration = Duration::from_secs(60);
/// The same while they are not.
pub(super) const VALID_UNHEARD: Duration = Duration::from_secs(1);
/// Every key in the store has a time to live; this is longer than any grant's.
const LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
