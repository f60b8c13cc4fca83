//! The access record: one line for each request, written when its answer has ended.
//!
//! Lines are put together by hand into one of a few buffers; a thread writes the buffers out. A sink that is too
//! slow costs lines (counted), never requests. No query, cookie or credential gets into a line.

mod line;
mod observe;
mod sink;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode, Version};

pub use self::observe::{Observer, observe};
pub use self::sink::AccessLog;
use crate::audit::Trail;
use crate::clock::Timestamp;
use crate::ids::RequestId;
use crate::peer::Conn;
use crate::reject::{Code, Fault};
use crate::route::Route;
use crate::telemetry::mcp::Verdict;
use crate::telemetry::trace::Trace;

/// What one request's line says. Filled while the request is on its way.
#[derive(Debug)]
pub struct Record {
    /// When the head was read.
    pub at: Timestamp,
    /// Names the request.
    pub id: RequestId,
    /// The connection.
    pub conn: Arc<Conn>,
    /// The client's address, as far as it is believed.
    pub client: Option<IpAddr>,
    /// Method.
    pub method: Method,
    /// Path without query, at most [`Record::MAX_TEXT`] bytes.
    pub path: Box<str>,
    /// HTTP version.
    pub version: Version,
    /// `User-Agent`, at most [`Record::MAX_TEXT`] bytes.
    pub user_agent: Option<Box<str>>,
    /// Status of the answer.
    pub status: StatusCode,
    /// Time to the head of the answer.
    pub to_head: Duration,
    /// Time that the backend took of it.
    pub backend_took: Option<Duration>,
    /// The route, which names the backend.
    pub route: Option<Arc<Route>>,
    /// What proved the identity.
    pub credential: Option<&'static str>,
    /// First 8 bytes of the SHA-256 of issuer and subject, in hex: recognisable, not readable.
    pub subject: Option<[u8; 16]>,
    /// The OAuth client.
    pub client_id: Option<Box<str>>,
    /// The JSON-RPC method.
    pub mcp_method: Option<Box<str>>,
    /// Tool, prompt or resource name.
    pub mcp_name: Option<Box<str>>,
    /// What becomes of the requests of the message.
    pub mcp_verdict: Option<Arc<dyn Verdict>>,
    /// Why the request went no further.
    pub rejected: Option<Rejected>,
    /// Bytes of the request's body, as far as they are known.
    pub bytes_in: u64,
    /// Whether the client used TLS.
    pub https: bool,
    /// When the request was handed on to the backend, from its beginning.
    pub sent_after: Option<Duration>,
    /// The spans that it has.
    pub trace: Option<Box<Trace>>,
    /// What the audit log says of its end.
    pub trail: Option<Box<Trail>>,
}

/// The part of a rejection that goes into the line.
#[derive(Debug)]
pub struct Rejected {
    /// The stable code.
    pub code: Code,
    /// Whose fault.
    pub fault: Fault,
    /// The cause; not for clients.
    pub reason: Option<Box<str>>,
}

impl Record {
    /// Longest text that is taken from a request into a line, in bytes.
    pub const MAX_TEXT: usize = 512;

    /// The HTTP version as OpenTelemetry and logs write it.
    pub fn version_text(&self) -> &'static str {
        match self.version {
            Version::HTTP_2 => "2",
            Version::HTTP_10 => "1.0",
            _ => "1.1",
        }
    }

    /// A text cut to [`Self::MAX_TEXT`] bytes at a character's end.
    pub fn clip(text: &str) -> Box<str> {
        let mut end = text.len().min(Self::MAX_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].into()
    }
}

/// How the answer ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) bytes_out: u64,
    pub(crate) took: Duration,
    pub(crate) complete: bool,
}

#[cfg(test)]
mod tests_support {
    use super::Record;
    use crate::clock::Timestamp;
    use crate::ids::RequestId;
    use crate::peer::{Conn, Peer, TokenMemo};

    pub(super) fn record(path: &str) -> Record {
        Record {
            at: Timestamp::from_millis(1_795_237_639_123),
            id: RequestId::new([7; 16]),
            conn: std::sync::Arc::new(Conn {
                peer: Peer::Unix,
                listener: "test".into(),
                tls: None,
                memo: TokenMemo::default(),
            }),
            client: None,
            method: http::Method::GET,
            path: Record::clip(path),
            version: http::Version::HTTP_11,
            user_agent: None,
            status: http::StatusCode::OK,
            to_head: std::time::Duration::from_millis(1),
            backend_took: None,
            route: None,
            credential: None,
            subject: None,
            client_id: None,
            mcp_method: None,
            mcp_name: None,
            mcp_verdict: None,
            rejected: None,
            bytes_in: 0,
            https: false,
            sent_after: None,
            trace: None,
            trail: None,
        }
    }
}
