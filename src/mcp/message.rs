//! One JSON-RPC message, read in one pass that borrows from the body.

mod params;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use self::params::{Field, FieldSeed, Params, ParamsSeed};
use super::strict::{Names, Strict, each};
use super::unreadable::Unreadable;
use super::{Call, Reach};

/// Longest `id`, as it is written.
const MAX_ID: usize = 256;
/// Longest method.
const MAX_METHOD: usize = 128;
/// Longest name of a tool or prompt, and longest task id.
const MAX_NAME: usize = 512;
/// Longest resource URI.
const MAX_URI: usize = 8 << 10;
/// Longest text of `_meta` that is kept.
const MAX_META: usize = 128;

/// A message, and what else it says of itself.
pub(super) struct Read<'a> {
    pub(super) call: Call,
    /// `io.modelcontextprotocol/protocolVersion` of its `_meta`.
    pub(super) version: Option<Cow<'a, str>>,
}

/// Reads one message.
///
/// # Errors
/// What is no JSON, no JSON-RPC 2.0 message, or could be read in two ways.
pub(super) fn read<'a>(
    text: &'a str,
    body: &Bytes,
    names: &mut Names,
) -> Result<Read<'a>, Unreadable> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let envelope = EnvelopeSeed(names).deserialize(&mut reader)?;
    reader.end()?;
    envelope.judge(body)
}

#[derive(Default)]
struct Envelope<'a> {
    jsonrpc: Field<'a>,
    id: Option<&'a RawValue>,
    method: Field<'a>,
    params: Option<Params<'a>>,
    answers: bool,
}

impl<'a> Envelope<'a> {
    fn judge(self, body: &Bytes) -> Result<Read<'a>, Unreadable> {
        let invalid = Unreadable::Invalid;
        if self.jsonrpc.text() != Some("2.0") {
            return Err(invalid("`jsonrpc` is not \"2.0\""));
        }
        let id = match self.id.map(|id| (id.get(), kind_of(id.get()))) {
            None => None,
            Some((_, Id::Null)) if self.answers => None,
            Some((id, Id::Good)) => Some(Box::from(id)),
            Some((_, Id::Null | Id::Bad)) => {
                return Err(invalid("`id` is neither a text nor a whole number"));
            }
            Some((_, Id::Long)) => return Err(invalid("`id` is too long")),
        };
        let method = match &self.method {
            Field::Absent if self.answers => {
                let call = Call {
                    id,
                    ..Call::default()
                };
                return Ok(Read {
                    call,
                    version: None,
                });
            }
            Field::Absent => return Err(invalid("there is neither `method` nor an answer")),
            Field::Other => return Err(invalid("`method` is not a text")),
            Field::Text(_) if self.answers => {
                return Err(invalid("it is a request and an answer at once"));
            }
            Field::Text(method) if method.is_empty() || method.len() > MAX_METHOD => {
                return Err(invalid("`method` is empty or too long"));
            }
            Field::Text(method) => method,
        };
        let mut params = self.params.unwrap_or_default();
        let reach = reach(method, &mut params).map_err(|what| Unreadable::Params {
            what,
            id: id.clone(),
        })?;
        let arguments = params
            .arguments
            .filter(|_| matches!(&**method, "tools/call" | "prompts/get"))
            .and_then(|raw| within(body, raw.get()));
        let trace = params
            .trace
            .text()
            .filter(|trace| trace.len() <= MAX_META)
            .map(Box::from);
        Ok(Read {
            call: Call {
                id,
                method: Some(Box::from(&**method)),
                reach,
                arguments,
                trace,
            },
            version: params.version.into_text(),
        })
    }
}

