//! The store: opaque, expiring records in named spaces. It knows no session, login or token.
//!
//! Absent is `Ok(None)`; [`Unavailable`] means that nobody knows. Every operation touches one key, so that a
//! Redis Cluster can do it atomically. A record carries a revision that grows with each change. Records
//! expire by their time to live; owners also write an expiry into the (sealed) record and check it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, try_join};
use futures_util::stream::BoxStream;

use crate::clock::{Ambient, Timestamp};
use crate::config::session::{Sessions, StoreKind};
use crate::telemetry::metrics::Metrics;

use self::memory::MemoryStore;
use self::metered::Metered;
use self::redis::{ConnectError, RedisStore};

#[cfg(test)]
mod contract;
pub mod memory;
pub mod metered;
pub mod records;
pub mod redis;

/// A named space of records. With the default prefix, its keys read `mcp:<space>:<id>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// Browser sessions.
    Session,
    /// Provider tokens and claims.
    Login,
    /// Login flows under way.
    Flow,
    /// Short leases: one owner at a time for a piece of work.
    Lease,
    /// Single things of the installation (the generated root secret).
    Install,
    /// Index sets: members with an expiry each.
    Index,
    /// Grants of MCP clients.
    Grant,
    /// Consent: answers that were used up, and answers that are remembered.
    Consent,
    /// Things that must not be used twice (`jti` of assertions and logout tokens).
    Replay,
    /// From when on logins of a subject count again.
    Revoked,
    /// Index sets of the MCP sessions that a person, or a backend, has.
    McpSession,
}

impl Space {
    /// The name in the key.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Login => "login",
            Self::Flow => "flow",
            Self::Lease => "lease",
            Self::Install => "install",
            Self::Index => "index",
            Self::Grant => "grant",
            Self::Consent => "consent",
            Self::Replay => "replay",
            Self::Revoked => "revoked",
            Self::McpSession => "mcp-session",
        }
    }
}

/// Names one record. The id is made by us (hex or base64url), never text from a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The space.
    pub space: Space,
    /// The id inside the space.
    pub id: Arc<str>,
}

impl Key {
    /// Names a record.
    pub fn new(space: Space, id: impl Into<Arc<str>>) -> Self {
        Self {
            space,
            id: id.into(),
        }
    }
}

/// Members that an index set keeps at most.
pub const MAX_MEMBERS: usize = 1000;

/// A record as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Grows by one with each change of the record. It begins at a random number, so that a record that was
    /// removed and made again is never taken for the one before.
    pub revision: u64,
    /// The sealed content.
    pub blob: Bytes,
}

/// What became of a conditional replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// Done; the record's new revision.
    Done(u64),
    /// Somebody changed it first.
    Changed,
    /// It is not there.
    Absent,
}

/// The store cannot be asked: nobody knows whether the record exists. Never to be read as "absent".
#[derive(Clone, Debug, thiserror::Error)]
#[error("the session store is unavailable: {0}")]
pub struct Unavailable(pub Arc<str>);

/// Two records, each of which may be absent.
pub type Both = (Option<Stored>, Option<Stored>);

/// Result of a store operation.
pub type Outcome<T> = Result<T, Unavailable>;

