//! One HTTP request over a connection of its own.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use url::Url;

use crate::{Failure, Outcome};

const MAX_BODY: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(15);

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Outcome<Value> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::from(format!(
                "{} {}: not JSON: {error}",
                self.status,
                self.text()
            ))
        })
    }
}

/// Sends a request to where its absolute URL points.
pub(crate) async fn send(
    method: Method,
    url: &Url,
    headers: HeaderMap,
    body: impl Into<Bytes>,
) -> Outcome<Answer> {
    let body = body.into();
    tokio::time::timeout(TIMEOUT, exchange(&method, url, headers, body))
        .await
        .unwrap_or_else(|_| Err(Failure::from("no answer within 15 s")))
        .map_err(|error| Failure::from(format!("{method} {url}: {error}")))
}

async fn exchange(method: &Method, url: &Url, headers: HeaderMap, body: Bytes) -> Outcome<Answer> {
    let host = url.host_str().ok_or("no host")?;
    let port = url.port_or_known_default().ok_or("no port")?;
    let address = if host == "localhost" {
        "127.0.0.1"
    } else {
        host
    };
    let socket = TcpStream::connect((address, port)).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .body(Full::new(body))?;
    *request.headers_mut() = headers;
    request
        .headers_mut()
        .insert(HOST, HeaderValue::from_str(&format!("{host}:{port}"))?);
    let exchange = async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await?.to_bytes();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    };
    tokio::pin!(exchange, connection);
    // The connection has to be polled while the exchange goes on; its end alone is no answer.
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => {
            ended?;
            exchange.await
        }
    }
}

/// A plain GET.
pub(crate) async fn get(url: &str) -> Outcome<Answer> {
    send(
        Method::GET,
        &Url::parse(url)?,
        HeaderMap::new(),
        Bytes::new(),
    )
    .await
}

/// A POST of JSON, accepting what MCP clients accept.
pub(crate) async fn post_json(url: &str, mut headers: HeaderMap, body: &Value) -> Outcome<Answer> {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        ACCEPT,
        HeaderValue::from_static("application/json, text/event-stream"),
    );
    send(Method::POST, &Url::parse(url)?, headers, body.to_string()).await
}

/// A POST of a form.
pub(crate) async fn post_form(url: &str, fields: &[(&str, &str)]) -> Outcome<Answer> {
    let mut headers = HeaderMap::new();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    send(Method::POST, &Url::parse(url)?, headers, encode(fields)).await
}

/// Fields as a form or a query.
pub(crate) fn encode(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}
