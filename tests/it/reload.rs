//! A new configuration is taken over as a whole or not at all, and the process ends in order.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::browser::Browser;
use crate::harness::client::{Ask, PATIENCE, get, post};
use crate::harness::echo::Echo;
use crate::harness::mcp::Mcp;
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::{Process, Setup, proxy};

const KEY: &str = "a-key-of-a-script-for-tests";

fn setup() -> Setup {
    proxy().yaml(&format!(
        "auth:\n  api_keys:\n    - {{ name: script, key: {KEY}, groups: [engineering] }}\n"
    ))
}

fn call(url: &str, tool: &str, arguments: &Value) -> Ask {
    post(url)
        .header("x-api-key", KEY)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", tool)
        .rpc(
            &json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
            "name": tool, "arguments": arguments, "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
                "io.modelcontextprotocol/clientCapabilities": {},
            } } }),
        )
}

async fn status(url: &str) -> u16 {
    get(url)
        .header("x-api-key", KEY)
        .send()
        .await
        .status
        .as_u16()
}

#[tokio::test]
async fn requests_finish_on_what_they_started_with() {
    let (old, new) = (Mcp::start().await, Echo::start().await);
    let proxy = setup()
        .route("/old", old.url(), "allow: { any_user: true }")
        .start()
        .await;
    let url = proxy.url("/old");
    let slow = tokio::spawn(call(&url, "slow", &json!({ "millis": 2000 })).send());
    while old.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let next = setup().route("/new", new.url(), "allow: { groups: [engineering] }");
    proxy.reload(&next).await.unwrap();
    assert_eq!(status(&proxy.url("/new")).await, 200);
    assert_eq!(
        status(&url).await,
        404,
        "the route is gone for new requests"
    );
    let answer = slow.await.unwrap();
    assert_eq!(
        answer.rpc()["result"]["content"][0]["text"],
        "done",
        "{}",
        answer.text()
    );
    proxy.stop().await;
}

/// An alert on a backend that is down must not outlive the backend.
#[tokio::test]
async fn what_a_reload_took_away_is_no_longer_shown() {
    let backend = Echo::start().await;
    let one = || {
        setup()
            .yaml("metrics: { address: \"127.0.0.1:0\" }\n")
            .route("/kept", backend.url(), "allow: { any_user: true }")
    };
    let two = one().route("/gone", backend.url(), "allow: { any_user: true }");
    let proxy = two.start().await;
    let shown = async || {
        let text = get(&proxy.metrics()).send().await.text();
        let lines = text
            .lines()
            .filter(|line| line.starts_with("mcp_proxy_backend_up{"));
        lines.count()
    };
    assert_eq!(shown().await, 2);
    proxy.reload(&one()).await.unwrap();
    // The task that watched it ends soon after.
    let gone = async {
        while shown().await != 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    proxy.stop().await;
}

#[tokio::test]
async fn a_reload_can_take_a_right_away() {
    let backend = Echo::start().await;
    let proxy = setup()
        .route("/x", backend.url(), "allow: { groups: [engineering] }")
        .start()
        .await;
    assert_eq!(status(&proxy.url("/x")).await, 200);
    let next = setup().route("/x", backend.url(), "allow: { groups: [sales] }");
    proxy.reload(&next).await.unwrap();
    assert_eq!(status(&proxy.url("/x")).await, 403);
}

/// Where no root secret is set, the process has one of its own, which a reload must not change.
#[tokio::test]
async fn a_reload_ends_no_session() {
    let provider = RealProvider::start(&json!({})).await;
    let backend = Echo::start().await;
    let setup = proxy()
        .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
        .route(
            "/app/*",
            backend.url(),
            "kind: http\nallow: { any_user: true }",
        );
    let proxy = setup.start().await;
    let mut ann = Browser::default();
    let page = ann.open(&proxy.url("/app/x")).await;
    let page = ann.sign_in(page, "ann").await;
    assert_eq!(page.status(), 200, "{}", page.text());
    proxy
        .reload(&setup.yaml("limits: { max_body: 1MiB }"))
        .await
        .unwrap();
    let page = ann.open(&proxy.url("/app/y")).await;
    assert_eq!(
        page.trail.len(),
        1,
        "nobody was asked again: {:?}",
        page.trail
    );
    assert_eq!(page.status(), 200, "{}", page.text());
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_what_is_wrong() {
    let backend = Echo::start().await;
    let good = setup().route("/x", backend.url(), "allow: { any_user: true }");
    let proxy = good.start().await;
    let bad = setup().route("/y", backend.url(), "alow: { any_user: true }");
    let problems = proxy.reload(&bad).await.unwrap_err();
    assert!(problems.contains("routes[0].alow"), "{problems}");
    assert!(
        problems.contains("config.yaml:"),
        "file and line: {problems}"
    );
    assert_eq!(status(&proxy.url("/x")).await, 200);
    assert_eq!(status(&proxy.url("/y")).await, 404);
}

/// Waits until a path answers with a status.
async fn becomes(process: &Process, path: &str, wanted: u16) {
    let url = process.url(path);
    let work = async {
        while status(&url).await != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| panic!("{path} does not become {wanted}\n{}", process.part.log()));
}

#[tokio::test]
async fn the_binary_reloads_on_sighup_and_ends_in_order_on_sigterm() {
    let backend = Mcp::start().await;
    let first = setup().route("/one", backend.url(), "allow: { any_user: true }");
    let mut process = first.start_process(&[]).await;
    becomes(&process, "/two", 404).await;

    // The port was a free one; a new file that asks for a free port keeps it.
    let second = first
        .clone()
        .route("/two", backend.url(), "allow: { any_user: true }");
    process.rewrite(&second.text());
    process.signal(Signal::HUP);
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    let two = process.url("/two");
    tokio::time::timeout(PATIENCE, async {
        while post(&two)
            .header("x-api-key", KEY)
            .rpc(&list)
            .send()
            .await
            .status
            == 404
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the new route is in force");

    process.rewrite("version: 1\nroutes: 7\n");
    process.signal(Signal::HUP);
    process
        .part
        .wait_for(|line| line.contains("stays in force"))
        .await;
    assert_ne!(
        post(&two)
            .header("x-api-key", KEY)
            .rpc(&list)
            .send()
            .await
            .status,
        404
    );

    // What is under way at SIGTERM is answered.
    let slow = tokio::spawn(call(&two, "slow", &json!({ "millis": 1000 })).send());
    let before = backend.seen().len();
    while backend.seen().len() == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    process.signal(Signal::TERM);
    assert_eq!(
        slow.await.unwrap().rpc()["result"]["content"][0]["text"],
        "done"
    );
    assert_eq!(
        process.part.ended().await,
        Some(0),
        "{}",
        process.part.log()
    );
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    let backend = Echo::start().await;
    let mut process = setup()
        .route("/x", backend.url(), "allow: { any_user: true }")
        .yaml("shutdown: { delay: 10m, timeout: 10m }")
        .start_process(&[])
        .await;
    process.signal(Signal::TERM);
    becomes(&process, "/ready", 503).await;
    assert_eq!(
        status(&process.url("/x")).await,
        200,
        "still serving while load balancers notice"
    );
    process.signal(Signal::TERM);
    process.part.ended().await;
}
