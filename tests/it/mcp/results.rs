//! Results are counted as what they are, and nothing is delayed by looking at them.

use std::sync::Mutex;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::harness::client::{PATIENCE, get, post};
use crate::harness::proxy::{Proxy, proxy};
use crate::harness::scripted::{
    Said, Scripted, housekeeping, json_text, result, status, stream, text,
};

const KEY: &str = "a-key-of-a-script-for-tests";

async fn in_front_of(url: &str, rules: &str) -> Proxy {
    proxy()
        .yaml(&format!(
            "metrics: {{ address: '127.0.0.1:0' }}\nauth: {{ api_keys: [{{ name: script, key: {KEY} }}] }}"
        ))
        .route("/mcp", url, &format!("allow: {{ any_user: true }}\n{rules}"))
        .start()
        .await
}

fn call(tool: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool } })
}

/// A server whose tools come to what their names say.
fn tools(message: &Value, events: bool) -> Said {
    if let Some(said) = housekeeping(message) {
        return said;
    }
    if message["method"] == "tools/list" {
        let tools = [
            "fine",
            "fails",
            "asks",
            "goes_on",
            "refused",
            "gone",
            "elsewhere",
            "denied",
        ];
        let tools: Vec<Value> = tools
            .iter()
            .map(|name| json!({ "name": name, "inputSchema": {} }))
            .collect();
        return result(message, events, &json!({ "tools": tools }));
    }
    match message["params"]["name"].as_str().unwrap_or_default() {
        "fails" => result(
            message,
            events,
            &json!({ "content": [{ "type": "text", "text": "y".repeat(70_000) }], "isError": true }),
        ),
        "asks" => result(
            message,
            events,
            &json!({ "resultType": "input_required", "inputRequests": {} }),
        ),
        "goes_on" => result(
            message,
            events,
            &json!({ "resultType": "task", "taskId": "t" }),
        ),
        "refused" => {
            let error =
                json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32602, "message": "no" } })
                    .to_string();
            if events {
                text("text/event-stream", format!("data: {error}\n\n"))
            } else {
                json_text(error)
            }
        }
        "gone" => status(http::StatusCode::INTERNAL_SERVER_ERROR),
        "elsewhere" => status(http::StatusCode::ACCEPTED),
        _ => result(message, events, &json!({ "content": [] })),
    }
}

/// The metrics whose lines begin so, sorted, without histograms' sums.
async fn counted(proxy: &Proxy, names: &[&str]) -> Vec<String> {
    let text = get(&proxy.metrics()).send().await.text();
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| names.iter().any(|name| line.starts_with(name)))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn results_are_counted_in_both_forms() {
    for events in [false, true] {
        let backend = Scripted::start(move |message| tools(message, events)).await;
        let proxy = in_front_of(
            backend.url(),
            "tools: [{ match: denied, deny: true }, { match: '*' }]",
        )
        .await;
        let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
        let calls = [
            "fine",
            "fine",
            "fails",
            "asks",
            "goes_on",
            "refused",
            "gone",
            "elsewhere",
            "denied",
            "made\" up",
        ];
        for message in std::iter::once(list).chain(calls.map(call)) {
            post(&proxy.url("/mcp"))
                .header("x-api-key", KEY)
                .rpc(&message)
                .send()
                .await;
        }
        let line = |tool: &str, status: &str, count: u32| {
            format!(
                "mcp_tool_calls_total{{tool_name=\"{tool}\",status=\"{status}\",backend=\"b0\"}} {count}"
            )
        };
        assert_eq!(
            counted(
                &proxy,
                &["mcp_tool_calls_total{", "mcp_proxy_jsonrpc_errors_total{"]
            )
            .await,
            [
                "mcp_proxy_jsonrpc_errors_total{backend=\"b0\",code_class=\"invalid_params\"} 1"
                    .to_owned(),
                line("_other", "ok", 1),
                line("asks", "input_required", 1),
                line("denied", "denied", 1),
                line("elsewhere", "unknown", 1),
                line("fails", "tool_error", 1),
                line("fine", "ok", 2),
                line("goes_on", "task", 1),
                line("gone", "upstream_error", 1),
                line("refused", "protocol_error", 1),
            ]
        );
        let duration = |method: &str, error: &str| {
            format!(
                "mcp_server_operation_duration_seconds_count{{mcp_method_name=\"{method}\",backend=\"b0\",error_type=\"{error}\"}}"
            )
        };
        let durations = counted(&proxy, &["mcp_server_operation_duration_seconds_count{"]).await;
        for (method, error) in [
            ("tools/list", ""),
            ("tools/call", ""),
            ("tools/call", "tool_error"),
            ("tools/call", "protocol_error"),
        ] {
            assert!(
                durations
                    .iter()
                    .any(|line| line.starts_with(&duration(method, error))),
                "{method} {error}: {durations:#?}"
            );
        }
    }
}

