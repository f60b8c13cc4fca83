use proptest::prelude::*;
use serde_json::{Value, json};

use super::text::MAX_TEXT;
use super::*;

#[derive(Debug, Default, PartialEq)]
struct Heard(Vec<String>);

impl Sink for Heard {
    fn list(&mut self, list: List) {
        self.0.push(format!("{list:?}"));
    }

    fn tool(&mut self, name: &str) {
        self.0.push(format!("tool {name}"));
    }

    fn message(&mut self, message: &Message<'_>) {
        let id = message.id.map(String::from_utf8_lossy);
        self.0.push(format!(
            "{} {:?}{}",
            id.as_deref().unwrap_or("-"),
            message.kind,
            if message.more { " more" } else { "" }
        ));
    }
}

fn hear(text: &str) -> Vec<String> {
    let mut heard = Heard::default();
    Scanner::default().feed(text.as_bytes(), &mut heard);
    heard.0
}

#[test]
fn answers_are_what_they_are() {
    for (text, expected) in [
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "1 Some(Ok)"),
        (
            r#"{"result":{"content":[],"isError":true},"id":"a\"b"}"#,
            r#""a\"b" Some(ToolError)"#,
        ),
        (r#"{"id":1,"result":{"isError":false}}"#, "1 Some(Ok)"),
        (
            r#"{"id":1,"result":{"isError": true }}"#,
            "1 Some(ToolError)",
        ),
        (
            r#"{"id":1,"result":{"is\u0045rror":true}}"#,
            "1 Some(ToolError)",
        ),
        (r#"{"id":1,"result":{"isError":"true"}}"#, "1 Some(Ok)"),
        (
            r#"{"id":1,"result":{"structuredContent":{"isError":true}}}"#,
            "1 Some(Ok)",
        ),
        (
            r#"{"id":1,"result":{"content":[{"text":"\"isError\":true}]"}]}}"#,
            "1 Some(Ok)",
        ),
        (r#"{"id":1,"isError":true,"result":{}}"#, "1 Some(Ok)"),
        (
            r#"{"id":1,"error":{"code":-32602,"message":"x"}}"#,
            "1 Some(ProtocolError(-32602))",
        ),
        (
            r#"{"id":1,"error":{"data":{"code":5},"code":-32601}}"#,
            "1 Some(ProtocolError(-32601))",
        ),
        (
            r#"{"error":{"code":"x"},"id":null}"#,
            "null Some(ProtocolError(0))",
        ),
        (
            r#"{"id":1,"result":{"resultType":"input_required"}}"#,
            "1 Some(InputRequired)",
        ),
        (
            r#"{"id":1,"result":{"resultType":"task","taskId":"x"}}"#,
            "1 Some(Task)",
        ),
        (
            r#"{"id":1,"result":{"task":{"taskId":"x"}}}"#,
            "1 Some(Task)",
        ),
        (
            r#"{"id":1,"result":{"resultType":"complete"}}"#,
            "1 Some(Ok)",
        ),
        (r#"{"id":1,"result":null}"#, "1 Some(Ok)"),
        (
            r#"{"id":1,"method":"sampling/createMessage","params":{"result":{}}}"#,
            "1 None",
        ),
        (
            r#"{"method":"notifications/progress","params":{"error":{"code":1}}}"#,
            "- None",
        ),
        (r#"{"id":1}"#, "1 None"),
        (r"{}", "- None"),
        (
            r#" { "id" : 12 , "result" : { "nextCursor" : "c" } } "#,
            "12 Some(Ok) more",
        ),
        (r#"{"id":1,"result":{"nextCursor":null}}"#, "1 Some(Ok)"),
    ] {
        assert_eq!(hear(text), [expected], "{text}");
    }
}

#[test]
fn lists_are_seen_wherever_a_reader_would_find_them() {
    for (text, expected) in [
        (
            r#"{"id":1,"result":{"tools":[]}}"#,
            vec!["Tools", "1 Some(Ok)"],
        ),
        (
            r#"{"id":1,"result":{"to\u006fls":[{"na\u006de":"x"}]}}"#,
            vec!["Tools", "tool x", "1 Some(Ok)"],
        ),
        (
            r#"{"result":{},"result":{"x":{},"prompts":[{"name":"x"}]},"id":1}"#,
            vec!["Prompts", "1 Some(Ok)"],
        ),
        (
            r#"{"result":{"tools":{"0":{}}}}"#,
            vec!["Tools", "- Some(Ok)"],
        ),
        (
            r#"[{"result":{"resources":[{}]}},{"result":{"resourceTemplates":[[]]},"id":2}]"#,
            vec!["Resources", "- Some(Ok)", "Templates", "2 Some(Ok)"],
        ),
        (
            r#"{"result":{"tools":[{"inputSchema":{"name":"no","tools":[{"name":"no"}]},"name":"a"},{"name":"b\"c"}]},"id":1}"#,
            vec!["Tools", "tool a", "tool b\"c", "1 Some(Ok)"],
        ),
    ] {
        assert_eq!(hear(text), expected, "{text}");
    }
    for text in [
        r#"{"tools":[]}"#,
        r#"{"params":{"result":{"tools":[]}}}"#,
        r#"{"result":{"content":[{"tools":[]}]}}"#,
        r#"{"result":"{\"tools\":[]}"}"#,
        r#"{"result":[{"tools":[]}]}"#,
        r#"{"result":{"capabilities":{"tools":{"listChanged":true}}}}"#,
    ] {
        assert!(!hear(text).contains(&"Tools".to_owned()), "{text}");
    }
}

#[test]
fn long_texts_are_passed_over() {
    let long = "x".repeat(3 * MAX_TEXT);
    let text = format!(
        r#"{{"{long}":1,"id":"{long}","result":{{"{long}":[],"tools":[{{"name":"{long}"}},{{"name":"a"}}]}}}}"#
    );
    assert_eq!(hear(&text), ["Tools", "tool a", "- Some(Ok)"]);
}

#[test]
fn messages_may_follow_each_other_and_garbage_does_no_harm() {
    assert_eq!(
        hear("{\"id\":1,\"result\":{}}\n{\"id\":2,\"result\":{}}"),
        ["1 Some(Ok)", "2 Some(Ok)"]
    );
    for text in [
        "",
        "]",
        "}}}}",
        "<html>{\"a\"</html>",
        "{\"result\":{\"tools\":[",
        "\"",
        "nul",
        "[[[[{{{",
    ] {
        hear(text);
    }
}

/// Messages as backends write them, and such that look like them.
fn value() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("id"),
        Just("method"),
        Just("result"),
        Just("error"),
        Just("isError"),
        Just("tools"),
        Just("name"),
        Just("resultType"),
        Just("input_required"),
        Just("code"),
        Just("nextCursor"),
        Just("a\\\"b\u{e4}"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((word.clone(), inner), 0..6).prop_map(|members| {
                Value::Object(
                    members
                        .into_iter()
                        .map(|(k, v)| (k.to_owned(), v))
                        .collect(),
                )
            }),
        ]
    })
}

/// What a whole reading of the message says.
fn slowly(message: &Value) -> Vec<String> {
    let Value::Object(message) = message else {
        return Vec::new();
    };
    let mut out = Vec::new();
    if let Some(Value::Object(result)) = message.get("result") {
        for (name, value) in result {
            if List::of(name).is_none() || !(value.is_array() || value.is_object()) {
                continue;
            }
            out.push("Tools".to_owned());
            for tool in value.as_array().into_iter().flatten() {
                if let Some(name) = tool.get("name").and_then(Value::as_str) {
                    out.push(format!("tool {name}"));
                }
            }
        }
    }
    let result = |name: &str| {
        message
            .get("result")
            .and_then(|result| result.as_object()?.get(name))
    };
    let kind = if message.contains_key("method") {
        None
    } else if let Some(error) = message.get("error") {
        let code = error.as_object().and_then(|error| error.get("code"));
        Some(Kind::ProtocolError(
            code.and_then(Value::as_i64).unwrap_or_default(),
        ))
    } else if message.contains_key("result") {
        Some(if result("isError") == Some(&json!(true)) {
            Kind::ToolError
        } else if result("resultType") == Some(&json!("input_required")) {
            Kind::InputRequired
        } else {
            Kind::Ok
        })
    } else {
        None
    };
    let more = result("nextCursor").is_some_and(Value::is_string);
    out.push(format!("{kind:?}{}", if more { " more" } else { "" }));
    out
}

proptest! {
    /// Read in passing is what a whole reading says, however the bytes are cut up.
    #[test]
    fn agrees_with_a_whole_reading(message in value(), pretty: bool, cuts in proptest::collection::vec(0usize..400, 0..8)) {
        let text = if pretty { serde_json::to_string_pretty(&message) } else { serde_json::to_string(&message) }.unwrap();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let (mut scanner, mut heard) = (Scanner::default(), Heard::default());
        for pair in cuts.windows(2) {
            scanner.feed(&text.as_bytes()[pair[0]..pair[1]], &mut heard);
        }
        let without_ids: Vec<String> = heard.0.into_iter()
            .map(|line| match line.split_once(' ') {
                Some((first, rest)) if first != "tool" && (rest.starts_with("Some") || rest.starts_with("None")) => rest.to_owned(),
                _ => line,
            })
            .collect();
        if message.is_object() {
            prop_assert_eq!(without_ids, slowly(&message), "{}", text);
        }
    }

    /// Whatever comes, it comes to its end.
    #[test]
    fn takes_anything(bytes: Vec<u8>) {
        Scanner::default().feed(&bytes, &mut Heard::default());
    }
}
