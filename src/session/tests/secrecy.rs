//! What a look into the store shows, and what cannot be mixed.

use super::*;

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
