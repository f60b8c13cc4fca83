//! Conditions on the arguments of a call. They are parsed once, and only when a rule asks for them.
//!
//! What cannot be judged is an error, and an error denies: text that is no JSON, a name that stands twice (one reader
//! takes the first, another the last), a value of another type than the rule compares with.

use std::cell::OnceCell;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::config::glob::Glob;
use crate::config::pointer;
use crate::config::rules::Match;

/// The arguments of what is judged.
#[derive(Debug)]
pub(super) enum Arguments<'a> {
    /// Those of a call, as its body has them.
    Given(Given<'a>),
    /// Any: the question is whether some could be permitted.
    Open,
}

/// Arguments as their text, and as their values once somebody asked.
#[derive(Debug)]
pub(super) struct Given<'a> {
    text: Option<&'a [u8]>,
    read: OnceCell<Result<Value, Unjudged>>,
}

impl<'a> Arguments<'a> {
    pub(super) fn given(text: Option<&'a [u8]>) -> Self {
        Self::Given(Given {
            text,
            read: OnceCell::new(),
        })
    }
}

impl Given<'_> {
    fn value(&self) -> Result<&Value, Unjudged> {
        let read = || match self.text {
            None => Ok(Value::Null),
            Some(text) => serde_json::from_slice::<Strict>(text)
                .map(|strict| strict.0)
                .map_err(|_| Unjudged::Unreadable),
        };
        self.read.get_or_init(read).as_ref().map_err(|why| *why)
    }
}

/// Why a condition has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unjudged {
    /// The arguments are no JSON that has one meaning.
    Unreadable,
    /// There is a value of another type than the rule compares with.
    Type,
}

impl Unjudged {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => {
                "the arguments are no JSON object, or have a name twice, so they cannot be judged"
            }
            Self::Type => "an argument has another type than the rule compares with",
        }
    }
}

/// Whether conditions are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Yes,
    No,
    /// Some arguments would, others would not.
    Perhaps,
}

/// One path, and the values that may stand there.
#[derive(Debug)]
pub(super) struct Condition {
    /// As written in the configuration.
    path: Box<str>,
    steps: Vec<Box<str>>,
    texts: Vec<Text>,
    numbers: Vec<Number>,
    truths: Vec<bool>,
}

#[derive(Debug)]
enum Text {
    Empty,
    Glob(Glob),
}

impl Condition {
    /// The conditions of a rule; the configuration was validated. What is wrong nevertheless fits nothing and errs.
    pub(super) fn compile(rule: &Match) -> Vec<Self> {
        let one = |(path, values): (&String, &Vec<Value>)| {
            let mut condition = Self {
                path: path.as_str().into(),
                steps: pointer::segments(path).unwrap_or_default(),
                texts: Vec::new(),
                numbers: Vec::new(),
                truths: Vec::new(),
            };
            for value in values {
                match value {
                    Value::String(text) if text.is_empty() => condition.texts.push(Text::Empty),
                    Value::String(text) => {
                        condition
                            .texts
                            .extend(Glob::parse(text).ok().map(Text::Glob));
                    }
                    Value::Number(number) => condition.numbers.push(number.clone()),
                    Value::Bool(truth) => condition.truths.push(*truth),
                    Value::Null | Value::Array(_) | Value::Object(_) => {}
                }
            }
            condition
        };
        rule.arguments.iter().map(one).collect()
    }

    /// Whether all are met. An error of one is the error of all, whatever the others say.
    pub(super) fn all<'a>(
        conditions: &'a [Self],
        arguments: &Arguments<'_>,
    ) -> Result<Fit, Failed<'a>> {
        if conditions.is_empty() {
            return Ok(Fit::Yes);
        }
        let Arguments::Given(given) = arguments else {
            return Ok(Fit::Perhaps);
        };
        let mut fit = Fit::Yes;
        for condition in conditions {
            let met = given.value().and_then(|value| condition.met(value));
            match met {
                Ok(true) => {}
                Ok(false) => fit = Fit::No,
                Err(why) => {
                    let path = &condition.path;
                    return Err(Failed { path, why });
                }
            }
        }
        Ok(fit)
    }

    fn met(&self, arguments: &Value) -> Result<bool, Unjudged> {
        if !matches!(arguments, Value::Object(_) | Value::Null) {
            return Err(Unjudged::Unreadable);
        }
        let mut place = arguments;
        for step in &self.steps {
            place = match place {
                Value::Null => return Ok(false),
                Value::Object(members) => match members.get(&**step) {
                    Some(inner) => inner,
                    None => return Ok(false),
                },
                Value::Array(items) => match index(step).map(|at| items.get(at)) {
                    Some(Some(inner)) => inner,
                    Some(None) => return Ok(false),
                    None => return Err(Unjudged::Type),
                },
                Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                    return Err(Unjudged::Type);
                }
            };
        }
        match place {
            Value::Null => Ok(false),
            Value::String(text) if !self.texts.is_empty() => {
                Ok(self.texts.iter().any(|each| match each {
                    Text::Empty => text.is_empty(),
                    Text::Glob(glob) => glob.matches(text),
                }))
            }
            Value::Number(number) if !self.numbers.is_empty() => {
                Ok(self.numbers.iter().any(|each| same(each, number)))
            }
            Value::Bool(truth) if !self.truths.is_empty() => Ok(self.truths.contains(truth)),
            _ => Err(Unjudged::Type),
        }
    }
}

/// Which condition had no answer, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed<'a> {
    /// The path as the configuration writes it.
    pub(super) path: &'a str,
    pub(super) why: Unjudged,
}

