//! Official clients meet rules: they read why they are denied, and get more scopes by themselves.

use mcp_oidc_proxy::clock::Ambient;
use rmcp::ServiceExt;
use rmcp::model::CallToolRequestParams;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Value, json};

use crate::harness::everything::Everything;
use crate::harness::idp::Idp;
use crate::harness::mcp::Mcp;
use crate::harness::parts::{self, Part};
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::{Proxy, proxy};

/// The route of all tests: `add` is denied, `steps` hidden.
const RULES: &str = "allow: { groups: [engineering] }
scopes: [mcp]
tools:
  - { match: add, deny: true, name: no sums }
  - { match: steps, deny: true, hide: true }
  - { match: '*' }";

const DENIAL: &str = "Policy of this proxy does not let you call the tool `add` (rule `no sums`)";

struct World {
    proxy: Proxy,
    backend: Mcp,
    _provider: RealProvider,
}

impl World {
    /// With the proxy's own authorization server or without.
    async fn start(route: &str, own: bool, backend_keys: &str) -> Self {
        let options = if own {
            json!({ "registration": false })
        } else {
            json!({})
        };
        let provider = RealProvider::start(&options).await;
        let backend = Mcp::start().await;
        let mut setup = proxy()
            .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
            .route("/sample/mcp", backend.url(), route)
            .backend(backend_keys);
        if !own {
            setup = setup.yaml("authorization_server: { enabled: false }");
        }
        Self {
            proxy: setup.start().await,
            backend,
            _provider: provider,
        }
    }

    async fn client(&self, client: &str, mode: &str) -> Part {
        let url = self.proxy.url("/sample/mcp");
        let mut command;
        if client == "python" {
            command = parts::python("clients/python.py");
            command.args([&url, "ann", "-", "-", mode]);
        } else {
            command = parts::node("clients/typescript.mjs");
            command.args([client, &url, "ann", "-", "-"]);
            if mode != "auto" {
                command.arg(mode);
            }
        }
        Part::start(client, command).await
    }
}

async fn call(client: &mut Part, tool: &str, arguments: Value) -> Value {
    client
        .ask(&json!({ "do": "call", "tool": tool, "arguments": arguments }))
        .await
}

/// A client of a revision sees what it may call, reads both kinds of denials, and goes on.
async fn reads(client: &str, mode: &str, revision: &str) {
    let world = World::start(RULES, false, "").await;
    let mut client = world.client(client, mode).await;
    let seen = client.ask(&json!({ "do": "list" })).await;
    assert_eq!(seen["revision"], revision, "{seen:#}");
    let tools = seen["tools"].as_array().unwrap();
    assert!(tools.contains(&json!("echo")), "{seen:#}");
    for hidden in ["add", "steps"] {
        assert!(!tools.contains(&json!(hidden)), "{seen:#}");
    }
    let before = world.backend.seen().len();
    let denied = call(&mut client, "add", json!({ "a": 1, "b": 2 })).await;
    let error = denied["error"].as_str().unwrap_or_default();
    assert!(error.contains(DENIAL), "{denied:#}");
    let hidden = call(&mut client, "steps", json!({ "steps": 1 })).await;
    let error = hidden["error"].as_str().unwrap_or_default();
    assert!(
        error.contains("Unknown tool: steps") && !error.contains("Policy of"),
        "{hidden:#}"
    );
    let calls =
        |headers: &http::HeaderMap| headers.get("mcp-method").is_some_and(|m| m == "tools/call");
    let called = world.backend.seen()[before..]
        .iter()
        .filter(|h| calls(h))
        .count();
    assert_eq!(called, 0, "nothing was called");
    let echoed = call(&mut client, "echo", json!({ "text": "on" })).await;
    assert_eq!(echoed["text"], "on", "{echoed:#}");
    client.ask(&json!({ "do": "quit" })).await;
}

#[tokio::test]
async fn typescript_v1_reads_why() {
    reads("v1", "auto", "2025-11-25").await;
}

#[tokio::test]
async fn typescript_v2_reads_why() {
    reads("v2", "2026-07-28", "2026-07-28").await;
}

#[tokio::test]
async fn python_reads_why() {
    reads("python", "auto", "2026-07-28").await;
}