/// What a method with these parameters reaches; an error names the parameter without which that cannot be told.
fn reach(method: &str, params: &mut Params<'_>) -> Result<Vec<Reach>, &'static str> {
    let one = |field: &Field<'_>, longest, make: fn(Box<str>) -> Reach, what| match field.text() {
        Some(text) if text.len() <= longest => Ok(vec![make(text.into())]),
        Some(_) | None => Err(what),
    };
    match method {
        "tools/call" => one(
            &params.name,
            MAX_NAME,
            Reach::Tool,
            "`params.name` is not a text, or too long",
        ),
        "prompts/get" => one(
            &params.name,
            MAX_NAME,
            Reach::Prompt,
            "`params.name` is not a text, or too long",
        ),
        // Servers of 2026-07-28 have neither, and tell so whatever the parameters are.
        "resources/subscribe" | "resources/unsubscribe" if params.uri.is_absent() => Ok(Vec::new()),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => one(
            &params.uri,
            MAX_URI,
            Reach::Resource,
            "`params.uri` is not a text, or too long",
        ),
        "completion/complete" => match params.reference.kind.text() {
            Some("ref/prompt") => one(
                &params.reference.name,
                MAX_NAME,
                Reach::Prompt,
                "`params.ref.name` is not a text, or too long",
            ),
            Some("ref/resource") => one(
                &params.reference.uri,
                MAX_URI,
                Reach::Resource,
                "`params.ref.uri` is not a text, or too long",
            ),
            Some(_) | None => {
                Err("`params.ref.type` is neither \"ref/prompt\" nor \"ref/resource\"")
            }
        },
        "subscriptions/listen" => {
            let resources = params.resources.drain(..).map(|uri| (uri, MAX_URI, true));
            let tasks = params.tasks.drain(..).map(|id| (id, MAX_NAME, false));
            resources
                .chain(tasks)
                .map(|(name, longest, is_resource)| {
                    if name.len() > longest {
                        return Err("a resource or task to listen to has too long a name");
                    }
                    let name = name.into();
                    Ok(if is_resource {
                        Reach::Resource(name)
                    } else {
                        Reach::Task(name)
                    })
                })
                .collect()
        }
        other if other.starts_with("tasks/") && !params.task.is_absent() => one(
            &params.task,
            MAX_NAME,
            Reach::Task,
            "`params.taskId` is not a text, or too long",
        ),
        _ => Ok(Vec::new()),
    }
}

enum Id {
    Good,
    Null,
    Long,
    Bad,
}

/// MCP takes texts and whole numbers for ids.
fn kind_of(id: &str) -> Id {
    let bytes = id.as_bytes();
    match bytes.first() {
        _ if bytes.len() > MAX_ID => Id::Long,
        Some(b'"') => Id::Good,
        Some(b'-' | b'0'..=b'9') if !bytes.iter().any(|b| matches!(b, b'.' | b'e' | b'E')) => {
            Id::Good
        }
        Some(b'n') => Id::Null,
        _ => Id::Bad,
    }
}

/// The part of the body that a borrowed text is.
fn within(body: &Bytes, text: &str) -> Option<Bytes> {
    let from = text.as_ptr().addr().checked_sub(body.as_ptr().addr())?;
    let to = from.checked_add(text.len())?;
    (to <= body.len()).then(|| body.slice(from..to))
}

struct EnvelopeSeed<'n>(&'n mut Names);

impl<'de> DeserializeSeed<'de> for EnvelopeSeed<'_> {
    type Value = Envelope<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeSeed<'_> {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        const KNOWN: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];
        let mut found = Envelope::default();
        each(&mut map, self.0, KNOWN, |map, names, member| {
            match member {
                Some(0) => found.jsonrpc = map.next_value_seed(FieldSeed(names))?,
                Some(1) => {
                    let raw: &RawValue = map.next_value()?;
                    again(raw, names)?;
                    found.id = Some(raw);
                }
                Some(2) => found.method = map.next_value_seed(FieldSeed(names))?,
                Some(3) => found.params = map.next_value_seed(ParamsSeed(names))?,
                other => {
                    found.answers |= other.is_some();
                    map.next_value_seed(Strict(names))?;
                }
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// Reads a value that was taken as a whole as strictly as everything else.
fn again<E: Error>(raw: &RawValue, names: &mut Names) -> Result<(), E> {
    let mut reader = serde_json::Deserializer::from_str(raw.get());
    Strict(names).deserialize(&mut reader).map_err(E::custom)
}

#[cfg(test)]
mod tests;
