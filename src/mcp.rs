//! What MCP traffic asks for, as far as this proxy has to know: read once, judged, and forwarded unchanged.

pub mod edge;
mod message;
pub mod session;

use bytes::Bytes;
use http::HeaderMap;

use crate::reject::Reject;

pub use self::message::peek;

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
    /// # Errors
    /// 400 for what cannot be judged.
    pub fn read(_headers: &HeaderMap, body: &Bytes) -> Result<Self, Reject> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self {
            era: Era::Legacy,
            calls: vec![peek(body)],
            batch: false,
        })
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
