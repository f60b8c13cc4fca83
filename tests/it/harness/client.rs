//! Plain HTTP/1.1 requests, each on a connection of its own, and bodies read piece by piece.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use url::Url;

use super::record;

/// How long any single step may take before the test fails. Far above what a step needs, so that a busy
/// machine fails nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("not JSON ({e}), {}: {}", self.status, self.text()))
    }

    /// A header's text; empty when it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The JSON-RPC message, be it the body or the last one of an event stream.
    pub(crate) fn rpc(&self) -> Value {
        if !self.header("content-type").starts_with("text/event-stream") {
            return self.json();
        }
        let text = self.text();
        let data = text
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(str::trim)
            .rfind(|data| !data.is_empty());
        serde_json::from_str(data.unwrap_or_else(|| panic!("no event in {text}"))).unwrap()
    }
}

/// An answer whose body is still coming. Dropping it closes the connection.
pub(crate) struct Streaming {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    buffered: String,
    connection: JoinHandle<()>,
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Streaming {
    /// Reads until the text so far has `what`; gives everything that was read since the last call.
    pub(crate) async fn read_until(&mut self, what: &str) -> String {
        while !self.buffered.contains(what) {
            let piece = self.piece().await;
            let Some(piece) = piece else {
                panic!("the stream ended before {what:?}: {:?}", self.buffered)
            };
            self.buffered.push_str(&piece);
        }
        std::mem::take(&mut self.buffered)
    }

    /// Reads to the end, which has to be a proper one and not a cut.
    pub(crate) async fn end(mut self) {
        while let Some(frame) = timeout(PATIENCE, self.body.frame())
            .await
            .expect("the stream does not end")
        {
            frame.expect("the stream was cut");
        }
    }

    /// The next piece; `None` at the end, be it clean or cut.
    pub(crate) async fn piece(&mut self) -> Option<String> {
        loop {
            let frame = timeout(PATIENCE, self.body.frame())
                .await
                .expect("no more of the body in time")?
                .ok()?;
            if let Ok(data) = frame.into_data() {
                return Some(String::from_utf8_lossy(&data).into_owned());
            }
        }
    }
}

/// A request under construction.
pub(crate) struct Ask {
    request: http::request::Builder,
    url: Url,
    body: Bytes,
    /// Connects to this port of loopback instead of the address's own.
    via: Option<u16>,
}

pub(crate) fn get(url: &str) -> Ask {
    Ask::new(Method::GET, url)
}

pub(crate) fn post(url: &str) -> Ask {
    Ask::new(Method::POST, url)
}

impl Ask {
    pub(crate) fn new(method: Method, url: &str) -> Self {
        let ask = Self::bare(method, url);
        let authority = ask.url.authority().to_owned();
        ask.header("host", &authority)
    }

    /// Without a `Host`.
    pub(crate) fn bare(method: Method, url: &str) -> Self {
        let url = Url::parse(url).unwrap_or_else(|e| panic!("{url}: {e}"));
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let request = Request::builder().method(method).uri(target);
        Self {
            request,
            url,
            body: Bytes::new(),
            via: None,
        }
    }

    /// Sends to another port of loopback than the one that the address names, as a load balancer would.
    pub(crate) fn via(mut self, port: u16) -> Self {
        self.via = Some(port);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// A header whose value is no text.
    pub(crate) fn header_bytes(mut self, name: &str, value: &[u8]) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }

    /// A JSON-RPC message to an MCP endpoint.
    pub(crate) fn rpc(self, message: &Value) -> Self {
        self.header("accept", "application/json, text/event-stream")
            .json(message)
    }

    pub(crate) fn form(self, fields: &[(String, String)]) -> Self {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    }

    /// Sends and waits for the whole answer.
    pub(crate) async fn send(self) -> Answer {
        let url = self.url.clone();
        let mut streaming = self.stream().await;
        let body = {
            let body = &mut streaming.body;
            timeout(PATIENCE, body.collect())
                .await
                .unwrap_or_else(|_| panic!("{url}: no whole answer in time"))
                .unwrap_or_else(|e| panic!("{url}: {e}"))
                .to_bytes()
        };
        record::given(&body);
        Answer {
            status: streaming.status,
            headers: std::mem::take(&mut streaming.headers),
            body,
        }
    }

    /// Sends and waits for the head of the answer.
    pub(crate) async fn stream(self) -> Streaming {
        let Self {
            request,
            url,
            body,
            via,
        } = self;
        let host = url.host_str().unwrap().to_owned();
        let port = via.or(url.port_or_known_default()).unwrap();
        let work = async {
            let socket = TcpStream::connect((host.as_str(), port)).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(socket))
                    .await
                    .map_err(std::io::Error::other)?;
            let connection = tokio::spawn(async move {
                let _ = connection.await;
            });
            let request = request.body(Full::new(body)).unwrap();
            record::sent(request.headers());
            let answer = sender
                .send_request(request)
                .await
                .map_err(std::io::Error::other)?;
            std::io::Result::Ok((answer, connection))
        };
        let (answer, connection) = timeout(PATIENCE, work)
            .await
            .unwrap_or_else(|_| panic!("{url}: no answer in time"))
            .unwrap_or_else(|e| panic!("{url}: {e}"));
        let (parts, body) = answer.into_parts();
        record::received(&parts.headers);
        Streaming {
            status: parts.status,
            headers: parts.headers,
            body,
            buffered: String::new(),
            connection,
        }
    }
}
