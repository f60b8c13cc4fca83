//! `/oauth2/auth`, for a proxy in front that forwards requests itself and only asks whether they may pass.

use http::Method;
use serde_json::json;

use crate::harness::browser::Browser;
use crate::harness::client::{Answer, Ask, get, post};
use crate::harness::echo::Echo;
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::{Proxy, proxy};

const KEY: &str = "a-key-of-a-script-for-tests";

struct World {
    proxy: Proxy,
    _provider: RealProvider,
    _backend: Echo,
}

impl World {
    async fn new() -> Self {
        let provider = RealProvider::start(&json!({})).await;
        let backend = Echo::start().await;
        let proxy = proxy()
            .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
            .route(
                "/eng/*",
                backend.url(),
                "name: eng\nkind: http\nallow: { groups: [engineering] }",
            )
            .route(
                "/all/*",
                backend.url(),
                "name: all\nkind: http\nallow: { any_user: true }",
            )
            .yaml(&format!(
                "auth:\n  api_keys: [{{ name: script, key: {KEY}, groups: [engineering] }}]\n"
            ))
            .start()
            .await;
        Self {
            proxy,
            _provider: provider,
            _backend: backend,
        }
    }

    fn url(&self, query: &str) -> String {
        self.proxy.url(&format!("/oauth2/auth{query}"))
    }

    async fn signed_in(&self, login: &str) -> String {
        let mut browser = Browser::default();
        let form = browser.open(&self.proxy.url("/all/")).await;
        assert_eq!(browser.sign_in(form, login).await.status(), 200);
        browser.cookies_for(self.proxy.base())
    }

    async fn by_session(&self, cookies: &str, query: &str) -> Answer {
        get(&self.url(query)).header("cookie", cookies).send().await
    }

    async fn by_key(&self, key: &str, query: &str) -> u16 {
        let answer = get(&self.url(query)).header("x-api-key", key).send().await;
        answer.status.as_u16()
    }
}

#[tokio::test]
async fn a_session_is_introduced_and_nobody_is_not() {
    let world = World::new().await;
    let nobody = get(&world.url(""))
        .header("accept", "text/html")
        .header("sec-fetch-mode", "navigate")
        .send()
        .await;
    assert_eq!(nobody.status, 401, "who asks redirects by itself");
    let ann = world.signed_in("ann").await;
    let answer = get(&world.url(""))
        .header("cookie", &ann)
        .header("x-forwarded-user", "root")
        .header("x-forwarded-groups", "admins")
        .send()
        .await;
    assert_eq!(answer.status, 202);
    assert!(answer.body.is_empty());
    assert_eq!(answer.header("x-forwarded-groups"), "engineering,staff");
    assert_eq!(answer.headers.get_all("x-forwarded-user").iter().count(), 1);
    assert_ne!(answer.header("x-forwarded-user"), "root");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(answer.headers.contains_key("x-request-id"));
    // Without a route there is no audience and no rule, so only people in browsers count.
    assert_eq!(world.by_key(KEY, "").await, 401);
}

#[tokio::test]
async fn a_route_is_judged_by_its_rule_whatever_is_forwarded() {
    let world = World::new().await;
    let bob = world.signed_in("bob").await;
    assert_eq!(world.by_session(&bob, "?route=all").await.status, 202);
    for uri in ["/all/x", "/oauth2/sign_out", "/health"] {
        let answer = get(&world.url("?route=eng"))
            .header("cookie", &bob)
            .header("x-forwarded-uri", uri)
            .header("x-original-url", uri)
            .header("x-original-uri", uri)
            .send()
            .await;
        assert_eq!(answer.status, 403, "{uri}");
        assert!(!answer.headers.contains_key("x-forwarded-user"));
    }
    assert_eq!(world.by_key(KEY, "?route=eng").await, 202);
    assert_eq!(
        world.by_key("another-key-of-a-script", "?route=eng").await,
        401
    );
    let nobody = get(&world.url("?route=all")).send().await;
    assert_eq!(nobody.status, 401);
}

#[tokio::test]
async fn what_cannot_be_judged_is_refused() {
    let world = World::new().await;
    let ann = world.signed_in("ann").await;
    for query in [
        "?route=none",
        "?route=",
        "?route=all&route=eng",
        "?route=ALL",
    ] {
        assert_eq!(world.by_session(&ann, query).await.status, 400, "{query}");
    }
    let posted = post(&world.url("?route=all")).header("cookie", &ann);
    let posted = posted.send().await;
    assert_eq!(posted.status, 405);
    assert_eq!(posted.header("allow"), "GET, HEAD");
    let asked = Ask::bare(Method::HEAD, &world.url("?route=all"))
        .header("host", &format!("localhost:{}", world.proxy.port()));
    assert_eq!(asked.header("cookie", &ann).send().await.status, 202);
}
