//! The store in this process: bounded, expiring, gone when the process ends.
//!
//! Each space is a shelf with a bound of its own, so a flood of login flows cannot push out a session. A shelf
//! that is full gives up what has expired first, then what was not used for the longest time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use self::members::Members;
use self::shelf::Shelf;
use super::{Key, Outcome, Replaced, Space, Store, Stored, Unavailable, first_revision};
use crate::clock::{Ambient, Timestamp};
use crate::config::session::Sessions;

mod members;
mod shelf;

/// Records in the memory of this process.
pub struct MemoryStore {
    shelves: [Mutex<Shelf<Stored>>; 9],
    indexes: Mutex<Shelf<Members>>,
    /// Apart, so that a flood of MCP sessions does not push out what a login is found by.
    mcp_sessions: Mutex<Shelf<Members>>,
    channels: Mutex<HashMap<Box<str>, broadcast::Sender<String>>>,
    ambient: Ambient,
}

impl MemoryStore {
    /// An empty store with the bounds of the configuration: sessions and logins by `max_sessions`, login flows
    /// by `max_logins`.
    pub fn new(config: &Sessions, ambient: Ambient) -> Self {
        let sessions = usize::try_from(config.max_sessions)
            .unwrap_or(usize::MAX)
            .max(1);
        let flows = usize::try_from(config.max_logins)
            .unwrap_or(usize::MAX)
            .max(1);
        let shelf = |bound| Mutex::new(Shelf::new(bound));
        Self {
            shelves: [
                shelf(sessions),
                shelf(sessions),
                shelf(flows),
                shelf(MAX_LEASES),
                shelf(MAX_INSTALL),
                shelf(sessions),
                shelf(sessions),
                shelf(MAX_REPLAY),
                shelf(sessions),
            ],
            // One index for the subject and one for the provider's session of each login.
            indexes: Mutex::new(Shelf::new(sessions.saturating_mul(4))),
            mcp_sessions: Mutex::new(Shelf::new(sessions)),
            channels: Mutex::new(HashMap::new()),
            ambient,
        }
    }

    fn shelf(&self, space: Space) -> Outcome<MutexGuard<'_, Shelf<Stored>>> {
        let at = match space {
            Space::Session => 0,
            Space::Login => 1,
            Space::Flow => 2,
            Space::Lease => 3,
            Space::Install => 4,
            Space::Grant => 5,
            Space::Consent => 6,
            Space::Replay => 7,
            Space::Revoked => 8,
            Space::Index | Space::McpSession => {
                return Err(Unavailable("an index holds members, not a record".into()));
            }
        };
        Ok(lock(&self.shelves[at]))
    }

    fn put_now(&self, key: &Key, blob: Bytes, ttl: Duration) -> Outcome<u64> {
        let now = self.ambient.now();
        let mut records = self.shelf(key.space)?;
        let revision = records.get(&key.id, now).map_or_else(
            || first_revision(&self.ambient),
            |stored| stored.revision + 1,
        );
        records.insert(&key.id, Stored { revision, blob }, now.plus(ttl), now);
        Ok(revision)
    }

    fn put_new_now(&self, key: &Key, blob: Bytes, ttl: Duration) -> Outcome<bool> {
        let now = self.ambient.now();
        let mut records = self.shelf(key.space)?;
        if records.get(&key.id, now).is_some() {
            return Ok(false);
        }
        records.insert(
            &key.id,
            Stored {
                revision: first_revision(&self.ambient),
                blob,
            },
            now.plus(ttl),
            now,
        );
        Ok(true)
    }

    fn replace_now(
        &self,
        key: &Key,
        revision: u64,
        blob: Bytes,
        ttl: Duration,
    ) -> Outcome<Replaced> {
        let now = self.ambient.now();
        let mut records = self.shelf(key.space)?;
        let Some(stored) = records.get(&key.id, now) else {
            return Ok(Replaced::Absent);
        };
        if stored.revision != revision {
            return Ok(Replaced::Changed);
        }
        let revision = revision + 1;
        records.insert(&key.id, Stored { revision, blob }, now.plus(ttl), now);
        Ok(Replaced::Done(revision))
    }

    fn remove_now(&self, key: &Key, revision: u64) -> Outcome<bool> {
        let now = self.ambient.now();
        let mut records = self.shelf(key.space)?;
        let ours = records
            .get(&key.id, now)
            .is_some_and(|stored| stored.revision == revision);
        if ours {
            records.remove(&key.id, now);
        }
        Ok(ours)
    }

    fn sets(&self, space: Space) -> MutexGuard<'_, Shelf<Members>> {
        lock(match space {
            Space::McpSession => &self.mcp_sessions,
            _ => &self.indexes,
        })
    }

    fn index_admit_now(&self, index: &Key, member: &str, until: Timestamp, limit: u32) -> bool {
        let now = self.ambient.now();
        let mut indexes = self.sets(index.space);
        let mut members = indexes.remove(&index.id, now).unwrap_or_default();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let admitted = members.admit(member, until, now, limit);
        let ends = members.ends();
        indexes.insert(&index.id, members, ends, now);
        admitted
    }

    fn index_add_now(&self, index: &Key, member: &str, until: Timestamp) {
        let now = self.ambient.now();
        let mut indexes = self.sets(index.space);
        let mut members = indexes.remove(&index.id, now).unwrap_or_default();
        members.add(member, until, now);
        let ends = members.ends();
        indexes.insert(&index.id, members, ends, now);
    }

    fn index_remove_now(&self, index: &Key, member: &str) {
        let now = self.ambient.now();
        let mut indexes = self.sets(index.space);
        if let Some(mut members) = indexes.remove(&index.id, now) {
            members.remove(member);
            let ends = members.ends();
            indexes.insert(&index.id, members, ends, now);
        }
    }

    /// The channel of a name, made at its first subscription. Channels are named in our code, never by clients.
    fn channel(&self, channel: &str) -> broadcast::Sender<String> {
        lock(&self.channels)
            .entry(channel.into())
            .or_insert_with(|| broadcast::Sender::new(CHANNEL_QUEUE))
            .clone()
    }
}

