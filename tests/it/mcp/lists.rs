//! Lists show each caller what they may use, and nothing else: in JSON and in events, across pages, in what is replayed,
//! and to official clients.

use mcp_oidc_proxy::clock::Ambient;
use rmcp::ServiceExt;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Value, json};

use crate::harness::client::{Answer, get, post};
use crate::harness::everything::Everything;
use crate::harness::idp::Idp;
use crate::harness::parts::{self, Part};
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::{Proxy, proxy};
use crate::harness::scripted::{Said, Scripted, housekeeping, json_text, result, text};

const KEY: &str = "a-key-of-a-script-for-tests";

/// Members of `engineering` and the script see what has no `x` in its name.
const RULES: &str = "allow: { any_user: true }
scopes: [mcp]
tools: [{ match: '*x*', allow: { groups: [admins] } }, { match: '*' }]
prompts: [{ match: '*x*', deny: true }, { match: '*' }]
resources: [{ match: 'x:*', deny: true }, { match: '*' }]";

fn tool(name: &str) -> Value {
    json!({ "name": name, "description": "says \"x\"", "inputSchema": { "type": "object" } })
}

/// A server with a list of each kind; `tools/list` has three pages.
fn lists(message: &Value, events: bool) -> Said {
    if let Some(said) = housekeeping(message) {
        return said;
    }
    let cursor = message["params"]["cursor"].as_str();
    let answer = match (message["method"].as_str().unwrap(), cursor) {
        ("tools/list", None) => {
            json!({ "tools": [tool("a"), tool("x1"), tool("b")], "ttlMs": 3_600_000, "cacheScope": "public" })
        }
        ("tools/list", Some("paged")) => {
            json!({ "tools": [tool("x1"), tool("x2")], "nextCursor": "2" })
        }
        ("tools/list", Some("2")) => json!({ "nextCursor": "x3", "tools": [tool("a")] }),
        ("tools/list", Some(_)) => json!({ "tools": [] }),
        ("prompts/list", _) => json!({ "prompts": [{ "name": "x" }, { "name": "p" }] }),
        ("resources/list", _) => {
            json!({ "resources": [{ "uri": "x:1", "name": "a" }, { "uri": "a:1", "name": "x:1" }] })
        }
        ("resources/templates/list", _) => {
            json!({ "resourceTemplates": [{ "uriTemplate": "x:{id}", "name": "a" }, { "uriTemplate": "a:{id}", "name": "b" }] })
        }
        (method, _) => json!({ "content": [{ "type": "text", "text": method }] }),
    };
    result(message, events, &answer)
}

async fn in_front_of(url: &str, rules: &str, more: &str) -> Proxy {
    proxy()
        .yaml(&format!(
            "auth: {{ api_keys: [{{ name: script, key: {KEY} }}] }}\n{more}"
        ))
        .route("/mcp", url, rules)
        .start()
        .await
}

async fn ask(proxy: &Proxy, method: &str, params: &Value) -> Answer {
    post(&proxy.url("/mcp"))
        .header("x-api-key", KEY)
        .rpc(&json!({ "jsonrpc": "2.0", "id": "q\u{e4}", "method": method, "params": params }))
        .send()
        .await
}

#[tokio::test]
async fn all_lists_in_both_forms_and_across_pages() {
    for events in [false, true] {
        let backend = Scripted::start(move |message| lists(message, events)).await;
        let proxy = in_front_of(backend.url(), RULES, "").await;
        let open = in_front_of(backend.url(), "allow: { any_user: true }", "").await;
        for (method, params, expected) in [
            (
                "tools/list",
                json!({}),
                json!({ "tools": [tool("a"), tool("b")], "ttlMs": 60_000, "cacheScope": "private" }),
            ),
            (
                "tools/list",
                json!({ "cursor": "paged" }),
                json!({ "tools": [], "nextCursor": "2" }),
            ),
            (
                "tools/list",
                json!({ "cursor": "2" }),
                json!({ "nextCursor": "x3", "tools": [tool("a")] }),
            ),
            (
                "tools/list",
                json!({ "cursor": "x3" }),
                json!({ "tools": [] }),
            ),
            (
                "prompts/list",
                json!({}),
                json!({ "prompts": [{ "name": "p" }] }),
            ),
            (
                "resources/list",
                json!({}),
                json!({ "resources": [{ "uri": "a:1", "name": "x:1" }] }),
            ),
            (
                "resources/templates/list",
                json!({}),
                json!({ "resourceTemplates": [{ "uriTemplate": "a:{id}", "name": "b" }] }),
            ),
        ] {
            let answer = ask(&proxy, method, &params).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(
                answer.rpc(),
                json!({ "jsonrpc": "2.0", "id": "q\u{e4}", "result": expected })
            );
            if events {
                assert!(
                    answer.text().contains("notifications/message")
                        && answer.text().contains("{\"name\":\"x\"}"),
                    "other events are as they were"
                );
            } else {
                assert_eq!(
                    answer.header("content-length"),
                    answer.body.len().to_string()
                );
            }
            let request =
                json!({ "jsonrpc": "2.0", "id": "q\u{e4}", "method": method, "params": params });
            let direct = reqwest_like(backend.url(), &request).await;
            let unfiltered = ask(&open, method, &params).await;
            assert_eq!(
                unfiltered.body, direct.body,
                "without rules on names every byte is the backend's"
            );
        }
    }
}

