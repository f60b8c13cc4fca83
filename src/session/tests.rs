//! Sessions over a store in memory that several replicas share.

mod everybody;
mod flows;
mod life;
mod looks;
mod secrecy;
mod seen;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::BoxStream;
use serde_json::{Map, json};

use super::*;
use crate::clock::{ManualClock, SystemRandom};
use crate::config::Span;
use crate::ids::Subject;
use crate::revocation::Revocations;
use crate::store::memory::MemoryStore;
use crate::store::{Outcome, Space};

/// A store that several replicas share and that can go away.
struct Shared {
    inner: MemoryStore,
    away: AtomicBool,
    /// Nothing can be published.
    mute: AtomicBool,
    reads: AtomicU64,
    /// Every blob that was ever written, with its key and time to live.
    written: std::sync::Mutex<Vec<(String, Bytes, Duration)>>,
}

impl Shared {
    fn ask<T: Send>(&self, answer: impl FnOnce() -> T) -> Outcome<T> {
        if self.away.load(Ordering::SeqCst) {
            Err(Unavailable("switched off".into()))
        } else {
            Ok(answer())
        }
    }

    fn note(&self, key: &Key, blob: &Bytes, ttl: Duration) {
        let name = format!("{}:{}", key.space.as_str(), key.id);
        self.written.lock().unwrap().push((name, blob.clone(), ttl));
    }
}

/// Hands an operation on, or fails it.
macro_rules! pass {
    ($self:ident, $call:expr) => {
        match $self.ask(|| $call) {
            Ok(future) => future,
            Err(away) => ready(Err(away)).boxed(),
        }
    };
}

impl Store for Shared {
    fn name(&self) -> &'static str {
        "shared"
    }
    fn shared(&self) -> bool {
        true
    }
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Outcome<Option<Stored>>> {
        async move {
            // Others come in between, as they do over a network.
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.reads.fetch_add(1, Ordering::SeqCst);
            pass!(self, self.inner.get(key)).await
        }
        .boxed()
    }
    fn put<'a>(&'a self, key: &'a Key, blob: Bytes, ttl: Duration) -> BoxFuture<'a, Outcome<u64>> {
        self.note(key, &blob, ttl);
        pass!(self, self.inner.put(key, blob, ttl))
    }
    fn put_new<'a>(
        &'a self,
        key: &'a Key,
        blob: Bytes,
        ttl: Duration,
    ) -> BoxFuture<'a, Outcome<bool>> {
        self.note(key, &blob, ttl);
        pass!(self, self.inner.put_new(key, blob, ttl))
    }
    fn take<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Outcome<Option<Stored>>> {
        pass!(self, self.inner.take(key))
    }
    fn replace_if<'a>(
        &'a self,
        key: &'a Key,
        revision: u64,
        blob: Bytes,
        ttl: Duration,
    ) -> BoxFuture<'a, Outcome<Replaced>> {
        self.note(key, &blob, ttl);
        pass!(self, self.inner.replace_if(key, revision, blob, ttl))
    }
    fn remove_if<'a>(&'a self, key: &'a Key, revision: u64) -> BoxFuture<'a, Outcome<bool>> {
        pass!(self, self.inner.remove_if(key, revision))
    }
    fn expire<'a>(&'a self, key: &'a Key, ttl: Duration) -> BoxFuture<'a, Outcome<bool>> {
        pass!(self, self.inner.expire(key, ttl))
    }
    fn index_add<'a>(
        &'a self,
        index: &'a Key,
        member: &'a str,
        until: Timestamp,
    ) -> BoxFuture<'a, Outcome<()>> {
        let blob = Bytes::copy_from_slice(member.as_bytes());
        self.note(index, &blob, Duration::ZERO);
        pass!(self, self.inner.index_add(index, member, until))
    }
    fn index_list<'a>(
        &'a self,
        index: &'a Key,
        now: Timestamp,
    ) -> BoxFuture<'a, Outcome<Vec<String>>> {
        pass!(self, self.inner.index_list(index, now))
    }
    fn index_admit<'a>(
        &'a self,
        index: &'a Key,
        member: &'a str,
        until: Timestamp,
        limit: u32,
    ) -> BoxFuture<'a, Outcome<bool>> {
        pass!(self, self.inner.index_admit(index, member, until, limit))
    }
    fn index_remove<'a>(&'a self, index: &'a Key, member: &'a str) -> BoxFuture<'a, Outcome<()>> {
        pass!(self, self.inner.index_remove(index, member))
    }
    fn publish<'a>(&'a self, channel: &'a str, message: &'a str) -> BoxFuture<'a, Outcome<()>> {
        if self.mute.load(Ordering::SeqCst) {
            return ready(Err(Unavailable("mute".into()))).boxed();
        }
        pass!(self, self.inner.publish(channel, message))
    }
    fn subscribe<'a>(
        &'a self,
        channel: &'a str,
    ) -> BoxFuture<'a, Outcome<BoxStream<'static, Option<String>>>> {
        pass!(self, self.inner.subscribe(channel))
    }
    fn count(&self, _: Space) -> BoxFuture<'_, Outcome<Option<u64>>> {
        ready(Ok(None)).boxed()
    }
    fn ping(&self) -> BoxFuture<'_, Outcome<()>> {
        pass!(self, self.inner.ping())
    }
}

