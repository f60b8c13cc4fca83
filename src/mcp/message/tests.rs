mod agrees;

use http::{HeaderMap, HeaderName, Method};
use serde_json::{Value, json};

use super::super::{Era, Message, Reach};
use super::*;
use crate::reject::Reject;

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), value.parse().unwrap());
    }
    headers
}

fn with(lines: &[(&'static str, &str)], body: &str) -> Result<Message, Reject> {
    Message::read(&headers(lines), &Bytes::copy_from_slice(body.as_bytes()))
}

fn only(body: &str) -> Call {
    let message = with(&[], body).unwrap_or_else(|error| panic!("{body}: {}", error.message()));
    message.only().unwrap().clone()
}

/// The JSON-RPC code of the refusal.
fn refused(lines: &[(&'static str, &str)], body: &str) -> i32 {
    let error = with(lines, body).expect_err(body);
    assert_eq!(error.status(), 400, "{body}");
    error.rpc().unwrap().code
}

fn call(params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)
}

fn modern(method: &str, params: &Value) -> String {
    let mut params = params.clone();
    params["_meta"] = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" });
    json!({ "jsonrpc": "2.0", "id": "a", "method": method, "params": params }).to_string()
}

#[test]
fn ids_keep_their_text() {
    for id in [
        "1",
        "-7",
        "12345678901234567890123",
        "\"a\"",
        r#""\u0061\n""#,
    ] {
        let call = only(&format!(
            r#"{{"jsonrpc":"2.0", "id": {id}, "method":"ping"}}"#
        ));
        assert_eq!(call.id.as_deref(), Some(id));
    }
    let long = format!("\"{}\"", "x".repeat(300));
    for id in ["null", "true", "1.5", "1e3", "[1]", r#"{"a":1}"#, &long] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        assert_eq!(refused(&[], &body), -32600, "{id}");
    }
}

#[test]
fn what_a_call_reaches_is_found_where_its_method_says() {
    use Reach::{Prompt, Resource, Task, Tool};
    for (method, params, reach) in [
        (
            "tools/call",
            json!({ "arguments": { "name": "no" }, "name": "yes" }),
            vec![Tool("yes".into())],
        ),
        (
            "prompts/get",
            json!({ "name": "a\"b" }),
            vec![Prompt("a\"b".into())],
        ),
        (
            "resources/read",
            json!({ "name": "no", "uri": "file:///x" }),
            vec![Resource("file:///x".into())],
        ),
        (
            "resources/subscribe",
            json!({ "uri": "file:///x" }),
            vec![Resource("file:///x".into())],
        ),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "name": "p" }, "argument": {} }),
            vec![Prompt("p".into())],
        ),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/resource", "uri": "db://{t}" } }),
            vec![Resource("db://{t}".into())],
        ),
        (
            "subscriptions/listen",
            json!({ "notifications": { "resourceSubscriptions": ["a:1", "a:2"] }, "taskIds": ["t"] }),
            vec![
                Resource("a:1".into()),
                Resource("a:2".into()),
                Task("t".into()),
            ],
        ),
        (
            "tasks/get",
            json!({ "taskId": "t1" }),
            vec![Task("t1".into())],
        ),
        ("tasks/list", json!({}), vec![]),
        ("tasks/get", json!({}), vec![]),
        ("tools/list", json!({ "name": "no" }), vec![]),
        ("resources/subscribe", json!({}), vec![]),
    ] {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        assert_eq!(only(&body.to_string()).reach, reach, "{method}");
    }
}

