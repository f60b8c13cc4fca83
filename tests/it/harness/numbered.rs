//! An MCP server of the older revisions whose session ids are the numbers from 1: what a careless server does, so that
//! tests can say what an attacker would guess.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The running server. It ends when it is dropped.
pub(crate) struct Numbered {
    url: String,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    last: u32,
    living: BTreeSet<String>,
    seen: Vec<Asked>,
    /// What `initialize` is answered with instead of a new session.
    answer: Option<Answer>,
}

/// A status, and the session ids in its head.
#[derive(Clone, Debug)]
struct Answer {
    status: u16,
    ids: Vec<Bytes>,
}

/// A request that came in.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
}

impl Asked {
    /// The session that it names.
    pub(crate) fn session(&self) -> Option<&str> {
        self.headers.get("mcp-session-id")?.to_str().ok()
    }
}

impl Numbered {
    /// Starts on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let server = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { url, state, server }
    }

    /// The endpoint.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The requests so far, without probes.
    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.state.lock().unwrap().seen.clone()
    }

    /// Sessions that are open.
    pub(crate) fn living(&self) -> Vec<String> {
        self.state.lock().unwrap().living.iter().cloned().collect()
    }

    /// Forgets all sessions, as a restart would.
    pub(crate) fn forget(&self) {
        self.state.lock().unwrap().living.clear();
    }

    /// From now on `initialize` is answered with this status and these session ids.
    pub(crate) fn answer_with(&self, status: u16, ids: &[&[u8]]) {
        self.state.lock().unwrap().answer = Some(Answer {
            status,
            ids: ids.iter().map(|id| Bytes::copy_from_slice(id)).collect(),
        });
    }

    /// `initialize` opens sessions again.
    pub(crate) fn answer_well(&self) {
        self.state.lock().unwrap().answer = None;
    }
}

impl Drop for Numbered {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let handler =
                hyper::service::service_fn(move |request| answer(request, Arc::clone(&state)));
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), handler)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut state = state.lock().unwrap();
    let asked = Asked {
        method: parts.method,
        headers: parts.headers,
    };
    state.seen.push(asked.clone());
    if message["method"] == "initialize" {
        if let Some(Answer { status, ids }) = &state.answer {
            let head = Response::builder().status(*status);
            let head = ids
                .iter()
                .fold(head, |head, id| head.header("mcp-session-id", id.as_ref()));
            let body = json!({"jsonrpc": "2.0", "id": message["id"], "result": {}}).to_string();
            let response = head.header("content-type", "application/json");
            return Ok(response.body(Full::from(body)).unwrap());
        }
        state.last += 1;
        let id = state.last.to_string();
        state.living.insert(id.clone());
        let result = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "numbered", "version": "1"}});
        return Ok(said(StatusCode::OK, &message, &result, Some(&id)));
    }
    let id = asked.session().unwrap_or_default().to_owned();
    if !state.living.contains(&id) {
        let status = if id.is_empty() {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::NOT_FOUND
        };
        return Ok(said(status, &message, &json!({}), None));
    }
    if asked.method == Method::DELETE {
        state.living.remove(&id);
    }
    let result = json!({ "session": id, "event": asked.headers.get("last-event-id").map(|id| id.to_str().unwrap()) });
    Ok(said(StatusCode::OK, &message, &result, Some(&id)))
}

fn said(
    status: StatusCode,
    message: &Value,
    result: &Value,
    session: Option<&str>,
) -> Response<Full<Bytes>> {
    let body = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
    let mut head = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    if let Some(session) = session {
        head = head.header("mcp-session-id", session);
    }
    head.body(Full::from(body)).unwrap()
}
