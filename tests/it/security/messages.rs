//! S23: bodies and headers that say different things, and bodies that two readers take for different things. What was
//! judged is what the backend received, or nothing was.

use http::Method;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Value, json};

use crate::harness::client::{Answer, Ask, post};
use crate::harness::echo::Echo;
use crate::harness::proxy::{Proxy, proxy};

const KEY: &str = "a-key-of-a-script-for-tests";
const MODERN: &[(&str, &str)] = &[("mcp-protocol-version", "2026-07-28")];

struct World {
    backend: Echo,
    proxy: Proxy,
}

impl World {
    /// `safe` may be called, nothing else.
    async fn start() -> Self {
        let backend = Echo::start().await;
        let proxy = proxy()
            .yaml(&format!(
                "auth:\n  api_keys:\n    - {{ name: script, key: {KEY} }}"
            ))
            .route(
                "/mcp",
                &format!("{}/mcp", backend.url()),
                "allow: { any_user: true }\ntools: [{ match: safe }]",
            )
            .start()
            .await;
        Self { backend, proxy }
    }

    fn ask(&self, headers: &[(&str, &str)], body: &[u8]) -> Ask {
        let ask = post(&self.proxy.url("/mcp"))
            .header("x-api-key", KEY)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(body.to_vec());
        headers
            .iter()
            .fold(ask, |ask, (name, value)| ask.header(name, value))
    }

    async fn send(&self, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.ask(headers, body).send().await
    }

    /// Refused with this code, and the backend saw nothing of it.
    async fn refused(&self, headers: &[(&str, &str)], body: &str, code: i64) {
        let before = self.backend.seen().len();
        let answer = self.send(headers, body.as_bytes()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        assert_eq!(answer.json()["error"]["code"], code, "{body}");
        assert_eq!(self.backend.seen().len(), before, "{body}");
    }
}

fn call(tool: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": {},
        "_meta": { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } } })
}

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [MODERN, more].concat()
}

#[tokio::test]
async fn attack_s23_headers_that_differ_from_the_body() {
    let world = World::start().await;
    let body = call("safe").to_string();
    let good = with(&[("mcp-method", "tools/call"), ("mcp-name", "safe")]);
    assert_eq!(world.send(&good, body.as_bytes()).await.status, 200);
    let dangerous = call("dangerous").to_string();
    for (headers, body) in [
        (with(&[("mcp-method", "ping")]), &body),
        (
            with(&[("mcp-method", "tools/call"), ("mcp-name", "safe")]),
            &dangerous,
        ),
        (with(&[("mcp-name", "=?base64?c2FmZQ==?=")]), &dangerous),
        (with(&[("mcp-name", "=?base64?ZGFuZ2Vyb3Vz?=")]), &body),
        (with(&[("mcp-name", "=?base64?%%%?=")]), &body),
        (with(&[("mcp-name", "safe"), ("mcp-name", "safe")]), &body),
        (
            with(&[("mcp-method", "tools/call"), ("mcp-method", "ping")]),
            &body,
        ),
        (vec![("mcp-protocol-version", "2025-11-25")], &body),
    ] {
        world.refused(&headers, body, -32020).await;
    }
    // A header that matches helps nobody: the body decides.
    let headers = with(&[("mcp-method", "tools/call"), ("mcp-name", "dangerous")]);
    let before = world.backend.seen().len();
    let denied = world.send(&headers, dangerous.as_bytes()).await;
    assert!(denied.json()["error"].is_object(), "{}", denied.text());
    assert_eq!(world.backend.seen().len(), before);
}

#[tokio::test]
async fn attack_s23_members_that_stand_twice() {
    let world = World::start().await;
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"safe","name":"dangerous"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"safe","n\u0061me":"dangerous"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"safe","Name":"dangerous"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"dangerous"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"safe"},"params":{"name":"dangerous"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"safe","arguments":{"a":1,"a":2}}}"#,
        // Once for us, twice for readers that fold names: Go's, pydantic's, those in C.
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"safe"},"param\u017f":{"name":"dangerous"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"safe","name\u0000":"dangerous"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"resource_subscriptions":["secret:x"]}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"Tools/Call","params":{"name":"dangerous"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call ","params":{"name":"dangerous"}}"#,
    ] {
        world.refused(&[], body, -32600).await;
    }
}

