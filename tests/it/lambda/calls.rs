//! MCP calls through events, and what is refused.

use serde_json::{Value, json};

use super::event::{ALL, Sender};
use super::world::{PUBLIC, World};

fn initialize() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } })
}

fn call(tool: &str, arguments: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": tool, "arguments": arguments } })
}

#[tokio::test]
async fn tokens_open_the_way_to_a_real_mcp_server() {
    let world = World::new().await;
    let function = world.function().await;
    let token = world.token("bob");
    for sender in ALL {
        let answer = function
            .ask(&sender.rpc("/mcp", &initialize()).bearer(&token))
            .await;
        assert_eq!(answer.status, 200, "{sender:?}: {}", answer.text());
        let session = answer.header("mcp-session-id").to_owned();
        assert!(!session.is_empty(), "{sender:?}");
        let with_session = |message: &Value| {
            sender
                .rpc("/mcp", message)
                .bearer(&token)
                .header("mcp-session-id", &session)
                .header("mcp-protocol-version", "2025-06-18")
        };
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(
            function.ask(&with_session(&ready)).await.status,
            202,
            "{sender:?}"
        );
        let answer = function
            .ask(&with_session(&call("whoami", &json!({}))))
            .await;
        let text = answer.rpc()["result"]["content"][0]["text"].to_string();
        assert!(text.contains("bob"), "{sender:?}: {text}");
        assert!(!text.contains(&token), "{sender:?}: {text}");
    }
}

#[tokio::test]
async fn who_has_no_credential_is_told_where_to_get_one() {
    let world = World::new().await;
    let function = world.function().await;
    for sender in ALL {
        let answer = function.ask(&sender.rpc("/mcp", &initialize())).await;
        assert_eq!(answer.status, 401, "{sender:?}");
        let challenge = answer.header("www-authenticate");
        let metadata = format!("{PUBLIC}/.well-known/oauth-protected-resource/mcp");
        assert!(challenge.contains(&metadata), "{sender:?}: {challenge}");
        let answer = function
            .ask(&sender.get("/.well-known/oauth-protected-resource/mcp"))
            .await;
        assert_eq!(
            answer.json()["resource"],
            format!("{PUBLIC}/mcp"),
            "{sender:?}"
        );
        let forged = sender
            .rpc("/mcp", &initialize())
            .bearer("eyJhbGciOiJub25lIn0.e30.");
        assert_eq!(function.ask(&forged).await.status, 401, "{sender:?}");
    }
    assert!(world.mcp.seen().is_empty());
}

#[tokio::test]
async fn bodies_arrive_as_bytes_whoever_encoded_them() {
    let world = World::new().await;
    let function = world.function().await;
    let token = world.token("bob");
    for sender in ALL {
        let message = initialize().to_string();
        let asks = sender
            .rpc("/mcp", &Value::Null)
            .bearer(&token)
            .binary(message.as_bytes());
        let answer = function.ask(&asks).await;
        assert_eq!(answer.status, 200, "{sender:?}: {}", answer.text());
        assert_eq!(answer.rpc()["result"]["serverInfo"]["name"], "sample");
    }
}

#[tokio::test]
async fn what_came_another_way_is_refused_with_its_reason() {
    let world = World::new().await;
    let function = world.function().await;
    // A stage in front of the path.
    let mut asks = Sender::RestApi.get("/mcp");
    asks.event_mut()["requestContext"]["domainName"] =
        "f6e5d4c3b2.execute-api.eu-west-1.amazonaws.com".into();
    let answer = function.ask(&asks).await;
    assert_eq!(answer.status, 421);
    assert!(
        answer.json()["message"]
            .as_str()
            .unwrap()
            .contains("custom domain")
    );
    // Another host.
    let other = Sender::HttpApi
        .rpc("/mcp", &initialize())
        .header("host", "evil.example");
    assert_eq!(function.ask(&other).await.status, 421);
    // No request at all; the function goes on.
    let delivery = function.platform.invoke(&json!({ "Records": [] })).await;
    let (head, error) = delivery.error().await;
    assert_eq!(head["lambda-runtime-function-error-type"], "Event.NotHttp");
    assert!(
        error["errorMessage"]
            .as_str()
            .unwrap()
            .contains("function URLs"),
        "{error}"
    );
    // A load balancer's health check comes by any name and from nobody.
    let mut check = Sender::Balancer.get("/health");
    check.event_mut()["headers"] = json!({ "user-agent": "ELB-HealthChecker/2.0" });
    assert_eq!(function.ask(&check).await.status, 200);
}
