//! S14: many clients whose JSON-RPC ids are the same, through one proxy at once, and half of them hang up in the middle
//! of an answer. Each gets its own answers and nothing else, whatever pools and streams lie between.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mcp_oidc_proxy::clock::Ambient;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::client::PATIENCE;
use crate::harness::idp::Idp;
use crate::harness::proxy::{Proxy, proxy};

const CLIENTS: usize = 200;
/// Requests of each client, with the ids from 0.
const REQUESTS: usize = 6;
/// Clients on one HTTP/2 connection.
const TOGETHER: usize = 50;
const KEY: &str = "a-key-of-a-script-for-tests";
const PEOPLE: [&str; 2] = ["ann", "bob"];

/// How a backend answers.
#[derive(Clone, Copy, PartialEq)]
enum How {
    /// With an event stream.
    Events,
    /// With an event stream that goes on until somebody hangs up.
    Endless,
    /// With one large body of known length.
    Whole,
}

impl How {
    fn of(name: &str) -> Self {
        match name {
            "events" => Self::Events,
            "endless" => Self::Endless,
            "whole" => Self::Whole,
            other => panic!("{other}"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Endless => "endless",
            Self::Whole => "whole",
        }
    }
}

/// The answer to a request, in pieces: each says whose it is.
fn pieces_of(user: &str, id: &Value, payload: &str, how: How) -> VecDeque<Bytes> {
    let filling = "x".repeat(300);
    if how == How::Whole {
        let lines: Vec<String> = (0..100)
            .map(|n| format!("{user} {payload} {n} {filling};"))
            .collect();
        let text = lines.concat();
        let body = json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [{ "type": "text", "text": text }] } });
        return Bytes::from(body.to_string())
            .chunks(4096)
            .map(Bytes::copy_from_slice)
            .collect();
    }
    let event = |message: Value| Bytes::from(format!("data: {message}\n\n"));
    let said = (0..40).map(|n| {
        event(json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": {
            "level": "info", "data": { "user": user, "payload": payload, "n": n, "filling": filling } } }))
    });
    let last = json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [{ "type": "text", "text": payload }] } });
    said.chain([event(last)]).collect()
}

struct Song {
    pieces: VecDeque<Bytes>,
    endless: bool,
    /// Between two pieces others have their turn.
    pause: bool,
    open: Arc<AtomicUsize>,
}

impl Drop for Song {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Body for Song {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.pause = !self.pause;
        if self.pause {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.pieces.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None if self.endless => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

/// A backend of either HTTP version. It ends when it is dropped.
struct Singer {
    url: String,
    /// Answers under way.
    open: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Singer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let open = Arc::new(AtomicUsize::new(0));
        let server = tokio::spawn(serve(listener, Arc::clone(&open)));
        Self { url, open, server }
    }

    /// Waits until it answers nobody any more.
    async fn is_released(&self) {
        let none = async {
            while self.open.load(Ordering::SeqCst) > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, none)
            .await
            .expect("answers go on that nobody reads");
    }
}

impl Drop for Singer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, open: Arc<AtomicUsize>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        let open = Arc::clone(&open);
        connections.spawn(async move {
            let handler =
                hyper::service::service_fn(move |request| sing(request, Arc::clone(&open)));
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), handler)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn sing(
    request: Request<Incoming>,
    open: Arc<AtomicUsize>,
) -> Result<Response<Song>, hyper::Error> {
    let user = request.headers()["x-forwarded-user"]
        .to_str()
        .unwrap()
        .to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let given = &asked["params"]["arguments"];
    let (payload, how) = (
        given["payload"].as_str().unwrap(),
        given["how"].as_str().unwrap(),
    );
    let how = How::of(how);
    let pieces = pieces_of(&user, &asked["id"], payload, how);
    let mut answer = Response::builder().header("x-payload", payload);
    answer = if how == How::Whole {
        let length: usize = pieces.iter().map(Bytes::len).sum();
        answer
            .header("content-type", "application/json")
            .header("content-length", length)
    } else {
        answer.header("content-type", "text/event-stream")
    };
    open.fetch_add(1, Ordering::SeqCst);
    let song = Song {
        pieces,
        endless: how == How::Endless,
        pause: false,
        open,
    };
    Ok(answer.body(song).unwrap())
}

/// A connection to the proxy.
#[derive(Clone)]
struct Line {
    authority: String,
    /// What is shared by clients on HTTP/2.
    shared: Option<http2::SendRequest<Full<Bytes>>>,
}

/// A client's own connection.
type Own = http1::SendRequest<Full<Bytes>>;

impl Line {
    fn http1(proxy: &Proxy) -> Self {
        let authority = proxy.base().authority().to_owned();
        Self {
            authority,
            shared: None,
        }
    }

    async fn http2(proxy: &Proxy) -> Self {
        let authority = proxy.base().authority().to_owned();
        let socket = TcpStream::connect(&authority).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .unwrap();
        // Ends with its last sender.
        tokio::spawn(connection);
        Self {
            authority,
            shared: Some(sender),
        }
    }

