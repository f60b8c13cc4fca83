//! A plain web server on loopback that tells what it was sent.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The running server. It ends when it is dropped.
pub(crate) struct Echo {
    url: String,
    seen: Seen,
    server: JoinHandle<()>,
}

type Seen = Arc<Mutex<Vec<Asked>>>;

/// One request that came in.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
}

impl Echo {
    /// Starts on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Seen::default();
        let server = tokio::spawn(serve(listener, Arc::clone(&seen)));
        Self { url, seen, server }
    }

    /// Its address, without a path.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, seen: Seen) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let seen = Arc::clone(&seen);
        connections.spawn(async move {
            let handler =
                hyper::service::service_fn(move |request| answer(request, Arc::clone(&seen)));
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), handler)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Seen,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str())
        .to_owned();
    let headers: serde_json::Map<_, _> = parts
        .headers
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into(),
            )
        })
        .collect();
    seen.lock().unwrap().push(Asked {
        target: target.clone(),
        headers: parts.headers,
    });
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let text = json!({ "method": parts.method.as_str(), "target": target, "headers": headers,
        "body": String::from_utf8_lossy(&body) })
    .to_string();
    let wants_html = headers
        .get("accept")
        .is_some_and(|accept| accept.as_str().unwrap_or("").contains("text/html"));
    let (kind, body) = if wants_html {
        (
            "text/html; charset=utf-8",
            format!(
                "<!doctype html><title>Backend</title><h1>Backend page</h1><pre id=\"asked\">{text}</pre>"
            ),
        )
    } else {
        ("application/json", text)
    };
    Ok(Response::builder()
        .header("content-type", kind)
        .body(Full::new(body.into()))
        .unwrap())
}