pub(super) struct World {
    store: Arc<Shared>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) ambient: Ambient,
    ring: KeyRing,
    config: SessionConfig,
}

impl World {
    pub(super) fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        let ambient = Ambient::new(Arc::clone(&clock) as _, Arc::new(SystemRandom));
        let config = SessionConfig::default();
        Self {
            store: Arc::new(Shared {
                inner: MemoryStore::new(&config, ambient.clone()),
                away: AtomicBool::new(false),
                mute: AtomicBool::new(false),
                reads: AtomicU64::new(0),
                written: std::sync::Mutex::default(),
            }),
            ring: KeyRing::ephemeral(ambient.clone()),
            clock,
            ambient,
            config,
        }
    }

    pub(super) fn replica(&self) -> Arc<Sessions> {
        let store = Arc::clone(&self.store) as Arc<dyn Store>;
        Sessions::new(
            store,
            self.ring.clone(),
            &self.config,
            &Revocations::new(Arc::clone(&self.store) as _, self.ambient.clone()),
            self.ambient.clone(),
            &Metrics::new(),
        )
    }

    /// A replica whose background runs, once it hears its own heartbeat.
    async fn listening(&self) -> (Arc<Sessions>, Background) {
        let sessions = self.replica();
        let until = CancellationToken::new();
        let task = tokio::spawn({
            let (sessions, until) = (Arc::clone(&sessions), until.clone());
            let revocations = Arc::clone(&sessions.0.revocations);
            async move {
                tokio::join!(sessions.background(until.clone()), revocations.run(until));
            }
        });
        while !sessions.0.revocations.is_trusted(self.ambient.now()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        (sessions, Background { until, task })
    }

    fn reads(&self) -> u64 {
        self.store.reads.swap(0, Ordering::SeqCst)
    }

    fn away(&self, away: bool) {
        self.store.away.store(away, Ordering::SeqCst);
    }

    async fn clear(&self, key: &Key) {
        self.store.inner.take(key).await.unwrap();
    }
}

struct Background {
    until: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Background {
    async fn end(self) {
        self.until.cancel();
        self.task.await.unwrap();
    }
}

fn claims(subject: &str) -> Claims {
    let all: Map<String, serde_json::Value> = [
        ("email".to_owned(), json!("ann@example.com")),
        ("groups".to_owned(), json!(["wizards"])),
    ]
    .into_iter()
    .collect();
    let subject = Subject {
        issuer: "https://idp.example".into(),
        subject: subject.into(),
    };
    Claims::read(subject, all, &crate::config::oidc::ClaimMap::default())
}

fn tokens() -> ProviderTokens {
    ProviderTokens {
        access_token: Secret::new("the-access-token"),
        access_expires: None,
        refresh_token: Some(Secret::new("the-refresh-token")),
        id_token: Some(Secret::new("the-id-token")),
        provider_session: Some("provider-sid".to_owned()),
    }
}

pub(super) fn login() -> NewLogin {
    NewLogin {
        claims: claims("ann-subject"),
        tokens: tokens(),
    }
}

fn flow(started: Timestamp) -> Flow {
    Flow {
        nonce: "the-nonce".to_owned(),
        verifier: "the-verifier".to_owned(),
        return_to: "/the-page".to_owned(),
        issuer: "https://idp.example".to_owned(),
        started,
        prompt: None,
    }
}