/// What every store can do. One contract suite (`store/contract.rs`) holds for all.
pub trait Store: Send + Sync + 'static {
    /// Name for metrics: `memory` or `redis`.
    fn name(&self) -> &'static str;
    /// Whether other processes may write to it. Where they do, what this process remembers counts only while
    /// it hears what they tell.
    fn shared(&self) -> bool;
    /// Reads a record.
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Outcome<Option<Stored>>>;
    /// Reads two records that belong together, in one round trip where the store can do that. Each is read by
    /// itself: they need not be of one moment.
    fn get_both<'a>(&'a self, first: &'a Key, second: &'a Key) -> BoxFuture<'a, Outcome<Both>> {
        try_join(self.get(first), self.get(second)).boxed()
    }
    /// Writes a record whatever was there; gives its revision.
    fn put<'a>(&'a self, key: &'a Key, blob: Bytes, ttl: Duration) -> BoxFuture<'a, Outcome<u64>>;
    /// Writes a record only if there is none; `false` when there is one.
    fn put_new<'a>(
        &'a self,
        key: &'a Key,
        blob: Bytes,
        ttl: Duration,
    ) -> BoxFuture<'a, Outcome<bool>>;
    /// Removes a record and gives it; of several callers at once exactly one gets it.
    fn take<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Outcome<Option<Stored>>>;
    /// Replaces a record if its revision is still `revision`.
    fn replace_if<'a>(
        &'a self,
        key: &'a Key,
        revision: u64,
        blob: Bytes,
        ttl: Duration,
    ) -> BoxFuture<'a, Outcome<Replaced>>;
    /// Removes a record if its revision is still `revision` (gives up a lease that is still ours).
    fn remove_if<'a>(&'a self, key: &'a Key, revision: u64) -> BoxFuture<'a, Outcome<bool>>;
    /// Sets a record's time to live anew; `false` when it is not there.
    fn expire<'a>(&'a self, key: &'a Key, ttl: Duration) -> BoxFuture<'a, Outcome<bool>>;
    /// Adds a member to an index, until `until`.
    fn index_add<'a>(
        &'a self,
        index: &'a Key,
        member: &'a str,
        until: Timestamp,
    ) -> BoxFuture<'a, Outcome<()>>;
    /// The living members of an index, at most 1,000.
    fn index_list<'a>(
        &'a self,
        index: &'a Key,
        now: Timestamp,
    ) -> BoxFuture<'a, Outcome<Vec<String>>>;
    /// Adds a member to an index until `until`, or sets its end anew, unless `limit` other living ones are there: then
    /// `false`. One atomic step, so that several callers at once never go beyond the limit.
    fn index_admit<'a>(
        &'a self,
        index: &'a Key,
        member: &'a str,
        until: Timestamp,
        limit: u32,
    ) -> BoxFuture<'a, Outcome<bool>>;
    /// Removes a member.
    fn index_remove<'a>(&'a self, index: &'a Key, member: &'a str) -> BoxFuture<'a, Outcome<()>>;
    /// Tells every replica (this one too).
    fn publish<'a>(&'a self, channel: &'a str, message: &'a str) -> BoxFuture<'a, Outcome<()>>;
    /// What replicas tell. The stream yields `None` inside when the subscription was lost and taken up
    /// again, for messages may have been missed; it ends only with the store.
    fn subscribe<'a>(
        &'a self,
        channel: &'a str,
    ) -> BoxFuture<'a, Outcome<BoxStream<'static, Option<String>>>>;
    /// Number of records in a space, by what this process knows cheaply; `None` when it would have to scan.
    fn count(&self, space: Space) -> BoxFuture<'_, Outcome<Option<u64>>>;
    /// Whether the store answers.
    fn ping(&self) -> BoxFuture<'_, Outcome<()>>;
    /// The process stood still for a while: connections from before may be gone without a word, so none of them is
    /// used again.
    fn renew(&self) {}
}

/// Opens the store that the configuration names, with its operations counted. A Redis that is away is no error:
/// it is tried again, and until then every operation is [`Unavailable`].
///
/// # Errors
/// When the settings of Redis cannot be used at all.
pub async fn open(
    config: &Sessions,
    ambient: Ambient,
    metrics: &Arc<Metrics>,
) -> Result<Arc<dyn Store>, ConnectError> {
    match config.store {
        StoreKind::Memory => Ok(Arc::new(Metered::new(
            MemoryStore::new(config, ambient),
            metrics,
        ))),
        StoreKind::Redis => {
            let Some(redis) = &config.redis else {
                return Err(ConnectError::BadSetting {
                    key: "url".to_owned(),
                    problem: "sessions.store is redis, but there is no Redis; set it (REDIS_URL)"
                        .to_owned(),
                });
            };
            let store = RedisStore::connect(redis, ambient).await?;
            Ok(Arc::new(Metered::new(store, metrics)))
        }
    }
}

/// The revision of a record that was not there before. It leaves room to count on in the 53 bits that Redis's
/// scripts can count in.
pub(crate) fn first_revision(ambient: &Ambient) -> u64 {
    u64::from_be_bytes(ambient.random()) >> 16
}
