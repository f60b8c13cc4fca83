//! The store in Redis, shared by all replicas: one server, a primary watched by Sentinel, or a Cluster.
//!
//! A record is one string: its revision in 8 bytes, big-endian, then the sealed blob. An index is a sorted set,
//! scored by expiry. Every key has a time to live, every operation touches one key, and nothing ever
//! lists keys. Needs Redis 6.2 or later (`GETDEL`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deadpool_redis::redis::{Cmd, Value, cmd};
use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::BoxStream;

use self::dial::{Dialer, SharedDialer};
use self::settings::Settings;
use self::wires::Wires;
use super::{Both, Key, MAX_MEMBERS, Outcome, Replaced, Space, Store, Stored, first_revision};
use crate::clock::{Ambient, Timestamp};
use crate::config::session::Redis;

mod dial;
mod error;
mod link;
mod settings;
mod subscription;
mod wires;

pub use self::error::ConnectError;

/// Records in Redis.
pub struct RedisStore {
    dialer: SharedDialer,
    wires: Wires,
    ambient: Ambient,
}

impl RedisStore {
    /// Makes the store and tries to connect once. A Redis that is away or refuses is logged and tried again with
    /// each operation, so that the process starts and answers 503 meanwhile.
    ///
    /// # Errors
    /// Only when the configuration itself cannot be used.
    pub async fn connect(config: &Redis, ambient: Ambient) -> Result<Self, ConnectError> {
        let store = Self::new(config, ambient)?;
        // What it met is in the log, and every operation tries again.
        let _ = store.ping().await;
        Ok(store)
    }

    fn new(config: &Redis, ambient: Ambient) -> Result<Self, ConnectError> {
        let dialer = Arc::new(Dialer::new(Settings::read(config)?));
        let wires = Wires::new(Arc::clone(&dialer)).map_err(|error| ConnectError::BadSetting {
            key: "pool_size".to_owned(),
            problem: error.to_string(),
        })?;
        Ok(Self {
            dialer,
            wires,
            ambient,
        })
    }

    fn name_of(&self, key: &Key) -> String {
        format!(
            "{}{}:{}",
            self.dialer.settings.prefix,
            key.space.as_str(),
            key.id
        )
    }

    fn command(&self, name: &str, key: &Key) -> Cmd {
        let mut command = cmd(name);
        command.arg(self.name_of(key));
        command
    }

    fn eval(&self, script: &str, key: &Key) -> Cmd {
        let mut command = cmd("EVAL");
        command.arg(script).arg(1).arg(self.name_of(key));
        command
    }

    fn channel(&self, channel: &str) -> String {
        format!("{}{channel}", self.dialer.settings.prefix)
    }

    async fn replace(
        &self,
        key: &Key,
        revision: u64,
        blob: &[u8],
        ttl: Duration,
    ) -> Outcome<Replaced> {
        let next = revision.wrapping_add(1);
        let mut command = self.eval(REPLACE_IF, key);
        command
            .arg(&revision.to_be_bytes()[..])
            .arg(encode(next, blob))
            .arg(millis(ttl));
        match self.wires.script::<i64>(&command).await? {
            1 => Ok(Replaced::Done(next)),
            0 => Ok(Replaced::Changed),
            _ => Ok(Replaced::Absent),
        }
    }

    async fn add_member(&self, index: &Key, member: &str, until: Timestamp) -> Outcome<()> {
        let mut command = self.eval(INDEX_ADD, index);
        command
            .arg(until.as_millis())
            .arg(member)
            .arg(self.ambient.now().as_millis())
            .arg(MAX_MEMBERS);
        self.wires.script::<Value>(&command).await.map(drop)
    }
}

