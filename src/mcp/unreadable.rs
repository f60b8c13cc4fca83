//! Why a body cannot be judged, and how its sender is told.

use crate::reject::Reject;

/// Codes of JSON-RPC 2.0 (section 5.1) and of MCP's 2026-07-28 revision, each used with its own meaning only.
const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const INVALID_PARAMS: i32 = -32602;
const HEADER_MISMATCH: i32 = -32020;

/// Why a body cannot be judged. What cannot be judged goes no further.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// No JSON.
    #[error("it is not JSON: {0}")]
    Json(serde_json::Error),
    /// Not Unicode.
    #[error("it is not UTF-8")]
    Utf8,
    /// JSON that two readers could take for different things, or of another shape.
    #[error("{0}")]
    Ambiguous(serde_json::Error),
    /// No JSON-RPC 2.0 message.
    #[error("{0}")]
    Invalid(&'static str),
    /// The parameters do not say what the method reaches.
    #[error("{what}")]
    Params {
        what: &'static str,
        id: Option<Box<str>>,
    },
    /// A header says something else than the body.
    #[error("{what}")]
    Header {
        what: &'static str,
        id: Option<Box<str>>,
    },
}

impl From<serde_json::Error> for Unreadable {
    fn from(error: serde_json::Error) -> Self {
        if error.is_data() {
            Self::Ambiguous(error)
        } else {
            Self::Json(error)
        }
    }
}

impl Unreadable {
    /// 400, with the JSON-RPC code that fits.
    pub(super) fn reject(self) -> Reject {
        let message = format!("The message was not forwarded: {self}.");
        let (code, id) = match self {
            Self::Json(_) | Self::Utf8 => (PARSE_ERROR, None),
            Self::Ambiguous(_) | Self::Invalid(_) => (INVALID_REQUEST, None),
            Self::Params { id, .. } => (INVALID_PARAMS, id),
            Self::Header { id, .. } => (HEADER_MISMATCH, id),
        };
        Reject::bad_request(message).in_rpc(code, id)
    }
}
