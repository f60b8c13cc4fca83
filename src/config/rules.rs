//! Rules of a route on what its callers may reach: tools, prompts, resources, methods.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use super::glob::Glob;
use super::route::Allow;

/// A rule. Of a list, rules with `deny` come first; then the first one that matches decides.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Name in answers, logs, metrics and the audit log. Default: the place, as in `github.tools[2]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is about: a glob on the name (or URI), a list of them, or `{ names: [globs], arguments: { path:
    /// [values] } }`. `*` is any run of characters, `?` one.
    pub r#match: Match,
    /// Nobody may. Such rules come before all others of their list.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deny: bool,
    /// Who may; others may not, whatever later rules say. Unset: everybody who may use the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Allow>,
    /// Answer denials as the backend answers for names that it does not know. Default: the route's `hide`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hide: Option<bool>,
}

impl Rule {
    /// Whether the rule names nothing, and so fits nothing.
    pub fn match_names_missing(&self) -> bool {
        self.r#match.names.is_empty()
    }
}

/// Names, and what the arguments have to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Match {
    /// One has to fit.
    pub names: Vec<Glob>,
    /// Dotted path or JSON pointer (RFC 6901) into the arguments, and the values that may stand there: texts are
    /// globs. All have to fit.
    pub arguments: BTreeMap<String, Vec<serde_json::Value>>,
}

/// What holds where no rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Otherwise {
    /// Permitted.
    Allow,
    /// Denied.
    Deny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(deserialize_with = "one_or_more")]
    names: Vec<Glob>,
    #[serde(default)]
    arguments: BTreeMap<String, Vec<serde_json::Value>>,
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Glob>, D::Error> {
    Match::deserialize(deserializer).map(|read| read.names)
}

impl<'de> Deserialize<'de> for Match {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Match;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pattern, a list of patterns, or { names: [patterns], arguments: { path: [values] } }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Match, E> {
                let glob = Glob::parse(text).map_err(E::custom)?;
                Ok(Match {
                    names: vec![glob],
                    arguments: BTreeMap::new(),
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Match, A::Error> {
                let mut names = Vec::new();
                while let Some(glob) = seq.next_element()? {
                    names.push(glob);
                }
                Ok(Match {
                    names,
                    arguments: BTreeMap::new(),
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Match, A::Error> {
                let Written { names, arguments } =
                    Written::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Match { names, arguments })
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl Serialize for Match {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.names.as_slice(), self.arguments.is_empty()) {
            ([only], true) => only.serialize(serializer),
            (names, true) => names.serialize(serializer),
            (names, false) => {
                let mut out = serializer.serialize_struct("Match", 2)?;
                out.serialize_field("names", names)?;
                out.serialize_field("arguments", &self.arguments)?;
                out.end()
            }
        }
    }
}

impl JsonSchema for Match {
    fn schema_name() -> Cow<'static, str> {
        "Match".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let glob = generator.subschema_for::<Glob>();
        json_schema!({ "anyOf": [
            glob,
            { "type": "array", "items": glob, "minItems": 1 },
            {
                "type": "object",
                "properties": {
                    "names": { "anyOf": [glob, { "type": "array", "items": glob, "minItems": 1 }] },
                    "arguments": {
                        "type": "object",
                        "additionalProperties": {
                            "type": "array",
                            "items": { "type": ["string", "number", "boolean"] },
                            "minItems": 1,
                        },
                    },
                },
                "required": ["names"],
                "additionalProperties": false,
            },
        ] })
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_match_is_read_in_each_form() {
        let read = |value: serde_json::Value| serde_json::from_value::<Match>(value).unwrap();
        assert_eq!(read(json!("a*")), read(json!(["a*"])));
        assert_eq!(read(json!("a*")), read(json!({"names": "a*"})));
        assert_eq!(
            read(json!({"names": ["a", "b"], "arguments": {"x.y": ["p*", 3, true]}})).arguments["x.y"],
            [json!("p*"), json!(3), json!(true)]
        );
        for form in [
            json!("a"),
            json!(["a", "b"]),
            json!({"names": ["a"], "arguments": {"x": [1]}}),
        ] {
            assert_eq!(serde_json::to_value(read(form.clone())).unwrap(), form);
        }
        for wrong in [
            json!(7),
            json!(""),
            json!(["a", ""]),
            json!({"arguments": {}}),
            json!({"names": "a", "x": 1}),
            json!({"names": "a", "arguments": {"x": "y"}}),
        ] {
            assert!(
                serde_json::from_value::<Match>(wrong.clone()).is_err(),
                "{wrong}"
            );
        }
    }
}
