//! What those who are denied see.

use serde_json::{Value, json};

use super::world::{World, modern, request, tool, tool_with};
use crate::harness::client::post;

const RULES: &str = "allow: { any_user: true }
tools: [{ match: ok }, { match: { names: typed, arguments: { table: [a] } } }]
prompts: [{ match: ok }]
resources: [{ match: 'x:ok' }]
methods: [{ match: '*/list', deny: true }, { match: '*' }]";

#[tokio::test]
async fn a_model_can_read_why_and_the_id_comes_back() {
    let world = World::start(RULES).await;
    for id in [json!(7), json!("a\u{e4}\"b"), json!(-1)] {
        let mut message = tool("no");
        message["id"] = id.clone();
        let seen = world.send(&message).await;
        let error = seen.denied("a tool");
        assert_eq!(seen.answer.json()["id"], id);
        assert_eq!(seen.answer.header("content-type"), "application/json");
        assert_eq!(seen.answer.header("cache-control"), "no-store");
        assert_eq!(error["code"], 403);
        assert_eq!(
            error["message"],
            "Policy of this proxy does not let you call the tool `no` (rule `r`). Go on without it, or ask whoever runs this proxy for access."
        );
        assert_eq!(
            error["data"]["request_id"],
            seen.answer.header("x-request-id")
        );
    }
    let error = world
        .send(&tool_with("typed", &json!({ "table": 7 })))
        .await
        .denied("a type");
    let text = error["message"].as_str().unwrap();
    assert!(
        text.contains("could not judge the argument `table`"),
        "{text}"
    );

    // The same to clients of the newest revision.
    let token = world.token(&json!({}));
    let ask = modern(&world.proxy.url("/mcp"), tool("no")).bearer(&token);
    assert_eq!(world.ask(ask).await.denied("modern")["code"], 403);
}

#[tokio::test]
async fn notifications_are_dropped_and_answers_of_clients_pass() {
    let world = World::start(RULES).await;
    let notification =
        json!({ "jsonrpc": "2.0", "method": "tools/call", "params": { "name": "no" } });
    let seen = world.send(&notification).await;
    assert_eq!(
        (
            seen.forwarded,
            seen.answer.status.as_u16(),
            seen.answer.text()
        ),
        (false, 202, String::new())
    );
    world
        .send(&json!({ "jsonrpc": "2.0", "id": 3, "result": {} }))
        .await
        .passed("the answer to a question of the backend's");
}

#[tokio::test]
async fn one_denied_element_refuses_the_batch() {
    let world = World::start(RULES).await;
    let mut messages = vec![tool("ok"), tool("no"), tool("ok")];
    for (id, message) in messages.iter_mut().enumerate() {
        message["id"] = json!(id);
    }
    messages[2].as_object_mut().unwrap().remove("id");
    let seen = world.send(&Value::from(messages)).await;
    assert!(!seen.forwarded);
    assert_eq!(seen.answer.status, 200);
    let answers = seen.answer.json();
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 2, "one for each request");
    assert_eq!(
        (&answers[0]["id"], &answers[1]["id"]),
        (&json!(0), &json!(1))
    );
    let texts: Vec<&str> = answers
        .iter()
        .map(|answer| answer["error"]["message"].as_str().unwrap())
        .collect();
    assert!(
        texts[0].contains("Nothing of this batch was done"),
        "{texts:?}"
    );
    assert!(texts[1].contains("the tool `no`"), "{texts:?}");
}

/// The answers to a denied tool, prompt, resource and method, in this order, once in each era.
async fn hidden(world: &World) -> [[(u16, Value); 4]; 2] {
    let url = world.proxy.url("/mcp");
    let token = world.token(&json!({}));
    let messages = [
        tool("no"),
        request("prompts/get", &json!({ "name": "no" })),
        request("resources/read", &json!({ "uri": "x:no" })),
        request("x/list", &json!({})),
    ];
    let mut eras = [Vec::new(), Vec::new()];
    for message in messages {
        for (era, ask) in [post(&url).rpc(&message), modern(&url, message.clone())]
            .into_iter()
            .enumerate()
        {
            let seen = world.ask(ask.bearer(&token)).await;
            assert!(!seen.forwarded);
            let mut body = seen.answer.json();
            assert_eq!(body["id"], 7);
            assert_eq!(body["jsonrpc"], "2.0");
            let members = body.as_object_mut().unwrap();
            members.remove("id");
            members.remove("jsonrpc");
            eras[era].push((seen.answer.status.as_u16(), body));
        }
    }
    eras.map(|era| era.try_into().unwrap())
}

