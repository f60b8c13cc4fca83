//! Logins on their way, and leases.

use tokio::time::Instant;

use super::*;
use crate::session::turn::POLL;

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