/// The backend says an event only after the one before it has arrived: were one held back, nothing would go on.
#[tokio::test]
async fn events_arrive_when_they_are_said() {
    for rules in ["", "tools: [{ match: a }]"] {
        let (say, said) = mpsc::channel(64);
        let said = Mutex::new(Some(said));
        let backend = Scripted::start(move |message| {
            housekeeping(message).unwrap_or_else(|| stream(said.lock().unwrap().take().unwrap()))
        })
        .await;
        let proxy = in_front_of(backend.url(), rules).await;
        say.try_send(": begun\n\n".to_owned()).unwrap();
        let mut answer = post(&proxy.url("/mcp"))
            .header("x-api-key", KEY)
            .rpc(&call("a"))
            .stream()
            .await;
        answer.read_until(": begun\n\n").await;
        for step in 0..3 {
            let event = format!(
                "data: {{\"method\":\"notifications/progress\",\"params\":{{\"progress\":{step}}}}}\n\n"
            );
            say.try_send(event.clone()).unwrap();
            assert_eq!(answer.read_until(&event).await, event);
        }
        let event = "data: {\"id\":1,\"result\":{\"isError\":true}}\n\n";
        say.try_send(event.to_owned()).unwrap();
        answer.read_until(event).await;
        // It counts when its answer has passed, not when the stream ends.
        let calls = counted(&proxy, &["mcp_tool_calls_total{"]).await;
        assert!(
            calls[0].contains("status=\"tool_error\"") && calls.len() == 1,
            "{calls:?}"
        );
        if rules.is_empty() {
            // Where nothing is filtered, not even the rest of an event is waited for.
            say.try_send("data: ha".to_owned()).unwrap();
            answer.read_until("data: ha").await;
        }
        drop(say);
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_no_fault_of_the_tools() {
    let (say, said) = mpsc::channel::<String>(64);
    let said = Mutex::new(Some(said));
    let backend = Scripted::start(move |message| {
        housekeeping(message).unwrap_or_else(|| stream(said.lock().unwrap().take().unwrap()))
    })
    .await;
    let proxy = in_front_of(backend.url(), "tools: [{ match: slow }]").await;
    say.try_send(": begun\n\n".to_owned()).unwrap();
    let mut answer = post(&proxy.url("/mcp"))
        .header("x-api-key", KEY)
        .rpc(&call("slow"))
        .stream()
        .await;
    answer.read_until(": begun").await;
    drop(answer);
    // The backend's side of the channel is dropped once the exchange is.
    say.closed().await;
    let cancelled =
        "mcp_tool_calls_total{tool_name=\"slow\",status=\"cancelled\",backend=\"b0\"} 1";
    let count = async { while counted(&proxy, &["mcp_tool_calls_total{"]).await != [cancelled] {} };
    timeout(PATIENCE, count).await.unwrap();
}

#[tokio::test]
async fn a_backend_that_is_not_there_is_counted() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let proxy = in_front_of(
        &format!("http://127.0.0.1:{port}/mcp"),
        "tools: [{ match: a }]",
    )
    .await;
    post(&proxy.url("/mcp"))
        .header("x-api-key", KEY)
        .rpc(&call("a"))
        .send()
        .await;
    let failed = "mcp_tool_calls_total{tool_name=\"a\",status=\"upstream_error\",backend=\"b0\"} 1";
    assert_eq!(counted(&proxy, &["mcp_tool_calls_total{"]).await, [failed]);
}

/// Hidden tools look as the backend answers for names that it does not know, once that was seen.
#[tokio::test]
async fn how_unknown_names_are_answered_is_learned() {
    let backend = Scripted::start(|message| {
        housekeeping(message).unwrap_or_else(|| match message["method"].as_str() {
            Some("tools/list") => result(message, false, &json!({ "tools": [{ "name": "a" }, { "name": "secret" }] })),
            _ => result(message, false, &json!({ "content": [{ "type": "text", "text": "Unknown tool" }], "isError": true })),
        })
    })
    .await;
    let rules = "hide: true\ntools: [{ match: secret, deny: true }, { match: '*' }]";
    let proxy = in_front_of(backend.url(), rules).await;
    let ask = async |message: &Value| {
        post(&proxy.url("/mcp"))
            .header("x-api-key", KEY)
            .rpc(message)
            .send()
            .await
            .rpc()
    };
    assert_eq!(
        ask(&call("secret")).await["error"]["code"],
        -32602,
        "as the specification has it"
    );
    ask(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" })).await;
    ask(&call("no such tool")).await;
    let hidden = ask(&call("secret")).await;
    assert_eq!(hidden["result"]["isError"], true, "{hidden:#}");
}
