//! Event streams: relayed as they come, kept alive while quiet, and ended only between two events.

pub(super) mod boundary;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http_body::{Body as HttpBody, Frame};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use self::boundary::Boundary;
use super::Ends;
use super::answer::{Events, Pushed};
use super::legacy::{Rewriter, Rewritten};
use super::response::Held;
use crate::http::body::BodyError;
use crate::mcp;
use crate::upstream::{CloseReason, Kind, Meters};

/// A comment, which clients ignore (HTML Standard, section 9.2.7 recommends one every 15 seconds or so).
const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// How often a stream that is never quiet looks at the caller's leave.
const LOOK: Duration = Duration::from_millis(100);

/// What bounds the life of an event stream.
pub(super) struct Life {
    /// Quiet time after which a comment is sent.
    pub(super) keep_alive: Option<Duration>,
    /// Longest silence of the backend.
    pub(super) idle: Duration,
    /// When the caller's leave ends.
    pub(super) ends: Option<Ends>,
    /// Ready when what the caller's leave rests on is over.
    pub(super) over: Option<BoxFuture<'static, CloseReason>>,
    /// The bytes are encoded (compressed): nothing can be seen in them or put between them.
    pub(super) opaque: bool,
    /// Looks at the events.
    pub(super) watch: Option<Events>,
    /// Fires when the process is ending.
    pub(super) drain: CancellationToken,
    /// For metrics.
    pub(super) kind: Kind,
    /// For metrics.
    pub(super) meters: Arc<Meters>,
}

/// An event stream on its way from a backend `B` to a client.
pub(super) struct EventStream<B = Incoming, H = Held> {
    body: B,
    held: Option<H>,
    endpoint: Option<Rewriter>,
    /// Of what was sent, not of what was received: a rewriter may hold bytes back.
    sent: Boundary,
    began: Instant,
    last_received: Instant,
    last_sent: Instant,
    keep_alive: Option<Duration>,
    idle: Duration,
    ends: Option<Ends>,
    over: Option<BoxFuture<'static, CloseReason>>,
    asked_over: Instant,
    opaque: bool,
    watch: Option<Events>,
    sleep: Pin<Box<Sleep>>,
    drain: CancellationToken,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Why the stream is to end as soon as the present event is complete.
    ending: Option<CloseReason>,
    /// Why it ended.
    ended: Option<CloseReason>,
    kind: Kind,
    meters: Arc<Meters>,
}

/// What an exchange holds until its answer was read to the end.
pub(super) trait Finish {
    /// The answer was read to its end.
    fn finish(self);
}

impl Finish for Held {
    fn finish(self) {
        Held::finish(self);
    }
}

