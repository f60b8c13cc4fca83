//! The runtime API (version 2018-06-01): asks for the next event, gives answers, tells errors. Over one connection at
//! a time, for there is one invocation at a time.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, TRAILER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::stream::{Answer, ERROR_BODY, ERROR_TYPE, Outgoing};
use crate::clock::Timestamp;

const REQUEST_ID: &str = "lambda-runtime-aws-request-id";
const DEADLINE: &str = "lambda-runtime-deadline-ms";
const INVOCATION_ID: HeaderName = HeaderName::from_static("lambda-runtime-invocation-id");
const RESPONSE_MODE: HeaderName = HeaderName::from_static("lambda-runtime-function-response-mode");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Head and body of an HTTP answer in one (function URLs, REST APIs).
const HTTP_ANSWER: HeaderValue =
    HeaderValue::from_static("application/vnd.awslambda.http-integration-response");
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("mcp-oidc-proxy/", env!("CARGO_PKG_VERSION")));

/// Events have 6 MB at most, and what holds them a little more.
const MAX_EVENT: usize = 16 << 20;
/// Tries to ask for an event, with pauses that double.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Why the runtime API was of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("no connection to the runtime API at {0}: {1}")]
    Connect(Box<str>, std::io::Error),
    #[error("the exchange with the runtime API broke off: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the runtime API answered {0} with status {1}")]
    Status(&'static str, StatusCode),
    #[error("the runtime API's event has no usable {0}")]
    Event(&'static str),
    #[error("what the runtime API sent cannot be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("a request to the runtime API cannot be made: {0}")]
    Request(#[from] http::Error),
}

/// Names an invocation.
pub(super) struct Id {
    request: Box<str>,
    /// Given back with the answer, where there is one.
    invocation: Option<HeaderValue>,
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.request)
    }
}

/// An event, and until when it has to be answered.
pub(super) struct Invocation {
    pub(super) id: Id,
    pub(super) deadline: Option<Timestamp>,
    pub(super) event: Bytes,
}

/// The runtime API.
pub(super) struct Api {
    address: Box<str>,
    line: Option<Line>,
}

struct Line {
    sender: SendRequest<Outgoing>,
    _driver: AbortOnDropHandle<()>,
}

impl Api {
    /// At an address (`host:port`). Connects when there is something to ask.
    pub(super) fn new(address: &str) -> Self {
        Self {
            address: address.into(),
            line: None,
        }
    }

