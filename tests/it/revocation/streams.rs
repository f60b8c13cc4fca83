//! Open streams end with what they rest on, whichever replica they are on.

use serde_json::json;

use super::ticking::Ticking;
use super::{ended, revoke};
use crate::harness::browser::Browser;
use crate::harness::client::{Streaming, get, post};
use crate::harness::echo::Echo;
use crate::harness::oauth::{App, Tokens};
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::{Proxy, Setup, proxy};
use crate::harness::redis::Server;

const WATCHED: &str = "metrics: { address: \"127.0.0.1:0\" }\nadmin: { address: \"127.0.0.1:0\" }";
const KEY: &str = "a-key-of-a-script-for-tests";

pub(super) fn setup(provider: &RealProvider, events: &Ticking, pages: &Echo) -> Setup {
    proxy()
        .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
        .route(
            "/events/*",
            &events.url,
            "kind: http\nallow: { any_user: true }",
        )
        .route(
            "/app/*",
            pages.url(),
            "kind: http\nallow: { any_user: true }",
        )
        .yaml(WATCHED)
}

/// A stream through a replica, once its first event has come.
pub(super) async fn stream(base: &Proxy, over: &Proxy, browser: &Browser) -> Streaming {
    let url = base.url("/events/");
    let mut stream = get(&url)
        .via(over.port())
        .header("cookie", &browser.cookies_for(&url.parse().unwrap()))
        .header("accept", "text/event-stream")
        .stream()
        .await;
    assert_eq!(stream.status, 200);
    stream.read_until("hello").await;
    stream
}

pub(super) async fn status(base: &Proxy, over: &Proxy, browser: &Browser) -> u16 {
    let url = base.url("/app/");
    let answer = get(&url)
        .via(over.port())
        .header("cookie", &browser.cookies_for(&url.parse().unwrap()))
        .send()
        .await;
    answer.status.as_u16()
}

#[tokio::test]
async fn s29_what_is_revoked_on_one_replica_is_over_on_all() {
    let provider = RealProvider::start(&json!({})).await;
    let (events, pages) = (Ticking::start().await, Echo::start().await);
    let redis = Server::plain().await;
    let shared = setup(&provider, &events, &pages).on_redis(redis.port);
    let (first, second) = shared.start_two().await;
    let (mut ann, mut bob) = (Browser::default(), Browser::default());
    for (browser, login) in [(&mut ann, "ann"), (&mut bob, "bob")] {
        let form = browser.open(&first.url("/app/")).await;
        assert_eq!(browser.sign_in(form, login).await.status(), 200);
    }
    let here = stream(&first, &first, &ann).await;
    let there = stream(&first, &second, &ann).await;
    let bobs = stream(&first, &second, &bob).await;
    assert_eq!(status(&first, &second, &ann).await, 200);
    assert_eq!(events.open(), 3);

    let told = revoke(&first, &provider.issuer(), "ann").await;
    assert_eq!(told, json!({ "logins": 1, "grants": 0 }));
    assert_eq!(status(&first, &first, &ann).await, 401);
    here.end().await;
    // The other replica has heard of it when its stream ends; from then on it believes nothing it remembered.
    there.end().await;
    assert_eq!(status(&first, &second, &ann).await, 401);
    assert_eq!(ended(&first, "revoked").await, 1);
    assert_eq!(ended(&second, "revoked").await, 1);

    assert_eq!(status(&first, &second, &bob).await, 200, "somebody else");
    assert_eq!(events.open(), 1);
    drop(bobs);
    events.released().await;
}

#[tokio::test]
async fn s29_signing_out_ends_the_streams_of_this_browser_only() {
    let provider = RealProvider::start(&json!({})).await;
    let (events, pages) = (Ticking::start().await, Echo::start().await);
    let proxy = setup(&provider, &events, &pages).start().await;
    let (mut desk, mut phone) = (Browser::default(), Browser::default());
    for browser in [&mut desk, &mut phone] {
        let form = browser.open(&proxy.url("/app/")).await;
        assert_eq!(browser.sign_in(form, "ann").await.status(), 200);
    }
    let at_desk = stream(&proxy, &proxy, &desk).await;
    let on_phone = stream(&proxy, &proxy, &phone).await;
    let url = proxy.url("/oauth2/sign_out");
    let out = post(&url)
        .header("cookie", &desk.cookies_for(&url.parse().unwrap()))
        .header("origin", proxy.base().as_str().trim_end_matches('/'))
        .header("sec-fetch-site", "same-origin")
        .send()
        .await;
    assert!(
        out.status.is_redirection() || out.status.is_success(),
        "{}",
        out.text()
    );
    at_desk.end().await;
    assert_eq!(status(&proxy, &proxy, &desk).await, 401);
    assert_eq!(status(&proxy, &proxy, &phone).await, 200);
    assert_eq!(events.open(), 1);
    drop(on_phone);
}