impl<B, H> EventStream<B, H>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
    H: Finish + Unpin,
{
    pub(super) fn new(body: B, held: H, endpoint: Option<Rewriter>, life: Life) -> Self {
        let now = Instant::now();
        let keep_alive = life.keep_alive.filter(|_| !life.opaque);
        Self {
            body,
            held: Some(held),
            endpoint,
            sent: Boundary::default(),
            began: now,
            last_received: now,
            last_sent: now,
            keep_alive,
            idle: life.idle,
            ends: life.ends,
            over: life.over,
            asked_over: now,
            opaque: life.opaque,
            watch: life.watch,
            sleep: Box::pin(sleep_until(now + keep_alive.unwrap_or(life.idle))),
            drained: Box::pin(life.drain.clone().cancelled_owned()),
            drain: life.drain,
            ending: None,
            ended: None,
            kind: life.kind,
            meters: life.meters,
        }
    }

    fn end(&mut self, reason: CloseReason) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.ended = Some(reason);
        if let Some(watch) = &self.watch {
            match reason {
                CloseReason::Backend => watch.end(),
                CloseReason::Idle => watch.fail(mcp::Kind::Timeout),
                CloseReason::Error => watch.fail(mcp::Kind::UpstreamError),
                CloseReason::Client
                | CloseReason::MaxAge
                | CloseReason::TokenExpired
                | CloseReason::Revoked
                | CloseReason::Drain => watch.fail(mcp::Kind::Cancelled),
            }
        }
        if let Some(held) = self.held.take()
            && reason == CloseReason::Backend
        {
            held.finish();
        }
        Poll::Ready(None)
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let _ = self.end(CloseReason::Error);
        Poll::Ready(Some(Err(error)))
    }

    /// What was still held back when the backend's stream ended.
    fn watched_rest(&mut self, rest: Bytes) -> Bytes {
        let Some(watch) = &mut self.watch else {
            return rest;
        };
        let mut out = match watch.push(rest) {
            Pushed::Given(bytes) => BytesMut::from(bytes),
            Pushed::Held | Pushed::Refused => BytesMut::new(),
        };
        out.extend_from_slice(&watch.rest());
        out.freeze()
    }

    /// Hands a piece to the client, up to the end of the present event when the stream is to end there.
    fn give(&mut self, mut piece: Bytes) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.opaque {
            if self.ending.is_some()
                && let Some(end) = self.sent.first_end(&piece)
            {
                piece.truncate(end);
            }
            self.sent.advance(&piece);
        }
        self.last_sent = Instant::now();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    /// What the clock and the process want; `Pending` when nothing is due.
    fn poll_clock(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(reason) = self.poll_over(cx) {
            return self.end(reason);
        }
        if self.ending.is_none() && self.drained.as_mut().poll(cx).is_ready() {
            self.ending = Some(CloseReason::Drain);
        }
        loop {
            let now = Instant::now();
            self.look_at_age(now);
            if let Some(reason) = self.ending
                && self.sent.is_between()
            {
                return self.end(reason);
            }
            if now >= self.last_received + self.idle {
                return self.end(CloseReason::Idle);
            }
            let mut due = self.last_received + self.idle;
            if let Some(keep_alive) = self.keep_alive
                && self.sent.is_between()
            {
                if now >= self.last_sent + keep_alive {
                    return self.give(KEEP_ALIVE);
                }
                due = due.min(self.last_sent + keep_alive);
            }
            if self.ending.is_none()
                && let Some(ends) = self.ends
            {
                due = due.min(ends.at);
            }
            // A timer that stands earlier is left alone: it is cheaper to be woken once for nothing than to move it
            // with every event.
            if self.sleep.is_elapsed() || self.sleep.deadline() > due {
                self.sleep.as_mut().reset(due);
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Why the caller's leave is over. That does not wait for the end of an event: whoever has lost it gets nothing
    /// more, and clients discard an event that was not finished.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Option<CloseReason> {
        match self.over.as_mut()?.as_mut().poll(cx) {
            Poll::Ready(reason) => Some(reason),
            Poll::Pending => None,
        }
    }

    fn look_at_age(&mut self, now: Instant) {
        if self.ending.is_none()
            && let Some(ends) = self.ends
            && now >= ends.at
        {
            self.ending = Some(ends.reason);
        }
    }
}

impl<B, H> HttpBody for EventStream<B, H>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
    H: Finish + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.ended.is_some() {
            return Poll::Ready(None);
        }
        loop {
            if let Some(reason) = this.ending
                && this.sent.is_between()
            {
                return this.end(reason);
            }
            let frame = match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => return this.poll_clock(cx),
            };
            let data = match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => data,
                // Trailers are handed on in neither direction.
                Some(Ok(Err(_trailers))) => continue,
                Some(Err(error)) => return this.fail(error.into()),
                None => {
                    let rest = this.endpoint.take().map(Rewriter::into_rest);
                    let rest = this.watched_rest(rest.unwrap_or_default());
                    if rest.is_empty() {
                        return this.end(CloseReason::Backend);
                    }
                    return this.give(rest);
                }
            };
            let now = Instant::now();
            this.last_received = now;
            // A stream that always has something to say comes to look at nothing else.
            if now.duration_since(this.asked_over) >= LOOK {
                this.asked_over = now;
                if let Some(reason) = this.poll_over(cx) {
                    return this.end(reason);
                }
            }
            this.look_at_age(now);
            if this.ending.is_none() && this.drain.is_cancelled() {
                this.ending = Some(CloseReason::Drain);
            }
            if data.is_empty() {
                // HTTP/2 backends may end with an empty frame. Handed on it would not be the last, and clients end
                // connections that carry many such frames.
                continue;
            }
            let data = match this.endpoint.as_mut().map(|rewriter| rewriter.push(&data)) {
                None => data,
                Some(Rewritten::Held) => continue,
                Some(Rewritten::Released(bytes)) => bytes,
                Some(Rewritten::Done(bytes)) => {
                    this.endpoint = None;
                    bytes
                }
                Some(Rewritten::Refused(why)) => {
                    tracing::warn!(
                        reason = why,
                        "A backend's `endpoint` event cannot be handed on."
                    );
                    return this.fail("the backend's endpoint event cannot be handed on".into());
                }
            };
            let Some(watch) = &mut this.watch else {
                return this.give(data);
            };
            match watch.push(data) {
                Pushed::Given(bytes) => return this.give(bytes),
                Pushed::Held => {}
                Pushed::Refused => {
                    tracing::warn!("A list that cannot be filtered was cut off.");
                    return this.fail("a list cannot be filtered".into());
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended.is_some()
    }
}

impl<B, H> Drop for EventStream<B, H> {
    fn drop(&mut self) {
        // Dropped before its end: the client went away, and dropping the body tells the backend.
        let reason = self.ended.unwrap_or(CloseReason::Client);
        self.meters
            .stream_ended(self.kind, reason, self.began.elapsed());
    }
}

#[cfg(test)]
mod tests;
