//! Official MCP clients, which know nothing but a URL, work through a proxy that is no authorization server: they find
//! the provider from the 401, register there, log in, call, and end.

use serde_json::{Value, json};

use crate::harness::everything::Everything;
use crate::harness::mcp::Mcp;
use crate::harness::parts;
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::{Proxy, proxy};

/// Runs a client's visit; the part's own text says what it does.
pub(crate) async fn visit(
    client: &str,
    url: &str,
    tool: &str,
    arguments: &Value,
    mode: Option<&str>,
) -> Value {
    let mut command = match client {
        "python" => parts::python("clients/python.py"),
        _ => parts::node("clients/typescript.mjs"),
    };
    if client != "python" {
        command.arg(client);
    }
    command
        .args([url, "ann", tool, &arguments.to_string()])
        .args(mode);
    parts::run_json(command).await
}

async fn in_front_of(provider: &RealProvider, path: &str, upstream: &str) -> Proxy {
    proxy()
        .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
        .route(
            path,
            upstream,
            "allow: { groups: [engineering] }\nscopes: [mcp]",
        )
        .yaml("authorization_server: { enabled: false }")
        .start()
        .await
}

fn assert_found_the_provider_alone(visit: &Value) {
    assert_eq!(visit["logins"], 1, "{visit:#}");
    assert_eq!(visit["registered"], true, "{visit:#}");
    assert_eq!(visit["requests"][0]["status"], 401, "{visit:#}");
}

/// One client with a backend of both families; gives the revision that they agreed on.
async fn works(client: &str, mode: Option<&str>) -> Value {
    let provider = RealProvider::start(&json!({})).await;
    let backend = Mcp::start().await;
    let proxy = in_front_of(&provider, "/sample/mcp", backend.url()).await;
    let url = proxy.url("/sample/mcp");

    let visit = visit(client, &url, "steps", &json!({ "steps": 3 }), mode).await;
    assert_found_the_provider_alone(&visit);
    assert_eq!(provider.asked("/reg").await, 1, "registered there");
    assert_eq!(visit["text"], "3 steps", "{visit:#}");
    assert_eq!(visit["progress"], json!([0, 1, 2]), "{visit:#}");
    let tools = visit["tools"].as_array().unwrap();
    for tool in ["echo", "add", "slow", "steps", "whoami"] {
        assert!(tools.contains(&json!(tool)), "{visit:#}");
    }
    if client != "python" {
        assert_eq!(
            visit["asked"]["resource"], url,
            "the token was asked for this route"
        );
    }
    for headers in backend.seen() {
        assert_eq!(headers["x-forwarded-user"], "ann");
        assert_eq!(headers["x-forwarded-groups"], "engineering,staff");
        assert!(
            !headers.contains_key("authorization"),
            "the token stays with the proxy"
        );
    }
    visit["revision"].clone()
}

#[tokio::test]
async fn typescript_v1() {
    assert_eq!(works("v1", None).await, "2025-11-25");
}

#[tokio::test]
async fn typescript_v2_with_sessions() {
    assert_eq!(works("v2", Some("legacy")).await, "2025-11-25");
}

#[tokio::test]
async fn typescript_v2_stateless() {
    assert_eq!(works("v2", Some("2026-07-28")).await, "2026-07-28");
}

#[tokio::test]
async fn typescript_v2_that_finds_out() {
    assert_eq!(works("v2", Some("auto")).await, "2026-07-28");
}

#[tokio::test]
async fn python_with_sessions() {
    assert_eq!(works("python", Some("legacy")).await, "2025-11-25");
}

#[tokio::test]
async fn python_that_finds_out() {
    assert_eq!(works("python", None).await, "2026-07-28");
}

/// One client with the sample server; gives what it did.
async fn echoes(client: &str, transport: &str, route: &str, at: &str) -> Value {
    let provider = RealProvider::start(&json!({})).await;
    let backend = Everything::start(transport).await;
    // A route that ends in `/*` leads to the server as a whole, an exact one to its endpoint.
    let upstream = backend.url(if route.ends_with("/*") { "" } else { "/mcp" });
    let proxy = in_front_of(&provider, route, &upstream).await;
    let message = json!({ "message": "hello" });
    let visit = visit(client, &proxy.url(at), "echo", &message, None).await;
    assert_found_the_provider_alone(&visit);
    assert_eq!(visit["text"], "Echo: hello", "{visit:#}");
    visit
}

#[tokio::test]
async fn typescript_v1_with_server_everything() {
    let visit = echoes("v1", "streamableHttp", "/everything/mcp", "/everything/mcp").await;
    assert_eq!(visit["session"], true);
}

#[tokio::test]
async fn python_with_server_everything() {
    echoes(
        "python",
        "streamableHttp",
        "/everything/mcp",
        "/everything/mcp",
    )
    .await;
}

#[tokio::test]
async fn the_oldest_transport_works_below_a_prefix() {
    let visit = echoes("sse", "sse", "/old/*", "/old/sse").await;
    let posts = visit["requests"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|request| request["method"] == "POST" && request["status"] == 202);
    assert!(
        posts
            .into_iter()
            .all(|request| request["path"] == "/old/message"),
        "{visit:#}"
    );
}
