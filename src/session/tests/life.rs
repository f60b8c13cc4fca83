//! How long sessions last, and what ends them.

use super::*;

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
async fn every_record_has_a_time_to_live() {
    let world = World::new();
    let sessions = world.replica();
    let (_, ticket) = sessions.create(login()).await.unwrap();
    world.clock.advance(Duration::from_secs(3600));
    let found = sessions.find(&ticket).await.unwrap().unwrap();
    sessions.end_all_of(&found.claims.subject).await.unwrap();
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
    assert_eq!(ttl("revoked:"), [24 * 3600 + 60]);
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
async fn living_sessions_are_counted() {
    let world = World::new();
    let metrics = Metrics::new();
    let store = Arc::new(MemoryStore::new(&world.config, world.ambient.clone()));
    let revocations = Revocations::new(Arc::clone(&store) as _, world.ambient.clone());
    let sessions = Sessions::new(
        store,
        world.ring.clone(),
        &world.config,
        &revocations,
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