/// An array index as RFC 6901 section 4 writes it.
fn index(step: &str) -> Option<usize> {
    let plain =
        step.bytes().all(|byte| byte.is_ascii_digit()) && (step == "0" || !step.starts_with('0'));
    plain.then(|| step.parse().ok()).flatten()
}

/// Numbers are compared by value: `42` and `42.0` are the same.
fn same(one: &Number, other: &Number) -> bool {
    one == other
        || (one.is_f64() || other.is_f64())
            && one
                .as_f64()
                .zip(other.as_f64())
                .is_some_and(|(one, other)| {
                    one.total_cmp(&other).is_eq() || (one == 0.0 && other == 0.0)
                })
}

/// A JSON value in which no name stands twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_string<E>(self, value: String) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(Strict(item)) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Value::Array(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut members = Map::new();
                while let Some(name) = map.next_key::<String>()? {
                    let Strict(value) = map.next_value()?;
                    if members.insert(name, value).is_some() {
                        return Err(de::Error::custom("a name stands twice"));
                    }
                }
                Ok(Value::Object(members))
            }
        }
        deserializer.deserialize_any(Read).map(Strict)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fit(conditions: &Value, arguments: &str) -> Result<Fit, Unjudged> {
        let rule: Match =
            serde_json::from_value(json!({"names": "*", "arguments": conditions})).unwrap();
        Condition::all(
            &Condition::compile(&rule),
            &Arguments::given(Some(arguments.as_bytes())),
        )
        .map_err(|failed| failed.why)
    }

    #[test]
    fn values_are_compared_by_type() {
        let rule = json!({"a.b": ["pub_*", 42, true]});
        for (arguments, expected) in [
            (r#"{"a":{"b":"pub_x"}}"#, Ok(Fit::Yes)),
            (r#"{"a":{"b":"Pub_x"}}"#, Ok(Fit::No)),
            (r#"{"a":{"b":42.0}}"#, Ok(Fit::Yes)),
            (r#"{"a":{"b":43}}"#, Ok(Fit::No)),
            (r#"{"a":{"b":"42"}}"#, Ok(Fit::No)),
            (r#"{"a":{"b":true}}"#, Ok(Fit::Yes)),
            (r#"{"a":{"b":false}}"#, Ok(Fit::No)),
            (r#"{"a":{"b":null}}"#, Ok(Fit::No)),
            (r#"{"a":{}}"#, Ok(Fit::No)),
            (r#"{"a":null}"#, Ok(Fit::No)),
            ("{}", Ok(Fit::No)),
            ("null", Ok(Fit::No)),
            // A name with a dot in it is another name.
            (r#"{"a.b":"pub_x"}"#, Ok(Fit::No)),
            (r#"{"a":"pub_x"}"#, Err(Unjudged::Type)),
            (r#"{"a":{"b":["pub_x"]}}"#, Err(Unjudged::Type)),
            (r#"{"a":{"b":{}}}"#, Err(Unjudged::Type)),
            (r#"{"a":["pub_x"]}"#, Err(Unjudged::Type)),
            (r#"["a"]"#, Err(Unjudged::Unreadable)),
            (
                r#"{"a":{"b":"pub_x"},"a":{"b":"x"}}"#,
                Err(Unjudged::Unreadable),
            ),
            (
                r#"{"a":{"b":"x","\u0062":"pub_x"}}"#,
                Err(Unjudged::Unreadable),
            ),
            (r#"{"a":{"b":"pub_\ud800"}}"#, Err(Unjudged::Unreadable)),
            (r#"{"a":1e999}"#, Err(Unjudged::Unreadable)),
            ("{", Err(Unjudged::Unreadable)),
        ] {
            assert_eq!(fit(&rule, arguments), expected, "{arguments}");
        }
        assert_eq!(fit(&json!({"x": ["y"]}), r#"{"x":7}"#), Err(Unjudged::Type));
        assert_eq!(fit(&json!({"x": [""]}), r#"{"x":""}"#), Ok(Fit::Yes));
    }

    #[test]
    fn pointers_reach_into_lists() {
        let rule = json!({"/list/1/a.b": ["x"]});
        assert_eq!(fit(&rule, r#"{"list":[0,{"a.b":"x"}]}"#), Ok(Fit::Yes));
        assert_eq!(fit(&rule, r#"{"list":[0]}"#), Ok(Fit::No));
        assert_eq!(fit(&rule, r#"{"list":7}"#), Err(Unjudged::Type));
        assert_eq!(
            fit(&json!({"/list/-": ["x"]}), r#"{"list":["x"]}"#),
            Err(Unjudged::Type)
        );
    }

    #[test]
    fn an_error_wins_over_a_condition_that_is_not_met() {
        for rule in [
            json!({"a": ["x"], "b": ["x"]}),
            json!({"b": ["x"], "c": ["x"]}),
        ] {
            assert_eq!(fit(&rule, r#"{"b":7}"#), Err(Unjudged::Type));
        }
    }

    #[test]
    fn deep_nesting_is_an_error() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
        assert_eq!(fit(&json!({"x": ["y"]}), &deep), Err(Unjudged::Unreadable));
    }

    #[test]
    fn nothing_is_read_before_a_rule_asks() {
        let arguments = Arguments::given(Some(b"{"));
        assert_eq!(Condition::all(&[], &arguments), Ok(Fit::Yes));
        let Arguments::Given(given) = arguments else {
            unreachable!()
        };
        assert!(given.read.get().is_none());
    }
}
