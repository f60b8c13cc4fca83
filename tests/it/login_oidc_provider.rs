//! Sign-in, refresh and sign-out of people, and bearer tokens, with the certified `oidc-provider`.

use http::StatusCode;
use serde_json::{Value, json};

use crate::harness::browser::{Browser, Page};
use crate::harness::client::get;
use crate::harness::echo::Echo;
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::{Proxy, Setup, proxy};

const COOKIE: &str = "mcp_session";

/// A provider, a web server, and the proxy between them.
struct World {
    provider: RealProvider,
    backend: Echo,
    proxy: Proxy,
}

impl World {
    async fn new(options: &Value) -> Self {
        Self::with(options, |setup, issuer| {
            setup.oidc(issuer, "proxy", CLIENT_SECRET)
        })
        .await
    }

    async fn with(options: &Value, oidc: impl FnOnce(Setup, &str) -> Setup) -> Self {
        let provider = RealProvider::start(options).await;
        let backend = Echo::start().await;
        let setup = proxy()
            .route(
                "/app/*",
                &format!("{}/app", backend.url()),
                "kind: http\nallow: { any_user: true }",
            )
            .route(
                "/engineering/*",
                &format!("{}/engineering", backend.url()),
                "kind: http\nallow: { groups: [engineering] }",
            )
            .route(
                "/tools/mcp",
                &format!("{}/mcp", backend.url()),
                "allow: { groups: [engineering] }",
            );
        let proxy = oidc(setup, &provider.issuer()).start().await;
        Self {
            provider,
            backend,
            proxy,
        }
    }

    /// Opens a path, signs in, and gives the page that this ends at.
    async fn sign_in(&self, browser: &mut Browser, path: &str, login: &str) -> Page {
        let page = browser.open(&self.proxy.url(path)).await;
        assert_eq!(
            page.url.origin(),
            url::Url::parse(&self.provider.issuer()).unwrap().origin()
        );
        browser.sign_in(page, login).await
    }

    async fn bearer(&self, token: &str) -> StatusCode {
        get(&self.proxy.url("/tools/mcp"))
            .bearer(token)
            .send()
            .await
            .status
    }

    /// Claims of a good token for the MCP route, changed by `more`.
    async fn token(&self, how: &Value, more: &Value) -> String {
        let mut claims = json!({ "aud": self.proxy.url("/tools/mcp"), "groups": ["engineering"] });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let mut what = how.clone();
        what["claims"] = claims;
        self.provider.mint(&what).await
    }
}

#[tokio::test]
async fn a_person_signs_in_and_comes_back_to_the_page_first_asked_for() {
    let world = World::new(&json!({})).await;
    let mut ann = Browser::default();
    let page = world
        .sign_in(&mut ann, "/app/reports?year=2026&q=a%20b", "ann")
        .await;

    assert_eq!(page.status(), 200, "{}", page.text());
    assert_eq!(
        page.url.as_str(),
        world.proxy.url("/app/reports?year=2026&q=a%20b")
    );
    let asked = world.backend.seen().pop().unwrap();
    assert_eq!(asked.target, "/app/reports?year=2026&q=a%20b");
    let header = |name: &str| asked.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(header("x-forwarded-user"), Some("ann"));
    assert_eq!(header("x-forwarded-email"), Some("ann@example.com"));
    assert_eq!(header("x-forwarded-groups"), Some("engineering,staff"));
    assert_eq!(header("x-forwarded-preferred-username"), Some("ann"));
    assert_eq!(
        header("x-forwarded-issuer"),
        Some(world.provider.issuer().as_str())
    );
    assert_eq!(
        (header("cookie"), header("authorization")),
        (None, None),
        "credentials stay with the proxy"
    );
}

#[tokio::test]
async fn groups_decide_who_enters() {
    let world = World::new(&json!({})).await;
    let (mut ann, mut bob) = (Browser::default(), Browser::default());
    assert_eq!(
        world
            .sign_in(&mut ann, "/engineering/", "ann")
            .await
            .status(),
        200
    );

    let denied = world.sign_in(&mut bob, "/engineering/", "bob").await;
    assert_eq!(denied.status(), 403);
    assert!(
        denied
            .answer
            .header("content-type")
            .starts_with("text/html")
    );
    assert_eq!(
        bob.open(&world.proxy.url("/app/")).await.status(),
        200,
        "bob is signed in all the same"
    );
    assert!(
        world
            .backend
            .seen()
            .iter()
            .all(|asked| !asked.target.starts_with("/engineering")
                || asked.headers["x-forwarded-user"] == "ann")
    );
}

#[tokio::test]
async fn two_tabs_can_sign_in_at_once() {
    let world = World::new(&json!({})).await;
    let mut browser = Browser::default();
    let first = browser.open(&world.proxy.url("/app/one")).await;
    let second = browser.open(&world.proxy.url("/app/two")).await;

    let first = browser.sign_in(first, "ann").await;
    assert_eq!(
        (first.status(), first.url.path()),
        (StatusCode::OK, "/app/one")
    );
    let second = browser.sign_in(second, "ann").await;
    assert_eq!(
        (second.status(), second.url.path()),
        (StatusCode::OK, "/app/two")
    );
}

