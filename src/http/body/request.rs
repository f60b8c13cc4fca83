//! Bodies of requests: collected whole with a bound, or streamed under guard.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::{BodyError, IdleTimer};
use crate::reject::{Code, Fault, Reject};

/// Bodies up to this length are sent whole when they are there at once.
const SMALL: u64 = 64 << 10;

/// A request's body: from a connection, or already whole. Trailers are not handed on in any form: a backend
/// that merges them into the headers would take them for ours.
#[derive(Debug, Default)]
pub enum RequestBody {
    /// Nothing.
    #[default]
    Empty,
    /// From a connection.
    Incoming(Incoming),
    /// Already whole.
    Full(Option<Bytes>),
    /// From a connection, bounded in size and in silence, on its way to a backend.
    Guarded(Box<Guarded>),
}

impl RequestBody {
    /// A body that is there at once.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Full(Some(bytes.into()))
    }

    /// Reads all of it: 413 beyond `limit` bytes, without reading further; 408 when it pauses for `idle`; 400 when
    /// it breaks off. A body that came in one piece is given as that piece, without a copy.
    pub async fn collect(self, limit: usize, idle: Duration) -> Result<Bytes, Reject> {
        let mut body = match self {
            Self::Empty => return Ok(Bytes::new()),
            Self::Full(bytes) => {
                let bytes = bytes.unwrap_or_default();
                return if bytes.len() > limit {
                    Err(too_large(limit))
                } else {
                    Ok(bytes)
                };
            }
            Self::Incoming(body) => body,
            Self::Guarded(guarded) if guarded.first.is_none() => guarded.body,
            // A part of it has gone its way.
            Self::Guarded(_) => return Err(UploadState::Broken.reject(0)),
        };
        let hint = body.size_hint();
        if hint.lower() > limit as u64 {
            return Err(too_large(limit));
        }
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        let mut timer = IdleTimer::new(idle);
        let Some(first) = next_data(&mut body, &mut timer).await? else {
            return Ok(Bytes::new());
        };
        if first.len() > limit {
            return Err(too_large(limit));
        }
        if body.is_end_stream() {
            return Ok(first);
        }
        let Some(second) = next_data(&mut body, &mut timer).await? else {
            return Ok(first);
        };
        let known = usize::try_from(hint.exact().unwrap_or(0)).unwrap_or(0);
        let mut all = BytesMut::with_capacity(known.max(first.len() + second.len()).min(limit));
        all.extend_from_slice(&first);
        let mut next = Some(second);
        while let Some(data) = next {
            if all.len() + data.len() > limit {
                return Err(too_large(limit));
            }
            all.extend_from_slice(&data);
            next = if body.is_end_stream() {
                None
            } else {
                next_data(&mut body, &mut timer).await?
            };
        }
        Ok(all.freeze())
    }
}

async fn next_data(body: &mut Incoming, timer: &mut IdleTimer) -> Result<Option<Bytes>, Reject> {
    let frame = poll_fn(|cx| match poll_data(body, cx) {
        Poll::Ready(frame) => Poll::Ready(Ok(frame)),
        Poll::Pending => timer.poll(cx).map(Err),
    })
    .await;
    timer.touch();
    match frame {
        Ok(None) => Ok(None),
        Ok(Some(Ok(data))) => Ok(Some(data)),
        Ok(Some(Err(error))) => Err(UploadState::Broken.reject(0).because(error.to_string())),
        Err(()) => Err(UploadState::Slow.reject(0)),
    }
}

/// The next piece of data; trailers count as the end. Empty pieces are passed over: an empty frame at the end of an
/// HTTP/2 request would not be the last when it is handed on, and backends end connections, which many share, that
/// carry many such frames.
fn poll_data(
    body: &mut Incoming,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, hyper::Error>>> {
    loop {
        let frame = std::task::ready!(Pin::new(&mut *body).poll_frame(cx));
        return Poll::Ready(match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => continue,
                data => data.ok().map(Ok),
            },
            Some(Err(error)) => Some(Err(error)),
            None => None,
        });
    }
}

fn too_large(limit: usize) -> Reject {
    UploadState::TooLarge.reject(limit as u64)
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let data = match self.get_mut() {
            Self::Empty => None,
            Self::Full(bytes) => bytes.take().map(Ok),
            Self::Incoming(body) => match poll_data(body, cx) {
                Poll::Ready(data) => data.map(|data| data.map_err(Into::into)),
                Poll::Pending => return Poll::Pending,
            },
            Self::Guarded(guarded) => match guarded.poll_data(cx) {
                Poll::Ready(data) => data,
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Incoming(body) => body.is_end_stream(),
            Self::Guarded(guarded) => guarded.first.is_none() && guarded.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Incoming(body) => body.size_hint(),
            Self::Guarded(guarded) => guarded.size_hint(),
        }
    }
}