#[tokio::test]
async fn hidden_names_are_unknown_names() {
    let world = World::start(&format!("{RULES}\nhide: true")).await;
    let error = |code: i32, message: &str| json!({ "error": { "code": code, "message": message } });
    let resource = |code: i32| json!({ "error": { "code": code, "message": "Resource not found", "data": { "uri": "x:no" } } });
    let tool = error(-32602, "Unknown tool: no");
    let prompt = error(-32602, "Unknown prompt: no");
    let method = error(-32601, "Method not found");
    assert_eq!(
        hidden(&world).await,
        [
            [
                (200, tool.clone()),
                (200, prompt.clone()),
                (200, resource(-32002)),
                (200, method.clone())
            ],
            [
                (200, tool),
                (200, prompt),
                (200, resource(-32602)),
                (404, method)
            ],
        ]
    );
}

#[tokio::test]
async fn hidden_names_look_as_the_backend_is_said_to_answer() {
    let world = World::with(&format!("{RULES}\nhide: true"), "unknown_names: result").await;
    let [legacy, modern] = hidden(&world).await;
    let content = json!([{ "type": "text", "text": "Unknown tool: no" }]);
    assert_eq!(
        legacy[0],
        (
            200,
            json!({ "result": { "content": content, "isError": true } })
        )
    );
    assert_eq!(
        modern[0],
        (
            200,
            json!({ "result": { "content": content, "isError": true, "resultType": "complete" } })
        )
    );
    assert_eq!(
        legacy[1].1["error"]["code"], -32602,
        "prompts have errors only"
    );
}

#[tokio::test]
async fn a_rule_may_hide_where_the_route_does_not_and_the_other_way_round() {
    let world = World::start(
        "allow: { any_user: true }
tools: [{ match: a, deny: true, hide: true }, { match: b, deny: true }]",
    )
    .await;
    assert_eq!(world.send(&tool("a")).await.denied("a")["code"], -32602);
    assert_eq!(world.send(&tool("b")).await.denied("b")["code"], 403);
    assert_eq!(world.send(&tool("c")).await.denied("c")["code"], 403);
    world
        .reload(
            "allow: { any_user: true }
hide: true
tools: [{ match: a, deny: true, hide: false }]",
        )
        .await;
    assert_eq!(world.send(&tool("a")).await.denied("a")["code"], 403);
    assert_eq!(world.send(&tool("c")).await.denied("c")["code"], -32602);
}

#[tokio::test]
async fn who_is_nobody_is_asked_to_sign_in_where_somebody_could() {
    let rules =
        "public: true\ntools: [{ match: free }, { match: paid, allow: { any_user: true } }]";
    let world = World::start(rules).await;
    let url = world.proxy.url("/mcp");
    let seen = world.ask(post(&url).rpc(&tool("free"))).await;
    seen.passed("free");
    let seen = world.ask(post(&url).rpc(&tool("paid"))).await;
    assert!(!seen.forwarded && seen.answer.status == 401);
    let challenge = seen.answer.header("www-authenticate");
    assert!(
        challenge.contains("resource_metadata=") && !challenge.contains("error="),
        "{challenge}"
    );
    world.send(&tool("paid")).await.passed("somebody");

    world.reload(&format!("{rules}\nhide: true")).await;
    let seen = world.ask(post(&url).rpc(&tool("paid"))).await;
    assert_eq!(seen.denied("hidden")["code"], -32602);
}

/// In HTTP+SSE answers come on the stream, and a POST only succeeds or fails.
#[tokio::test]
async fn clients_that_read_no_answer_see_a_failed_post() {
    let world = World::start(RULES).await;
    let ask = || {
        post(&world.proxy.url("/mcp"))
            .bearer(&world.token(&json!({})))
            .header("accept", "*/*")
    };
    let seen = world.ask(ask().json(&tool("no"))).await;
    assert!(!seen.forwarded && seen.answer.status == 403);
    assert_eq!(seen.answer.header("www-authenticate"), "");
    assert_eq!(seen.answer.json()["error"]["data"]["code"], "policy_denied");
    let notification =
        json!({ "jsonrpc": "2.0", "method": "tools/call", "params": { "name": "no" } });
    let seen = world.ask(ask().json(&notification)).await;
    assert_eq!(seen.answer.status, 202);
}