#[test]
fn a_call_that_does_not_say_what_it_reaches_is_refused() {
    let long = "x".repeat(600);
    for (method, params) in [
        ("tools/call", json!({})),
        ("tools/call", json!({ "name": 1 })),
        ("tools/call", json!({ "name": { "a": [1] } })),
        ("tools/call", json!({ "name": long })),
        ("tools/call", json!(null)),
        ("prompts/get", json!({ "uri": "x" })),
        ("resources/read", json!({ "uri": null })),
        ("resources/subscribe", json!({ "uri": 1 })),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/tool", "name": "x" } }),
        ),
        ("tasks/cancel", json!({ "taskId": 7 })),
        ("tools/call", json!({ "name": "safe\0" })),
        ("tools/call", json!({ "name": "safe\n" })),
        ("resources/read", json!({ "uri": "file:///x\u{85}" })),
        ("subscriptions/listen", json!({ "notifications": [] })),
        ("subscriptions/listen", json!({ "taskIds": "t" })),
        ("subscriptions/listen", json!({ "taskIds": [1] })),
        (
            "subscriptions/listen",
            json!({ "resourceSubscriptions": vec!["x"; 257] }),
        ),
        (
            "tools/call",
            json!({ "name": "t", "_meta": { "io.modelcontextprotocol/protocolVersion": 20_260_728 } }),
        ),
    ] {
        let body =
            json!({ "jsonrpc": "2.0", "id": 9, "method": method, "params": params }).to_string();
        let error = with(&[], &body).expect_err(&body);
        let rpc = error.rpc().unwrap();
        assert_eq!((rpc.code, rpc.id.as_deref()), (-32602, Some("9")), "{body}");
    }
}

