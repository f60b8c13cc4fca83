//! Ending everything of everybody.

use super::*;
use crate::session::everybody::{MARGIN, VALID, VALID_UNHEARD};
use crate::session::ticket::LoginId;

#[tokio::test]
async fn everything_ends_on_every_replica_and_what_comes_later_counts() {
    let world = World::new();
    let (here, here_background) = world.listening().await;
    let (there, there_background) = world.listening().await;
    let (session, ticket) = here.create(login()).await.unwrap();
    let (_, other) = there.create(login()).await.unwrap();
    for sessions in [&here, &there] {
        assert!(sessions.find(&ticket).await.unwrap().is_some());
        assert!(sessions.find(&other).await.unwrap().is_some());
    }
    let watch = there.0.revocations.watch(&session.names);
    let nameless = there.0.revocations.watch(&[]);
    let began = world.ambient.now();
    let until = here.end_everything().await.unwrap();
    assert_eq!(until, began.plus(MARGIN));
    assert!(here.find(&ticket).await.unwrap().is_none());
    // The other replica hears of it in a moment.
    assert_eq!(watch.next().await, News::Ended);
    for ticket in [&ticket, &other] {
        assert!(there.find(ticket).await.unwrap().is_none());
    }
    assert!(there.login(&session.login).await.unwrap().is_none());
    assert!(there.tokens(&session.login).await.unwrap().is_none());
    let rung = tokio::time::timeout(Duration::from_millis(50), nameless.next()).await;
    assert_ne!(rung.ok(), Some(News::Ended), "an API key");
    assert!(
        !here
            .is_cut_off(until.plus(Duration::from_millis(1)))
            .await
            .unwrap()
    );

    world.clock.advance(MARGIN);
    let (_, at) = there.create(login()).await.unwrap();
    assert!(there.find(&at).await.unwrap().is_none(), "to the moment");
    world.clock.advance(Duration::from_millis(1));
    let (_, late) = there.create_since(login(), began).await.unwrap();
    assert!(
        there.find(&late).await.unwrap().is_none(),
        "it was under way"
    );
    let (_, later) = there.create(login()).await.unwrap();
    assert!(here.find(&later).await.unwrap().is_some());
    assert!(there.find(&later).await.unwrap().is_some());
    here_background.end().await;
    there_background.end().await;
}

#[tokio::test]
async fn who_does_not_hear_of_it_finds_it() {
    let world = World::new();
    let (sessions, deaf) = (world.replica(), world.replica());
    let (_, ticket) = sessions.create(login()).await.unwrap();
    assert!(deaf.find(&ticket).await.unwrap().is_some());
    sessions.end_everything().await.unwrap();
    world.clock.advance(VALID_UNHEARD);
    assert!(deaf.find(&ticket).await.unwrap().is_none());

    // One that believes that it hears everything, and does not.
    world.clock.advance(MARGIN);
    let (_, ticket) = sessions.create(login()).await.unwrap();
    deaf.0.revocations.set_heard(true);
    assert!(deaf.find(&ticket).await.unwrap().is_some());
    sessions.end_everything().await.unwrap();
    world.clock.advance(VALID);
    assert!(deaf.find(&ticket).await.unwrap().is_none());
}

#[tokio::test]
async fn a_mark_that_cannot_be_read_is_no_permission() {
    let world = World::new();
    let sessions = world.replica();
    let (_, ticket) = sessions.create(login()).await.unwrap();
    let garbage = Bytes::from_static(b"garbage");
    let key = &sessions.0.cutoff.keys[0];
    world.store.put(key, garbage, VALID).await.unwrap();
    world.clock.advance(VALID_UNHEARD);
    assert!(sessions.find(&ticket).await.is_err());
    assert!(sessions.end_everything().await.is_err());
    world.clear(key).await;
    assert!(sessions.find(&ticket).await.unwrap().is_some());
}

#[tokio::test]
async fn a_mark_is_never_set_back_and_stays_when_nobody_could_be_told() {
    let world = World::new();
    let (sessions, other) = (world.replica(), world.replica());
    let (_, ticket) = sessions.create(login()).await.unwrap();
    world.store.mute.store(true, Ordering::SeqCst);
    let told = sessions.end_everything().await;
    assert!(matches!(told, Err(NotEnded::Told(_))), "{told:?}");
    assert!(other.find(&ticket).await.unwrap().is_none());
    assert!(sessions.find(&ticket).await.unwrap().is_none());
    world.store.mute.store(false, Ordering::SeqCst);
    world.clock.advance(Duration::from_secs(5));
    let later = other.end_everything().await.unwrap();
    assert_eq!(later, world.ambient.now().plus(MARGIN));
    world.away(true);
    let gone = sessions.end_everything().await;
    assert!(matches!(gone, Err(NotEnded::Mark(_))), "{gone:?}");
}

#[tokio::test]
async fn a_refreshed_login_is_as_old_as_before() {
    let world = World::new();
    let sessions = world.replica();
    let (session, _) = sessions.create(login()).await.unwrap();
    let began = world.ambient.now();
    world.clock.advance(Duration::from_secs(3600));
    let (revision, tokens) = sessions.tokens(&session.login).await.unwrap().unwrap();
    let claims = login().claims;
    assert!(
        sessions
            .update_login(&session.login, revision, tokens, claims)
            .await
            .unwrap()
    );
    let id = LoginId::parse(&session.login).unwrap();
    let (_, record) = sessions.0.read_login(id).await.unwrap().unwrap();
    assert_eq!(record.created, began);
}