#[tokio::test]
async fn attack_s23_arrays_where_there_are_none() {
    let world = World::start().await;
    let array = format!(
        "[{}]",
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "dangerous" } })
    );
    for version in ["2025-06-18", "2025-11-25", "2026-07-28"] {
        world
            .refused(&[("mcp-protocol-version", version)], &array, -32600)
            .await;
    }
    // Where arrays exist, each element is judged, and one that is denied refuses all.
    let mixed = json!([
        { "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "safe" } },
        { "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "dangerous" } },
    ]);
    let before = world.backend.seen().len();
    let answer = world.send(&[], mixed.to_string().as_bytes()).await;
    assert_eq!(world.backend.seen().len(), before, "{}", answer.text());
    let all: Vec<Value> = serde_json::from_slice(&answer.body).unwrap();
    assert!(all.iter().all(|each| each["error"].is_object()), "{all:?}");
}

#[tokio::test]
async fn attack_s23_other_encodings() {
    let world = World::start().await;
    let text = call("dangerous").to_string();
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [b"\xef\xbb\xbf", text.as_bytes()].concat();
    for body in [wide, marked] {
        let before = world.backend.seen().len();
        let answer = world.send(&[], &body).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert_eq!(answer.json()["error"]["code"], -32700);
        assert_eq!(world.backend.seen().len(), before);
    }
}

/// A server that believes `charset` reads another call than the one that was judged.
#[tokio::test]
async fn attack_s23_charsets_and_codings() {
    let world = World::start().await;
    let safe = call("safe").to_string();
    let hidden = safe.replace(
        r#""safe""#,
        r#""safe","x":"+ACIALAAi-name+ACIAOgAi-dangerous""#,
    );
    for (name, value) in [
        ("content-type", "application/json; charset=utf-7"),
        ("content-type", "application/json;charset=\"UTF-7\""),
        ("content-type", "application/json; charset=utf-16le"),
        (
            "content-type",
            "application/json; charset=utf-8; charset=utf-7",
        ),
        ("content-type", "text/plain"),
        ("content-encoding", "gzip"),
        ("content-encoding", "identity, br"),
    ] {
        let ask = post(&world.proxy.url("/mcp"))
            .header("x-api-key", KEY)
            .header(name, value);
        let answer = ask.body(hidden.clone()).send().await;
        assert_eq!(answer.status, 415, "{value}: {}", answer.text());
    }
    let twice = [("content-type", "application/json; charset=utf-7")];
    let answer = world.send(&twice, safe.as_bytes()).await;
    assert_eq!(answer.status, 415, "{}", answer.text());
    assert_eq!(world.backend.seen().len(), 0);
}

/// Nobody judges what stands where no message is.
#[tokio::test]
async fn attack_s23_bodies_of_other_methods() {
    let world = World::start().await;
    let body = call("dangerous").to_string();
    for method in [Method::GET, Method::DELETE, Method::PUT, Method::PATCH] {
        let ask = Ask::new(method.clone(), &world.proxy.url("/mcp")).header("x-api-key", KEY);
        let answer = ask.body(body.clone()).send().await;
        assert_eq!(answer.status, 400, "{method}: {}", answer.text());
    }
    let empty = post(&world.proxy.url("/mcp")).header("x-api-key", KEY);
    assert_eq!(empty.send().await.json()["error"]["code"], -32700);
    assert_eq!(world.backend.seen().len(), 0);
    // Without one they are the backend's to answer.
    let ask = Ask::new(Method::DELETE, &world.proxy.url("/mcp")).header("x-api-key", KEY);
    assert_eq!(ask.send().await.status, 200);
}

/// A request that is permitted, written in some odd but unambiguous way.
fn permitted() -> impl Strategy<Value = String> {
    let gap = "[ \n\t\r]{0,2}";
    let number = prop_oneof![
        Just("1.50"),
        Just("-0"),
        Just("1e3"),
        Just("12345678901234567890")
    ];
    (gap, number, "[a-zé☃ ]{0,6}", any::<bool>()).prop_map(|(gap, number, text, first)| {
        let name = r#""n\u0061me":"s\u0061fe""#;
        let arguments = format!(r#""arguments":{gap}{{"x":{number},"y":["{text}"]}}"#);
        let params = if first {
            format!("{name},{arguments}")
        } else {
            format!("{arguments}{gap},{name}")
        };
        format!(r#"{gap}{{"id":{gap}1,"params":{{{params}}},"method":"tools/call","jsonrpc":"2.0"}}{gap}"#)
    })
}

/// What was judged is what the backend received, to the byte.
#[tokio::test]
async fn what_was_judged_is_what_arrives() {
    let world = World::start().await;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..64 {
        let body = permitted().new_tree(&mut runner).unwrap().current();
        let answer = world.send(&[], body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        assert_eq!(answer.json()["body"], body);
    }
}