/// Tries what the proxy will do: connect, sign in, write, read and remove a record, publish. For
/// `check-config --online`; leaves nothing behind.
///
/// # Errors
/// What has to be put right.
pub async fn probe(config: &Redis) -> Result<(), ConnectError> {
    let ambient = Ambient::system();
    let store = RedisStore::new(config, ambient.clone())?;
    let mut link = store.dialer.connect().await?;
    let id = format!("probe-{:016x}", u64::from_be_bytes(ambient.random()));
    let record = Key::new(Space::Install, id.as_str());
    let index = Key::new(Space::Index, id.as_str());
    let ttl = millis(Duration::from_secs(10));
    let now = ambient.now().as_millis();

    let mut put = store.eval(PUT, &record);
    put.arg(encode(1, b"probe")).arg(ttl);
    let mut set = store.command("SET", &record);
    set.arg(encode(1, b"probe")).arg("NX").arg("PX").arg(ttl);
    let mut expire = store.command("PEXPIRE", &record);
    expire.arg(ttl);
    let mut add = store.eval(INDEX_ADD, &index);
    add.arg(now + 10_000).arg("probe").arg(now).arg(MAX_MEMBERS);
    let mut admit = store.eval(INDEX_ADMIT, &index);
    admit.arg(now + 10_000).arg("probe").arg(now).arg(1);
    let mut list = store.command("ZRANGEBYSCORE", &index);
    list.arg(now).arg("+inf").arg("LIMIT").arg(0).arg(1);
    let mut remove = store.command("ZREM", &index);
    remove.arg("probe");
    let mut publish = cmd("PUBLISH");
    publish.arg(store.channel("events")).arg("probe");
    let (get, take) = (
        store.command("GET", &record),
        store.command("GETDEL", &record),
    );
    for command in [
        put, set, get, expire, take, add, admit, list, remove, publish,
    ] {
        link.ask::<Value>(&command)
            .await
            .map_err(|error| ConnectError::driver("the configured address", &error))?;
    }
    subscription::check(&store.dialer, &store.channel("events")).await
}

impl Store for RedisStore {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn shared(&self) -> bool {
        true
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Outcome<Option<Stored>>> {
        async {
            Ok(self
                .wires
                .read::<Option<Vec<u8>>>(&self.command("GET", key))
                .await?
                .and_then(decode))
        }
        .boxed()
    }

    fn get_both<'a>(&'a self, first: &'a Key, second: &'a Key) -> BoxFuture<'a, Outcome<Both>> {
        async {
            let commands = [self.command("GET", first), self.command("GET", second)];
            let [first, second] = self.wires.read_both::<Option<Vec<u8>>>(&commands).await?;
            Ok((first.and_then(decode), second.and_then(decode)))
        }
        .boxed()
    }

    fn put<'a>(&'a self, key: &'a Key, blob: Bytes, ttl: Duration) -> BoxFuture<'a, Outcome<u64>> {
        async move {
            let mut command = self.eval(PUT, key);
            command
                .arg(encode(first_revision(&self.ambient), &blob))
                .arg(millis(ttl));
            self.wires.script(&command).await
        }
        .boxed()
    }

    fn put_new<'a>(
        &'a self,
        key: &'a Key,
        blob: Bytes,
        ttl: Duration,
    ) -> BoxFuture<'a, Outcome<bool>> {
        async move {
            let mut command = self.command("SET", key);
            command
                .arg(encode(first_revision(&self.ambient), &blob))
                .arg("NX")
                .arg("PX")
                .arg(millis(ttl));
            Ok(self.wires.write::<Value>(&command).await? != Value::Nil)
        }
        .boxed()
    }

    fn take<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Outcome<Option<Stored>>> {
        async {
            Ok(self
                .wires
                .write::<Option<Vec<u8>>>(&self.command("GETDEL", key))
                .await?
                .and_then(decode))
        }
        .boxed()
    }

    fn replace_if<'a>(
        &'a self,
        key: &'a Key,
        revision: u64,
        blob: Bytes,
        ttl: Duration,
    ) -> BoxFuture<'a, Outcome<Replaced>> {
        async move { self.replace(key, revision, &blob, ttl).await }.boxed()
    }

    fn remove_if<'a>(&'a self, key: &'a Key, revision: u64) -> BoxFuture<'a, Outcome<bool>> {
        async move {
            let mut command = self.eval(REMOVE_IF, key);
            command.arg(&revision.to_be_bytes()[..]);
            Ok(self.wires.script::<i64>(&command).await? == 1)
        }
        .boxed()
    }

    fn expire<'a>(&'a self, key: &'a Key, ttl: Duration) -> BoxFuture<'a, Outcome<bool>> {
        async move {
            let mut command = self.command("PEXPIRE", key);
            command.arg(millis(ttl));
            Ok(self.wires.read::<i64>(&command).await? == 1)
        }
        .boxed()
    }

    fn index_add<'a>(
        &'a self,
        index: &'a Key,
        member: &'a str,
        until: Timestamp,
    ) -> BoxFuture<'a, Outcome<()>> {
        self.add_member(index, member, until).boxed()
    }

    fn index_list<'a>(
        &'a self,
        index: &'a Key,
        now: Timestamp,
    ) -> BoxFuture<'a, Outcome<Vec<String>>> {
        async move {
            let mut command = self.command("ZRANGEBYSCORE", index);
            command
                .arg(format!("({}", now.as_millis()))
                .arg("+inf")
                .arg("LIMIT")
                .arg(0)
                .arg(MAX_MEMBERS);
            self.wires.read(&command).await
        }
        .boxed()
    }

    fn index_admit<'a>(
        &'a self,
        index: &'a Key,
        member: &'a str,
        until: Timestamp,
        limit: u32,
    ) -> BoxFuture<'a, Outcome<bool>> {
        async move {
            let mut command = self.eval(INDEX_ADMIT, index);
            command
                .arg(until.as_millis())
                .arg(member)
                .arg(self.ambient.now().as_millis())
                .arg(limit);
            Ok(self.wires.script::<i64>(&command).await? == 1)
        }
        .boxed()
    }

    fn index_remove<'a>(&'a self, index: &'a Key, member: &'a str) -> BoxFuture<'a, Outcome<()>> {
        async move {
            let mut command = self.command("ZREM", index);
            command.arg(member);
            self.wires.read::<Value>(&command).await.map(drop)
        }
        .boxed()
    }

    fn publish<'a>(&'a self, channel: &'a str, message: &'a str) -> BoxFuture<'a, Outcome<()>> {
        async move {
            let mut command = cmd("PUBLISH");
            command.arg(self.channel(channel)).arg(message);
            self.wires.write::<Value>(&command).await.map(drop)
        }
        .boxed()
    }

    fn subscribe<'a>(
        &'a self,
        channel: &'a str,
    ) -> BoxFuture<'a, Outcome<BoxStream<'static, Option<String>>>> {
        subscription::subscribe(Arc::clone(&self.dialer), self.channel(channel)).boxed()
    }

    fn count(&self, _: Space) -> BoxFuture<'_, Outcome<Option<u64>>> {
        ready(Ok(None)).boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Outcome<()>> {
        async { self.wires.read::<Value>(&cmd("PING")).await.map(drop) }.boxed()
    }

    fn renew(&self) {
        self.dialer.renew();
    }
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedisStore")
    }
}