#[tokio::test]
async fn s29_grants_end_with_their_streams_and_are_not_refreshed() {
    let provider = RealProvider::start(&json!({ "registration": false })).await;
    let events = Ticking::start().await;
    let proxy = proxy()
        .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
        .route(
            "/mcp",
            &events.url,
            "allow: { any_user: true }\nscopes: [mcp]",
        )
        .yaml(WATCHED)
        .start()
        .await;
    let landing = Echo::start().await;
    let app = App::discover(&proxy.url("/mcp"), &format!("{}/callback", landing.url())).await;
    let mut browser = Browser::default();
    let returned = app.approve(&mut browser, "ann").await;
    let tokens = Tokens::of(&app.redeem(&returned.code()).await);
    let ask = || {
        get(&proxy.url("/mcp"))
            .bearer(&tokens.access)
            .header("accept", "text/event-stream")
    };
    let mut stream = ask().stream().await;
    assert_eq!(stream.status, 200);
    stream.read_until("hello").await;

    let told = revoke(&proxy, &provider.issuer(), "ann").await;
    assert_eq!(told["logins"], 1);
    assert_eq!(ask().send().await.status, 401);
    stream.end().await;
    events.released().await;
    assert_eq!(ended(&proxy, "revoked").await, 1);
    let refused = app.refresh(tokens.refresh.as_deref().unwrap()).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert_eq!(refused.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn streams_end_with_their_key_and_with_their_right_when_the_configuration_changes() {
    let events = Ticking::start().await;
    let with = |keys: &str, allow: &str| {
        proxy()
            .route(
                "/events/*",
                &events.url,
                &format!("kind: http\nallow: {{ groups: [{allow}] }}"),
            )
            .yaml(&format!("{WATCHED}\nauth:\n  api_keys:\n{keys}"))
    };
    let other = "another-key-of-a-script-for-tests";
    let line = |name: &str, key: &str, group: &str| {
        format!("    - {{ name: {name}, key: {key}, groups: [{group}] }}\n")
    };
    let both = line("one", KEY, "a") + &line("two", other, "a, b");
    let proxy = with(&both, "a").start().await;
    let mut streams = Vec::new();
    for key in [KEY, other] {
        let mut stream = get(&proxy.url("/events/"))
            .header("x-api-key", key)
            .stream()
            .await;
        assert_eq!(stream.status, 200);
        stream.read_until("hello").await;
        streams.push(stream);
    }
    let twos = streams.pop().unwrap();
    proxy
        .reload(&with(&line("two", other, "a, b"), "a"))
        .await
        .unwrap();
    streams.pop().unwrap().end().await;
    assert_eq!(ended(&proxy, "revoked").await, 1);
    proxy
        .reload(&with(&line("two", other, "a"), "b"))
        .await
        .unwrap();
    twos.end().await;
    assert_eq!(ended(&proxy, "revoked").await, 2);
    events.released().await;
}

#[tokio::test]
async fn a_call_that_streams_ends_when_a_rule_denies_it_by_now() {
    let events = Ticking::start().await;
    let with = |rules: &str| {
        proxy()
            .route(
                "/events",
                &events.url,
                &format!("allow: {{ any_user: true }}\ntools: [{rules}]"),
            )
            .yaml(&format!(
                "{WATCHED}\nauth: {{ api_keys: [{{ name: one, key: {KEY} }}] }}"
            ))
    };
    let proxy = with("{ match: [a, b] }").start().await;
    let call = async |tool: &str| {
        let mut stream = post(&proxy.url("/events"))
            .header("x-api-key", KEY)
            .rpc(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool } }))
            .stream()
            .await;
        assert_eq!(stream.status, 200);
        stream.read_until("hello").await;
        stream
    };
    let (a, b) = (call("a").await, call("b").await);
    proxy.reload(&with("{ match: b }")).await.unwrap();
    a.end().await;
    assert_eq!(ended(&proxy, "revoked").await, 1);
    assert_eq!(events.open(), 1, "the other call goes on");
    drop(b);
    events.released().await;
}
