//! A slow reader that is obviously right: all members in a list, nothing merged. And texts to compare readers by.

use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

pub(in crate::mcp) enum Plain {
    Null,
    /// A whole number of 64 bits.
    Whole,
    Scalar,
    Text(String),
    List(Vec<Plain>),
    Object(Vec<(String, Plain)>),
}

impl Plain {
    pub(in crate::mcp) fn has_twins(&self) -> bool {
        match self {
            Self::Null | Self::Whole | Self::Scalar | Self::Text(_) => false,
            Self::List(items) => items.iter().any(Self::has_twins),
            Self::Object(members) => {
                let twins = members
                    .iter()
                    .enumerate()
                    .any(|(at, (name, _))| members[..at].iter().any(|(before, _)| before == name));
                twins || members.iter().any(|(_, value)| value.has_twins())
            }
        }
    }

    pub(in crate::mcp) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else {
            return None;
        };
        members
            .iter()
            .find(|(each, _)| each == name)
            .map(|(_, value)| value)
    }

    /// The names of an object's members.
    pub(in crate::mcp) fn names(&self) -> Vec<&str> {
        match self {
            Self::Object(members) => members.iter().map(|(name, _)| name.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    pub(in crate::mcp) fn items(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    pub(in crate::mcp) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Plain;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("anything")
            }
            fn visit_bool<E>(self, _: bool) -> Result<Plain, E> {
                Ok(Plain::Scalar)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Plain, E> {
                Ok(Plain::Whole)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Plain, E> {
                Ok(Plain::Whole)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Plain, E> {
                Ok(Plain::Scalar)
            }
            fn visit_unit<E>(self) -> Result<Plain, E> {
                Ok(Plain::Null)
            }
            fn visit_str<E>(self, text: &str) -> Result<Plain, E> {
                Ok(Plain::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Plain, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Plain::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Plain, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Plain::Object(members))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// Names of the protocol's, some with an escape, some that only lenient readers take for one, and others.
const NAMES: [&str; 18] = [
    "name",
    "n\\u0061me",
    "Name",
    "uri",
    "ur\\u0131",
    "taskId",
    "task_id",
    "arguments",
    "ref",
    "type",
    "notifications",
    "resourceSubscriptions",
    "taskIds",
    "task_ids",
    "_meta",
    "a",
    "b",
    "é",
];

/// JSON with few names, so that some stand twice, and with the protocol's own among them.
pub(in crate::mcp) fn json_text() -> impl Strategy<Value = String> {
    let name = prop::sample::select(NAMES.as_slice());
    let leaf = prop_oneof![
        Just("1".to_owned()),
        Just("null".to_owned()),
        Just("true".to_owned()),
        "[a-z]{0,4}".prop_map(|text| format!("\"{text}\"")),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((name.clone(), inner), 0..5).prop_map(|members| {
                let members: Vec<String> = members
                    .into_iter()
                    .map(|(name, value)| format!("\"{name}\":{value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}
