//! A stand-in for the platform: the runtime API (version 2018-06-01) on loopback, for one instance of a function.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use mcp_oidc_proxy::clock::Ambient;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::client::PATIENCE;

/// The running API. It ends when it is dropped.
pub(crate) struct Platform {
    address: String,
    state: Arc<State>,
    events: mpsc::Sender<Next>,
    server: JoinHandle<()>,
}

struct State {
    events: tokio::sync::Mutex<mpsc::Receiver<Next>>,
    /// Where answers to invocations go.
    answers: Mutex<HashMap<String, mpsc::Sender<Told>>>,
    /// How often the function asked for an event.
    asked: watch::Sender<usize>,
    /// What it could not start for.
    init_errors: Mutex<Vec<(HeaderMap, Value)>>,
}

struct Next {
    id: String,
    deadline: i64,
    event: Bytes,
}

/// What the function tells about an invocation.
#[derive(Debug)]
enum Told {
    /// The answer's headers.
    Head(HeaderMap),
    /// A piece of it.
    Piece(Bytes),
    /// Its trailers.
    Trailers(HeaderMap),
    /// It has ended, whole or cut.
    End { whole: bool },
    /// The event cannot be answered.
    Error(HeaderMap, Value),
}

impl Platform {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (events, waiting) = mpsc::channel(16);
        let state = Arc::new(State {
            events: tokio::sync::Mutex::new(waiting),
            answers: Mutex::default(),
            asked: watch::Sender::new(0),
            init_errors: Mutex::default(),
        });
        let server = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self {
            address,
            state,
            events,
            server,
        }
    }

    /// What `AWS_LAMBDA_RUNTIME_API` is set to.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Invokes the function, with 30 s to answer.
    pub(crate) async fn invoke(&self, event: &Value) -> Delivery {
        self.invoke_for(event, Duration::from_secs(30)).await
    }

    /// The same with another time.
    pub(crate) async fn invoke_for(&self, event: &Value, time: Duration) -> Delivery {
        let ambient = Ambient::system();
        let id = format!("{:032x}", u128::from_be_bytes(ambient.random()));
        let (tell, told) = mpsc::channel(1024);
        self.state.answers.lock().unwrap().insert(id.clone(), tell);
        let next = Next {
            id,
            deadline: ambient.now().plus(time).as_millis(),
            event: event.to_string().into(),
        };
        self.events.send(next).await.ok().unwrap();
        Delivery { told }
    }

    /// How often an event was asked for.
    pub(crate) fn asked(&self) -> usize {
        *self.state.asked.borrow()
    }

    /// Waits until an event was asked for so often: the invocation before has ended, as far as the function goes.
    pub(crate) async fn wait_for_asked(&self, times: usize) {
        let mut asked = self.state.asked.subscribe();
        timeout(PATIENCE, asked.wait_for(|asked| *asked >= times))
            .await
            .expect("no event is asked for")
            .unwrap();
    }

    /// What the function said that it could not start for.
    pub(crate) fn init_errors(&self) -> Vec<(HeaderMap, Value)> {
        self.state.init_errors.lock().unwrap().clone()
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What comes of one invocation.
pub(crate) struct Delivery {
    told: mpsc::Receiver<Told>,
}

/// How an answer that came piece by piece ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) rest: String,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) whole: bool,
}

impl Delivery {
    async fn next(&mut self) -> Told {
        timeout(PATIENCE, self.told.recv())
            .await
            .expect("nothing is told in time")
            .expect("the function ended")
    }

