//! One invocation after the other.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::{Method, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::answer::{self, Mode};
use super::api::{Api, ApiError, Id, Invocation};
use super::event::{self, Asked, Bounds, Unusable};
use super::pause::{Moment, Watchman};
use super::stream::Answer;
use crate::app::Running;
use crate::clock::{Ambient, Timestamp};
use crate::http::{Request, Response};
use crate::listen::Handler;
use crate::peer::Conn;

/// For how long what a request left behind may keep the function from standing still.
const SETTLE: Duration = Duration::from_secs(5);

/// What serves invocations.
pub(super) struct Server {
    pub(super) running: Running,
    pub(super) api: Api,
    pub(super) mode: Mode,
    pub(super) bounds: Bounds,
    pub(super) ambient: Ambient,
}

impl Server {
    /// Serves until the runtime API has no more to give.
    pub(super) async fn run(mut self) -> ApiError {
        let mut watchman = Watchman::default();
        loop {
            let invocation = match self.api.next().await {
                Ok(invocation) => invocation,
                Err(error) => return error,
            };
            let began = self.moment(invocation.deadline);
            self.running.awake(watchman.began(&began)).await;
            if let Err(error) = self.serve(invocation).await {
                // The client has what the platform makes of it; the next may fare better.
                tracing::error!(%error, "an answer could not be given");
            }
            self.running.settle(SETTLE).await;
            watchman.ended(began, self.moment(None));
        }
    }

    fn moment(&self, deadline: Option<Timestamp>) -> Moment {
        Moment {
            wall: self.ambient.now(),
            steady: Instant::now(),
            deadline,
        }
    }

    async fn serve(&mut self, invocation: Invocation) -> Result<(), ApiError> {
        let Invocation {
            id,
            deadline,
            event,
        } = invocation;
        let deadline = deadline.and_then(|at| self.until(at));
        let Asked { kind, request } = match event::read(&event, self.bounds) {
            Ok(asked) => asked,
            Err(error) => {
                tracing::error!(%error, "an event was not answered");
                return self
                    .api
                    .failed(&id, "Event.NotHttp", &error.to_string())
                    .await;
            }
        };
        drop(event);
        let (method, response) = match request {
            Ok((conn, request)) => {
                let method = request.method().clone();
                (method, self.handle(&id, conn, request, deadline).await)
            }
            Err(unusable) => (Method::GET, refused(&unusable)),
        };
        if !self.mode.streams(kind) {
            let json = answer::whole(kind, &method, response, deadline).await;
            return self.api.answer(&id, json).await;
        }
        let (head, body) = response.into_parts();
        let may_end = answer::is_event_stream(&head.headers);
        let (answer, gone) = Answer::new(answer::prelude(kind, &head), body, may_end, deadline);
        let told = self.api.stream(&id, answer).await;
        // Told by being dropped, at the latest with the connection.
        let _ = gone.await;
        told
    }

    async fn handle(
        &self,
        id: &Id,
        conn: Arc<Conn>,
        request: Request,
        deadline: Option<Instant>,
    ) -> Response {
        tracing::debug!(invocation = %id, "an event is a request");
        let handling = AssertUnwindSafe(self.running.handler().handle(conn, request));
        let handling = Box::pin(handling.catch_unwind());
        let outcome = match deadline {
            Some(at) => timeout_at(at, handling).await,
            None => Ok(handling.await),
        };
        match outcome {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => answer::own(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal_error",
                "The proxy met an error of its own. The log says more.",
            ),
            Err(_) => answer::late(),
        }
    }

    /// When an answer has to have ended: a little before the invocation is cut off, for that would end the instance
    /// of the function too. `None` when the clocks disagree so much that nothing can be said.
    fn until(&self, deadline: Timestamp) -> Option<Instant> {
        let left = deadline.since(self.ambient.now());
        if left.is_zero() {
            tracing::warn!(
                "the deadline of an invocation is over before it begins; is the clock right?"
            );
            return None;
        }
        Instant::now().checked_add(left.saturating_sub(answer::margin(left)))
    }
}

fn refused(unusable: &Unusable) -> Response {
    let message = unusable.to_string();
    match unusable {
        Unusable::Stage => answer::own(StatusCode::MISDIRECTED_REQUEST, "misdirected", &message),
        Unusable::Part(_) => answer::own(StatusCode::BAD_REQUEST, "bad_request", &message),
        Unusable::Headers => answer::own(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers_too_large",
            &message,
        ),
    }
}
