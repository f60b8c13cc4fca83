//! The only way out for a [`Reject`]: redirect, page, JSON or JSON-RPC.

use crate::http::{Inbound, Response};
use crate::reject::Reject;

/// For whom an error is written.
#[derive(Clone, Copy, Debug)]
pub enum Audience<'a> {
    /// A client of an `mcp` route; the JSON-RPC request id as its original text, when it is known.
    Mcp {
        /// The request's `id`.
        id: Option<&'a str>,
    },
    /// A plain client or a browser.
    Http,
}

/// Writes the answer for a rejection. Security headers, `X-Request-Id` and `Cache-Control: no-store` are set;
/// a login redirect is the caller's business (see [`Reject::wants_login`]).
pub fn reject(_reject: &Reject, _audience: Audience<'_>, _inbound: &Inbound, _html: bool) -> Response {
    todo!()
}