    /// An answer that is given as a whole.
    pub(crate) async fn whole(mut self) -> Value {
        let Told::Head(head) = self.next().await else {
            panic!("no answer")
        };
        assert_eq!(head["content-type"], "application/json");
        assert!(!head.contains_key("lambda-runtime-function-response-mode"));
        let mut all = Vec::new();
        loop {
            match self.next().await {
                Told::Piece(piece) => all.extend_from_slice(&piece),
                Told::End { whole } => {
                    assert!(whole);
                    return serde_json::from_slice(&all).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// The head of an answer that is given piece by piece, and what of the body came with it.
    pub(crate) async fn head(&mut self) -> (Value, String) {
        match self.next().await {
            Told::Head(head) => {
                assert_eq!(head["lambda-runtime-function-response-mode"], "streaming");
                assert_eq!(
                    head["content-type"],
                    "application/vnd.awslambda.http-integration-response"
                );
                assert_eq!(head["transfer-encoding"], "chunked");
            }
            other => panic!("{other:?}"),
        }
        let mut all = Vec::new();
        loop {
            if let Some(at) = all.windows(8).position(|eight| eight == [0; 8]) {
                let rest = String::from_utf8(all.split_off(at + 8)).unwrap();
                all.truncate(at);
                return (serde_json::from_slice(&all).unwrap(), rest);
            }
            match self.next().await {
                Told::Piece(piece) => all.extend_from_slice(&piece),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Reads the body until it has `what`.
    pub(crate) async fn read_until(&mut self, what: &str) -> String {
        let mut text = String::new();
        while !text.contains(what) {
            match self.next().await {
                Told::Piece(piece) => text.push_str(std::str::from_utf8(&piece).unwrap()),
                other => panic!("{other:?} after {text:?}"),
            }
        }
        text
    }

    /// Reads to the end.
    pub(crate) async fn end(mut self) -> Ended {
        let mut ended = Ended {
            rest: String::new(),
            trailers: None,
            whole: false,
        };
        loop {
            match self.next().await {
                Told::Piece(piece) => ended.rest.push_str(std::str::from_utf8(&piece).unwrap()),
                Told::Trailers(trailers) => ended.trailers = Some(trailers),
                Told::End { whole } => {
                    ended.whole = whole;
                    return ended;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// The error instead of an answer.
    pub(crate) async fn error(mut self) -> (HeaderMap, Value) {
        match self.next().await {
            Told::Error(head, error) => (head, error),
            other => panic!("{other:?}"),
        }
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let handler = hyper::service::service_fn(move |request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(state.answer(request).await) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), handler)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().strip_prefix("/2018-06-01/runtime").unwrap();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match (head.method, parts.as_slice()) {
            (Method::GET, ["invocation", "next"]) => {
                self.asked.send_modify(|asked| *asked += 1);
                self.next().await
            }
            (Method::POST, ["invocation", id, "response"]) => {
                assert_eq!(
                    head.headers["lambda-runtime-invocation-id"],
                    format!("inv-{id}")
                );
                self.take(id, head.headers, body).await;
                status(StatusCode::ACCEPTED)
            }
            (Method::POST, ["invocation", id, "error"]) => {
                let error = serde_json::from_slice(&body.collect().await.unwrap().to_bytes());
                let told = Told::Error(head.headers, error.unwrap());
                self.tell(id).send(told).await.ok().unwrap();
                status(StatusCode::ACCEPTED)
            }
            (Method::POST, ["init", "error"]) => {
                let error = serde_json::from_slice(&body.collect().await.unwrap().to_bytes());
                let told = (head.headers, error.unwrap());
                self.init_errors.lock().unwrap().push(told);
                status(StatusCode::ACCEPTED)
            }
            (method, _) => panic!("{method} {path}"),
        }
    }

    async fn next(&self) -> Response<Full<Bytes>> {
        let Some(next) = self.events.lock().await.recv().await else {
            return status(StatusCode::GONE);
        };
        Response::builder()
            .header("content-type", "application/json")
            .header("lambda-runtime-aws-request-id", &next.id)
            .header("lambda-runtime-invocation-id", format!("inv-{}", next.id))
            .header("lambda-runtime-deadline-ms", next.deadline)
            .header(
                "lambda-runtime-invoked-function-arn",
                "arn:aws:lambda:eu-west-1:123456789012:function:mcp",
            )
            .body(Full::new(next.event))
            .unwrap()
    }

    fn tell(&self, id: &str) -> mpsc::Sender<Told> {
        let answers = &mut self.answers.lock().unwrap();
        answers.remove(id).expect("an invocation under way")
    }

    /// Hands an answer on as it comes.
    async fn take(&self, id: &str, head: HeaderMap, mut body: Incoming) {
        let tell = self.tell(id);
        let _ = tell.send(Told::Head(head)).await;
        loop {
            let told = match body.frame().await {
                None => Told::End { whole: true },
                Some(Err(_)) => Told::End { whole: false },
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => Told::Piece(piece),
                    Err(frame) => Told::Trailers(frame.into_trailers().unwrap()),
                },
            };
            let last = matches!(told, Told::End { .. });
            let _ = tell.send(told).await;
            if last {
                return;
            }
        }
    }
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .body(Full::default())
        .unwrap()
}
