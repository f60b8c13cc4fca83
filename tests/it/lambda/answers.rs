//! What is written about answers, and when.

use super::event::Sender;
use super::world::{Function, World};

#[tokio::test]
async fn everything_is_written_before_the_function_may_stand_still() {
    let world = World::new().await;
    let text = world
        .setup()
        .yaml("audit: { sink: stdout }\n")
        .text()
        .replace("logging: { access: false }", "logging: { access: true }");
    let mut function = Function::spawn(Some(&text), &[]).await;
    for sender in [Sender::Url, Sender::HttpApi] {
        let asks = sender.rpc(
            "/mcp",
            &serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }),
        );
        let asks = asks.header("user-agent", &format!("test/{sender:?}"));
        let before = function.platform.asked().max(1);
        function.ask(&asks).await;
        function.platform.wait_for_asked(before + 1).await;
        function.freeze(true);
        let agent = format!("test/{sender:?}");
        let line = function
            .part
            .wait_for(|line| line.contains("\"event\":\"request\"") && line.contains(&agent))
            .await;
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["http.status"], 401);
        assert_eq!(line["client.address"], "203.0.113.7");
        function.freeze(false);
    }
}
