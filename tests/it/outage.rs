//! What people and clients see while a part is away: a provider, the store, a backend. Never that they are
//! signed out.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::harness::browser::Browser;
use crate::harness::cable::Cable;
use crate::harness::client::{PATIENCE, get, post};
use crate::harness::echo::Echo;
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::{Setup, proxy};
use crate::harness::redis::Server;

const DISCOVERY: &str = "/.well-known/openid-configuration";

fn setup(provider: &RealProvider, backend: &str) -> Setup {
    proxy()
        .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
        .route("/app/*", backend, "kind: http\nallow: { any_user: true }")
        .route("/tools/mcp", backend, "allow: { any_user: true }")
}

#[tokio::test]
async fn the_proxy_starts_without_its_provider_and_signs_in_once_it_is_there() {
    let provider = RealProvider::start(&json!({})).await;
    let backend = Echo::start().await;
    provider.fail(DISCOVERY, 503, 1_000_000).await;
    let proxy = setup(&provider, backend.url()).try_start().await.unwrap();
    let token = provider
        .mint(&json!({ "claims": { "aud": proxy.url("/tools/mcp") } }))
        .await;

    assert_eq!(get(&proxy.url("/health")).send().await.status, 200);
    let page = Browser::default().open(&proxy.url("/app/")).await;
    assert_eq!(page.status(), 503);
    assert!(!page.answer.header("retry-after").is_empty());
    let refused = get(&proxy.url("/tools/mcp")).bearer(&token).send().await;
    assert_eq!(refused.status, 503, "not 401: the token may well be good");
    assert!(!refused.header("retry-after").is_empty());
    assert!(
        refused.header("www-authenticate").is_empty(),
        "a client must not throw its token away"
    );
    assert!(backend.seen().is_empty());

    provider.heal().await;
    proxy.provider_is_ready().await;
    let mut ann = Browser::default();
    let form = ann.open(&proxy.url("/app/")).await;
    assert_eq!(ann.sign_in(form, "ann").await.status(), 200);
    assert_eq!(
        get(&proxy.url("/tools/mcp"))
            .bearer(&token)
            .send()
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_store_that_is_away_is_503_and_keeps_the_cookie() {
    let provider = RealProvider::start(&json!({})).await;
    let backend = Echo::start().await;
    let redis = Server::plain().await;
    let cable = Cable::to(&format!("127.0.0.1:{}", redis.port)).await;
    let proxy = setup(&provider, backend.url())
        .yaml(&format!(
            "secret_keys: [\"{}\"]\nsessions:\n  store: redis\n  recently_seen: 0s\n  outage_grace: 0s\n  redis: {{ url: \"redis://{}\", command_timeout: 1s, connect_timeout: 1s }}\n",
            "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I=",
            cable.address()
        ))
        .start()
        .await;
    let mut ann = Browser::default();
    let form = ann.open(&proxy.url("/app/")).await;
    assert_eq!(ann.sign_in(form, "ann").await.status(), 200);

    cable.cut();
    let page = ann.open(&proxy.url("/app/")).await;
    assert_eq!(page.status(), 503, "{}", page.text());
    assert!(!page.answer.header("retry-after").is_empty());
    assert!(
        page.answer.header("set-cookie").is_empty(),
        "the cookie is left alone"
    );
    assert_eq!(
        get(&proxy.url("/health")).send().await.status,
        200,
        "nobody takes the replica away for this"
    );
    assert_eq!(get(&proxy.url("/ready")).send().await.status, 200);

    cable.mend();
    tokio::time::timeout(PATIENCE, async {
        loop {
            let page = ann.open(&proxy.url("/app/")).await;
            assert_eq!(page.trail.len(), 1, "no new sign-in: {:?}", page.trail);
            if page.status() == StatusCode::OK {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the session is there again");
}

#[tokio::test]
async fn replicas_share_sessions_and_signing_out_counts_for_all() {
    let provider = RealProvider::start(&json!({})).await;
    let backend = Echo::start().await;
    let redis = Server::plain().await;
    let shared = setup(&provider, backend.url()).on_redis(redis.port);
    let (first, second) = shared.start_two().await;

    let mut ann = Browser::default();
    let form = ann.open(&first.url("/app/")).await;
    ann.sign_in(form, "ann").await;
    let cookies = ann.cookies_for(first.base());
    let on_second = || {
        get(&first.url("/oauth2/userinfo"))
            .via(second.port())
            .header("cookie", &cookies)
            .send()
    };
    let answer = on_second().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["sub"], "ann");

    ann.open(&first.url("/oauth2/sign_out")).await;
    tokio::time::timeout(PATIENCE, async {
        while on_second().await.status != 401 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the second replica heard of it");
}

#[tokio::test]
async fn a_backend_that_is_away_is_told_in_the_clients_own_terms() {
    let provider = RealProvider::start(&json!({})).await;
    let gone = Echo::start().await.url().to_owned();
    let proxy = setup(&provider, &gone).start().await;
    let token = provider
        .mint(&json!({ "claims": { "aud": proxy.url("/tools/mcp") } }))
        .await;
    let ping = json!({ "jsonrpc": "2.0", "id": "the-request", "method": "ping" });
    let answer = post(&proxy.url("/tools/mcp"))
        .bearer(&token)
        .rpc(&ping)
        .send()
        .await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    let error = answer.json();
    assert_eq!(error["id"], "the-request");
    assert_eq!(error["error"]["code"], 502);
    assert_eq!(
        error["error"]["data"]["request_id"],
        answer.header("x-request-id")
    );
    assert!(
        !answer.text().contains(gone.trim_start_matches("http://")),
        "no internals: {}",
        answer.text()
    );
}
