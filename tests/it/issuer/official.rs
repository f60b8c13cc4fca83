//! Official clients with ways of their own: described by a document instead of registered, and over the oldest transport.

use serde_json::{Value, json};

use super::documents::Documents;
use crate::harness::everything::Everything;
use crate::harness::mcp::Mcp;
use crate::harness::parts;
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::{Proxy, proxy};

/// Where the scripted clients are called back.
const CALLBACK: &str = "http://127.0.0.1:3999/callback";

async fn in_front_of(provider: &RealProvider, path: &str, upstream: &str, more: &str) -> Proxy {
    proxy()
        .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
        .route(
            path,
            upstream,
            "allow: { groups: [engineering] }\nscopes: [mcp]",
        )
        .yaml(more)
        .start()
        .await
}

async fn visit(client: &str, url: &str, tool: &str, arguments: &Value, document: &str) -> Value {
    let mut command = match client {
        "python" => parts::python("clients/python.py"),
        _ => parts::node("clients/typescript.mjs"),
    };
    if client != "python" {
        command.arg(client);
    }
    command.args([url, "ann", tool, &arguments.to_string()]);
    command.env("CLIENT_METADATA_URL", document);
    parts::run_json(command).await
}

async fn described_by_a_document(client: &str) {
    let provider = RealProvider::start(&json!({ "registration": false })).await;
    let documents = Documents::start().await;
    documents.show(
        "/app.json",
        "",
        json!({
            "client_name": "Document App",
            "redirect_uris": [CALLBACK],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }),
    );
    let backend = Mcp::start().await;
    // Nobody can register, so the document is all there is.
    let section = format!(
        "authorization_server:\n  registration: {{ enabled: false }}{}",
        documents.section()
    );
    let proxy = in_front_of(&provider, "/sample/mcp", backend.url(), &section).await;
    let document = documents.url("/app.json");
    let visit = visit(
        client,
        &proxy.url("/sample/mcp"),
        "echo",
        &json!({ "text": "hello" }),
        &document,
    )
    .await;
    assert_eq!(visit["text"], "hello", "{visit:#}");
    assert_eq!(visit["logins"], 1, "{visit:#}");
    assert_eq!(visit["refresh_token"], true, "{visit:#}");
    if client != "python" {
        assert_eq!(visit["asked"]["client_id"], document, "{visit:#}");
    }
    assert_eq!(documents.asked(), ["/app.json"], "read once, and kept");
}

#[tokio::test]
async fn typescript_v1_is_described_by_a_document() {
    described_by_a_document("v1").await;
}

#[tokio::test]
async fn typescript_v2_is_described_by_a_document() {
    described_by_a_document("v2").await;
}

#[tokio::test]
async fn python_is_described_by_a_document() {
    described_by_a_document("python").await;
}

#[tokio::test]
async fn the_oldest_transport_works_with_our_own_tokens() {
    let provider = RealProvider::start(&json!({ "registration": false })).await;
    let backend = Everything::start("sse").await;
    let proxy = in_front_of(&provider, "/old/*", &backend.url(""), "").await;
    let url = proxy.url("/old/sse");
    let visit = visit("sse", &url, "echo", &json!({ "message": "hello" }), "").await;
    assert_eq!(visit["text"], "Echo: hello", "{visit:#}");
    assert_eq!(
        (&visit["logins"], &visit["registered"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(visit["requests"][0]["status"], 401, "{visit:#}");
    let requests = visit["requests"].as_array().unwrap();
    let asked = |method: &str, path: &str, status: u16| {
        requests.iter().any(|request| {
            request["method"] == method && request["path"] == path && request["status"] == status
        })
    };
    assert!(asked("POST", "/oauth2/register", 201), "{visit:#}");
    assert!(asked("POST", "/oauth2/token", 200), "{visit:#}");
    assert!(asked("POST", "/old/message", 202), "{visit:#}");
}
