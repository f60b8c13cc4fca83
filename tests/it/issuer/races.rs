//! Two replicas on one Redis race each atomic step of a grant, and what is kept there ends and tells nothing.

use deadpool_redis::redis::cmd;
use futures_util::future::join_all;
use serde_json::json;

use crate::harness::browser::Browser;
use crate::harness::client::{Answer, post};
use crate::harness::echo::Echo;
use crate::harness::oauth::{App, Returned, Tokens, VERIFIER};
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::{Proxy, proxy};
use crate::harness::redis::{Server, dump, keys_without_end};

struct World {
    _provider: RealProvider,
    landing: Echo,
    redis: Server,
    first: Proxy,
    second: Proxy,
    app: App,
}

impl World {
    async fn new() -> Self {
        let provider = RealProvider::start(&json!({})).await;
        let landing = Echo::start().await;
        let redis = Server::plain().await;
        let shared = proxy()
            .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
            .route(
                "/a/mcp",
                &format!("{}/a", landing.url()),
                "name: a\nallow: { any_user: true }\nscopes: [mcp]",
            )
            .on_redis(redis.port).yaml("authorization_server:\n  consent: { remember: 30d }\n  clients:\n    - client_id: machine\n      secret: a-secret-of-the-machine\n      grant_types: [client_credentials]\n");
        let (first, second) = shared.start_two().await;
        let callback = format!("{}/callback", landing.url());
        let app = App::discover(&first.url("/a/mcp"), &callback).await;
        Self {
            _provider: provider,
            landing,
            redis,
            first,
            second,
            app,
        }
    }

    /// The same form to both replicas in turn, all at once.
    async fn together(&self, count: usize, form: &[(&str, &str)]) -> Vec<Answer> {
        let fields: Vec<(String, String)> = form
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let endpoint = self.app.server["token_endpoint"].as_str().unwrap();
        join_all((0..count).map(|at| {
            let replica = if at % 2 == 0 {
                &self.first
            } else {
                &self.second
            };
            post(endpoint).via(replica.port()).form(&fields).send()
        }))
        .await
    }

    async fn call(&self, token: &str) -> u16 {
        post(&self.app.resource)
            .via(self.second.port())
            .bearer(token)
            .json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }))
            .send()
            .await
            .status
            .as_u16()
    }
}

#[tokio::test]
async fn s8_of_many_redemptions_one_counts_and_then_none() {
    let world = World::new().await;
    let code = world
        .app
        .approve(&mut Browser::default(), "ann")
        .await
        .code();
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &*code),
        ("redirect_uri", &*world.app.redirect_uri),
        ("client_id", &*world.app.client_id),
        ("code_verifier", VERIFIER),
    ];
    let answers = world.together(20, &form).await;
    let (good, bad): (Vec<_>, Vec<_>) = answers.into_iter().partition(|each| each.status == 200);
    assert_eq!(good.len(), 1);
    assert!(
        bad.iter()
            .all(|each| each.json()["error"] == "invalid_grant")
    );
    // The other redemptions were replays: what the one gave is over.
    let tokens = Tokens::of(&good[0]);
    assert_eq!(world.call(&tokens.access).await, 401);
    let refused = world.app.refresh(tokens.refresh.as_deref().unwrap()).await;
    assert_eq!(refused.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn parallel_refreshes_on_two_replicas_give_one_successor() {
    let world = World::new().await;
    let tokens = world.app.sign_in(&mut Browser::default(), "ann").await;
    let refresh = tokens.refresh.unwrap();
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &*refresh),
        ("client_id", &*world.app.client_id),
    ];
    let answers = world.together(40, &form).await;
    let all: Vec<Tokens> = answers.iter().map(Tokens::of).collect();
    assert!(all.iter().all(|each| each.refresh == all[0].refresh));
    assert_eq!(world.call(&all[0].access).await, 200);
    let next = world.app.refresh(all[0].refresh.as_deref().unwrap()).await;
    assert_eq!(next.status, 200);
}

#[tokio::test]
async fn one_answer_to_a_consent_page_makes_one_code() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let page = world.app.consent_page(&mut browser, "ann").await;
    let answers = join_all((0..6).map(|_| {
        let (mut browser, form) = (
            browser.clone(),
            page.form_to("/oauth2/consent").fill("decision", "approve"),
        );
        async move { Returned::of(&browser.submit(form).await) }
    }))
    .await;
    let codes = answers
        .iter()
        .filter(|returned| returned.get("code").is_some())
        .count();
    assert_eq!(codes, 1);
    assert_eq!(world.landing.seen().len(), 1);
}

#[tokio::test]
async fn a_revocation_wins_over_refreshes_under_way() {
    let world = World::new().await;
    let tokens = world.app.sign_in(&mut Browser::default(), "ann").await;
    let refresh = tokens.refresh.unwrap();
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &*refresh),
        ("client_id", &*world.app.client_id),
    ];
    let revocation = post(world.app.server["revocation_endpoint"].as_str().unwrap())
        .via(world.second.port())
        .form(&[
            ("token".to_owned(), refresh.clone()),
            ("client_id".to_owned(), world.app.client_id.clone()),
        ])
        .send();
    let (answers, revoked) = tokio::join!(world.together(10, &form), revocation);
    assert_eq!(revoked.status, 200);
    for answer in answers.iter().filter(|answer| answer.status == 200) {
        let given = Tokens::of(answer);
        assert_eq!(world.call(&given.access).await, 401);
        let refused = world.app.refresh(given.refresh.as_deref().unwrap()).await;
        assert_eq!(refused.json()["error"], "invalid_grant");
    }
}

#[tokio::test]
async fn everything_in_redis_ends_in_its_time_and_tells_nothing() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let tokens = world.app.sign_in(&mut browser, "ann").await;
    let next = Tokens::of(&world.app.refresh(tokens.refresh.as_deref().unwrap()).await);
    let machine = world
        .app
        .token(&[
            ("grant_type", "client_credentials"),
            ("client_id", "machine"),
            ("client_secret", "a-secret-of-the-machine"),
        ])
        .await;
    assert_eq!(machine.status, 200, "{}", machine.text());
    let pending = world
        .app
        .approve(&mut Browser::default(), "bob")
        .await
        .code();

    let mut connection = world.redis.connection("").await;
    assert_eq!(
        keys_without_end(&mut connection).await,
        Vec::<String>::new()
    );
    let day = 86_400_000;
    let mut seen = std::collections::BTreeSet::new();
    for (key, content) in dump(&mut connection).await {
        let space = key.split(':').nth(1).unwrap().to_owned();
        let ttl: i64 = cmd("PTTL")
            .arg(&key)
            .query_async(&mut connection)
            .await
            .unwrap();
        let longest = match &*space {
            "session" => day,
            "login" | "index" => 181 * day,
            "flow" | "lease" | "replay" => day / 24,
            "grant" | "consent" => 31 * day,
            "install" => 3651 * day,
            other => panic!("a space that nothing is said about: {other}"),
        };
        assert!((1..=longest).contains(&ttl), "{key}: {ttl} ms");
        let text = String::from_utf8_lossy(&content);
        for secret in [
            "ann",
            "bob",
            "engineering",
            "example.com",
            "Test App",
            "machine",
            &*tokens.access,
            tokens.refresh.as_deref().unwrap(),
            &*next.access,
            &*pending,
        ] {
            assert!(
                !text.contains(secret) && !key.contains(secret),
                "{key} tells {secret}"
            );
        }
        seen.insert(space);
    }
    for space in ["session", "login", "grant", "consent", "index", "install"] {
        assert!(seen.contains(space), "{space} is not among {seen:?}");
    }
}
