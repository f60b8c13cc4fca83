//! Just enough HTTP for the demo's own servers: accept, serve, read forms, answer.

use std::convert::Infallible;
use std::fmt::Write as _;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What every handler of the demo answers.
pub(crate) type Reply = Response<BoxBody<Bytes, Infallible>>;

/// Largest request body that the provider reads.
const MAX_BODY: usize = 64 << 10;
/// Connections served at once by one of the demo's servers; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 256;

/// Serves HTTP/1.1 until cancelled. Connections end with it.
pub(crate) async fn serve<H, F>(listener: TcpListener, until: CancellationToken, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        let accepted = tokio::select! {
            () = until.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, _)) = accepted else {
            // Out of file handles, or the peer left already: give others time to finish.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        // Small writes in a row would wait for the peer's delayed acknowledgement.
        let _ = socket.set_nodelay(true);
        let handler = handler.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let answer = handler(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            // A broken connection concerns its client only.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

/// The fields of a form or a query, in order, decoded.
pub(crate) fn fields(text: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text).into_owned().collect()
}

/// The single value of a field. RFC 6749 section 3.1: not more than once, and an empty one counts as omitted.
pub(crate) fn single<'a>(
    fields: &'a [(String, String)],
    name: &str,
) -> Result<Option<&'a str>, ()> {
    let mut found = fields.iter().filter(|(key, _)| key == name);
    let first = found
        .next()
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty());
    if found.next().is_some() {
        Err(())
    } else {
        Ok(first)
    }
}

/// Reads a bounded body.
pub(crate) async fn body(request: Request<Incoming>) -> Option<Bytes> {
    Limited::new(request.into_body(), MAX_BODY)
        .collect()
        .await
        .ok()
        .map(http_body_util::Collected::to_bytes)
}

/// An answer with a whole body.
pub(crate) fn reply(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Reply {
    let mut response = Response::new(Full::new(body.into()).boxed());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if !content_type.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A JSON answer that pages of other origins may read: MCP clients also run in browsers.
pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Reply {
    cors(reply(status, "application/json", value.to_string()))
}

/// An HTML answer that runs no script and cannot be framed.
pub(crate) fn html(status: StatusCode, page: String) -> Reply {
    let mut response = reply(status, "text/html; charset=utf-8", page);
    // No form-action: browsers apply it to the redirect that follows a form as well.
    response.headers_mut().insert(
        "content-security-policy",
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"),
    );
    response
}

/// A redirect to a place that was checked before.
pub(crate) fn redirect(to: &str) -> Reply {
    match HeaderValue::from_str(to) {
        Ok(location) => {
            let mut response = reply(StatusCode::SEE_OTHER, "", Bytes::new());
            response.headers_mut().insert(LOCATION, location);
            response
        }
        Err(_) => html(
            StatusCode::BAD_REQUEST,
            "<!doctype html><p>The redirect address has characters that no header may have.".into(),
        ),
    }
}

/// Lets pages of any origin read an answer that holds no cookie.
pub(crate) fn cors(mut response: Reply) -> Reply {
    let headers = response.headers_mut();
    headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
    headers.insert(
        "access-control-expose-headers",
        HeaderValue::from_static("WWW-Authenticate"),
    );
    response
}

/// The answer to a preflight: the headers that were asked for are allowed.
pub(crate) fn preflight(request: &Request<Incoming>) -> Option<Reply> {
    if request.method() != Method::OPTIONS {
        return None;
    }
    let mut response = cors(reply(StatusCode::NO_CONTENT, "", Bytes::new()));
    let headers = response.headers_mut();
    headers.insert(
        "access-control-allow-methods",
        HeaderValue::from_static("GET, POST"),
    );
    if let Some(asked) = request.headers().get("access-control-request-headers") {
        headers.insert("access-control-allow-headers", asked.clone());
    }
    Some(response)
}

/// Text made harmless inside HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '<' | '>' | '"' | '\'' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out
}
