//! Why a body cannot be judged, and how its sender is told.

use http::StatusCode;

use super::json::Fault;
use crate::reject::{Code, Fault as Whose, Reject};

/// Codes of JSON-RPC 2.0 (section 5.1) and of MCP's 2026-07-28 revision, each used with its own meaning only.
const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const INVALID_PARAMS: i32 = -32602;
const HEADER_MISMATCH: i32 = -32020;

/// What cannot be judged goes no further.
#[derive(Debug)]
pub(super) struct Unreadable {
    /// Why.
    pub(super) why: Why,
    /// The message's `id` as it is written, where it is known.
    pub(super) id: Option<Box<str>>,
}

/// Why a body cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Why {
    /// No JSON.
    #[error("{0}")]
    Json(Fault),
    /// Not Unicode.
    #[error("it is not UTF-8")]
    Utf8,
    /// A POST without a body.
    #[error("there is none")]
    Empty,
    /// No JSON-RPC 2.0 message, or one that two readers could take for different things.
    #[error("{0}")]
    Invalid(&'static str),
    /// The parameters do not say what the method reaches.
    #[error("{0}")]
    Params(&'static str),
    /// A header says something else than the body.
    #[error("{0}")]
    Header(&'static str),
    /// Servers would read the body otherwise than as JSON in UTF-8.
    #[error("{0}")]
    Media(&'static str),
    /// Something other than a POST has a body.
    #[error("only POST requests have a body in MCP")]
    Superfluous,
}

impl From<Fault> for Why {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Syntax { .. } => Self::Json(fault),
            Fault::Shape(what) => Self::Invalid(what),
        }
    }
}

impl From<Why> for Unreadable {
    fn from(why: Why) -> Self {
        Self { why, id: None }
    }
}

impl From<Fault> for Unreadable {
    fn from(fault: Fault) -> Self {
        Why::from(fault).into()
    }
}

impl Unreadable {
    /// 400, or 415 for media types, with the JSON-RPC code that fits.
    pub(super) fn reject(self) -> Reject {
        let message = format!("The message was not forwarded: {}.", self.why);
        let code = match self.why {
            Why::Json(_) | Why::Utf8 | Why::Empty => PARSE_ERROR,
            Why::Invalid(_) => INVALID_REQUEST,
            Why::Params(_) => INVALID_PARAMS,
            Why::Header(_) => HEADER_MISMATCH,
            Why::Superfluous => return Reject::bad_request(message),
            Why::Media(_) => {
                return Reject::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    Code::BadRequest,
                    Whose::Client,
                    message,
                );
            }
        };
        Reject::bad_request(message).in_rpc(code, self.id)
    }
}