#[test]
fn arguments_are_a_slice_of_the_body() {
    let body = Bytes::from(call(
        r#"{"name":"t","arguments":{ "a" : [1, {"b":null}] }}"#,
    ));
    let message = Message::read(&HeaderMap::new(), &body).unwrap();
    let arguments = message.only().unwrap().arguments.clone().unwrap();
    assert_eq!(arguments, r#"{ "a" : [1, {"b":null}] }"#);
    let inside = body.as_ptr_range().contains(&arguments.as_ptr());
    assert!(inside, "the arguments were copied");
}

#[test]
fn what_readers_could_take_in_two_ways_is_refused() {
    for body in [
        // Twice, plainly or escaped, at every depth.
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","\u006dethod":"tools/call"}"#,
        &call(r#"{"name":"safe","name":"dangerous"}"#),
        &call(r#"{"name":"safe","n\u0061me":"dangerous"}"#),
        &call(r#"{"name":"t","arguments":{"a":1,"a":2}}"#),
        &call(r#"{"name":"t","arguments":{"a":[{"b":1,"b":2}]}}"#),
        &call(r#"{"name":"t","_meta":{"x":1,"x":2}}"#),
        &call(r#"{"name":"t","other":{"x":{"y":1,"y":1}}}"#),
        // In another case.
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"},"PARAMS":{"name":"y"}}"#,
        &call(r#"{"name":"safe","Name":"dangerous"}"#),
        &call(r#"{"name":"safe","n\u0061ME":"dangerous"}"#),
        // As only some readers compare names.
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"safe"},"param\u017f":{"name":"dangerous"}}"#,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"param\u{17f}\":{}}",
        r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"resource_subscriptions":["x"]}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"task_id":"x"}}"#,
        &call(r#"{"name":"safe","name\u0000":"dangerous"}"#),
        // Methods that some server could trim or fold.
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call ","params":{"name":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"Tools/Call","params":{"name":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call\u0000","params":{"name":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/c\u0430ll","params":{"name":"x"}}"#,
        // Of another shape.
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":["ping"]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":""}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"id":1,"method":"ping"}"#,
        "1",
        "\"ping\"",
        "null",
    ] {
        assert_eq!(refused(&[], body), -32600, "{body}");
    }
}

#[test]
fn what_is_no_json_is_refused() {
    let deep = call(&format!(
        r#"{{"name":"t","x":{}{}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    ));
    for body in [
        "{",
        "",
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"} x"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}{}"#,
        "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}",
        r#"{"jsonrpc":"2.0","id":1,"method":"ping",}"#,
        r#"{'jsonrpc':"2.0"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\ud83d"}}"#,
        r#"{"jsonrpc":"2.0","id":"\ud800","method":"ping"}"#,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\nng\"}",
        &deep,
    ]
    .into_iter()
    .filter(|body| !body.is_empty())
    {
        assert_eq!(refused(&[], body), -32700, "{body}");
    }
    for bytes in [
        &b"\xff\xfe{\0}\0"[..],
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xc0\xaf\"}",
    ] {
        let error = Message::read(&HeaderMap::new(), &Bytes::from_static(bytes)).unwrap_err();
        assert_eq!(error.rpc().unwrap().code, -32700);
    }
}

#[test]
fn only_posts_have_a_body() {
    let body = Bytes::from(call(r#"{"name":"t"}"#));
    let of = |method, body: &Bytes| Message::of(&method, &HeaderMap::new(), body);
    assert_eq!(of(Method::POST, &body).unwrap().calls().len(), 1);
    for method in [Method::GET, Method::DELETE, Method::HEAD, Method::PUT] {
        let message = of(method.clone(), &Bytes::new()).unwrap();
        assert!(message.calls().is_empty() && message.only().is_none());
        let error = of(method, &body).unwrap_err();
        assert_eq!(
            (error.status().as_u16(), error.rpc().is_none()),
            (400, true)
        );
    }
    let error = of(Method::POST, &Bytes::new()).unwrap_err();
    assert_eq!(
        (error.status().as_u16(), error.rpc().unwrap().code),
        (400, -32700)
    );
}

#[test]
fn other_charsets_and_encodings_are_refused() {
    // In UTF-7 this calls `dangerous`.
    let body = call(r#"{"name":"safe","x":"+ACIALAAi-name+ACIAOgAi-dangerous"}"#);
    for line in [
        ("content-type", "application/json; charset=utf-7"),
        ("content-type", "text/plain"),
        ("content-encoding", "gzip"),
    ] {
        let error = with(&[line], &body).unwrap_err();
        assert_eq!(
            (error.status().as_u16(), error.rpc().is_none()),
            (415, true)
        );
    }
    assert!(
        with(
            &[("content-type", "application/json; charset=UTF-8")],
            &body
        )
        .is_ok()
    );
}

#[test]
fn methods_of_others_may_have_params_of_their_own() {
    for params in [
        json!({ "ref": "main", "notifications": [1], "taskIds": "x", "resourceSubscriptions": 3 }),
        json!({ "name": 1, "uri": {}, "arguments": "x", "taskIds": vec!["t"; 300] }),
        json!(null),
    ] {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "acme/deploy", "params": params });
        assert!(only(&body.to_string()).reach.is_empty());
    }
}

#[test]
fn answers_and_notifications_are_told_apart_from_requests() {
    let answer = only(r#"{"jsonrpc":"2.0","id":3,"result":{"name":"x"}}"#);
    assert_eq!((answer.id.as_deref(), answer.method), (Some("3"), None));
    assert!(
        only(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#)
            .id
            .is_none()
    );
    let note = only(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assert_eq!(
        (note.id, note.method.as_deref()),
        (None, Some("notifications/initialized"))
    );
}

#[test]
fn arrays_are_read_where_the_revision_has_them() {
    let body = r#" [{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"x","arguments":{}}}]"#;
    for lines in [&[][..], &[("mcp-protocol-version", "2025-03-26")]] {
        let message = with(lines, body).unwrap();
        assert!(message.is_batch() && message.only().is_none());
        assert_eq!(message.calls()[1].name(), Some("x"));
        assert_eq!(message.calls()[1].arguments.as_deref(), Some(&b"{}"[..]));
    }
    for version in ["2025-06-18", "2025-11-25", "2026-07-28", "x"] {
        assert_eq!(refused(&[("mcp-protocol-version", version)], body), -32600);
    }
    let many = format!(
        "[{}]",
        vec![r#"{"jsonrpc":"2.0","method":"n"}"#; 65].join(",")
    );
    for body in [
        "[]",
        "[[]]",
        "[1]",
        r#"[{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}]"#,
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping","id":2}]"#,
        r#"[{"jsonrpc":"2.0","id":"a","method":"ping"},{"jsonrpc":"2.0","id":"\u0061","method":"ping"}]"#,
        &format!("[{}]", modern("ping", &json!({}))),
        &many,
    ] {
        assert_eq!(refused(&[], body), -32600, "{body}");
    }
}

#[test]
fn the_body_says_which_family_a_message_is_of() {
    let era = |lines, body: &str| with(lines, body).unwrap().era();
    let plain = call(r#"{"name":"t"}"#);
    assert_eq!(era(&[], &plain), Era::Legacy);
    assert_eq!(
        era(&[("mcp-protocol-version", "2025-11-25")], &plain),
        Era::Legacy
    );
    assert_eq!(era(&[], &modern("tools/list", &json!({}))), Era::Modern);
    let hello = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    assert_eq!(era(&[], hello), Era::Legacy);
    // What a server without a handshake answers to one is what clients find out by.
    assert_eq!(
        era(&[("mcp-protocol-version", "2026-07-28")], hello),
        Era::Legacy
    );
    let list = modern("tools/list", &json!({}));
    assert_eq!(
        refused(&[("mcp-protocol-version", "2025-11-25")], &list),
        -32020
    );
    let twice = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-protocol-version", "2026-07-28"),
    ];
    assert_eq!(refused(&twice, &list), -32020);
}

#[test]
fn headers_that_repeat_the_body_are_compared_with_it() {
    let body = modern("tools/call", &json!({ "name": "größe", "arguments": {} }));
    let good: &[&[(&str, &str)]] = &[
        &[],
        &[("mcp-method", "tools/call")],
        &[
            ("mcp-method", "tools/call"),
            ("mcp-name", "=?base64?Z3LDtsOfZQ==?="),
        ],
    ];
    for lines in good {
        assert!(with(lines, &body).is_ok(), "{lines:?}");
    }
    let bad: &[&[(&str, &str)]] = &[
        &[("mcp-method", "ping")],
        &[("mcp-method", "Tools/Call")],
        &[("mcp-method", "tools/call"), ("mcp-method", "tools/call")],
        &[("mcp-name", "safe")],
        &[("mcp-name", "=?base64?c2FmZQ==?=")],
        &[("mcp-name", "=?base64?!!?=")],
        &[
            ("mcp-name", "=?base64?Z3LDtsOfZQ==?="),
            ("mcp-name", "safe"),
        ],
    ];
    for lines in bad {
        assert_eq!(refused(lines, &body), -32020, "{lines:?}");
    }
    // What older revisions do not know does not count there.
    assert!(with(&[("mcp-name", "safe")], &call(r#"{"name":"other"}"#)).is_ok());
    // Clients of the tasks extension may leave the name out.
    let task = modern("tasks/get", &json!({ "taskId": "t1" }));
    assert!(with(&[("mcp-method", "tasks/get")], &task).is_ok());
    assert_eq!(refused(&[("mcp-name", "t2")], &task), -32020);
}

#[test]
fn refusals_are_json_rpc_with_the_id_where_it_is_known() {
    let error = with(&[("mcp-method", "ping")], &modern("tools/list", &json!({}))).unwrap_err();
    let rpc = error.rpc().unwrap();
    assert_eq!((rpc.code, rpc.id.as_deref()), (-32020, Some("\"a\"")));
    for (body, id) in [
        (r#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#, Some("7")),
        (
            r#"{"id":7,"jsonrpc":"2.0","method":"ping","Params":{}}"#,
            Some("7"),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"ping","Params":{},"id":7}"#,
            None,
        ),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, None),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping"} x"#, None),
    ] {
        let error = with(&[], body).unwrap_err();
        assert_eq!(error.rpc().unwrap().id.as_deref(), id, "{body}");
    }
}

#[test]
fn trace_contexts_are_kept() {
    let body = call(r#"{"name":"t","_meta":{"traceparent":"00-x","other":[1]}}"#);
    assert_eq!(only(&body).trace.as_deref(), Some("00-x"));
}
