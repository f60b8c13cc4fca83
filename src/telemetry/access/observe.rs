//! Watching an answer until it has ended, however it ends.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::{AccessLog, Ending, Record};
use crate::audit::Ended;
use crate::http::Body;
use crate::http::body::BodyError;
use crate::telemetry::requests::{RequestMetrics, Row};

/// What has to be told when an answer has ended.
pub struct Observer {
    record: Option<Box<Record>>,
    row: Row,
    started: Instant,
    bytes_in: u64,
    metrics: Arc<RequestMetrics>,
    log: Arc<AccessLog>,
}

impl Observer {
    /// For a request that was counted as under way; it is counted out when the observer has finished or is dropped.
    pub fn of(
        record: Record,
        row: Row,
        started: Instant,
        metrics: Arc<RequestMetrics>,
        log: Arc<AccessLog>,
    ) -> Self {
        Self {
            bytes_in: record.bytes_in,
            record: Some(Box::new(record)),
            row,
            started,
            metrics,
            log,
        }
    }

    fn finish(&mut self, bytes_out: u64, complete: bool) {
        if let Some(mut record) = self.record.take() {
            self.metrics.row(self.row).end(self.bytes_in, bytes_out);
            let ending = Ending {
                bytes_out,
                took: self.started.elapsed(),
                complete,
            };
            self.log.write(&record, ending);
            if let Some(trail) = record.trail.take() {
                trail.end(Ended {
                    status: record.status.as_u16(),
                    code: record
                        .rejected
                        .as_ref()
                        .map(|rejected| rejected.code.as_str()),
                    bytes: bytes_out,
                    took: ending.took,
                    complete,
                });
            }
            if let Some(trace) = &record.trace {
                trace.end(&record, &ending);
            }
        }
    }
}

/// Gives the body back such that the observer learns of its end. A body that is there at once is finished here.
pub fn observe(body: Body, mut observer: Observer) -> Body {
    match body {
        Body::Empty | Body::Full(_) => {
            observer.finish(body.size_hint().exact().unwrap_or(0), true);
            body
        }
        body @ Body::Streamed(_) => Body::streamed(Observed {
            body,
            bytes: 0,
            ended: false,
            observer,
        }),
    }
}

struct Observed {
    body: Body,
    bytes: u64,
    ended: bool,
    observer: Observer,
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                // hyper does not ask again once the body says that it is at its end.
                this.ended |= this.body.is_end_stream();
            }
            Poll::Ready(None) => this.ended = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.observer
            .finish(self.bytes, self.ended || self.body.is_end_stream());
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.finish(0, false);
    }
}