#[tokio::test]
async fn the_session_id_changes_at_login() {
    let world = World::new(&json!({})).await;
    let mut browser = Browser::default();
    world.sign_in(&mut browser, "/app/", "ann").await;
    let before = browser.cookie("localhost", COOKIE).unwrap().to_owned();
    browser
        .open(&world.proxy.url("/oauth2/start?rd=/app/again"))
        .await;
    assert_ne!(browser.cookie("localhost", COOKIE).unwrap(), before);
    let old = get(&world.proxy.url("/oauth2/userinfo"))
        .header("cookie", &format!("{COOKIE}={before}"))
        .send()
        .await;
    assert_eq!(old.status, 401, "the session that was replaced is over");
}

#[tokio::test]
async fn a_person_who_says_no_gets_a_page_that_says_so() {
    let world = World::new(&json!({})).await;
    let mut browser = Browser::default();
    let form = browser.open(&world.proxy.url("/app/")).await;
    let cancel = format!("{}/abort", form.url);
    let page = browser.open(&cancel).await;
    assert_eq!(page.url.path(), "/oauth2/callback");
    assert!(page.status().is_client_error(), "{}", page.status());
    assert!(browser.cookie("localhost", COOKIE).is_none());
    assert!(world.backend.seen().is_empty());
}

#[tokio::test]
async fn every_way_to_authenticate_the_client_works() {
    let key = rcgen::KeyPair::generate().unwrap();
    let point = key.public_key_raw();
    let coordinate = |range: std::ops::Range<usize>| {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&point[range])
    };
    let jwk = json!({ "kty": "EC", "crv": "P-256", "kid": "k1", "x": coordinate(1..33), "y": coordinate(33..65) });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.pem");
    std::fs::write(&file, key.serialize_pem()).unwrap();
    let ways = [
        format!(
            "client_id: proxy\nclient_secret: {CLIENT_SECRET}\nclient_auth: client_secret_basic\n"
        ),
        format!(
            "client_id: proxy-post\nclient_secret: {CLIENT_SECRET}\nclient_auth: client_secret_post\n"
        ),
        format!(
            "client_id: proxy-jwt\nclient_auth: private_key_jwt\nprivate_key: {{ file: {} }}\nprivate_key_id: k1\n",
            file.display()
        ),
        "client_id: proxy-public\nclient_auth: none\n".to_owned(),
    ];
    for way in ways {
        let world = World::with(&json!({ "client_jwk": jwk }), |setup, issuer| {
            setup.oidc_yaml(&format!("issuer: \"{issuer}\"\n{way}"))
        })
        .await;
        let page = world.sign_in(&mut Browser::default(), "/app/", "ann").await;
        assert_eq!(
            (page.status(), page.url.path()),
            (StatusCode::OK, "/app/"),
            "{way}: {}",
            page.text()
        );
    }
}

#[tokio::test]
async fn claims_that_are_not_in_the_id_token_come_from_userinfo() {
    let world = World::new(&json!({ "claims_in_id_token": false })).await;
    let page = world
        .sign_in(&mut Browser::default(), "/engineering/", "ann")
        .await;
    assert_eq!(page.status(), 200, "{}", page.text());
    assert_eq!(
        world.backend.seen()[0].headers["x-forwarded-email"],
        "ann@example.com"
    );
    assert_eq!(world.provider.asked("/me").await, 1);
}