fn encode(revision: u64, blob: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(8 + blob.len());
    value.extend_from_slice(&revision.to_be_bytes());
    value.extend_from_slice(blob);
    value
}

/// What has no revision was not written by us, and would not open either.
fn decode(value: Vec<u8>) -> Option<Stored> {
    let revision = u64::from_be_bytes(value.get(..8)?.try_into().ok()?);
    Some(Stored {
        revision,
        blob: Bytes::from(value).slice(8..),
    })
}

/// A key is never without a time to live: Redis refuses 0, which would mean "at once" to us.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis())
        .unwrap_or(u64::MAX)
        .clamp(1, MAX_TTL)
}

/// Far below where Redis's own arithmetic on expiry times ends.
const MAX_TTL: u64 = 100 * 365 * 86_400_000;

/// Writes whatever is there, with the next revision. Revisions stay below 2^53, where Lua's numbers are exact.
const PUT: &str = "\
local there = redis.call('GETRANGE', KEYS[1], 0, 7)
local value = ARGV[1]
if #there == 8 then
  value = struct.pack('>I8', struct.unpack('>I8', there) + 1) .. string.sub(value, 9)
end
redis.call('SET', KEYS[1], value, 'PX', ARGV[2])
return struct.unpack('>I8', value)";

const REPLACE_IF: &str = "\
local there = redis.call('GETRANGE', KEYS[1], 0, 7)
if there == '' then return -1 end
if there ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1";

const REMOVE_IF: &str = "\
if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])";

/// Drops what has expired, then what expires first beyond the bound; the set lives as long as its last member,
/// by our clock.
const INDEX_ADD: &str = "\
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[4]))
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if last[2] then
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', tonumber(last[2]) - tonumber(ARGV[3]) + 60000))
end
return 1";

/// Like [`INDEX_ADD`], but adds nothing new where as many as may be are there. Whether the member is there shows in an
/// increment by nothing, and how many are there in the place of the last that may be: both need no further command to
/// be permitted.
const INDEX_ADMIT: &str = "\
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
local last = tonumber(ARGV[4]) - 1
if not redis.call('ZADD', KEYS[1], 'XX', 'INCR', 0, ARGV[2]) and #redis.call('ZRANGE', KEYS[1], last, last) > 0 then
  return 0
end
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
local longest = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', tonumber(longest[2]) - tonumber(ARGV[3]) + 60000))
return 1";
