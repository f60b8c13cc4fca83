//! Sign-in, refresh and sign-out of people, and bearer tokens, with a real Keycloak.

use std::collections::BTreeSet;
use std::time::Duration;

use http::StatusCode;

use crate::harness::browser::Browser;
use crate::harness::client::{get, post};
use crate::harness::echo::Echo;
use crate::harness::keycloak::{CLIENT_SECRET, keycloak};
use crate::harness::proxy::{Proxy, proxy};

const COOKIE: &str = "mcp_session";

async fn world() -> (Echo, Proxy) {
    world_with("").await
}

/// With more keys in the `oidc` section.
async fn world_with(oidc: &str) -> (Echo, Proxy) {
    let issuer = keycloak().await.issuer();
    let backend = Echo::start().await;
    let proxy = proxy()
        .oidc(&issuer, "mcp-proxy", CLIENT_SECRET)
        .oidc_yaml(oidc)
        .route(
            "/app/*",
            backend.url(),
            "kind: http\nallow: { any_user: true }",
        )
        .route(
            "/platform/*",
            backend.url(),
            "kind: http\nallow: { groups: [/engineering/platform] }",
        )
        .route(
            "/tools/mcp",
            backend.url(),
            "allow: { groups: [/engineering/platform] }\naudiences: [mcp-on-this-proxy]",
        )
        .start()
        .await;
    (backend, proxy)
}

#[tokio::test]
async fn people_sign_in_and_their_group_paths_decide() {
    let (backend, proxy) = world().await;
    let mut ann = Browser::default();
    let form = ann.open(&proxy.url("/platform/?view=all")).await;
    let page = ann.sign_in(form, "ann").await;
    assert_eq!(page.status(), 200, "{}", page.text());
    assert_eq!(page.url.as_str(), proxy.url("/platform/?view=all"));
    let headers = backend.seen().pop().unwrap().headers;
    assert_eq!(headers["x-forwarded-groups"], "/engineering/platform");
    assert_eq!(headers["x-forwarded-email"], "ann@example.com");
    assert_eq!(headers["x-forwarded-preferred-username"], "ann");

    let mut bob = Browser::default();
    let form = bob.open(&proxy.url("/platform/")).await;
    assert_eq!(bob.sign_in(form, "bob").await.status(), 403);
    assert_eq!(bob.open(&proxy.url("/app/")).await.status(), 200);
}

#[tokio::test]
async fn refresh_tokens_that_work_once_keep_a_session_alive() {
    let (_backend, proxy) = world().await;
    let mut browser = Browser::default();
    let form = browser.open(&proxy.url("/app/")).await;
    assert_eq!(browser.sign_in(form, "ann").await.status(), 200);
    // Each refresh moves the time of the next one. Keycloak ends the whole session when a token is used twice.
    let mut due = BTreeSet::new();
    while due.len() < 4 {
        let page = browser.open(&proxy.url("/app/")).await;
        assert_eq!(
            (page.status(), page.trail.len()),
            (StatusCode::OK, 1),
            "{}",
            page.text()
        );
        let times = browser
            .open(&proxy.url("/oauth2/session"))
            .await
            .answer
            .json();
        due.insert(times["refresh_due"].to_string());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn signing_out_ends_the_session_at_keycloak_without_a_question() {
    let (_backend, proxy) = world().await;
    let mut browser = Browser::default();
    let form = browser.open(&proxy.url("/app/")).await;
    browser.sign_in(form, "ann").await;
    let kept = browser.cookie("localhost", COOKIE).unwrap().to_owned();

    let page = browser.open(&proxy.url("/oauth2/sign_out")).await;
    assert!(
        page.trail
            .iter()
            .any(|url| url.path().ends_with("/protocol/openid-connect/logout")),
        "{:?}",
        page.trail
    );
    assert_eq!(page.url.origin(), proxy.base().origin(), "{}", page.text());
    assert_eq!(page.status(), 200);

    let replayed = get(&proxy.url("/oauth2/userinfo"))
        .header("cookie", &format!("{COOKIE}={kept}"))
        .send()
        .await;
    assert_eq!(replayed.status, 401);
    let again = browser.open(&proxy.url("/app/")).await;
    assert!(
        again.text().contains("name=\"username\""),
        "Keycloak asks who it is again: {}",
        again.text()
    );
}

#[tokio::test]
async fn tokens_that_scripts_fetch_themselves_count_by_audience() {
    let (backend, proxy) = world().await;
    let token = |client: &'static str| async move {
        let fields = [
            ("grant_type", "password"),
            ("client_id", client),
            ("username", "ann"),
            ("password", "ann"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let url = format!(
            "{}/protocol/openid-connect/token",
            keycloak().await.issuer()
        );
        post(&url).form(&fields).send().await.json()["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let ask = |token: String| {
        let url = proxy.url("/tools/mcp");
        async move { get(&url).bearer(&token).send().await.status }
    };
    assert_eq!(ask(token("script").await).await, 200);
    assert_eq!(
        backend.seen().pop().unwrap().headers["x-forwarded-preferred-username"],
        "ann"
    );
    assert_eq!(
        ask(token("admin-cli").await).await,
        401,
        "a token for somebody else's audience"
    );
}

#[tokio::test]
async fn a_session_that_keycloak_ends_is_over_here() {
    // With `offline_access` Keycloak ends its own session right after the sign-in, and has nothing to tell later.
    let (_backend, proxy) = world_with("offline_access: false").await;
    let keycloak = keycloak().await;
    // A person of this test's own, for other tests sign in ann.
    let id = keycloak.add_person("dora").await;
    let address = proxy.url("/oauth2/backchannel-logout");
    keycloak.tell_at(&address).await;
    let (mut dora, mut ann) = (Browser::default(), Browser::default());
    for (browser, login) in [(&mut dora, "dora"), (&mut ann, "ann")] {
        let form = browser.open(&proxy.url("/app/")).await;
        let page = browser.sign_in(form, login).await;
        assert_eq!(page.status(), 200, "{}", page.text());
    }
    keycloak.sign_out(&id).await;
    let who = proxy.url("/oauth2/userinfo");
    assert_eq!(dora.open(&who).await.status(), 401);
    assert_eq!(ann.open(&who).await.status(), 200);
}
