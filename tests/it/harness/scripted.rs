//! An MCP server that answers exactly what a test says, on loopback.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The running server. It ends when it is dropped.
pub(crate) struct Scripted {
    url: String,
    server: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A body, whole or piece by piece.
pub(crate) type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

/// What a request is answered with.
pub(crate) type Said = Response<Body>;

impl Scripted {
    /// Starts on a free port. `answer` is given each message that is posted, and null for a GET.
    pub(crate) async fn start<F>(answer: F) -> Self
    where
        F: Fn(&Value) -> Said + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let server = tokio::spawn(serve(listener, Arc::new(answer)));
        Self { url, server }
    }

    /// The endpoint.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

async fn serve<F>(listener: TcpListener, answer: Arc<F>)
where
    F: Fn(&Value) -> Said + Send + Sync + 'static,
{
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let answer = Arc::clone(&answer);
        connections.spawn(async move {
            let handler = hyper::service::service_fn(move |request: Request<Incoming>| {
                let answer = Arc::clone(&answer);
                async move { Ok::<_, Infallible>(said(request, &*answer).await) }
            });
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), handler)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn said(request: Request<Incoming>, answer: &(dyn Fn(&Value) -> Said + Sync)) -> Said {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    match parts.method {
        Method::POST => answer(&serde_json::from_slice(&body).unwrap()),
        Method::GET => answer(&Value::Null),
        _ => status(StatusCode::METHOD_NOT_ALLOWED),
    }
}

/// A status and nothing else.
pub(crate) fn status(status: StatusCode) -> Said {
    let mut response = Response::new(Full::default().boxed_unsync());
    *response.status_mut() = status;
    response
}

/// A body of a type.
pub(crate) fn text(kind: &'static str, body: impl Into<Bytes>) -> Said {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    response
        .headers_mut()
        .insert("content-type", http::HeaderValue::from_static(kind));
    response
}

/// A JSON body.
pub(crate) fn json_text(body: impl Into<Bytes>) -> Said {
    text("application/json", body)
}

/// An event stream that says what comes through a channel, and ends with it.
pub(crate) fn stream(pieces: tokio::sync::mpsc::Receiver<String>) -> Said {
    let pieces = futures_util::stream::unfold(pieces, |mut pieces| async {
        let piece = pieces.recv().await?;
        Some((Ok(Frame::data(Bytes::from(piece))), pieces))
    });
    let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(pieces.fuse())));
    response.headers_mut().insert(
        "content-type",
        http::HeaderValue::from_static("text/event-stream"),
    );
    response
}

/// The answer to a request, as JSON or as an event.
pub(crate) fn result(request: &Value, events: bool, result: &Value) -> Said {
    let answer = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }).to_string();
    if events {
        let notice = json!({ "jsonrpc": "2.0", "method": "notifications/message",
            "params": { "level": "info", "data": { "tools": [{ "name": "x" }] } } });
        text(
            "text/event-stream",
            format!("event: message\ndata: {notice}\n\nevent: message\ndata: {answer}\n\n"),
        )
    } else {
        json_text(answer)
    }
}

/// What every server of the older revisions has to answer; `None` for all else.
pub(crate) fn housekeeping(message: &Value) -> Option<Said> {
    if message.is_null() {
        return Some(status(StatusCode::METHOD_NOT_ALLOWED));
    }
    match message["method"].as_str() {
        Some("initialize") => Some(result(
            message,
            false,
            &json!({
                "protocolVersion": "2025-11-25",
                "capabilities": { "tools": {}, "prompts": {}, "resources": {} },
                "serverInfo": { "name": "scripted", "version": "1" },
            }),
        )),
        Some("ping") => Some(result(message, false, &json!({}))),
        Some("server/discover") => Some(status(StatusCode::BAD_REQUEST)),
        _ if message["id"].is_null() => Some(status(StatusCode::ACCEPTED)),
        _ => None,
    }
}
