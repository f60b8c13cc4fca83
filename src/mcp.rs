//! What MCP traffic asks for, as far as this proxy has to know: read once, judged, and forwarded unchanged.

mod alike;
mod batch;
pub mod edge;
mod json;
pub mod learned;
mod media;
mod message;
mod mirror;
#[cfg(test)]
mod oracle;
pub mod session;
mod tally;
mod unreadable;

use bytes::Bytes;
use http::{HeaderMap, Method};

use self::json::Scanner;
pub use self::tally::{Observer, Outcome, Tally};
use self::unreadable::{Unreadable, Why};
use crate::reject::Reject;
pub use crate::telemetry::mcp::Kind;

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
    /// Reads what a request asks for: the body of a POST; other methods have none.
    ///
    /// # Errors
    /// 400 for a POST without a body and for anything else with one, and as [`Self::read`] says.
    pub fn of(method: &Method, headers: &HeaderMap, body: &Bytes) -> Result<Self, Reject> {
        let why = match (method == Method::POST, body.is_empty()) {
            (true, false) => return Self::read(headers, body),
            (false, true) => return Ok(Self::default()),
            (true, true) => Why::Empty,
            (false, false) => Why::Superfluous,
        };
        Err(Unreadable::from(why).reject())
    }

    /// Reads a body, and compares it with the headers that repeat parts of it. No body is no message.
    ///
    /// The reading is strict: a name that stands twice in one object, an array where the revision has none, a member
    /// whose name some servers would take for a known one, another charset, a header that says something else than the
    /// body. Backends read such bodies in different ways, so that what was judged would not be what is done.
    ///
    /// # Errors
    /// 400 (415 for media types) for what cannot be judged, with the JSON-RPC code that fits.
    pub fn read(headers: &HeaderMap, body: &Bytes) -> Result<Self, Reject> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        Self::parse(headers, body).map_err(Unreadable::reject)
    }

    fn parse(headers: &HeaderMap, body: &Bytes) -> Result<Self, Unreadable> {
        media::judge(headers)?;
        let text = std::str::from_utf8(body).map_err(|_| Why::Utf8)?;
        let said = mirror::version(headers)?;
        let mut scanner = Scanner::new(text);
        let message = if scanner.peek()? == b'[' {
            Self {
                era: Era::Legacy,
                calls: batch::read(&mut scanner, body, said)?,
                batch: true,
            }
        } else {
            let read = message::read(&mut scanner, body)?;
            let era = mirror::compare(&read, said, headers).map_err(|why| Unreadable {
                why,
                id: read.call.id.clone(),
            })?;
            Self {
                era,
                calls: vec![read.call],
                batch: false,
            }
        };
        scanner.end()?;
        Ok(message)
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