impl Store for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn shared(&self) -> bool {
        false
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Outcome<Option<Stored>>> {
        let found = self
            .shelf(key.space)
            .map(|mut records| records.get(&key.id, self.ambient.now()).cloned());
        ready(found).boxed()
    }

    fn put<'a>(&'a self, key: &'a Key, blob: Bytes, ttl: Duration) -> BoxFuture<'a, Outcome<u64>> {
        ready(self.put_now(key, blob, ttl)).boxed()
    }

    fn put_new<'a>(
        &'a self,
        key: &'a Key,
        blob: Bytes,
        ttl: Duration,
    ) -> BoxFuture<'a, Outcome<bool>> {
        ready(self.put_new_now(key, blob, ttl)).boxed()
    }

    fn take<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Outcome<Option<Stored>>> {
        let taken = self
            .shelf(key.space)
            .map(|mut records| records.remove(&key.id, self.ambient.now()));
        ready(taken).boxed()
    }

    fn replace_if<'a>(
        &'a self,
        key: &'a Key,
        revision: u64,
        blob: Bytes,
        ttl: Duration,
    ) -> BoxFuture<'a, Outcome<Replaced>> {
        ready(self.replace_now(key, revision, blob, ttl)).boxed()
    }

    fn remove_if<'a>(&'a self, key: &'a Key, revision: u64) -> BoxFuture<'a, Outcome<bool>> {
        ready(self.remove_now(key, revision)).boxed()
    }

    fn expire<'a>(&'a self, key: &'a Key, ttl: Duration) -> BoxFuture<'a, Outcome<bool>> {
        let now = self.ambient.now();
        ready(
            self.shelf(key.space)
                .map(|mut records| records.expire(&key.id, now.plus(ttl), now)),
        )
        .boxed()
    }

    fn index_add<'a>(
        &'a self,
        index: &'a Key,
        member: &'a str,
        until: Timestamp,
    ) -> BoxFuture<'a, Outcome<()>> {
        self.index_add_now(index, member, until);
        ready(Ok(())).boxed()
    }

    fn index_list<'a>(
        &'a self,
        index: &'a Key,
        now: Timestamp,
    ) -> BoxFuture<'a, Outcome<Vec<String>>> {
        let mut indexes = self.sets(index.space);
        let members = indexes
            .get(&index.id, self.ambient.now())
            .map(|members| members.living(now));
        ready(Ok(members.unwrap_or_default())).boxed()
    }

    fn index_admit<'a>(
        &'a self,
        index: &'a Key,
        member: &'a str,
        until: Timestamp,
        limit: u32,
    ) -> BoxFuture<'a, Outcome<bool>> {
        ready(Ok(self.index_admit_now(index, member, until, limit))).boxed()
    }

    fn index_remove<'a>(&'a self, index: &'a Key, member: &'a str) -> BoxFuture<'a, Outcome<()>> {
        self.index_remove_now(index, member);
        ready(Ok(())).boxed()
    }

    fn publish<'a>(&'a self, channel: &'a str, message: &'a str) -> BoxFuture<'a, Outcome<()>> {
        if let Some(sender) = lock(&self.channels).get(channel) {
            // An error means that nobody listens, which is no failure.
            let _ = sender.send(message.to_owned());
        }
        ready(Ok(())).boxed()
    }

    fn subscribe<'a>(
        &'a self,
        channel: &'a str,
    ) -> BoxFuture<'a, Outcome<BoxStream<'static, Option<String>>>> {
        let sender = self.channel(channel);
        let receiver = sender.subscribe();
        // The stream keeps the sender, so that it does not end while somebody listens.
        let messages = stream::unfold((receiver, sender), |(mut receiver, sender)| async move {
            match receiver.recv().await {
                Ok(message) => Some((Some(message), (receiver, sender))),
                Err(RecvError::Lagged(_)) => Some((None, (receiver, sender))),
                Err(RecvError::Closed) => None,
            }
        });
        ready(Ok(messages.boxed())).boxed()
    }

    fn count(&self, space: Space) -> BoxFuture<'_, Outcome<Option<u64>>> {
        let now = self.ambient.now();
        let count = match space {
            Space::Index | Space::McpSession => Ok(self.sets(space).len(now)),
            _ => self.shelf(space).map(|mut records| records.len(now)),
        };
        ready(count.map(|count| u64::try_from(count).ok())).boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Outcome<()>> {
        ready(Ok(())).boxed()
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryStore")
    }
}