/// A body on its way to a backend, bounded in size and in silence. What became of it can be read from its
/// [`Upload`] while the backend's connection holds the body.
pub struct Guarded {
    /// What has come already.
    first: Option<Bytes>,
    body: Incoming,
    left: u64,
    timer: IdleTimer,
    upload: Upload,
}

impl Guarded {
    /// At most `limit` bytes, and pauses of at most `idle`. 413 at once when more is announced.
    pub(crate) fn new(
        body: Incoming,
        limit: u64,
        idle: Duration,
    ) -> Result<(Self, Upload), Reject> {
        if body.size_hint().lower() > limit {
            return Err(UploadState::TooLarge.reject(limit));
        }
        let upload = Upload::default();
        let guarded = Self {
            first: None,
            body,
            left: limit,
            timer: IdleTimer::new(idle),
            upload: upload.clone(),
        };
        Ok((guarded, upload))
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, |first| first.len() as u64);
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + first);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(first));
        }
        hint
    }

    /// All of the body, if it is short and came together with the head, as most do: then it need not be streamed.
    /// What came of it otherwise is the first to be sent on. Asks the client for the body, if it waits for that.
    pub(crate) fn whole(&mut self) -> Option<Bytes> {
        if self
            .body
            .size_hint()
            .exact()
            .is_none_or(|length| length > SMALL)
        {
            return None;
        }
        let mut nobody = Context::from_waker(Waker::noop());
        let Poll::Ready(Some(Ok(data))) = self.poll_data(&mut nobody) else {
            // Pending, or failed, in which case `upload` says so and goes on saying so.
            return None;
        };
        if self.body.is_end_stream() {
            return Some(data);
        }
        self.first = Some(data);
        None
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if matches!(
            self.upload.state(),
            UploadState::TooLarge | UploadState::Slow | UploadState::Broken
        ) {
            return Poll::Ready(Some(Err(Self::failed())));
        }
        let broken = match poll_data(&mut self.body, cx) {
            Poll::Ready(Some(Ok(data))) => {
                if let Some(left) = self.left.checked_sub(data.len() as u64) {
                    self.left = left;
                    self.timer.touch();
                    if self.body.is_end_stream() {
                        self.upload.set(UploadState::Done);
                    }
                    return Poll::Ready(Some(Ok(data)));
                }
                UploadState::TooLarge
            }
            Poll::Ready(Some(Err(_))) => UploadState::Broken,
            Poll::Ready(None) => {
                self.upload.set(UploadState::Done);
                return Poll::Ready(None);
            }
            Poll::Pending => match self.timer.poll(cx) {
                Poll::Ready(()) => UploadState::Slow,
                Poll::Pending => return Poll::Pending,
            },
        };
        self.upload.set(broken);
        Poll::Ready(Some(Err(Self::failed())))
    }

    /// An error, not an end: the backend must not take a part for the whole.
    fn failed() -> BodyError {
        "the request's body was not read to its end".into()
    }
}

impl std::fmt::Debug for Guarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Guarded({:?})", self.upload.state())
    }
}

/// What became of a guarded body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upload(Arc<AtomicU8>);

impl Upload {
    /// The present state.
    pub(crate) fn state(&self) -> UploadState {
        match self.0.load(Ordering::Acquire) {
            0 => UploadState::Going,
            1 => UploadState::Done,
            2 => UploadState::TooLarge,
            3 => UploadState::Slow,
            _ => UploadState::Broken,
        }
    }

    fn set(&self, state: UploadState) {
        self.0.store(state as u8, Ordering::Release);
    }
}

/// How far a guarded body got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum UploadState {
    /// On its way.
    Going = 0,
    /// Read to its end.
    Done = 1,
    /// More bytes than allowed.
    TooLarge = 2,
    /// The client paused for too long.
    Slow = 3,
    /// The client broke off.
    Broken = 4,
}

impl UploadState {
    /// The answer for a body that failed.
    pub(crate) fn reject(self, limit: u64) -> Reject {
        match self {
            Self::TooLarge => Reject::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                Code::BodyTooLarge,
                Fault::Client,
                format!(
                    "The request's body is larger than the {limit} bytes that are allowed here."
                ),
            ),
            Self::Slow => Reject::new(
                StatusCode::REQUEST_TIMEOUT,
                Code::RequestTimeout,
                Fault::Client,
                "The request's body stopped coming. Send it again.",
            ),
            Self::Going | Self::Done | Self::Broken => {
                Reject::bad_request("The request's body broke off before its end.")
            }
        }
    }
}