/// The backend's own answer.
async fn reqwest_like(url: &str, message: &Value) -> Answer {
    post(url).rpc(message).send().await
}

#[tokio::test]
async fn who_may_use_more_sees_more() {
    let idp = Idp::start(Ambient::system()).await;
    let backend = Scripted::start(|message| lists(message, false)).await;
    let proxy = proxy()
        .oidc(&idp.issuer(), "mcp-proxy", "a-secret-of-the-client")
        .route("/mcp", backend.url(), RULES)
        .start()
        .await;
    let url = proxy.url("/mcp");
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let mut seen = Vec::new();
    for groups in [json!(["admins"]), json!(["staff"])] {
        let token = idp.access_token("ann", &url, &json!({ "groups": groups }));
        let answer = post(&url).bearer(&token).rpc(&list).send().await.rpc();
        assert_eq!(
            answer["result"]["cacheScope"], "private",
            "though nothing may be missing"
        );
        seen.push(answer["result"]["tools"].as_array().unwrap().len());
    }
    assert_eq!(seen, [3, 2]);
}

#[tokio::test]
async fn a_list_in_a_batch_is_filtered_too() {
    let backend = Scripted::start(|message| match message {
        Value::Array(all) => json_text(
            all.iter()
                .map(|each| {
                    json!({ "jsonrpc": "2.0", "id": each["id"], "result": { "tools": [tool("x"), tool("a")] } })
                })
                .collect::<Value>()
                .to_string(),
        ),
        one => lists(one, false),
    })
    .await;
    let proxy = in_front_of(backend.url(), RULES, "").await;
    let list = |id: u32| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" });
    let answer = post(&proxy.url("/mcp"))
        .header("x-api-key", KEY)
        .rpc(&json!([list(1), list(2)]))
        .send()
        .await;
    let filtered =
        |id: u32| json!({ "jsonrpc": "2.0", "id": id, "result": { "tools": [tool("a")] } });
    assert_eq!(answer.json(), json!([filtered(1), filtered(2)]));
}

