//! The requests.

use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST};
use hyper::{Method, Request};

use crate::{Outcome, backend};

/// Milliseconds between two events of a stream.
pub(crate) const GAP_MS: u64 = 20;

/// How the requests of a kind of work are made.
pub(crate) type Make = Rc<dyn Fn(u32) -> Outcome<Request<Full<Bytes>>>>;

/// A POST as MCP clients send it.
pub(crate) fn post(path: &str) -> http::request::Builder {
    Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-11-25")
}

/// A tool call of about 140 bytes, or of `size`.
pub(crate) fn call(size: usize) -> Bytes {
    const HEAD: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":{"query":""#;
    const TAIL: &str = r#""}}}"#;
    let fill = size.max(140).saturating_sub(HEAD.len() + TAIL.len());
    Bytes::from(format!("{HEAD}{}{TAIL}", "x".repeat(fill)))
}

/// POSTs with one and the same token: `size` bytes of answer, `body` bytes of request.
pub(crate) fn seen(token: &str, size: u64, body: usize) -> Outcome<Make> {
    let authorization = format!("Bearer {token}");
    let body = call(body);
    // What every request shares is made once.
    let template = post("/mcp")
        .header(AUTHORIZATION, authorization)
        .header(backend::SIZE, size)
        .body(())?;
    Ok(Rc::new(move |_| {
        Ok(template.clone().map(|()| Full::new(body.clone())))
    }))
}

/// POSTs with browsers' sessions, one after the other.
pub(crate) fn page(cookies: Vec<String>) -> Make {
    let body = call(0);
    Rc::new(move |index| {
        let mut request = post("/page").header("sec-fetch-site", "same-origin");
        let turn = index as usize % cookies.len().max(1);
        if let Some(cookie) = cookies.get(turn) {
            request = request.header(COOKIE, cookie);
        }
        Ok(request.body(Full::new(body.clone()))?)
    })
}

/// Asks for an event stream; without `events` it has one and stays open.
pub(crate) fn stream(token: &str, events: u64) -> Outcome<Request<Full<Bytes>>> {
    Ok(Request::builder()
        .uri("/mcp")
        .header(HOST, "localhost")
        .header(ACCEPT, "text/event-stream")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(backend::EVENTS, events)
        .header(backend::GAP, GAP_MS)
        .body(Full::default())?)
}
