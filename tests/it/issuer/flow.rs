//! From nothing but a URL to a tool call, and on for a while: the whole way, by hand, over the wire.

use serde_json::json;

use crate::harness::browser::Browser;
use crate::harness::client::{get, post};
use crate::harness::echo::Echo;
use crate::harness::mcp::Mcp;
use crate::harness::oauth::{App, Tokens};
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::{Proxy, proxy};

async fn world(backend: &str, more: &str) -> (RealProvider, Proxy) {
    let provider = RealProvider::start(&json!({ "registration": false })).await;
    let proxy = proxy()
        .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
        .route(
            "/sample/mcp",
            backend,
            "allow: { groups: [engineering] }\nscopes: [mcp]",
        )
        .yaml(more)
        .start()
        .await;
    (provider, proxy)
}

fn call(tool: &str) -> serde_json::Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": tool, "arguments": { "text": "hello" },
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "t", "version": "1" },
        },
    }})
}

#[tokio::test]
async fn a_client_that_knows_a_url_signs_in_calls_and_refreshes() {
    let backend = Mcp::start().await;
    let (_provider, proxy) = world(backend.url(), "").await;
    let mcp = proxy.url("/sample/mcp");
    let landing = Echo::start().await;
    let app = App::discover(&mcp, &format!("{}/callback", landing.url())).await;

    let mut browser = Browser::default();
    let returned = app.approve(&mut browser, "ann").await;
    assert_eq!(returned.get("state").as_deref(), Some("a-state"));
    assert_eq!(
        returned.get("iss").as_deref(),
        app.server["issuer"].as_str()
    );
    let tokens = Tokens::of(&app.redeem(&returned.code()).await);
    let claims = tokens.claims();
    assert_eq!(claims["aud"], mcp);
    assert_eq!(claims["iss"], app.server["issuer"]);
    assert_eq!(tokens.all["token_type"], "Bearer");
    assert_eq!(tokens.all["scope"], "mcp");

    let answer = post(&mcp)
        .bearer(&tokens.access)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "echo")
        .rpc(&call("echo"))
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.rpc()["result"]["content"][0]["text"], "hello");
    let headers = backend.seen().pop().unwrap();
    assert_eq!(headers["x-forwarded-user"], "ann");
    assert!(!headers.contains_key("authorization"));

    let refreshed = Tokens::of(&app.refresh(tokens.refresh.as_deref().unwrap()).await);
    assert_ne!(refreshed.refresh, tokens.refresh);
    assert_eq!(refreshed.claims()["sid"], claims["sid"], "one grant");
    let answer = post(&mcp)
        .bearer(&refreshed.access)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "echo")
        .rpc(&call("echo"))
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn what_a_person_may_not_use_no_client_gets_a_code_for() {
    let backend = Echo::start().await;
    let (_provider, proxy) = world(&format!("{}/mcp", backend.url()), "").await;
    let landing = Echo::start().await;
    let app = App::discover(
        &proxy.url("/sample/mcp"),
        &format!("{}/callback", landing.url()),
    )
    .await;
    let mut browser = Browser::default();
    let page = app.consent_page(&mut browser, "bob").await;
    assert_eq!(page.status(), 403, "{}", page.text());
    assert!(page.text().contains("bob@example.org"), "{}", page.text());
    assert!(landing.seen().is_empty());
}

#[tokio::test]
async fn documents_are_there_whatever_the_provider_does() {
    let provider = RealProvider::start(&json!({})).await;
    let issuer = provider.issuer();
    drop(provider);
    let backend = Echo::start().await;
    let proxy = proxy()
        .oidc(&issuer, "proxy", CLIENT_SECRET)
        .route(
            "/a/mcp",
            &format!("{}/a", backend.url()),
            "allow: { any_user: true }",
        )
        .route(
            "/b/mcp",
            &format!("{}/b", backend.url()),
            "allow: { any_user: true }",
        )
        .try_start()
        .await
        .unwrap();
    let origin = proxy.url("/").trim_end_matches('/').to_owned();
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
    ] {
        let answer = get(&proxy.url(path))
            .header("origin", "https://app.example")
            .send()
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        let document = answer.json();
        assert_eq!(document["issuer"], origin);
        assert!(!answer.text().contains("null"), "{}", answer.text());
        assert_eq!(
            document["code_challenge_methods_supported"],
            json!(["S256"])
        );
    }
    for path in ["/a/mcp", "/a/mcp/", "/b/mcp"] {
        let answer = get(&proxy.url(&format!("/.well-known/oauth-protected-resource{path}")))
            .send()
            .await;
        assert_eq!(answer.json()["authorization_servers"], json!([origin]));
    }
    assert_eq!(get(&proxy.url("/oauth2/jwks")).send().await.status, 200);
}
