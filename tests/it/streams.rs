//! Event streams of a real MCP server, through the whole proxy.

use serde_json::{Value, json};

use crate::harness::client::{Answer, Ask, get, post};
use crate::harness::everything::Everything;
use crate::harness::mcp::Mcp;
use crate::harness::proxy::{Proxy, proxy};

const KEY: &str = "a-key-of-a-script-for-tests";
const REVISION: &str = "2025-11-25";

async fn in_front_of(upstream: &str) -> Proxy {
    proxy()
        .yaml(&format!(
            "auth:\n  api_keys:\n    - {{ name: script, key: {KEY} }}\nmcp: {{ keep_alive: 1s }}"
        ))
        .route("/mcp", upstream, "allow: { any_user: true }")
        .start()
        .await
}

/// A session of the older revisions; its id.
async fn session(proxy: &Proxy) -> String {
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": REVISION, "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } } });
    let answer = post(&proxy.url("/mcp"))
        .header("x-api-key", KEY)
        .rpc(&hello)
        .send()
        .await;
    assert_eq!(
        answer.rpc()["result"]["protocolVersion"],
        REVISION,
        "{}",
        answer.text()
    );
    let id = answer.header("mcp-session-id").to_owned();
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(send(proxy, &id, &ready).await.status, 202);
    id
}

fn with_session(ask: Ask, id: &str) -> Ask {
    ask.header("x-api-key", KEY)
        .header("mcp-session-id", id)
        .header("mcp-protocol-version", REVISION)
}

async fn send(proxy: &Proxy, id: &str, message: &Value) -> Answer {
    with_session(post(&proxy.url("/mcp")), id)
        .rpc(message)
        .send()
        .await
}

fn listen(proxy: &Proxy, id: &str) -> Ask {
    with_session(get(&proxy.url("/mcp")), id).header("accept", "text/event-stream")
}

#[tokio::test]
async fn a_quiet_stream_opens_at_once_and_is_kept_alive_until_the_end() {
    let backend = Mcp::start().await;
    let proxy = in_front_of(backend.url()).await;
    let id = session(&proxy).await;
    let mut stream = listen(&proxy, &id).stream().await;
    assert_eq!(stream.status, 200);
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    assert_eq!(stream.headers["x-accel-buffering"], "no");
    stream.read_until("\n:").await;
    stream.read_until("\n:").await;

    // A proxy that ends takes its streams along in order, instead of waiting for them.
    let ended = tokio::spawn(async move { while stream.piece().await.is_some() {} });
    proxy.stop().await;
    ended.await.unwrap();
}

#[tokio::test]
async fn progress_comes_before_the_answer() {
    let backend = Mcp::start().await;
    let proxy = in_front_of(backend.url()).await;
    let id = session(&proxy).await;
    let call = json!({ "jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {
        "name": "steps", "arguments": { "steps": 5 }, "_meta": { "progressToken": "p" } } });
    let answer = send(&proxy, &id, &call).await;
    let text = answer.text();
    assert_eq!(text.matches("notifications/progress").count(), 5, "{text}");
    assert_eq!(
        answer.rpc()["result"]["content"][0]["text"],
        "5 steps",
        "{text}"
    );
}

#[tokio::test]
async fn what_a_server_says_by_itself_reaches_the_listening_client() {
    let backend = Everything::start("streamableHttp").await;
    let proxy = in_front_of(&backend.url("/mcp")).await;
    let id = session(&proxy).await;
    let mut stream = listen(&proxy, &id).stream().await;
    let level = json!({ "jsonrpc": "2.0", "id": 1, "method": "logging/setLevel", "params": { "level": "debug" } });
    send(&proxy, &id, &level).await;
    let toggle = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
        "name": "toggle-simulated-logging", "arguments": {} } });
    send(&proxy, &id, &toggle).await;
    stream.read_until("notifications/message").await;
}

#[tokio::test]
async fn a_stream_that_the_server_refuses_is_refused_as_it_said() {
    let backend = Mcp::start().await;
    let proxy = in_front_of(backend.url()).await;
    // Events are the only thing that it streams.
    let id = session(&proxy).await;
    let refused = with_session(get(&proxy.url("/mcp")), &id)
        .header("accept", "application/json")
        .send()
        .await;
    let direct = get(backend.url())
        .header("mcp-session-id", "any")
        .header("mcp-protocol-version", REVISION)
        .header("accept", "application/json")
        .send()
        .await;
    assert_eq!(
        (refused.status, refused.text()),
        (direct.status, direct.text())
    );
    assert!(direct.status.is_client_error());

    // A session that the proxy never gave out is not the backend's business.
    let before = backend.seen().len();
    let unknown = listen(&proxy, "no-such-session").send().await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.json()["error"]["data"]["code"], "unknown_session");
    assert_eq!(backend.seen().len(), before);
}
