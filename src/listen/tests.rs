//! Real sockets on loopback. Times are short and configured; nothing asserts that something was quick.

mod certificates;
mod connections;
mod drain;
mod limits;

use std::future::pending;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::http::Body;

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers by path: `/` at once, `/panic`, `/slow` when told to, `/never`, `/switch` with a protocol of its own.
#[derive(Default)]
struct Answers {
    entered: Notify,
    release: Notify,
    led: Mutex<Vec<(String, u16)>>,
}

impl Handler for Answers {
    fn led_away(&self, conn: Arc<Conn>, head: &http::request::Parts, status: StatusCode) {
        let line = format!("{} {} {}", conn.listener, head.method, head.uri.path());
        self.led.lock().unwrap().push((line, status.as_u16()));
    }

    async fn handle(self: Arc<Self>, conn: Arc<Conn>, mut request: Request) -> Response {
        let mut status = StatusCode::OK;
        match request.uri().path() {
            "/panic" => panic!("on purpose"),
            "/slow" => {
                self.entered.notify_one();
                self.release.notified().await;
            }
            "/never" => {
                self.entered.notify_one();
                pending::<()>().await;
            }
            "/switch" => {
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let mut io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
                    let mut line = [0; 4];
                    while io.read_exact(&mut line).await.is_ok() {
                        io.write_all(&line).await.unwrap();
                    }
                });
                status = StatusCode::SWITCHING_PROTOCOLS;
            }
            _ => {}
        }
        let mut response = http::Response::new(Body::full("hello"));
        if status == StatusCode::SWITCHING_PROTOCOLS {
            *response.body_mut() = Body::Empty;
            response
                .headers_mut()
                .insert("connection", HeaderValue::from_static("upgrade"));
            response
                .headers_mut()
                .insert("upgrade", HeaderValue::from_static("echo"));
        }
        *response.status_mut() = status;
        let facts = [
            ("x-listener", conn.listener.to_string()),
            (
                "x-tls",
                conn.tls
                    .as_ref()
                    .map_or("none", |tls| tls.version)
                    .to_owned(),
            ),
            ("x-version", format!("{:?}", request.version())),
        ];
        for (name, value) in facts {
            response.headers_mut().insert(
                HeaderName::from_static(name),
                HeaderValue::try_from(value).unwrap(),
            );
        }
        response
    }
}

struct Running {
    listeners: Listeners,
    handler: Arc<Answers>,
    drain: Drain,
    metrics: Arc<Metrics>,
    serving: JoinHandle<()>,
}

fn config(yaml: &str) -> Config {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    serde_yaml::from_str(&format!("version: 1\n{yaml}")).unwrap()
}

fn start(yaml: &str) -> Running {
    start_over(yaml, Inherited::default())
}

fn start_over(yaml: &str, inherited: Inherited) -> Running {
    let metrics = Metrics::new();
    let listeners =
        Listeners::bind(&config(yaml), inherited, &metrics, &Ambient::system()).unwrap();
    let (handler, drain) = (Arc::new(Answers::default()), Drain::default());
    let public_url = PublicUrl::parse("https://mcp.example.com").unwrap();
    let serving = tokio::spawn(listeners.clone().serve(
        Arc::clone(&handler),
        public_url,
        drain.clone(),
    ));
    Running {
        listeners,
        handler,
        drain,
        metrics,
        serving,
    }
}

impl Running {
    fn address(&self) -> String {
        self.listeners.addresses().remove(0)
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.render();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{series} ")));
        line.and_then(|line| line.rsplit(' ').next())
            .map_or(f64::NAN, |value| value.parse().unwrap())
    }

    async fn ended(self) {
        tokio::time::timeout(PATIENCE, self.serving)
            .await
            .expect("it did not end")
            .unwrap();
    }
}

/// The next answer on an HTTP/1 connection: head and body, by `Content-Length`.
async fn answer(io: &mut (impl tokio::io::AsyncRead + Unpin)) -> (u16, String, String) {
    let read = async {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(
                io.read_u8()
                    .await
                    .expect("the connection ended inside a head"),
            );
        }
        let head = String::from_utf8(bytes).unwrap().to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        io.read_exact(&mut body).await.unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head, String::from_utf8(body).unwrap())
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("no answer came")
}

async fn ask(
    io: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
    path: &str,
) -> (u16, String, String) {
    io.write_all(format!("GET {path} HTTP/1.1\r\nHost: mcp.example.com\r\n\r\n").as_bytes())
        .await
        .unwrap();
    answer(io).await
}

/// Whether the other side has closed, orderly or not.
async fn closed(io: &mut (impl tokio::io::AsyncRead + Unpin)) -> bool {
    let mut byte = [0];
    let read = tokio::time::timeout(PATIENCE, io.read(&mut byte))
        .await
        .expect("it stayed open");
    matches!(read, Ok(0) | Err(_))
}

/// An HTTP/2 client on any stream.
async fn h2(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
) -> (
    hyper::client::conn::http2::SendRequest<Body>,
    JoinHandle<hyper::Result<()>>,
) {
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(io);
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    (sender, tokio::spawn(connection))
}

fn get(uri: &str) -> http::Request<Body> {
    http::Request::get(uri).body(Body::Empty).unwrap()
}