#[tokio::test]
async fn sessions_are_refreshed_silently_with_a_rotating_refresh_token() {
    let world = World::new(&json!({ "access_token_ttl": 2 })).await;
    let mut browser = Browser::default();
    world.sign_in(&mut browser, "/app/", "ann").await;
    let start = world.provider.asked("/token").await;
    assert_eq!(start, 1);
    // Each refresh uses the token that the one before it brought: the provider would end a grant whose
    // refresh token is used twice.
    while world.provider.asked("/token").await < start + 3 {
        let page = browser.open(&world.proxy.url("/app/")).await;
        assert_eq!(
            (page.status(), page.trail.len()),
            (StatusCode::OK, 1),
            "{}",
            page.text()
        );
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn an_outage_of_the_provider_signs_nobody_out() {
    let world = World::new(&json!({ "access_token_ttl": 2 })).await;
    let mut browser = Browser::default();
    world.sign_in(&mut browser, "/app/", "ann").await;
    world.provider.fail("/token", 503, 1000).await;
    while world.provider.asked("/token").await < 2 {
        let page = browser.open(&world.proxy.url("/app/")).await;
        assert!(
            matches!(page.status().as_u16(), 200 | 503),
            "{} {}",
            page.status(),
            page.text()
        );
        assert_eq!(
            page.trail.len(),
            1,
            "nobody is sent to sign in: {:?}",
            page.trail
        );
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    world.provider.heal().await;
    loop {
        let page = browser.open(&world.proxy.url("/app/")).await;
        assert_eq!(
            page.trail.len(),
            1,
            "nobody is sent to sign in: {:?}",
            page.trail
        );
        if page.status() == 200 && world.provider.asked("/token").await > 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_person_whom_the_provider_refuses_has_to_sign_in_again() {
    let world = World::new(&json!({ "access_token_ttl": 2 })).await;
    let mut browser = Browser::default();
    world.sign_in(&mut browser, "/app/", "ann").await;
    world.provider.revoke("ann").await;
    loop {
        let page = browser.open(&world.proxy.url("/app/")).await;
        if page.url.origin() != world.proxy.base().origin() {
            assert!(page.text().contains("Test provider"), "{}", page.text());
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn signing_out_ends_the_session_here_and_at_the_provider() {
    let world = World::new(&json!({})).await;
    let mut browser = Browser::default();
    world.sign_in(&mut browser, "/app/", "ann").await;
    let kept = browser.cookie("localhost", COOKIE).unwrap().to_owned();

    let asks = browser.open(&world.proxy.url("/oauth2/sign_out")).await;
    assert_eq!(asks.url.path(), "/session/end", "{}", asks.text());
    let query: std::collections::HashMap<_, _> = asks.url.query_pairs().into_owned().collect();
    assert!(query["id_token_hint"].starts_with("eyJ"));
    let back = browser.submit(asks.form().fill("logout", "yes")).await;
    assert_eq!(
        back.url.origin(),
        world.proxy.base().origin(),
        "{}",
        back.text()
    );
    assert_eq!(back.status(), 200, "{}", back.text());

    assert!(browser.cookie("localhost", COOKIE).is_none());
    let replayed = get(&world.proxy.url("/oauth2/userinfo"))
        .header("cookie", &format!("{COOKIE}={kept}"))
        .send()
        .await;
    assert_eq!(replayed.status, 401, "a kept cookie is worth nothing");
    let page = browser.open(&world.proxy.url("/app/")).await;
    assert!(
        page.text().contains("Test provider"),
        "the provider asks who it is again"
    );
}

#[tokio::test]
async fn bearer_tokens_count_by_signature_audience_and_time() {
    let world = World::new(&json!({})).await;
    let good = world.token(&json!({}), &json!({})).await;
    assert_eq!(world.bearer(&good).await, 200);
    let elliptic = world.token(&json!({ "alg": "ES256" }), &json!({})).await;
    assert_eq!(world.bearer(&elliptic).await, 200);

    let now = 1;
    for (how, more) in [
        (json!({ "key": "foreign" }), json!({})),
        (json!({ "key": "none" }), json!({})),
        (json!({}), json!({ "aud": "https://elsewhere.example/mcp" })),
        (json!({}), json!({ "aud": "proxy" })),
        (json!({}), json!({ "aud": null })),
        (json!({}), json!({ "iss": "https://elsewhere.example" })),
        (json!({}), json!({ "exp": now })),
        (json!({}), json!({ "exp": null })),
        (json!({}), json!({ "nbf": 32_503_680_000_i64 })),
        (json!({ "header": { "crit": ["x"], "x": 1 } }), json!({})),
        (json!({ "header": { "typ": "dpop+jwt" } }), json!({})),
    ] {
        let bad = world.token(&how, &more).await;
        assert_eq!(world.bearer(&bad).await, 401, "{how} {more}");
    }
    let outsider = world
        .token(&json!({}), &json!({ "groups": ["sales"] }))
        .await;
    assert_eq!(world.bearer(&outsider).await, 403);
    assert_eq!(
        world.backend.seen().len(),
        2,
        "only the good tokens reached the backend"
    );
}

#[tokio::test]
async fn new_signing_keys_count_at_once() {
    let world = World::new(&json!({})).await;
    assert_eq!(
        world
            .bearer(&world.token(&json!({}), &json!({})).await)
            .await,
        200
    );
    world.provider.rotate_keys().await;
    assert_eq!(
        world
            .bearer(&world.token(&json!({}), &json!({})).await)
            .await,
        200
    );
}

#[tokio::test]
async fn a_sign_out_at_the_provider_ends_the_session_here() {
    let world = World::new(&json!({})).await;
    let address = world.proxy.url("/oauth2/backchannel-logout");
    world.provider.tell_at(&address).await;
    let (mut browser, mut elsewhere) = (Browser::default(), Browser::default());
    world.sign_in(&mut browser, "/app/", "ann").await;
    world.sign_in(&mut elsewhere, "/app/", "ann").await;

    let issuer = world.provider.issuer();
    let asks = browser.open(&format!("{issuer}/session/end")).await;
    let page = browser.submit(asks.form().fill("logout", "yes")).await;
    assert_eq!(page.status(), 200, "{}", page.text());
    let who = world.proxy.url("/oauth2/userinfo");
    assert_eq!(browser.open(&who).await.status(), 401);
    // On another of the provider's sessions the same person goes on.
    assert_eq!(elsewhere.open(&who).await.status(), 200);
}
