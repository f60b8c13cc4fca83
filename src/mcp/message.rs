//! A bounded look at a JSON-RPC message, in one pass that borrows from the body.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Call, Reach};

/// Longest `id`, method and name that are kept, in bytes; a longer one counts as absent.
const MAX_ID: usize = 256;
const MAX_METHOD: usize = 128;
const MAX_NAME: usize = 512;

/// Looks at a body. What is no JSON-RPC request gives an empty [`Call`]: invalid JSON, a batch, members of the
/// wrong type. The body itself is passed on unchanged in any case. Of a member given twice the last one counts,
/// as it does for most JSON readers.
pub fn peek(body: &[u8]) -> Call {
    let Ok(Envelope { id, method, params }) = serde_json::from_slice::<Envelope<'_>>(body) else {
        return Call::default();
    };
    let method = method.filter(|method| method.len() <= MAX_METHOD);
    let bounded = |name: Option<Cow<'_, str>>| {
        name.filter(|name| name.len() <= MAX_NAME)
            .map(|name| name.into_owned().into())
    };
    let reach = match method.as_deref() {
        Some("tools/call") => bounded(params.name).map(Reach::Tool),
        Some("prompts/get") => bounded(params.name).map(Reach::Prompt),
        Some("resources/read") => bounded(params.uri).map(Reach::Resource),
        _ => None,
    };
    Call {
        id: id.map(Box::from),
        method: method.map(|method| method.into_owned().into()),
        reach: reach.into_iter().collect(),
        arguments: None,
    }
}

#[derive(Default)]
struct Envelope<'a> {
    id: Option<&'a str>,
    method: Option<Cow<'a, str>>,
    params: Params<'a>,
}

#[derive(Default)]
struct Params<'a> {
    name: Option<Cow<'a, str>>,
    uri: Option<Cow<'a, str>>,
}

/// A text, or `None` for anything else.
struct Text<'a>(Option<Cow<'a, str>>);

/// A member name that we know, or any other.
enum Member {
    Id,
    Method,
    Params,
    Name,
    Uri,
    Other,
}

/// Writes the visitor methods that skip what is not wanted.
macro_rules! skip {
    ($lifetime:lifetime, $value:expr, [$($scalar:ident: $type:ty),*]) => {
        $(fn $scalar<E>(self, _: $type) -> Result<Self::Value, E> { Ok($value) })*
        fn visit_unit<E>(self) -> Result<Self::Value, E> { Ok($value) }
        fn visit_seq<A: SeqAccess<$lifetime>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
}

impl<'de: 'a, 'a> Deserialize<'de> for Envelope<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Envelope<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON-RPC message")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = Envelope::default();
                while let Some(member) = map.next_key::<Member>()? {
                    match member {
                        Member::Id => found.id = echoable(map.next_value::<&RawValue>()?.get()),
                        Member::Method => found.method = map.next_value::<Text<'de>>()?.0,
                        Member::Params => found.params = map.next_value()?,
                        Member::Name | Member::Uri | Member::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(found)
            }
        }
        deserializer.deserialize_map(Read)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Params<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Params<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            skip!('de, Params::default(), [visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str]);

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = Params::default();
                while let Some(member) = map.next_key::<Member>()? {
                    match member {
                        Member::Name => found.name = map.next_value::<Text<'de>>()?.0,
                        Member::Uri => found.uri = map.next_value::<Text<'de>>()?.0,
                        Member::Id | Member::Method | Member::Params | Member::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(found)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }

            skip!('de, Text(None), [visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64]);

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Text(None))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Member;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Member, E> {
                Ok(match name {
                    "id" => Member::Id,
                    "method" => Member::Method,
                    "params" => Member::Params,
                    "name" => Member::Name,
                    "uri" => Member::Uri,
                    _ => Member::Other,
                })
            }
        }
        deserializer.deserialize_str(Read)
    }
}