    /// Waits for the next event, however long. The process may stand still meanwhile.
    pub(super) async fn next(&mut self) -> Result<Invocation, ApiError> {
        let mut pause = FIRST_PAUSE;
        let mut tries = 1;
        let (head, event) = loop {
            let request = self.request(Method::GET, "/invocation/next")?;
            match self.ask(request.body(Outgoing::Whole(None))?).await {
                Ok(answer) => break answer,
                Err(error) if tries < TRIES => {
                    tracing::warn!(%error, "the next event could not be asked for; trying again");
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
            tries += 1;
        };
        if head.status != StatusCode::OK {
            return Err(ApiError::Status("the question for an event", head.status));
        }
        Ok(Invocation {
            id: id(&head.headers)?,
            deadline: deadline(&head.headers),
            event,
        })
    }

    /// Gives an answer as a whole.
    pub(super) async fn answer(&mut self, id: &Id, json: Vec<u8>) -> Result<(), ApiError> {
        let request = self
            .about(id, "response")?
            .header(CONTENT_TYPE, JSON)
            .body(Outgoing::Whole(Some(json.into())))?;
        self.tell("an answer", request).await
    }

    /// Gives an answer piece by piece; comes back when it has ended.
    pub(super) async fn stream(&mut self, id: &Id, answer: Answer) -> Result<(), ApiError> {
        let request = self
            .about(id, "response")?
            .header(CONTENT_TYPE, HTTP_ANSWER)
            .header(RESPONSE_MODE, HeaderValue::from_static("streaming"))
            .header(TRAILER, HeaderValue::from(ERROR_TYPE))
            .header(TRAILER, HeaderValue::from(ERROR_BODY))
            .body(Outgoing::Answer(Box::new(answer)))?;
        self.tell("an answer", request).await
    }

    /// Tells that an event cannot be answered.
    pub(super) async fn failed(&mut self, id: &Id, kind: &str, why: &str) -> Result<(), ApiError> {
        let request = error(self.about(id, "error")?, kind, why)?;
        self.tell("an error", request).await
    }

    /// Tells that the function cannot start.
    pub(super) async fn cannot_start(&mut self, kind: &str, why: &str) -> Result<(), ApiError> {
        let request = error(self.request(Method::POST, "/init/error")?, kind, why)?;
        self.tell("an error", request).await
    }

    async fn tell(
        &mut self,
        what: &'static str,
        request: Request<Outgoing>,
    ) -> Result<(), ApiError> {
        let (head, _) = self.ask(request).await?;
        if head.status.is_success() {
            Ok(())
        } else {
            Err(ApiError::Status(what, head.status))
        }
    }

    async fn ask(
        &mut self,
        mut request: Request<Outgoing>,
    ) -> Result<(http::response::Parts, Bytes), ApiError> {
        // Taken out, so that nobody uses it after an exchange that was not finished.
        let mut kept = self.line.take();
        loop {
            let fresh = kept.is_none();
            let mut line = match kept.take() {
                Some(line) => line,
                None => self.connect().await?,
            };
            let response = match line.sender.try_send_request(request).await {
                Ok(response) => response,
                Err(mut error) => match error.take_message() {
                    // The connection had ended before anything of it was sent.
                    Some(unsent) if !fresh => {
                        request = unsent;
                        continue;
                    }
                    _ => return Err(error.into_error().into()),
                },
            };
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_EVENT)
                .collect()
                .await
                .map_err(ApiError::Body)?;
            self.line = Some(line);
            return Ok((head, body.to_bytes()));
        }
    }

    async fn connect(&self) -> Result<Line, ApiError> {
        let stream = TcpStream::connect(&*self.address)
            .await
            .map_err(|error| ApiError::Connect(self.address.clone(), error))?;
        // Events of a stream go out as they come.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "The connection to the runtime API ended with an error.");
            }
        });
        Ok(Line {
            sender,
            _driver: AbortOnDropHandle::new(driver),
        })
    }

    fn about(&self, id: &Id, what: &str) -> Result<http::request::Builder, ApiError> {
        let path = format!("/invocation/{}/{what}", id.request);
        let mut request = self.request(Method::POST, &path)?;
        if let Some(invocation) = &id.invocation {
            request = request.header(INVOCATION_ID, invocation);
        }
        Ok(request)
    }

    fn request(&self, method: Method, path: &str) -> Result<http::request::Builder, ApiError> {
        let host = HeaderValue::try_from(&*self.address).map_err(http::Error::from)?;
        Ok(Request::builder()
            .method(method)
            .uri(format!("/2018-06-01/runtime{path}"))
            .header(HOST, host)
            .header(USER_AGENT, AGENT))
    }
}

fn error(
    request: http::request::Builder,
    kind: &str,
    why: &str,
) -> Result<Request<Outgoing>, ApiError> {
    let body =
        serde_json::json!({ "errorType": kind, "errorMessage": why, "stackTrace": [] }).to_string();
    Ok(request
        .header(CONTENT_TYPE, JSON)
        .header(ERROR_TYPE, kind)
        .body(Outgoing::Whole(Some(body.into())))?)
}

/// It becomes part of an address.
fn id(headers: &HeaderMap) -> Result<Id, ApiError> {
    let request = headers
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| {
            (1..=128).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
        .ok_or(ApiError::Event("request id"))?;
    Ok(Id {
        request: request.into(),
        invocation: headers.get(INVOCATION_ID).cloned(),
    })
}

fn deadline(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DEADLINE)?.to_str().ok()?;
    text.parse().ok().map(Timestamp::from_millis)
}