    async fn own(&self) -> Own {
        let socket = TcpStream::connect(&self.authority).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
        // Ends with its sender, once an answer under way is dropped.
        tokio::spawn(connection);
        sender
    }
}

fn request(line: &Line, token: &str, body: &Value) -> Request<Full<Bytes>> {
    let request = if line.shared.is_some() {
        Request::post(format!("http://{}/mcp", line.authority))
    } else {
        Request::post("/mcp").header("host", &line.authority)
    };
    request
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .body(Full::from(body.to_string()))
        .unwrap()
}

/// All requests of one client, one after the other. Every second client hangs up in the middle of every second answer.
async fn client(number: usize, line: Line, token: String) {
    let user = PEOPLE[number / 2 % 2];
    let mut own = None;
    for id in 0..REQUESTS {
        let hangs_up = number % 2 == 1 && id % 2 == 0;
        let how = match (number / 4 + id / 2) % 3 {
            0 => How::Whole,
            1 if hangs_up => How::Endless,
            _ => How::Events,
        };
        let payload = format!("client-{number}-request-{id}");
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {
            "name": "sing", "arguments": { "payload": payload, "how": how.name() } } });
        let request = request(&line, &token, &body);
        let answer = if let Some(shared) = &line.shared {
            shared.clone().send_request(request).await
        } else {
            if own.is_none() {
                own = Some(line.own().await);
            }
            let own: &mut Own = own.as_mut().unwrap();
            own.ready().await.unwrap();
            own.send_request(request).await
        };
        let answer = answer.unwrap_or_else(|e| panic!("{payload}: {e:?}"));
        assert_eq!(answer.status(), 200, "{payload}");
        assert_eq!(answer.headers()["x-payload"], payload.as_str());
        let expected = pieces_of(user, &json!(id), &payload, how);
        let expected = Vec::from(expected).concat();
        let mut body = answer.into_body();
        let mut so_far = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.unwrap_or_else(|e| panic!("{payload}: {e:?}"));
            let data = frame.into_data().unwrap_or_default();
            assert!(
                expected[so_far..].starts_with(&data),
                "{payload}: {}",
                String::from_utf8_lossy(&data)
            );
            so_far += data.len();
            if hangs_up && so_far > 400 {
                break;
            }
        }
        if hangs_up {
            assert!(so_far > 0);
            own = None;
        } else {
            assert_eq!(so_far, expected.len(), "{payload}: a whole answer");
        }
    }
}

async fn everybody_at_once(over_http2: bool, protocol: &str) {
    let idp = Idp::start(Ambient::system()).await;
    let backend = Singer::start().await;
    let proxy = proxy()
        .oidc(&idp.issuer(), "mcp-proxy", "a-secret-of-the-client")
        .route(
            "/mcp",
            &format!("{}/mcp", backend.url),
            "allow: { any_user: true }",
        )
        .backend(&format!("protocol: {protocol}"))
        .start()
        .await;
    let tokens = PEOPLE.map(|who| idp.access_token(who, &proxy.url("/mcp"), &json!({})));
    let mut lines = Vec::new();
    for number in 0..CLIENTS {
        lines.push(match lines.get(number / TOGETHER * TOGETHER) {
            Some(line) if over_http2 => Line::clone(line),
            _ if over_http2 => Line::http2(&proxy).await,
            _ => Line::http1(&proxy),
        });
    }
    let clients = lines.into_iter().enumerate().map(|(number, line)| {
        let token = tokens[number / 2 % 2].clone();
        tokio::spawn(client(number, line, token))
    });
    let all = timeout(3 * PATIENCE, join_all(clients)).await;
    for done in all.expect("somebody gets no answer") {
        done.unwrap();
    }
    backend.is_released().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_s14_answers_are_not_mixed_up_over_http1() {
    everybody_at_once(false, "http1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_s14_answers_are_not_mixed_up_over_http2() {
    everybody_at_once(true, "http2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_s14_answers_are_not_mixed_up_from_http1_to_http2() {
    everybody_at_once(false, "http2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_s14_answers_are_not_mixed_up_from_http2_to_http1() {
    everybody_at_once(true, "http1").await;
}

/// Clients and backends end HTTP/2 connections that carry many empty frames which are not the last. None is handed on:
/// not the one that ends a backend's event stream, and none of a client, for others share the backend's connection.
#[tokio::test]
async fn attack_s14_empty_frames_end_nobodys_connection() {
    let idp = Idp::start(Ambient::system()).await;
    let backend = Singer::start().await;
    let proxy = proxy()
        .oidc(&idp.issuer(), "mcp-proxy", "a-secret-of-the-client")
        .route(
            "/mcp",
            &format!("{}/mcp", backend.url),
            "allow: { any_user: true }",
        )
        .backend("protocol: http2")
        .route(
            "/app/*",
            &format!("{}/app", backend.url),
            "kind: http\nallow: { any_user: true }",
        )
        .backend("protocol: http2")
        .yaml(&format!(
            "auth: {{ api_keys: [{{ name: robot, key: {KEY} }}] }}"
        ))
        .start()
        .await;
    let authority = proxy.base().authority();
    // A client that is served often, and some that start with nothing.
    for (path, requests, empty_frames) in [
        ("mcp", 130, 0),
        ("app/", 50, 1),
        ("app/", 50, 1),
        ("app/", 50, 1),
    ] {
        let socket = TcpStream::connect(authority).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .unwrap();
        // Ends with its sender.
        tokio::spawn(connection);
        for number in 0..requests {
            let how = if number % 8 == 0 {
                How::Whole
            } else {
                How::Events
            };
            let body = json!({ "jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {
                "name": "sing", "arguments": { "payload": "p", "how": how.name() } } });
            let mut pieces = vec![Bytes::new(); empty_frames];
            pieces.push(Bytes::from(body.to_string()));
            let pieces = pieces
                .into_iter()
                .map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
            let request = Request::post(format!("http://{authority}/{path}"))
                .header("x-api-key", KEY)
                .header("content-type", "application/json")
                .header("accept", "application/json, text/event-stream")
                .body(StreamBody::new(futures_util::stream::iter(pieces)))
                .unwrap();
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!(answer.status(), 200, "request {number}");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let expected = pieces_of("robot", &json!(number), "p", how);
            assert_eq!(body.len(), expected.iter().map(Bytes::len).sum::<usize>());
        }
    }
}