/// An id that may be echoed: a number or a text. `null` is no request id in MCP.
fn echoable(text: &str) -> Option<&str> {
    let kind = text.as_bytes().first()?;
    (matches!(kind, b'"' | b'-' | b'0'..=b'9') && text.len() <= MAX_ID).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(body: &str) -> [Option<String>; 3] {
        let call = peek(body.as_bytes());
        let name = call.name().map(String::from);
        [
            call.id.map(String::from),
            call.method.map(String::from),
            name,
        ]
    }

    #[test]
    fn ids_keep_their_text() {
        for id in [
            "1",
            "-7",
            "12345678901234567890123",
            "1.50",
            "1e3",
            "\"a\"",
            "\"\\u0061\\n\"",
        ] {
            let body = format!("{{\"jsonrpc\":\"2.0\", \"id\": {id}, \"method\":\"ping\"}}");
            assert_eq!(
                seen(&body),
                [Some(id.to_owned()), Some("ping".to_owned()), None]
            );
        }
        for id in [
            "null",
            "true",
            "[1]",
            "{\"a\":1}",
            &format!("\"{}\"", "x".repeat(300)),
        ] {
            assert_eq!(
                seen(&format!("{{\"id\":{id},\"method\":\"ping\"}}")),
                [None, Some("ping".to_owned()), None]
            );
        }
    }

    #[test]
    fn names_are_found_where_the_method_says() {
        for (body, name) in [
            (
                r#"{"method":"tools/call","params":{"arguments":{"name":"no"},"name":"yes"}}"#,
                Some("yes"),
            ),
            (
                r#"{"params":{"_meta":{},"name":"a\"b"},"method":"prompts/get"}"#,
                Some("a\"b"),
            ),
            (
                r#"{"method":"resources/read","params":{"name":"no","uri":"file:///x"}}"#,
                Some("file:///x"),
            ),
            (r#"{"method":"tools/list","params":{"name":"no"}}"#, None),
            (r#"{"method":"tools/call","params":["yes"]}"#, None),
            (
                r#"{"method":"tools/call","params":{"name":{"a":[1]}}}"#,
                None,
            ),
            (r#"{"method":"tools/call","params":null}"#, None),
        ] {
            let [_, _, found] = seen(body);
            assert_eq!(found.as_deref(), name, "{body}");
        }
    }

    #[test]
    fn what_is_no_request_is_an_empty_call() {
        for body in [
            "",
            "{",
            "[]",
            "7",
            "null",
            r#"[{"id":1,"method":"ping"}]"#,
            r#"{"id":1} x"#,
            "\u{feff}{}",
        ] {
            assert_eq!(peek(body.as_bytes()), Call::default(), "{body}");
        }
        assert_eq!(peek(b"{\"id\":1,\"method\":\"\xff\"}"), Call::default());
    }

    #[test]
    fn deep_nesting_is_skipped_without_recursion() {
        let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
        for body in [
            format!("{{\"id\":1,\"x\":{open}{close},\"method\":\"ping\"}}"),
            format!("{{\"id\":1,\"params\":{{\"x\":{open}{close}}},\"method\":\"ping\"}}"),
        ] {
            assert!(peek(body.as_bytes()).id.as_deref() == Some("1"));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = peek(&bytes);
        }

        #[test]
        fn agrees_with_a_full_reading(id in "[a-z0-9\"\\\\]{0,8}", method in prop::sample::select(vec!["tools/call", "ping"]), name in "\\PC{0,12}", extra in "\\PC{0,12}") {
            let body = serde_json::json!({"x": [extra, {"id": 3}], "id": id, "params": {"y": {"name": 1}, "name": name}, "method": method});
            let call = peek(body.to_string().as_bytes());
            let echoed: String = serde_json::from_str(call.id.as_deref().unwrap()).unwrap();
            prop_assert_eq!(echoed, id);
            prop_assert_eq!(call.name(), (method == "tools/call").then_some(name.as_str()));
        }
    }
}
