//! What MCP traffic asks for, as far as this proxy has to know: read once, judged, and forwarded unchanged.

pub mod edge;
pub mod learned;
mod message;
mod mirror;
pub mod session;
mod strict;
mod tally;
mod unreadable;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::value::RawValue;

pub use self::tally::{Observer, Outcome, Tally};
use self::unreadable::Unreadable;
use crate::reject::Reject;
pub use crate::telemetry::mcp::Kind;

/// Messages of one array at most.
const MAX_BATCH: usize = 64;

/// The family of revisions that a message belongs to, by what its body says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Era {
    /// 2025-11-25 and older: a handshake, sessions, and in 2025-03-26 batches.
    #[default]
    Legacy,
    /// 2026-07-28: every request stands alone and says its revision in `params._meta`.
    Modern,
}

/// The body of one POST, read. Empty for requests without a body (GET, DELETE). Made here only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    era: Era,
    calls: Vec<Call>,
    batch: bool,
}

impl Message {
    /// Reads a body, and compares it with the headers that repeat parts of it.
    ///
    /// The reading is strict: a name that stands twice in one object, an array where the revision has none, a member
    /// whose name differs from a known one in case only, a header that says something else than the body. Backends read
    /// such bodies in different ways, so that what was judged would not be what is done.
    ///
    /// # Errors
    /// 400 for what cannot be judged, with the JSON-RPC code that fits.
    pub fn read(headers: &HeaderMap, body: &Bytes) -> Result<Self, Reject> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        Self::parse(headers, body).map_err(Unreadable::reject)
    }

    fn parse(headers: &HeaderMap, body: &Bytes) -> Result<Self, Unreadable> {
        let text = std::str::from_utf8(body).map_err(|_| Unreadable::Utf8)?;
        let said = mirror::version(headers)?;
        let names = &mut strict::Names::default();
        if !text.trim_ascii_start().starts_with('[') {
            let read = message::read(text, body, names)?;
            let era = mirror::compare(&read, said, headers)?;
            return Ok(Self {
                era,
                calls: vec![read.call],
                batch: false,
            });
        }
        if !mirror::may_be_batch(said) {
            return Err(Unreadable::Invalid(
                "arrays of messages exist in revision 2025-03-26 only",
            ));
        }
        let elements: Vec<&RawValue> = serde_json::from_str(text)?;
        if elements.is_empty() || elements.len() > MAX_BATCH {
            return Err(Unreadable::Invalid(
                "an array of messages has none or too many",
            ));
        }
        let mut calls = Vec::with_capacity(elements.len());
        for element in elements {
            let read = message::read(element.get(), body, names)?;
            let alone = read.call.method.as_deref() == Some("initialize");
            if alone || mirror::compare(&read, said, headers)? == Era::Modern {
                return Err(Unreadable::Invalid(
                    "an array has a message in it that has to stand alone",
                ));
            }
            calls.push(read.call);
        }
        Ok(Self {
            era: Era::Legacy,
            calls,
            batch: true,
        })
    }

    /// A message as if it had been read, for tests of what comes after.
    #[cfg(test)]
    pub(crate) fn for_test(era: Era, calls: Vec<Call>, batch: bool) -> Self {
        Self { era, calls, batch }
    }

    /// The family of revisions.
    pub fn era(&self) -> Era {
        self.era
    }

    /// The messages of the body: one, or the elements of a batch in their order; none without a body.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// Whether the body is a JSON array.
    pub fn is_batch(&self) -> bool {
        self.batch
    }

    /// The only message of the body; `None` for a batch and without a body.
    pub fn only(&self) -> Option<&Call> {
        match self.calls.as_slice() {
            [only] if !self.batch => Some(only),
            _ => None,
        }
    }
}

/// One JSON-RPC message of a client: a request, a notification, or the answer to a request of the backend's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// The request's `id` as its original JSON text (number or string), to be echoed in our own errors. `None` for
    /// notifications.
    pub id: Option<Box<str>>,
    /// The method; `None` for an answer of the client's.
    pub method: Option<Box<str>>,
    /// What it reaches, by name.
    pub reach: Vec<Reach>,
    /// `params.arguments` of `tools/call` and `prompts/get` as its original JSON text: a slice of the body.
    pub arguments: Option<Bytes>,
    /// `_meta.traceparent` (SEP-414).
    pub trace: Option<Box<str>>,
}

impl Call {
    /// The name of the first thing that it reaches.
    pub fn name(&self) -> Option<&str> {
        self.reach.first().map(Reach::name)
    }
}

/// Something of a backend's that a call reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// `tools/call`.
    Tool(Box<str>),
    /// `prompts/get`; `completion/complete` with `ref/prompt`.
    Prompt(Box<str>),
    /// A resource's URI, or the URI template of `completion/complete` with `ref/resource`: `resources/read`,
    /// `resources/subscribe`, `resources/unsubscribe`, `subscriptions/listen`.
    Resource(Box<str>),
    /// A task's id: `tasks/*`, `subscriptions/listen`.
    Task(Box<str>),
}

impl Reach {
    /// The name, URI or id.
    pub fn name(&self) -> &str {
        match self {
            Self::Tool(name) | Self::Prompt(name) | Self::Resource(name) | Self::Task(name) => name,
        }
    }
}
