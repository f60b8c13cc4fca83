use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Shows what has no `x` in its name.
fn shows(_: List, name: &str) -> bool {
    !name.contains('x')
}

fn filter(text: &str) -> Option<String> {
    let edits = Edits::find(text.as_bytes(), &shows).ok()?;
    Some(String::from_utf8(edits.apply(text.as_bytes(), |at| at)).unwrap())
}

#[test]
fn elements_are_cut_out_with_one_comma_each() {
    let list = |elements: &str| format!(r#"{{"id":1,"result":{{"tools":[{elements}]}}}}"#);
    let (a, b, x, y) = (
        r#"{"name":"a"}"#,
        r#"{"name":"b"}"#,
        r#"{"name":"x"}"#,
        r#"{"name":"yx"}"#,
    );
    for (before, after) in [
        (String::new(), String::new()),
        (a.to_owned(), a.to_owned()),
        (x.to_owned(), String::new()),
        (format!(" {x} , {y} "), "  ".to_owned()),
        (format!("{a},{x}"), a.to_owned()),
        (format!("{x},{a}"), a.to_owned()),
        (format!("{x}, {y},\n{a},{b}"), format!("{a},{b}")),
        (format!("{a} , {x} , {b}"), format!("{a} , {b}")),
        (format!("{a},{x},{y},{b},{x}"), format!("{a},{b}")),
    ] {
        assert_eq!(filter(&list(&before)), Some(list(&after)));
    }
}

#[test]
fn all_kinds_of_lists_by_what_their_elements_are_called() {
    for (list, name) in [
        ("tools", "name"),
        ("prompts", "name"),
        ("resources", "uri"),
        ("resourceTemplates", "uriTemplate"),
    ] {
        let text = format!(
            r#"{{"result":{{"a":0,"{list}":[{{"{name}":"x"}},{{"{name}":"ok","name":"x","uri":"x"}}],"nextCursor":"x"}},"id":7}}"#
        );
        let expected = if name == "name" {
            // Stands twice there, so it cannot be judged.
            format!(r#"{{"result":{{"a":0,"{list}":[],"nextCursor":"x"}},"id":7}}"#)
        } else {
            let text = text.replacen(&format!("{{\"{name}\":\"x\"}},"), "", 1);
            if name == "uri" {
                format!(r#"{{"result":{{"a":0,"{list}":[],"nextCursor":"x"}},"id":7}}"#)
            } else {
                text
            }
        };
        assert_eq!(filter(&text), Some(expected), "{list}");
    }
}

#[test]
fn what_cannot_be_judged_is_not_shown() {
    for element in [
        "1",
        "null",
        "[]",
        "\"a\"",
        "{}",
        r#"{"Name":"a"}"#,
        r#"{"name":1}"#,
        r#"{"name":null}"#,
        r#"{"name":["a"]}"#,
        r#"{"name":"a","name":"x"}"#,
        r#"{"name":"a","na\u006de":"x"}"#,
        r#"{"name":"\ud800"}"#,
    ] {
        let text = format!(r#"{{"result":{{"tools":[{element}]}}}}"#);
        assert_eq!(
            filter(&text).as_deref(),
            Some(r#"{"result":{"tools":[]}}"#),
            "{element}"
        );
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_not_read() {
    for text in [
        "",
        "x",
        "{",
        r#"{"result":{"tools":[]}} {}"#,
        r#"{"result":{"tools":[{"name":"a"}]"#,
        r#"{"result":{},"result":{"tools":[]}}"#,
        r#"{"result":{"tools":[],"tools":[]}}"#,
        r#"{"result":{"tools":[],"to\u006fls":[]}}"#,
        r#"{"result":{"tools":{"a":{}}}}"#,
        r#"{"result":{"tools":"a"}}"#,
        "{\"result\":{\"tools\":[{\"name\":\"\u{0}\"}]}}",
        r#"[{"result":{}},]"#,
    ] {
        assert_eq!(filter(text), None, "{text}");
    }
    assert!(Edits::find(b"{\"result\":{\"tools\":[{\"name\":\"\xff\"}]}}", &shows).is_err());
}

#[test]
fn a_filtered_list_is_its_readers_own_and_not_for_long() {
    for (before, after) in [
        (r#""cacheScope":"public""#, r#""cacheScope":"private""#),
        (
            r#""cacheScope" : "pub\u006cic""#,
            r#""cacheScope" : "private""#,
        ),
        (r#""cacheScope":"private""#, r#""cacheScope":"private""#),
        (r#""cacheScope":7"#, r#""cacheScope":"private""#),
        (r#""ttlMs":3600000"#, r#""ttlMs":60000"#),
        (r#""ttlMs":1e9"#, r#""ttlMs":60000"#),
        (r#""ttlMs":"9""#, r#""ttlMs":60000"#),
        (r#""ttlMs":60000"#, r#""ttlMs":60000"#),
        (r#""ttlMs":0"#, r#""ttlMs":0"#),
    ] {
        for (tools, kept) in [
            ("[]", "[]"),
            (r#"[{"name":"a"}]"#, r#"[{"name":"a"}]"#),
            (r#"[{"name":"x"}]"#, "[]"),
        ] {
            for first in [true, false] {
                let text = |tools: &str, caching: &str| {
                    if first {
                        format!(r#"{{"id":1,"result":{{{caching},"tools":{tools}}}}}"#)
                    } else {
                        format!(r#"{{"id":1,"result":{{"tools":{tools},{caching}}}}}"#)
                    }
                };
                assert_eq!(filter(&text(tools, before)), Some(text(kept, after)));
            }
        }
        let no_list = format!(r#"{{"id":1,"result":{{{before}}}}}"#);
        assert_eq!(
            filter(&no_list),
            Some(no_list.clone()),
            "server/discover is the same for everybody"
        );
    }
}

#[test]
fn batches_and_what_is_no_list() {
    assert_eq!(
        filter(
            r#"[{"id":1,"result":{"tools":[{"name":"x"}]}}, 7, {"id":2,"error":{}},{"method":"m"}]"#
        )
        .as_deref(),
        Some(r#"[{"id":1,"result":{"tools":[]}}, 7, {"id":2,"error":{}},{"method":"m"}]"#)
    );
    for text in [
        r#"{"params":{"tools":[{"name":"x"}]}}"#,
        r#"{"result":{"content":[{"tools":[{"name":"x"}]}]}}"#,
        r#"{"result":{"tools":null}}"#,
        r#"{"result":[{"name":"x"}]}"#,
        "7",
        "\"x\"",
        "null",
        "[]",
    ] {
        assert_eq!(filter(text).as_deref(), Some(text));
    }
}

fn name() -> impl Strategy<Value = String> {
    "[abx\"\\\\\u{e4}/]{0,3}"
}

fn element() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => (name(), any::<bool>()).prop_map(|(name, first)| if first {
            json!({ "name": name, "inputSchema": { "tools": [{ "name": "x" }] } })
        } else {
            json!({ "description": "], }", "uri": name, "uriTemplate": name, "name": name })
        }),
        1 => Just(json!({})),
        1 => Just(json!(["x"])),
    ]
}

fn message() -> impl Strategy<Value = Value> {
    let list = || proptest::option::of(proptest::collection::vec(element(), 0..6));
    (
        list(),
        list(),
        list(),
        list(),
        proptest::option::of(name()),
        any::<u32>(),
        any::<bool>(),
    )
        .prop_map(
            |(tools, prompts, resources, templates, cursor, ttl, public)| {
                let mut result = json!({ "ttlMs": ttl });
                for (name, list) in [
                    ("tools", tools),
                    ("prompts", prompts),
                    ("resources", resources),
                    ("resourceTemplates", templates),
                ] {
                    if let Some(list) = list {
                        result[name] = list.into();
                    }
                }
                if let Some(cursor) = cursor {
                    result["nextCursor"] = cursor.into();
                }
                if public {
                    result["cacheScope"] = "public".into();
                }
                json!({ "jsonrpc": "2.0", "id": 1, "result": result })
            },
        )
}

/// The same by going through values.
fn slowly(message: &mut Value) {
    let result = message["result"].as_object_mut().unwrap();
    let mut lists = false;
    for (list, key) in [
        ("tools", "name"),
        ("prompts", "name"),
        ("resources", "uri"),
        ("resourceTemplates", "uriTemplate"),
    ] {
        if let Some(Value::Array(list)) = result.get_mut(list) {
            lists = true;
            list.retain(|element| {
                element
                    .get(key)
                    .and_then(Value::as_str)
                    .is_some_and(|name| !name.contains('x'))
            });
        }
    }
    if lists {
        let ttl = result["ttlMs"].as_u64().unwrap();
        result["ttlMs"] = ttl.min(u64::from(LONGEST_TTL)).into();
        if result.contains_key("cacheScope") {
            result["cacheScope"] = "private".into();
        }
    }
}

proptest! {
    /// Cutting from the bytes says the same as building anew, and leaves every other byte where it was.
    #[test]
    fn cutting_is_filtering(messages in proptest::collection::vec(message(), 1..3), pretty: bool, batch: bool) {
        let write = |value: &Value| if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) }.unwrap();
        let mut value = if batch { Value::from(messages) } else { messages[0].clone() };
        let text = write(&value);
        let edits = Edits::find(text.as_bytes(), &shows).unwrap();
        let cut = String::from_utf8(edits.apply(text.as_bytes(), |at| at)).unwrap();
        match &mut value {
            Value::Array(all) => all.iter_mut().for_each(slowly),
            one => slowly(one),
        }
        prop_assert_eq!(&serde_json::from_str::<Value>(&cut).unwrap(), &value);
        if !pretty {
            prop_assert_eq!(&cut, &write(&value), "order and spelling are as they were");
        }
        // What is left without the replacements is what was there without the ranges.
        let mut left = text.clone();
        for (range, instead) in edits.edits.iter().rev() {
            left.replace_range(range.clone(), instead);
        }
        prop_assert_eq!(&cut, &left);
    }

    /// Whatever comes is read or refused.
    #[test]
    fn takes_anything(bytes: Vec<u8>) {
        if let Ok(edits) = Edits::find(&bytes, &shows) {
            edits.apply(&bytes, |at| at);
        }
    }
}
