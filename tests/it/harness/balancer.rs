//! A load balancer without affinity: each request goes to the next replica. It notes what passes, so that tests need
//! not rely on what clients say about themselves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The balancer. It ends when it is dropped.
pub(crate) struct Balancer {
    port: u16,
    state: Arc<State>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    replicas: Mutex<Vec<u16>>,
    turn: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
}

/// A request that passed.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    /// What was posted to the proxy's own endpoints, if it was a form.
    pub(crate) form: HashMap<String, String>,
    pub(crate) bearer: Option<String>,
    /// The revision of the protocol that the request names; empty when it names none.
    pub(crate) revision: String,
    /// Port of the replica that answered.
    pub(crate) replica: u16,
    pub(crate) status: u16,
}

impl Seen {
    /// The header of the JWT that was sent.
    pub(crate) fn token_header(&self) -> Value {
        let head = self.bearer.as_deref().unwrap().split('.').next().unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap()
    }
}

impl Balancer {
    /// Starts without replicas: everything is answered with 503.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let server = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self {
            port,
            state,
            server,
        }
    }

    /// The origin that people and clients know.
    pub(crate) fn origin(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Sends requests to these ports of loopback from now on.
    pub(crate) fn replicas(&self, ports: Vec<u16>) {
        *self.state.replicas.lock().unwrap() = ports;
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Requests so far by method and path that were answered with success or a redirect.
    pub(crate) fn good(&self, method: &str, path: &str) -> Vec<Seen> {
        self.seen()
            .into_iter()
            .filter(|seen| seen.method == method && seen.path == path && seen.status < 400)
            .collect()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let handler =
                hyper::service::service_fn(move |request| forward(request, Arc::clone(&state)));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), handler)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(
    request: Request<Incoming>,
    state: Arc<State>,
) -> std::io::Result<Response<Either<Incoming, Full<Bytes>>>> {
    let replicas = state.replicas.lock().unwrap().clone();
    if replicas.is_empty() {
        let mut none = Response::new(Either::Right(Full::from("no replica")));
        *none.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        return Ok(none);
    }
    let replica = replicas[state.turn.fetch_add(1, Ordering::SeqCst) % replicas.len()];
    let (parts, body) = request.into_parts();
    let header = |name: &str| {
        let value = parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    };
    let mut seen = Seen {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        form: HashMap::new(),
        bearer: header("authorization")
            .strip_prefix("Bearer ")
            .map(str::to_owned),
        revision: header("mcp-protocol-version").to_owned(),
        replica,
        status: 0,
    };
    let body = if seen.path.starts_with("/oauth2/") {
        let whole = body
            .collect()
            .await
            .map_err(std::io::Error::other)?
            .to_bytes();
        seen.form = url::form_urlencoded::parse(&whole).into_owned().collect();
        Either::Left(Full::new(whole))
    } else {
        Either::Right(body)
    };
    let socket = TcpStream::connect(("127.0.0.1", replica)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .map_err(std::io::Error::other)?;
    // Ends with the answer's body, or when the client hangs up and the answer is dropped.
    tokio::spawn(connection);
    let answer = sender
        .send_request(Request::from_parts(parts, body))
        .await
        .map_err(std::io::Error::other)?;
    seen.status = answer.status().as_u16();
    state.seen.lock().unwrap().push(seen);
    Ok(answer.map(Either::Left))
}