#[tokio::test]
async fn what_cannot_be_filtered_is_not_handed_on() {
    let (list, long) = (tool("x"), "y".repeat(500));
    for (what, more, said) in [
        (
            "a member twice",
            "",
            json!(format!(
                r#"{{"id":1,"result":{{"tools":[{list}],"tools":[]}}}}"#
            )),
        ),
        (
            "no JSON",
            "",
            json!(format!(r#"{{"id":1,"result":{{"tools":[{list}]}}"#)),
        ),
        (
            "no list",
            "",
            json!(format!(r#"{{"id":1,"result":{{"tools":{{"a":{list}}}}}}}"#)),
        ),
        (
            "too long",
            "mcp: { max_list: 300 }",
            json!(format!(
                r#"{{"id":1,"result":{{"tools":[{{"name":"{long}"}}]}}}}"#
            )),
        ),
        (
            "encoded",
            "",
            json!({ "encoded": format!(r#"{{"id":1,"result":{{"tools":[{list}]}}}}"#) }),
        ),
    ] {
        let backend = Scripted::start(move |message| {
            if let Some(said) = housekeeping(message) {
                return said;
            }
            match said["encoded"].as_str() {
                None => json_text(said.as_str().unwrap().to_owned()),
                Some(body) => {
                    let mut said = json_text(body.to_owned());
                    said.headers_mut()
                        .insert("content-encoding", "br".parse().unwrap());
                    said
                }
            }
        })
        .await;
        let closed = in_front_of(backend.url(), RULES, more).await;
        let answer = ask(&closed, "tools/list", &json!({})).await;
        assert_eq!(answer.status, 502, "{what}: {}", answer.text());
        assert_eq!(
            answer.json()["error"]["data"]["code"],
            "backend_failed",
            "{what}"
        );
        assert_eq!(answer.json()["id"], "q\u{e4}", "{what}");
        let open = in_front_of(backend.url(), "allow: { any_user: true }", more).await;
        assert_eq!(
            ask(&open, "tools/list", &json!({})).await.status,
            200,
            "{what}"
        );
    }
}

/// Servers that find the stream of an answer by the request's id send it on another one when a client uses an id twice.
#[tokio::test]
async fn attack_a_list_on_the_answer_of_something_else() {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{},{}]}}}}"#,
        tool("x"),
        tool("a")
    );
    let as_json = body.clone();
    let backend = Scripted::start(move |message| {
        housekeeping(message).unwrap_or_else(|| json_text(as_json.clone()))
    })
    .await;
    let proxy = in_front_of(backend.url(), RULES, "").await;
    let answer = ask(&proxy, "tools/call", &json!({ "name": "a" })).await;
    assert_eq!(answer.status, 502, "{}", answer.text());

    let events = format!("data: {body}\n\n");
    let backend = Scripted::start(move |message| {
        housekeeping(message).unwrap_or_else(|| text("text/event-stream", events.clone()))
    })
    .await;
    let proxy = in_front_of(backend.url(), RULES, "").await;
    let answer = ask(&proxy, "tools/call", &json!({ "name": "a" })).await;
    assert_eq!(answer.rpc()["result"]["tools"], json!([tool("a")]));
}

#[tokio::test]
async fn attack_a_list_that_is_replayed() {
    let events = format!(
        "id: 3\ndata: {}\n\n",
        json!({ "jsonrpc": "2.0", "id": 1, "result": { "tools": [tool("x"), tool("a")] } })
    );
    let backend = Scripted::start(move |message| {
        if message.is_null() {
            text("text/event-stream", events.clone())
        } else {
            lists(message, true)
        }
    })
    .await;
    let proxy = in_front_of(backend.url(), RULES, "").await;
    let answer = get(&proxy.url("/mcp"))
        .header("x-api-key", KEY)
        .header("accept", "text/event-stream")
        .header("last-event-id", "2")
        .send()
        .await;
    assert!(answer.text().starts_with("id: 3\n"), "{}", answer.text());
    assert_eq!(answer.rpc()["result"]["tools"], json!([tool("a")]));
}

/// A client lists; gives what it sees of a server with the tools a, x1, b.
async fn sees(client: &str, mode: &str, events: bool) -> Value {
    let provider = RealProvider::start(&json!({})).await;
    let backend = Scripted::start(move |message| lists(message, events)).await;
    let proxy = proxy()
        .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
        .route("/sample/mcp", backend.url(), RULES)
        .yaml("authorization_server: { enabled: false }")
        .start()
        .await;
    let url = proxy.url("/sample/mcp");
    let mut command = match client {
        "python" => parts::python("clients/python.py"),
        _ => parts::node("clients/typescript.mjs"),
    };
    if client != "python" {
        command.arg(client);
    }
    command.args([&url, "ann", "-", "-", mode]);
    listed(Part::start(client, command).await).await
}

async fn listed(mut client: Part) -> Value {
    let seen = client.ask(&json!({ "do": "list" })).await;
    client.ask(&json!({ "do": "quit" })).await;
    seen
}

fn assert_without_x(seen: &Value) {
    assert_eq!(seen["tools"], json!(["a", "b"]), "{seen:#}");
}

#[tokio::test]
async fn typescript_sees_only_what_it_may_use() {
    assert_without_x(&sees("v1", "legacy", false).await);
    assert_without_x(&sees("v1", "legacy", true).await);
    assert_without_x(&sees("v2", "legacy", false).await);
    assert_without_x(&sees("v2", "legacy", true).await);
}

#[tokio::test]
async fn python_sees_only_what_it_may_use() {
    assert_without_x(&sees("python", "legacy", false).await);
    assert_without_x(&sees("python", "legacy", true).await);
}

#[tokio::test]
async fn rmcp_sees_only_what_it_may_use() {
    for events in [false, true] {
        let backend = Scripted::start(move |message| lists(message, events)).await;
        let idp = Idp::start(Ambient::system()).await;
        let proxy = proxy()
            .oidc(&idp.issuer(), "mcp-proxy", "a-secret-of-the-client")
            .route("/mcp", backend.url(), RULES)
            .start()
            .await;
        let url = proxy.url("/mcp");
        let token = idp.access_token("ann", &url, &json!({ "groups": ["staff"] }));
        let transport = StreamableHttpClientTransport::from_config(
            StreamableHttpClientTransportConfig::with_uri(url).auth_header(token),
        );
        let client = Box::pin(().serve(transport)).await.unwrap();
        let tools = client.list_all_tools().await.unwrap();
        let names: Vec<&str> = tools.iter().map(|tool| &*tool.name).collect();
        assert_eq!(names, ["a", "b"]);
        client.cancel().await.unwrap();
    }
}

#[tokio::test]
async fn the_oldest_transport_shows_only_what_may_be_used() {
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
    let seen = listed(Part::start("sse", command).await).await;
    assert_eq!(seen["tools"], json!(["echo"]), "{seen:#}");
}
