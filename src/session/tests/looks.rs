//! What open streams rest on is looked at without being used.

use super::*;

#[tokio::test]
async fn looks_do_not_prolong_the_idle_time() {
    let world = World::new();
    let sessions = world.replica();
    let (_, ticket) = sessions.create(login()).await.unwrap();
    let minute = Duration::from_secs(60);
    let minutes = world.config.idle_timeout.0.as_secs() / 60;
    for _ in 1..minutes {
        world.clock.advance(minute);
        let found = sessions.visit(&ticket, Visit::Look).await.unwrap();
        assert!(found.is_some());
    }
    world.clock.advance(minute);
    let found = sessions.visit(&ticket, Visit::Look).await.unwrap();
    assert!(found.is_none(), "nobody used it");
}

#[tokio::test]
async fn a_request_after_a_look_prolongs_the_idle_time() {
    let world = World::new();
    let (sessions, background) = world.listening().await;
    let (_, ticket) = sessions.create(login()).await.unwrap();
    background.end().await;
    sessions.0.revocations.set_heard(true);
    // The idle time is due to be written: the look must not be what the request is served from.
    world.clock.advance(Duration::from_secs(61));
    let writes = || world.store.written.lock().unwrap().len();
    let before = writes();
    assert!(
        sessions
            .visit(&ticket, Visit::Look)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(writes(), before);
    assert!(sessions.find(&ticket).await.unwrap().is_some());
    assert_eq!(writes(), before + 1);
    // In an outage it is as good as any other.
    world.clock.advance(Duration::from_secs(61));
    assert!(
        sessions
            .visit(&ticket, Visit::Look)
            .await
            .unwrap()
            .is_some()
    );
    sessions.0.revocations.set_heard(false);
    world.away(true);
    world.clock.advance(Duration::from_secs(30));
    assert!(
        sessions
            .visit(&ticket, Visit::Look)
            .await
            .unwrap()
            .is_some()
    );
    assert!(sessions.find(&ticket).await.unwrap().is_some());
    world.clock.advance(Duration::from_secs(30));
    assert!(sessions.visit(&ticket, Visit::Look).await.is_err());
}

#[tokio::test]
async fn a_request_does_not_join_a_look() {
    let world = World::new();
    let sessions = world.replica();
    let (_, ticket) = sessions.create(login()).await.unwrap();
    world.clock.advance(Duration::from_secs(61));
    let writes = || world.store.written.lock().unwrap().len();
    let before = writes();
    let (looked, found) =
        tokio::join!(sessions.visit(&ticket, Visit::Look), sessions.find(&ticket));
    assert!(looked.unwrap().is_some() && found.unwrap().is_some());
    assert_eq!(writes(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn streams_are_not_woken_all_the_time_while_the_store_is_away() {
    let world = World::new();
    let sessions = world.replica();
    let watch = sessions.0.revocations.watch(&[]);
    world.away(true);
    let until = CancellationToken::new();
    let rings = async {
        let mut rings = 0;
        while tokio::time::timeout(Duration::from_secs(30), watch.next())
            .await
            .is_ok()
        {
            rings += 1;
            assert!(rings < 3, "woken again and again");
        }
        until.cancel();
    };
    tokio::join!(rings, sessions.0.revocations.run(until.clone()));
}
