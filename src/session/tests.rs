use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::BoxStream;
use serde_json::{Map, json};

use super::*;
use crate::clock::{ManualClock, SystemRandom};
use crate::config::Span;
use crate::ids::Subject;
use crate::store::memory::MemoryStore;
use crate::store::{Outcome, Space};

/// A store that several replicas share and that can go away.
struct Shared {
    inner: MemoryStore,
    away: AtomicBool,
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
    fn index_remove<'a>(&'a self, index: &'a Key, member: &'a str) -> BoxFuture<'a, Outcome<()>> {
        pass!(self, self.inner.index_remove(index, member))
    }
    fn publish<'a>(&'a self, channel: &'a str, message: &'a str) -> BoxFuture<'a, Outcome<()>> {
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

struct World {
    store: Arc<Shared>,
    clock: Arc<ManualClock>,
    ambient: Ambient,
    ring: KeyRing,
    config: SessionConfig,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        let ambient = Ambient::new(Arc::clone(&clock) as _, Arc::new(SystemRandom));
        let config = SessionConfig::default();
        Self {
            store: Arc::new(Shared {
                inner: MemoryStore::new(&config, ambient.clone()),
                away: AtomicBool::new(false),
                reads: AtomicU64::new(0),
                written: std::sync::Mutex::default(),
            }),
            ring: KeyRing::ephemeral(ambient.clone()),
            clock,
            ambient,
            config,
        }
    }

    fn replica(&self) -> Arc<Sessions> {
        let store = Arc::clone(&self.store) as Arc<dyn Store>;
        Sessions::new(
            store,
            self.ring.clone(),
            &self.config,
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
            async move { sessions.background(until).await }
        });
        while sessions.0.seen.heard_at() != self.ambient.now() {
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

fn login() -> NewLogin {
    NewLogin {
        claims: claims("ann-subject"),
        tokens: tokens(),
    }
}

#[tokio::test]
async fn a_session_is_found_until_it_ends() {
    let world = World::new();
    let sessions = world.replica();
    let (made, ticket) = sessions.create(login()).await.unwrap();
    let found = sessions.find(&ticket).await.unwrap().unwrap();
    assert_eq!(found.id, made.id);
    assert_eq!(*found.claims.subject.subject, *"ann-subject");
    assert_eq!(found.claims.groups, ["wizards"]);
    let ended = sessions.end(&ticket).await.unwrap().unwrap();
    assert_eq!(ended.id_token, Some(Secret::new("the-id-token")));
    assert!(sessions.find(&ticket).await.unwrap().is_none());
    assert!(sessions.end(&ticket).await.unwrap().is_none());
    assert!(sessions.tokens(&found.login).await.unwrap().is_none());
}

#[tokio::test]
async fn idle_and_absolute_times_bind() {
    let world = World::new();
    let sessions = world.replica();
    let (_, idle) = sessions.create(login()).await.unwrap();
    let (_, used) = sessions.create(login()).await.unwrap();
    for _ in 0..23 {
        world.clock.advance(Duration::from_secs(3600));
        assert!(sessions.find(&used).await.unwrap().is_some());
    }
    assert!(
        sessions.find(&idle).await.unwrap().is_none(),
        "idle for 23 hours"
    );
    world.clock.advance(Duration::from_secs(3600));
    assert!(
        sessions.find(&used).await.unwrap().is_none(),
        "24 hours after login, however much it was used"
    );
}

#[tokio::test]
async fn our_clock_ends_a_session_that_the_store_still_has() {
    let world = World::new();
    let sessions = world.replica();
    let (_, ticket) = sessions.create(login()).await.unwrap();
    world.clock.advance(world.config.idle_timeout.0);
    let still_there = world.store.inner.get(&ticket.session_key()).await.unwrap();
    assert!(
        still_there.is_some(),
        "kept a little longer for replicas whose clock is behind"
    );
    assert!(sessions.find(&ticket).await.unwrap().is_none());
}

#[tokio::test]
async fn short_idle_times_do_not_end_a_session_in_use() {
    let mut world = World::new();
    world.config.idle_timeout = Span::secs(4);
    let (sessions, background) = world.listening().await;
    let (_, ticket) = sessions.create(login()).await.unwrap();
    for _ in 0..20 {
        world.clock.advance(Duration::from_millis(900));
        assert!(sessions.find(&ticket).await.unwrap().is_some());
    }
    background.end().await;
}

#[tokio::test]
async fn the_idle_time_is_written_now_and_then_only() {
    let world = World::new();
    let sessions = world.replica();
    let (_, ticket) = sessions.create(login()).await.unwrap();
    let writes = || world.store.written.lock().unwrap().len();
    let before = writes();
    for _ in 0..59 {
        world.clock.advance(Duration::from_secs(1));
        sessions.find(&ticket).await.unwrap().unwrap();
    }
    assert_eq!(writes(), before);
    world.clock.advance(Duration::from_secs(1));
    sessions.find(&ticket).await.unwrap().unwrap();
    assert_eq!(writes(), before + 1);
}

#[tokio::test]
async fn advisory_ghsa_f24x_5g9q_753f_every_login_gets_new_ids() {
    let world = World::new();
    let sessions = world.replica();
    let (first, planted) = sessions.create(login()).await.unwrap();
    let (second, fresh) = sessions.create(login()).await.unwrap();
    assert_ne!(first.id, second.id);
    assert_ne!(first.login, second.login);
    assert_ne!(planted.digest(), fresh.digest());
    sessions.end(&planted).await.unwrap();
    assert!(sessions.find(&planted).await.unwrap().is_none());
    assert!(sessions.find(&fresh).await.unwrap().is_some());
}

#[tokio::test]
async fn a_dump_shows_no_identity_token_or_claim_and_opens_no_session() {
    let world = World::new();
    let sessions = world.replica();
    let (session, ticket) = sessions.create(login()).await.unwrap();
    let flows = Flows::new(
        Arc::clone(&world.store) as _,
        &world.ring,
        Duration::from_secs(600),
        world.ambient.clone(),
    );
    flows
        .put("the-state", &flow(world.ambient.now()))
        .await
        .unwrap();
    let secrets = [
        "ann",
        "example",
        "wizards",
        "the-",
        "provider-sid",
        "subject",
        "nonce",
        "verifier",
        ticket.to_cookie_value().expose_secret(),
    ]
    .map(str::to_owned);
    let written = world.store.written.lock().unwrap().clone();
    assert_eq!(written.len(), 5, "two index entries, login, session, flow");
    for (name, blob, _) in &written {
        let text = String::from_utf8_lossy(blob).into_owned();
        for secret in &secrets {
            assert!(
                !text.contains(secret.as_str()) && !name.contains(secret.as_str()),
                "{secret} in {name}"
            );
        }
        for window in blob.windows(16) {
            assert!(
                !ticket.key().windows(16).any(|part| part == window),
                "the ticket's key is in {name}"
            );
        }
    }
    // Who knows both ids from the dump, and even the key ring, still has no ticket.
    let session_blob = world
        .store
        .inner
        .get(&ticket.session_key())
        .await
        .unwrap()
        .unwrap();
    let ring_alone = world.ring.sealer(Purpose::Session, None);
    assert!(
        records::open::<SessionRecord>(&ring_alone, &ticket.session_key(), &session_blob).is_none()
    );
    let forged = ticket.with_key([0; 32]);
    assert!(sessions.find(&forged).await.unwrap().is_none());
    assert!(sessions.end(&forged).await.unwrap().is_none());
    assert!(
        sessions
            .find(&ticket)
            .await
            .unwrap()
            .is_some_and(|found| found.id == session.id)
    );
    // Also when the true one is remembered.
    let (sessions, background) = world.listening().await;
    assert!(sessions.find(&ticket).await.unwrap().is_some());
    assert!(sessions.find(&forged).await.unwrap().is_none());
    background.end().await;
}

#[tokio::test]
async fn records_of_two_sessions_cannot_be_mixed() {
    let world = World::new();
    let sessions = world.replica();
    let (_, mine) = sessions.create(login()).await.unwrap();
    let (_, other) = sessions
        .create(NewLogin {
            claims: claims("bob"),
            tokens: tokens(),
        })
        .await
        .unwrap();
    assert!(
        sessions
            .find(&mine.with_login_of(&other))
            .await
            .unwrap()
            .is_none(),
        "my session on another's login"
    );
    // A blob that was moved to another name does not open.
    let theirs = world
        .store
        .inner
        .get(&other.login().record())
        .await
        .unwrap()
        .unwrap();
    world
        .store
        .inner
        .put(&mine.login().record(), theirs.blob, Duration::from_secs(60))
        .await
        .unwrap();
    assert!(sessions.find(&mine).await.unwrap().is_none());
}

#[tokio::test]
async fn every_record_has_a_time_to_live() {
    let world = World::new();
    let sessions = world.replica();
    let (_, ticket) = sessions.create(login()).await.unwrap();
    world.clock.advance(Duration::from_secs(3600));
    sessions.find(&ticket).await.unwrap().unwrap();
    let written = world.store.written.lock().unwrap().clone();
    let ttl = |start: &str| -> Vec<u64> {
        written
            .iter()
            .filter(|(name, ..)| name.starts_with(start))
            .map(|(.., ttl)| ttl.as_secs())
            .collect()
    };
    assert_eq!(ttl("session:"), [8 * 3600 + 60, 8 * 3600 + 60]);
    assert_eq!(ttl("login:"), [24 * 3600 + 60]);
}

#[tokio::test]
async fn the_time_to_live_never_outlasts_the_absolute_end() {
    let mut world = World::new();
    world.config.absolute_timeout = Span::secs(3600);
    let sessions = world.replica();
    let (_, ticket) = sessions.create(login()).await.unwrap();
    world.clock.advance(Duration::from_secs(3000));
    sessions.find(&ticket).await.unwrap().unwrap();
    let ttl = world.store.written.lock().unwrap().last().unwrap().2;
    assert_eq!(ttl, Duration::from_secs(660));
}

#[tokio::test]
async fn a_session_just_seen_costs_no_read_while_events_are_heard() {
    let world = World::new();
    let (sessions, background) = world.listening().await;
    let (_, ticket) = sessions.create(login()).await.unwrap();
    sessions.find(&ticket).await.unwrap().unwrap();
    world.reads();
    for _ in 0..10 {
        sessions.find(&ticket).await.unwrap().unwrap();
    }
    assert_eq!(world.reads(), 0);
    // Four seconds without a heartbeat: nobody knows what was missed.
    background.end().await;
    world.clock.advance(Duration::from_secs(4));
    sessions.find(&ticket).await.unwrap().unwrap();
    assert_eq!(world.reads(), 2);
}

#[tokio::test]
async fn without_a_subscription_every_request_asks() {
    let world = World::new();
    let sessions = world.replica();
    let (_, ticket) = sessions.create(login()).await.unwrap();
    for _ in 0..3 {
        world.reads();
        sessions.find(&ticket).await.unwrap().unwrap();
        assert_eq!(world.reads(), 2);
    }
}

#[tokio::test]
async fn an_end_on_one_replica_is_known_on_the_other() {
    let world = World::new();
    let (here, here_background) = world.listening().await;
    let (there, there_background) = world.listening().await;
    let (session, ticket) = here.create(login()).await.unwrap();
    assert!(there.find(&ticket).await.unwrap().is_some());
    here.end(&ticket).await.unwrap();
    // The event was published before `end` came back; the other replica gets to it in a moment.
    while there.0.seen.fresh(&ticket, world.ambient.now()).is_some() {
        tokio::task::yield_now().await;
    }
    assert!(there.find(&ticket).await.unwrap().is_none());
    assert!(here.find(&ticket).await.unwrap().is_none());
    assert!(there.tokens(&session.login).await.unwrap().is_none());
    here_background.end().await;
    there_background.end().await;
}

#[tokio::test]
async fn refreshed_claims_are_seen_at_the_next_request() {
    let world = World::new();
    let (here, background) = world.listening().await;
    let (session, ticket) = here.create(login()).await.unwrap();
    here.find(&ticket).await.unwrap().unwrap();
    let (revision, _) = here.tokens(&session.login).await.unwrap().unwrap();
    let mut fewer = claims("ann-subject");
    fewer.groups.clear();
    assert!(
        here.update_login(&session.login, revision, tokens(), fewer.clone())
            .await
            .unwrap()
    );
    assert!(
        here.find(&ticket)
            .await
            .unwrap()
            .unwrap()
            .claims
            .groups
            .is_empty()
    );
    assert!(
        !here
            .update_login(&session.login, revision, tokens(), fewer)
            .await
            .unwrap(),
        "an old revision"
    );
    let (revision, _) = here.tokens(&session.login).await.unwrap().unwrap();
    assert!(
        !here
            .update_login(&session.login, revision, tokens(), claims("mallory"))
            .await
            .unwrap(),
        "another person"
    );
    background.end().await;
}

#[tokio::test]
async fn ended_logins_end_their_sessions_and_leave_the_indexes() {
    let world = World::new();
    let sessions = world.replica();
    let (one, ticket) = sessions.create(login()).await.unwrap();
    let (two, _) = sessions.create(login()).await.unwrap();
    let subject = one.claims.subject.clone();
    let mut both = vec![one.login.to_string(), two.login.to_string()];
    both.sort();
    assert_eq!(sessions.logins_of(&subject).await.unwrap(), both);
    assert_eq!(
        sessions
            .logins_of_provider_session("https://idp.example", "provider-sid")
            .await
            .unwrap(),
        both
    );
    assert!(
        sessions
            .logins_of_provider_session("https://other.example", "provider-sid")
            .await
            .unwrap()
            .is_empty()
    );
    sessions.end_login(&one.login).await.unwrap();
    assert!(sessions.find(&ticket).await.unwrap().is_none());
    assert_eq!(
        sessions.logins_of(&subject).await.unwrap(),
        [two.login.to_string()]
    );
}

#[tokio::test]
async fn an_outage_is_never_absence() {
    let world = World::new();
    let (sessions, background) = world.listening().await;
    let (_, seen) = sessions.create(login()).await.unwrap();
    let (_, unseen) = sessions.create(login()).await.unwrap();
    sessions.find(&seen).await.unwrap().unwrap();
    world.away(true);
    background.end().await;
    assert!(sessions.find(&unseen).await.is_err());
    world.clock.advance(Duration::from_secs(59));
    assert!(
        sessions.find(&seen).await.unwrap().is_some(),
        "within the grace"
    );
    assert!(
        sessions.find(&seen.with_key([0; 32])).await.is_err(),
        "the grace is for the true ticket"
    );
    world.clock.advance(Duration::from_secs(1));
    assert!(sessions.find(&seen).await.is_err(), "after the grace");
    assert!(sessions.create(login()).await.is_err());
    assert!(sessions.end(&seen).await.is_err());
    world.away(false);
    assert!(sessions.find(&seen).await.unwrap().is_some());
    assert!(sessions.find(&unseen).await.unwrap().is_some());
}

#[tokio::test]
async fn a_session_that_ended_has_no_grace() {
    let world = World::new();
    let (sessions, background) = world.listening().await;
    let (_, ticket) = sessions.create(login()).await.unwrap();
    sessions.find(&ticket).await.unwrap().unwrap();
    sessions.end(&ticket).await.unwrap();
    world.away(true);
    assert!(sessions.find(&ticket).await.is_err());
    background.end().await;
}

#[tokio::test]
async fn requests_that_come_together_read_once() {
    let world = World::new();
    let sessions = world.replica();
    let (_, ticket) = sessions.create(login()).await.unwrap();
    world.reads();
    let found = futures_util::future::join_all((0..50).map(|_| sessions.find(&ticket))).await;
    assert!(found.into_iter().all(|found| found.unwrap().is_some()));
    assert_eq!(world.reads(), 2);
    assert!(sessions.0.flights.is_empty());
}

#[tokio::test]
async fn a_read_that_was_given_up_is_not_taken_up_later() {
    let world = World::new();
    let sessions = world.replica();
    let (_, ticket) = sessions.create(login()).await.unwrap();
    {
        let mut find = std::pin::pin!(sessions.find(&ticket));
        assert!(futures_util::poll!(find.as_mut()).is_pending());
    }
    assert!(sessions.0.flights.is_empty());
    sessions.end(&ticket).await.unwrap();
    assert!(sessions.find(&ticket).await.unwrap().is_none());
}

#[tokio::test]
async fn a_read_under_way_does_not_bring_back_what_ended() {
    let world = World::new();
    let (sessions, background) = world.listening().await;
    let (_, ticket) = sessions.create(login()).await.unwrap();
    let id = ticket.login();
    // The read has its mark; the session ends; then the read remembers.
    let mark = sessions.0.seen.mark(id);
    let session = sessions.find(&ticket).await.unwrap().unwrap();
    let opened = sessions.0.seen.opened(&ticket).unwrap();
    sessions.end(&ticket).await.unwrap();
    sessions
        .0
        .seen
        .remember(&ticket, &session, opened, world.ambient.now(), mark);
    assert!(sessions.find(&ticket).await.unwrap().is_none());
    background.end().await;
}

#[tokio::test]
async fn living_sessions_are_counted() {
    let world = World::new();
    let metrics = Metrics::new();
    let store = Arc::new(MemoryStore::new(&world.config, world.ambient.clone()));
    let sessions = Sessions::new(
        store,
        world.ring.clone(),
        &world.config,
        world.ambient.clone(),
        &metrics,
    );
    let (_, ticket) = sessions.create(login()).await.unwrap();
    sessions.create(login()).await.unwrap();
    assert!(
        metrics
            .render()
            .contains("mcp_proxy_active_sessions{store=\"memory\"} 2")
    );
    sessions.end(&ticket).await.unwrap();
    assert!(
        metrics
            .render()
            .contains("mcp_proxy_active_sessions{store=\"memory\"} 1")
    );
    let shared = world.replica();
    let (_, ticket) = shared.create(login()).await.unwrap();
    assert_eq!(shared.0.active.count(), 1);
    shared.end(&ticket).await.unwrap();
    assert_eq!(shared.0.active.count(), 0);
}

fn flow(started: Timestamp) -> Flow {
    Flow {
        nonce: "the-nonce".to_owned(),
        verifier: "the-verifier".to_owned(),
        return_to: "/the-page".to_owned(),
        issuer: "https://idp.example".to_owned(),
        started,
    }
}

#[tokio::test]
async fn a_flow_is_taken_once_and_in_time() {
    let world = World::new();
    let flows = Flows::new(
        Arc::clone(&world.store) as _,
        &world.ring,
        Duration::from_secs(600),
        world.ambient.clone(),
    );
    flows.put("one", &flow(world.ambient.now())).await.unwrap();
    assert!(flows.take("other").await.unwrap().is_none());
    assert_eq!(
        flows.take("one").await.unwrap().unwrap().return_to,
        "/the-page"
    );
    assert!(flows.take("one").await.unwrap().is_none());
    flows.put("late", &flow(world.ambient.now())).await.unwrap();
    world.clock.advance(Duration::from_secs(600));
    assert!(flows.take("late").await.unwrap().is_none());
    world.away(true);
    assert!(flows.take("late").await.is_err());
}

#[tokio::test]
async fn one_replica_at_a_time_holds_a_lease() {
    let world = World::new();
    let (here, there) = (world.replica(), world.replica());
    let (session, _) = here.create(login()).await.unwrap();
    let mut lease = here.lease(&session.login).await.unwrap().unwrap();
    assert!(there.lease(&session.login).await.unwrap().is_none());
    assert!(lease.renew().await.unwrap());
    lease.release().await;
    let mut next = there.lease(&session.login).await.unwrap().unwrap();
    // A lease that ran out is somebody else's; its former owner cannot give that one away.
    world.clock.advance(LEASE_TERM);
    let owner = here.lease(&session.login).await.unwrap().unwrap();
    assert!(!next.renew().await.unwrap());
    assert!(!next.held());
    next.release().await;
    assert!(there.lease(&session.login).await.unwrap().is_none());
    owner.release().await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_while_the_work_goes_on() {
    let world = World::new();
    let sessions = world.replica();
    let (session, _) = sessions.create(login()).await.unwrap();
    let mut lease = sessions.lease(&session.login).await.unwrap().unwrap();
    let key = Key::new(Space::Lease, Arc::clone(&session.login));
    let before = world.store.inner.get(&key).await.unwrap().unwrap().revision;
    lease
        .keep(tokio::time::sleep(Duration::from_secs(16)))
        .await;
    let after = world.store.inner.get(&key).await.unwrap().unwrap().revision;
    assert_eq!(after, before + 3, "prolonged every third of its term");
    world.clear(&key).await;
    lease.keep(tokio::time::sleep(Duration::from_secs(6))).await;
    assert!(!lease.held());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_refresh_is_woken_by_it() {
    let world = World::new();
    let sessions = world.replica();
    let (session, _) = sessions.create(login()).await.unwrap();
    let (revision, _) = sessions.tokens(&session.login).await.unwrap().unwrap();
    let lease = sessions.lease(&session.login).await.unwrap().unwrap();
    let patience = Duration::from_secs(10);
    assert!(
        !sessions
            .changed(&session.login, revision, patience)
            .await
            .unwrap()
    );
    let begun = Instant::now();
    let (changed, updated) = tokio::join!(
        sessions.changed(&session.login, revision, patience),
        sessions.update_login(&session.login, revision, tokens(), claims("ann-subject")),
    );
    assert!(changed.unwrap() && updated.unwrap());
    assert!(begun.elapsed() < POLL, "woken, not polled");
    // Who comes after the owner has finished waits for nobody.
    let (revision, _) = sessions.tokens(&session.login).await.unwrap().unwrap();
    lease.release().await;
    let begun = Instant::now();
    assert!(
        sessions
            .changed(&session.login, revision, patience)
            .await
            .unwrap()
    );
    assert!(begun.elapsed() < POLL);
}

/// Without `recently_seen` every request reads both records; what was opened for the same ticket from the same blobs
/// is not opened again, and nothing else is taken from memory.
#[tokio::test]
async fn what_was_opened_counts_for_the_same_ticket_and_records_alone() {
    let mut world = World::new();
    world.config.recently_seen = Span::secs(0);
    let sessions = world.replica();
    let (_, ticket) = sessions.create(login()).await.unwrap();
    let (_, other) = sessions.create(login()).await.unwrap();
    let first = sessions.find(&ticket).await.unwrap().unwrap();
    world.reads();
    let second = sessions.find(&ticket).await.unwrap().unwrap();
    assert_eq!(world.reads(), 2, "both records are read each time");
    assert!(Arc::ptr_eq(&first.claims, &second.claims), "kept ready");

    let stolen = ticket.with_key([7; 32]);
    assert!(sessions.find(&stolen).await.unwrap().is_none());
    let mixed = other.with_login_of(&ticket);
    assert!(sessions.find(&mixed).await.unwrap().is_none());

    let (revision, _) = sessions.tokens(&first.login).await.unwrap().unwrap();
    let mut named = claims("ann-subject");
    named.name = Some("Ann".to_owned());
    let elsewhere = world.replica();
    elsewhere
        .update_login(&first.login, revision, tokens(), named)
        .await
        .unwrap();
    let changed = sessions.find(&ticket).await.unwrap().unwrap();
    assert_eq!(changed.claims.name.as_deref(), Some("Ann"));

    let key = ticket.session_key();
    let stored = world.store.inner.get(&key).await.unwrap().unwrap();
    for at in 0..stored.blob.len() {
        let mut blob = stored.blob.to_vec();
        blob[at] ^= 1;
        let put = world
            .store
            .inner
            .put(&key, blob.into(), Duration::from_secs(60));
        put.await.unwrap();
        assert!(sessions.find(&ticket).await.unwrap().is_none(), "{at}");
    }
    let put = world
        .store
        .inner
        .put(&key, stored.blob, Duration::from_secs(60));
    put.await.unwrap();
    assert!(sessions.find(&ticket).await.unwrap().is_some());
    world.clear(&key).await;
    assert!(sessions.find(&ticket).await.unwrap().is_none());
}
