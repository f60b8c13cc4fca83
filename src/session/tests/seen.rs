//! What replicas remember of sessions, and how they hear of changes.

use super::*;

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
    assert_eq!(world.reads(), 3, "both records, and the mark of everybody");
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
