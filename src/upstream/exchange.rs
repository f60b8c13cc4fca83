//! One request and the head of its answer, with what may be tried again.

use std::future::{Future, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::HOST;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use super::Upstream;
use super::choice::Set;
use super::endpoint::{EndpointTag, Pick};
use super::health::Met;
use super::lease::{Lease, Sent, plain};
use super::meters::Outcome;
use super::pool::{Hold, PoolError};
use crate::http::RequestBody;
use crate::http::body::{Upload, UploadState};

/// The head of an answer, its body on the way, and the connection to be given back at its end.
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Lease,
    /// Which endpoint answered.
    pub(crate) endpoint: EndpointTag,
}

/// Why there is no answer. For logs; what clients see is decided by `forward`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// All connections stayed in use.
    #[error("all connections to the backend are in use")]
    Busy,
    /// No connection.
    #[error("{0}")]
    Unreachable(#[source] PoolError),
    /// Nothing within this time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The exchange broke off, or the answer is not HTTP.
    #[error("the exchange broke off: {0}")]
    Broken(#[source] hyper::Error),
    /// The backend speaks HTTP/2 only, which has no upgrades.
    #[error("the backend is configured for HTTP/2 only, which has no upgrades")]
    NoUpgrade,
    /// The request may go to one endpoint only, and that is not configured (any more).
    #[error("the endpoint that the request belongs to is not configured")]
    NoEndpoint,
    /// The client's body failed, so the request could not be sent whole.
    #[error("the request's body was not read to its end")]
    Upload(UploadState),
}

impl From<PoolError> for ExchangeError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Busy => Self::Busy,
            other => Self::Unreachable(other),
        }
    }
}

/// At most so many endpoints are tried for one request.
const MAX_ENDPOINTS_TRIED: u32 = 3;

/// How far one exchange got.
struct Course<'a> {
    pick: Pick,
    upload: Option<&'a Upload>,
    /// The endpoint at work.
    at: usize,
    tried: Set,
    /// It was sent a second time.
    resent: bool,
}

impl<'a> Course<'a> {
    fn new(at: usize, upload: Option<&'a Upload>, pick: Pick) -> Self {
        Self {
            pick,
            upload,
            at,
            tried: 1 << at,
            resent: false,
        }
    }
}