/// A shelf stays consistent between its statements, so a panic elsewhere does not make it unusable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const MAX_LEASES: usize = 10_000;
const MAX_INSTALL: usize = 64;
/// Assertions and logout tokens that are remembered while they could be used again.
const MAX_REPLAY: usize = 100_000;
const CHANNEL_QUEUE: usize = 1024;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{ManualClock, SystemRandom};

    fn store(max_sessions: u32, max_logins: u32) -> (MemoryStore, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_000)));
        let ambient = Ambient::new(Arc::clone(&clock) as _, Arc::new(SystemRandom));
        (
            MemoryStore::new(
                &Sessions {
                    max_sessions,
                    max_logins,
                    ..Sessions::default()
                },
                ambient,
            ),
            clock,
        )
    }

    const MINUTE: Duration = Duration::from_secs(60);

    async fn put(store: &MemoryStore, space: Space, id: &str) {
        store
            .put(&Key::new(space, id), Bytes::from_static(b"x"), MINUTE)
            .await
            .unwrap();
    }

    async fn has(store: &MemoryStore, space: Space, id: &str) -> bool {
        store.get(&Key::new(space, id)).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn the_contract_holds() {
        crate::store::contract::holds(Arc::new(MemoryStore::new(
            &Sessions::default(),
            Ambient::system(),
        )))
        .await;
    }

    #[tokio::test]
    async fn flows_never_push_out_sessions() {
        let (store, _) = store(2, 2);
        put(&store, Space::Session, "s").await;
        put(&store, Space::Login, "l").await;
        for flow in 0..100 {
            put(&store, Space::Flow, &format!("f{flow}")).await;
        }
        assert!(has(&store, Space::Session, "s").await);
        assert!(has(&store, Space::Login, "l").await);
        assert_eq!(store.count(Space::Flow).await.unwrap(), Some(2));
    }

    #[tokio::test]
    async fn the_longest_unused_goes_first() {
        let (store, _) = store(2, 2);
        put(&store, Space::Session, "a").await;
        put(&store, Space::Session, "b").await;
        assert!(has(&store, Space::Session, "a").await);
        put(&store, Space::Session, "c").await;
        assert!(has(&store, Space::Session, "a").await);
        assert!(!has(&store, Space::Session, "b").await);
        assert!(has(&store, Space::Session, "c").await);
    }

    #[tokio::test]
    async fn what_has_expired_goes_before_what_lives() {
        let (store, clock) = store(2, 2);
        put(&store, Space::Session, "short").await;
        clock.advance(Duration::from_secs(30));
        put(&store, Space::Session, "long").await;
        // Used last, but expired by the time that room is needed.
        assert!(has(&store, Space::Session, "short").await);
        clock.advance(Duration::from_secs(31));
        put(&store, Space::Session, "new").await;
        assert!(has(&store, Space::Session, "long").await);
        assert!(has(&store, Space::Session, "new").await);
        clock.advance(MINUTE);
        assert_eq!(store.count(Space::Session).await.unwrap(), Some(0));
    }

    #[tokio::test]
    async fn a_listener_that_fell_behind_is_told() {
        let (store, _) = store(2, 2);
        let mut messages = store.subscribe("c").await.unwrap();
        for n in 0..=CHANNEL_QUEUE {
            store.publish("c", &n.to_string()).await.unwrap();
        }
        assert_eq!(messages.next().await, Some(None));
        assert_eq!(messages.next().await, Some(Some("1".to_owned())));
    }
}
