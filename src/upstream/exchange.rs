//! One request and the head of its answer, with what may be tried again.

use std::future::Future;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use super::Upstream;
use super::endpoint::{EndpointTag, Pick};
use super::lease::{Lease, Sent};
use super::meters::Outcome;
use super::pool::PoolError;
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

impl Upstream {
    /// Sends a request (path and query as URI, `Host` set) and waits for the head of the answer.
    ///
    /// It is sent a second time, on a fresh connection, only when it provably never left, or when it has an idempotent
    /// method and no body and broke off on a connection that had been used before (RFC 9110 section 9.2.2, RFC 9112
    /// section 9.3.1).
    pub(crate) async fn exchange(
        &self,
        request: Request<RequestBody>,
        upload: Option<&Upload>,
        pick: Pick,
    ) -> Result<Answer, ExchangeError> {
        if pick != Pick::Any && pick != Pick::Only(self.tag) {
            return Err(ExchangeError::NoEndpoint);
        }
        let started = Instant::now();
        // No further async function in between: each would hold the request once more in this future.
        let result = match self.pool.checkout(false).await {
            Ok(mut lease) => {
                let spare = if lease.is_reused() {
                    spare(&request)
                } else {
                    None
                };
                let sending = lease.send(request, &self.place.scheme, &self.place.authority);
                match self.wait(lease, sending, upload).await {
                    Ok(answer) => Ok(answer),
                    Err(Failure::Final(error)) => Err(error),
                    // Boxed: seldom taken, and it would make room for itself in every request's task.
                    Err(failure) => Box::pin(self.again(failure, spare, upload)).await,
                }
            }
            Err(error) => Err(error.into()),
        };
        self.note(
            started,
            result.as_ref().map(|answer| answer.response.status()),
        );
        result
    }

    /// Sends a request that asks for an upgrade, on an HTTP/1.1 connection of its own, which is held as long as the
    /// permit.
    pub(crate) async fn upgrade(
        &self,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, OwnedSemaphorePermit), ExchangeError> {
        let started = Instant::now();
        let result = self.attempt_upgrade(request).await;
        self.note(
            started,
            result.as_ref().map(|(response, _)| response.status()),
        );
        result
    }

    async fn attempt_upgrade(
        &self,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, OwnedSemaphorePermit), ExchangeError> {
        let connector = self.upgrades.as_ref().ok_or(ExchangeError::NoUpgrade)?;
        let (mut sender, permit) = self.pool.checkout_upgradable(connector).await?;
        let limit = self.timeouts.response.0;
        let response = timeout(limit, sender.send_request(request))
            .await
            .map_err(|_| ExchangeError::Timeout(limit))?
            .map_err(ExchangeError::Broken)?;
        Ok((response, permit))
    }

    /// Counts what an exchange came to, and what it says about the backend's health.
    fn note(&self, started: Instant, result: Result<StatusCode, &ExchangeError>) {
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
            Ok(status) if !matches!(status.as_u16(), 502..=504) => self.health.request_answered(),
            Ok(_)
            | Err(
                ExchangeError::Unreachable(_)
                | ExchangeError::Timeout(_)
                | ExchangeError::Broken(_),
            ) => {
                self.health.request_failed();
            }
            // Our own bounds and the client's faults say nothing about the backend.
            Err(
                ExchangeError::Busy
                | ExchangeError::NoUpgrade
                | ExchangeError::NoEndpoint
                | ExchangeError::Upload(_),
            ) => {}
        }
    }

    async fn again(
        &self,
        failure: Failure,
        spare: Option<Box<Request<RequestBody>>>,
        upload: Option<&Upload>,
    ) -> Result<Answer, ExchangeError> {
        let (error, request) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Unsent(error, request) => {
                self.meters.retried_unsent.increment(1);
                (error, Some(request))
            }
            Failure::Cut(error) => {
                if spare.is_some() {
                    self.meters.retried_idempotent.increment(1);
                }
                (error, spare)
            }
        };
        let Some(request) = request else {
            return Err(ExchangeError::Broken(error));
        };
        let mut lease = self.pool.checkout(true).await?;
        let sending = lease.send(*request, &self.place.scheme, &self.place.authority);
        match self.wait(lease, sending, upload).await {
            Ok(answer) => Ok(answer),
            Err(Failure::Final(error)) => Err(error),
            Err(Failure::Unsent(error, _) | Failure::Cut(error)) => {
                Err(ExchangeError::Broken(error))
            }
        }
    }

    /// Waits for the head of the answer.
    async fn wait(
        &self,
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
                endpoint: self.tag,
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