#[tokio::test]
async fn python_with_sessions_reads_why() {
    reads("python", "legacy", "2025-11-25").await;
}

#[tokio::test]
async fn the_oldest_transport_reads_why() {
    let provider = RealProvider::start(&json!({})).await;
    let backend = Everything::start("sse").await;
    let proxy = proxy()
        .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
        .route(
            "/old/*",
            &backend.url(""),
            "allow: { any_user: true }\nscopes: [mcp]\ntools: [{ match: echo }]",
        )
        .yaml("authorization_server: { enabled: false }")
        .start()
        .await;
    let mut command = parts::node("clients/typescript.mjs");
    command.args(["sse", &proxy.url("/old/sse"), "ann", "-", "-"]);
    let mut client = Part::start("sse", command).await;
    let echoed = call(&mut client, "echo", json!({ "message": "on" })).await;
    assert_eq!(echoed["text"], "Echo: on", "{echoed:#}");
    let denied = call(&mut client, "get-sum", json!({ "a": 1, "b": 2 })).await;
    let error = denied["error"].as_str().unwrap_or_default();
    assert!(error.contains("call the tool `get-sum`"), "{denied:#}");
}

#[tokio::test]
async fn hidden_tools_can_look_like_results() {
    let world = World::start(RULES, false, "unknown_names: result").await;
    let mut client = world.client("python", "auto").await;
    let hidden = call(&mut client, "steps", json!({ "steps": 1 })).await;
    assert_eq!(hidden["text"], "Unknown tool: steps", "{hidden:#}");
}

#[tokio::test]
async fn rmcp_reads_why() {
    let idp = Idp::start(Ambient::system()).await;
    let backend = Mcp::start().await;
    let proxy = proxy()
        .oidc(&idp.issuer(), "mcp-proxy", "a-secret-of-the-client")
        .route("/sample/mcp", backend.url(), RULES)
        .start()
        .await;
    let url = proxy.url("/sample/mcp");
    let token = idp.access_token("ann", &url, &json!({ "groups": ["engineering"] }));
    let transport = StreamableHttpClientTransport::from_config(
        StreamableHttpClientTransportConfig::with_uri(url).auth_header(token),
    );
    let client = Box::pin(().serve(transport)).await.unwrap();
    for (tool, expected) in [("add", DENIAL), ("steps", "Unknown tool: steps")] {
        let error = client
            .call_tool(CallToolRequestParams::new(tool))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let mut echo = CallToolRequestParams::new("echo");
    echo.arguments = json!({ "text": "on" }).as_object().cloned();
    let answer = client.call_tool(echo).await.unwrap();
    assert_eq!(answer.content[0].as_text().unwrap().text, "on");
    client.cancel().await.unwrap();
}

/// A client gets what it lacks (TypeScript's v1 does not: it refreshes its token instead, and gives up): it reads the challenge, lets the person approve again, and the call is repeated.
async fn steps_up(client: &str) {
    let world = World::start(
        "allow: { groups: [engineering] }
scopes: [mcp]
tools:
  - { match: add, allow: { scopes: ['mcp:add'], groups: [engineering] } }
  - { match: slow, allow: { scopes: ['mcp:slow'], groups: [admins] } }
  - { match: '*' }",
        true,
        "",
    )
    .await;
    let mut client = world.client(client, "auto").await;
    let echoed = call(&mut client, "echo", json!({ "text": "on" })).await;
    assert_eq!(echoed["text"], "on", "{echoed:#}");
    let added = call(&mut client, "add", json!({ "a": 1, "b": 2 })).await;
    assert_eq!(added["text"], "3", "{added:#}");
    let echoed = call(&mut client, "echo", json!({ "text": "still" })).await;
    assert_eq!(
        echoed["text"], "still",
        "what it had it has still: {echoed:#}"
    );
    let denied = call(&mut client, "slow", json!({ "millis": 1 })).await;
    let error = denied["error"].as_str().unwrap_or_default();
    assert!(error.contains("call the tool `slow`"), "{denied:#}");
    client.ask(&json!({ "do": "quit" })).await;
}

#[tokio::test]
async fn python_steps_up_with_our_own_tokens() {
    steps_up("python").await;
}

#[tokio::test]
async fn typescript_v2_steps_up_with_our_own_tokens() {
    steps_up("v2").await;
}
