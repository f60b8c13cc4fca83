//! An answer on its way out piece by piece.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body as HttpBody, Frame};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::http::Body;
use crate::http::body::BodyError;

/// Says in a trailer that the answer broke off.
pub(super) const ERROR_TYPE: HeaderName =
    HeaderName::from_static("lambda-runtime-function-error-type");
/// Says why, in base64.
pub(super) const ERROR_BODY: HeaderName =
    HeaderName::from_static("lambda-runtime-function-error-body");

/// The body of a request to the runtime API.
pub(super) enum Outgoing {
    /// All of it.
    Whole(Option<Bytes>),
    /// An answer.
    Answer(Box<Answer>),
}

/// The answer: what stands in front of it, its pieces, and in the trailers whether it broke off.
pub(super) struct Answer {
    prelude: Option<Bytes>,
    body: Option<Body>,
    /// Event streams may end at any moment: whoever listens asks again.
    may_end: bool,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Dropped with the body: then all is noted that is to be noted of the request.
    _gone: oneshot::Sender<()>,
}

impl Answer {
    /// With a receiver that is told when the answer's body is gone.
    pub(super) fn new(
        prelude: Bytes,
        body: Body,
        may_end: bool,
        deadline: Option<Instant>,
    ) -> (Self, oneshot::Receiver<()>) {
        let (gone, told) = oneshot::channel();
        let answer = Self {
            prelude: Some(prelude),
            body: Some(body),
            may_end,
            deadline: deadline.map(|at| Box::pin(sleep_until(at))),
            _gone: gone,
        };
        (answer, told)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        if let Some(prelude) = self.prelude.take() {
            return Poll::Ready(Some(Frame::data(prelude)));
        }
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        // First, so that a body which always has something comes to its end as well.
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            self.body = None;
            return Poll::Ready((!self.may_end).then(|| {
                tracing::warn!("an answer was cut off, for the invocation is nearly over");
                broken("the invocation is nearly over")
            }));
        }
        loop {
            match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => return Poll::Ready(Some(Frame::data(data))),
                    // Trailers are handed on in neither direction.
                    Err(_) => {}
                },
                Some(Err(error)) => {
                    tracing::debug!(%error, "An answer broke off.");
                    self.body = None;
                    return Poll::Ready(Some(broken("the server's answer broke off")));
                }
                None => {
                    self.body = None;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

fn broken(why: &str) -> Frame<Bytes> {
    let error = serde_json::json!({ "errorType": "Proxy.BrokenOff", "errorMessage": why });
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(ERROR_TYPE, HeaderValue::from_static("Proxy.BrokenOff"));
    if let Ok(body) = HeaderValue::try_from(STANDARD.encode(error.to_string())) {
        trailers.insert(ERROR_BODY, body);
    }
    Frame::trailers(trailers)
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Answer(answer) => answer.poll(cx).map(|frame| frame.map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Whole(bytes) => {
                http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Self::Answer(_) => http_body::SizeHint::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    /// Pieces, then an error if there is one, else silence.
    fn body(pieces: &[&'static str], error: bool) -> Body {
        let mut all: Vec<Result<Frame<Bytes>, BodyError>> = pieces
            .iter()
            .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))))
            .collect();
        if error {
            all.push(Err("lost".into()));
        }
        let after = stream::pending();
        Body::streamed(StreamBody::new(futures_util::StreamExt::chain(
            stream::iter(all),
            after,
        )))
    }

    async fn ended(may_end: bool, body: Body) -> (String, Option<HeaderMap>) {
        let deadline = Some(Instant::now() + Duration::from_secs(10));
        let (answer, gone) = Answer::new(Bytes::from_static(b"P"), body, may_end, deadline);
        let all = Outgoing::Answer(Box::new(answer)).collect().await.unwrap();
        assert!(gone.await.is_err());
        let trailers = all.trailers().cloned();
        (
            String::from_utf8(all.to_bytes().to_vec()).unwrap(),
            trailers,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_stream_ends_and_anything_else_breaks_off_at_the_deadline() {
        let (text, trailers) = ended(true, body(&["data: 1\n\n"], false)).await;
        assert_eq!(text, "Pdata: 1\n\n");
        assert!(trailers.is_none());
        let (text, trailers) = ended(false, body(&["half"], false)).await;
        assert_eq!(text, "Phalf");
        assert_eq!(trailers.unwrap()[ERROR_TYPE], "Proxy.BrokenOff");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_breaks_off_is_never_taken_for_a_whole_one() {
        for may_end in [true, false] {
            let (text, trailers) = ended(may_end, body(&["half"], true)).await;
            assert_eq!(text, "Phalf");
            let why = STANDARD.decode(&trailers.unwrap()[ERROR_BODY]).unwrap();
            let why: serde_json::Value = serde_json::from_slice(&why).unwrap();
            assert_eq!(why["errorMessage"], "the server's answer broke off");
        }
    }
}
