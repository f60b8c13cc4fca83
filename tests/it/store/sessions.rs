//! Browser sessions over a real Redis: what a dump shows, and what one replica tells another.

use std::sync::Arc;
use std::time::Duration;

use mcp_oidc_proxy::claims::Claims;
use mcp_oidc_proxy::clock::Ambient;
use mcp_oidc_proxy::config::Config;
use mcp_oidc_proxy::config::oidc::ClaimMap;
use mcp_oidc_proxy::config::session::Sessions as SessionConfig;
use mcp_oidc_proxy::ids::Subject;
use mcp_oidc_proxy::keys::KeyRing;
use mcp_oidc_proxy::revocation::Revocations;
use mcp_oidc_proxy::secret::Secret;
use mcp_oidc_proxy::session::keyring::key_ring;
use mcp_oidc_proxy::session::{NewLogin, ProviderTokens, Sessions};
use mcp_oidc_proxy::store::Store;
use mcp_oidc_proxy::telemetry::metrics::Metrics;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::contract::until;
use super::open;
use crate::harness::redis::{Server, dump, keys_without_end};

fn login() -> NewLogin {
    let all = json!({ "email": "ann@example.com", "groups": ["wizards"], "name": "Ann Person" });
    let subject = Subject {
        issuer: "https://idp.example".into(),
        subject: "ann-subject".into(),
    };
    NewLogin {
        claims: Claims::read(
            subject,
            all.as_object().unwrap().clone(),
            &ClaimMap::default(),
        ),
        tokens: ProviderTokens {
            access_token: Secret::new("the-access-token"),
            access_expires: None,
            refresh_token: Some(Secret::new("the-refresh-token")),
            id_token: Some(Secret::new("the-id-token")),
            provider_session: Some("the-provider-session".to_owned()),
        },
    }
}

fn replica(store: &Arc<dyn Store>, ring: &KeyRing) -> Arc<Sessions> {
    let config = SessionConfig::default();
    Sessions::new(
        Arc::clone(store),
        ring.clone(),
        &config,
        &Revocations::new(Arc::clone(store), Ambient::system()),
        Ambient::system(),
        &Metrics::new(),
    )
}

#[tokio::test]
async fn advisory_plain_records_a_dump_of_redis_shows_nobody() {
    let server = Server::plain().await;
    let store = open(json!({ "url": format!("redis://127.0.0.1:{}", server.port) })).await;
    let ring = KeyRing::ephemeral(Ambient::system());
    let sessions = replica(&store, &ring);
    let (session, ticket) = sessions.create(login()).await.unwrap();
    let mut admin = server.connection("").await;
    let all = dump(&mut admin).await;
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert!(
        names.contains(&format!("mcp:session:{}", session.id).as_str()),
        "{names:?}"
    );
    assert!(
        names.contains(&format!("mcp:login:{}", session.login).as_str()),
        "{names:?}"
    );
    assert_eq!(
        all.len(),
        4,
        "session, login, and an index each for subject and provider session"
    );
    for (name, content) in &all {
        let text = format!("{name} {}", String::from_utf8_lossy(content));
        for secret in [
            "ann", "Ann", "example", "wizards", "the-", "groups", "email",
        ] {
            assert!(!text.contains(secret), "{secret} is in {text:?}");
        }
        assert!(!text.contains(ticket.to_cookie_value().expose_secret()));
    }
    assert_eq!(keys_without_end(&mut admin).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_know_of_each_other_and_outlive_a_restart_of_redis() {
    let mut server = Server::plain().await;
    let settings = json!({ "url": format!("redis://127.0.0.1:{}", server.port) });
    let ring = KeyRing::ephemeral(Ambient::system());
    let here = replica(&open(settings.clone()).await, &ring);
    let there = replica(&open(settings).await, &ring);
    let stop = CancellationToken::new();
    let tasks: Vec<_> = [&here, &there]
        .into_iter()
        .map(|sessions| {
            let (sessions, stop) = (Arc::clone(sessions), stop.clone());
            tokio::spawn(async move { sessions.background(stop).await })
        })
        .collect();

    let (session, ticket) = here.create(login()).await.unwrap();
    assert!(there.find(&ticket).await.unwrap().is_some());
    let (revision, tokens) = there.tokens(&session.login).await.unwrap().unwrap();
    let mut claims = login().claims;
    claims.groups.clear();
    assert!(
        there
            .update_login(&session.login, revision, tokens, claims)
            .await
            .unwrap()
    );
    until(|| async {
        here.find(&ticket)
            .await
            .unwrap()
            .unwrap()
            .claims
            .groups
            .is_empty()
    })
    .await;
    assert_eq!(
        there.end(&ticket).await.unwrap().unwrap().id_token,
        Some(Secret::new("the-id-token"))
    );
    until(|| async { here.find(&ticket).await.unwrap().is_none() }).await;

    let (_, kept) = here.create(login()).await.unwrap();
    let (_, unseen) = here.create(login()).await.unwrap();
    assert!(here.find(&kept).await.unwrap().is_some());
    server.kill();
    assert!(here.find(&kept).await.unwrap().is_some(), "the grace");
    assert!(here.find(&unseen).await.is_err(), "nobody knows");
    server.restart().await;
    // Redis came back empty: the sessions are gone, and that is known once it answers.
    until(|| async { matches!(here.find(&unseen).await, Ok(None)) }).await;
    until(|| async { matches!(here.find(&kept).await, Ok(None)) }).await;

    stop.cancel();
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(10), task)
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_without_a_configured_root_share_the_one_in_redis() {
    let server = Server::plain().await;
    let settings = json!({ "url": format!("redis://127.0.0.1:{}", server.port) });
    let config: Config = serde_json::from_value(json!({
        "version": 1,
        "sessions": { "store": "redis", "redis": settings },
        "oidc": { "issuer": "https://idp.example", "client_id": "proxy", "client_secret": "a-long-enough-client-secret" },
    }))
    .unwrap();
    let (one, two) = (open(settings.clone()).await, open(settings).await);
    let ambient = Ambient::system();
    let own = KeyRing::ephemeral(ambient.clone());
    let (ring_one, ring_two) = tokio::join!(
        key_ring(&config, &*one, &own, &ambient),
        key_ring(&config, &*two, &own, &ambient)
    );
    let (_, ticket) = replica(&one, &ring_one.unwrap())
        .create(login())
        .await
        .unwrap();
    assert!(
        replica(&two, &ring_two.unwrap())
            .find(&ticket)
            .await
            .unwrap()
            .is_some()
    );
    let mut admin = server.connection("").await;
    assert_eq!(keys_without_end(&mut admin).await, Vec::<String>::new());
}