impl Upstream {
    /// Sends a request (path and query as URI, `Host` set when it is the client's) and waits for the head of the answer.
    ///
    /// It is sent a second time, on a fresh connection, only when it provably never left, or when it has an idempotent
    /// method and no body and broke off on a connection that had been used before (RFC 9110 section 9.2.2, RFC 9112
    /// section 9.3.1). It goes to another endpoint only when it may, and no connection was had to the first.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async function would hold its arguments twice, and the request is large"
    )]
    pub(crate) fn exchange<'a>(
        &'a self,
        request: Request<RequestBody>,
        upload: Option<&'a Upload>,
        pick: Pick,
    ) -> impl Future<Output = Result<Answer, ExchangeError>> + Send + 'a {
        async move {
            let started = Instant::now();
            let Some(at) = self.pick(pick, 0) else {
                return Err(ExchangeError::NoEndpoint);
            };
            let endpoint = &*self.endpoints[at];
            // No further async function in between: each would hold the request once more in this future. What goes on
            // after the first try is boxed: seldom taken, and it would make room for itself in every request's task.
            let (at, result) = match endpoint.pool.checkout(false).await {
                Ok(mut lease) => {
                    let spare = if lease.is_reused() {
                        spare(&request)
                    } else {
                        None
                    };
                    let sending = lease.send(request, endpoint);
                    match self.wait(endpoint.tag, lease, sending, upload).await {
                        Ok(answer) => (at, Ok(answer)),
                        Err(Failure::Final(error)) => (at, Err(error)),
                        Err(failure) => {
                            let course = Course::new(at, upload, pick);
                            Box::pin(self.go_on(failure, spare, course)).await
                        }
                    }
                }
                Err(error) => {
                    let course = Course::new(at, upload, pick);
                    self.go_elsewhere(error, request, course).await
                }
            };
            self.note(
                at,
                started,
                result.as_ref().map(|answer| answer.response.status()),
            );
            result
        }
    }

    /// Sends a request that asks for an upgrade, on an HTTP/1.1 connection of its own, whose place in the pool is held as
    /// long as the [`Hold`].
    pub(crate) async fn upgrade(
        &self,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Hold), ExchangeError> {
        let at = self.pick(Pick::Any, 0).ok_or(ExchangeError::NoEndpoint)?;
        let started = Instant::now();
        let mut course = Course::new(at, None, Pick::Any);
        let result = self.attempt_upgrade(request, &mut course).await;
        self.note(
            course.at,
            started,
            result.as_ref().map(|(response, _)| response.status()),
        );
        result
    }

    async fn attempt_upgrade(
        &self,
        mut request: Request<RequestBody>,
        course: &mut Course<'_>,
    ) -> Result<(Response<Incoming>, Hold), ExchangeError> {
        let (mut sender, hold) = loop {
            let endpoint = &self.endpoints[course.at];
            let connector = endpoint.upgrades.as_ref().ok_or(ExchangeError::NoUpgrade)?;
            match endpoint.pool.checkout_upgradable(connector).await {
                Ok(connected) => {
                    if let Some(host) = endpoint.host() {
                        request.headers_mut().insert(HOST, host.clone());
                    }
                    break connected;
                }
                Err(error) if self.elsewhere(&error, course) => {}
                Err(error) => return Err(error.into()),
            }
        };
        let limit = self.timeouts.response.0;
        let response = timeout(limit, sender.send_request(request))
            .await
            .map_err(|_| ExchangeError::Timeout(limit))?
            .map_err(ExchangeError::Broken)?;
        Ok((response, hold))
    }

    /// After a first try that was sent.
    async fn go_on(
        &self,
        failure: Failure,
        spare: Option<Box<Request<RequestBody>>>,
        mut course: Course<'_>,
    ) -> (usize, Result<Answer, ExchangeError>) {
        let result = match self.again(failure, spare, &mut course) {
            Ok(request) => self.persist(request, true, &mut course).await,
            Err(error) => Err(error),
        };
        (course.at, result)
    }

    /// After a first try that had no connection. Not async itself, so that it holds no request in its caller's future.
    fn go_elsewhere<'a>(
        &'a self,
        error: PoolError,
        request: Request<RequestBody>,
        mut course: Course<'a>,
    ) -> BoxFuture<'a, (usize, Result<Answer, ExchangeError>)> {
        if !self.elsewhere(&error, &mut course) {
            return Box::pin(ready((course.at, Err(error.into()))));
        }
        let request = Box::new(request);
        Box::pin(async move {
            let result = self.persist(request, false, &mut course).await;
            (course.at, result)
        })
    }

    /// Moves on to another endpoint after no connection was had; `false` when there is none to try.
    fn elsewhere(&self, error: &PoolError, course: &mut Course<'_>) -> bool {
        if course.tried.count_ones() >= MAX_ENDPOINTS_TRIED || course.pick != Pick::Any {
            return false;
        }
        let Some(next) = self.pick(Pick::Any, course.tried) else {
            return false;
        };
        // A full pool says nothing about the server.
        if !matches!(error, PoolError::Busy) {
            self.met(course.at, Met::NoConnection);
        }
        tracing::debug!(backend = %self.name, %error, "A request goes to another endpoint.");
        self.meters.retried_elsewhere.increment(1);
        course.at = next;
        course.tried |= 1 << next;
        true
    }

    /// Counts what an exchange came to, and what it says about the endpoint's health.
    fn note(&self, at: usize, started: Instant, result: Result<StatusCode, &ExchangeError>) {
        let outcome = match result {
            Ok(status) => match status.as_u16() {
                ..=399 => Outcome::Ok,
                400..=499 => Outcome::ClientError,
                _ => Outcome::ServerError,
            },
            Err(ExchangeError::Busy) => Outcome::Busy,
            Err(ExchangeError::Unreachable(_)) => Outcome::Unreachable,
            Err(ExchangeError::Timeout(_)) => Outcome::Timeout,
            Err(
                ExchangeError::Broken(_)
                | ExchangeError::NoUpgrade
                | ExchangeError::NoEndpoint
                | ExchangeError::Upload(_),
            ) => Outcome::Failed,
        };
        self.meters.answered(outcome, started.elapsed());
        match result {
            Ok(status) if !matches!(status.as_u16(), 502..=504) => self.met(at, Met::Answer),
            Ok(_) | Err(ExchangeError::Timeout(_) | ExchangeError::Broken(_)) => {
                self.met(at, Met::Failure);
            }
            Err(ExchangeError::Unreachable(_)) => self.met(at, Met::NoConnection),
            // Our own bounds and the client's faults say nothing about the backend.
            Err(
                ExchangeError::Busy
                | ExchangeError::NoUpgrade
                | ExchangeError::NoEndpoint
                | ExchangeError::Upload(_),
            ) => {}
        }
    }

    /// The request to be sent a second time, if it may be.
    fn again(
        &self,
        failure: Failure,
        spare: Option<Box<Request<RequestBody>>>,
        course: &mut Course<'_>,
    ) -> Result<Box<Request<RequestBody>>, ExchangeError> {
        let (error, request) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Unsent(error, request) => {
                (error, Some((request, &self.meters.retried_unsent)))
            }
            Failure::Cut(error) => (
                error,
                spare.map(|spare| (spare, &self.meters.retried_idempotent)),
            ),
        };
        match request.filter(|_| !course.resent) {
            None => Err(ExchangeError::Broken(error)),
            Some((mut request, counter)) => {
                counter.increment(1);
                course.resent = true;
                plain(&mut request);
                Ok(request)
            }
        }
    }

    /// Goes on with a request after the first try, at the endpoint of the course; `fresh` insists on a new connection.
    async fn persist(
        &self,
        mut request: Box<Request<RequestBody>>,
        mut fresh: bool,
        course: &mut Course<'_>,
    ) -> Result<Answer, ExchangeError> {
        loop {
            let endpoint = &self.endpoints[course.at];
            let mut lease = match endpoint.pool.checkout(fresh).await {
                Ok(lease) => lease,
                Err(error) if self.elsewhere(&error, course) => {
                    fresh = false;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let spare = if lease.is_reused() && !course.resent {
                spare(&request)
            } else {
                None
            };
            let sending = lease.send(*request, endpoint);
            match self.wait(endpoint.tag, lease, sending, course.upload).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => request = self.again(failure, spare, course)?,
            }
            fresh = true;
        }
    }

    /// Waits for the head of the answer.
    async fn wait(
        &self,
        endpoint: EndpointTag,
        lease: Lease,
        sending: impl Future<Output = Sent>,
        upload: Option<&Upload>,
    ) -> Result<Answer, Failure> {
        let limit = self.timeouts.response.0;
        let mut sending = std::pin::pin!(sending);
        let sent = loop {
            match timeout(limit, &mut sending).await {
                Ok(sent) => break sent,
                // The time runs from the end of the request; silence in it is bounded by the body itself.
                Err(_) if upload.is_some_and(|upload| upload.state() == UploadState::Going) => {}
                Err(_) => return Err(Failure::Final(ExchangeError::Timeout(limit))),
            }
        };
        match sent {
            Ok(response) => Ok(Answer {
                response,
                lease,
                endpoint,
            }),
            Err(mut error) => {
                if let Some(request) = error.take_message() {
                    return Err(Failure::Unsent(error.into_error(), Box::new(request)));
                }
                let state = upload.map_or(UploadState::Done, Upload::state);
                if !matches!(state, UploadState::Going | UploadState::Done) {
                    return Err(Failure::Final(ExchangeError::Upload(state)));
                }
                let error = error.into_error();
                if error.is_parse() {
                    Err(Failure::Final(ExchangeError::Broken(error)))
                } else {
                    Err(Failure::Cut(error))
                }
            }
        }
    }
}

enum Failure {
    /// The request was given back: no byte of it left.
    Unsent(hyper::Error, Box<Request<RequestBody>>),
    /// The connection ended before an answer.
    Cut(hyper::Error),
    /// Not to be tried again.
    Final(ExchangeError),
}

/// A copy of a request that may be sent twice.
fn spare(request: &Request<RequestBody>) -> Option<Box<Request<RequestBody>>> {
    use http_body::Body;

    let idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE | Method::PUT
    );
    if !idempotent || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(Box::new(copy))
}
