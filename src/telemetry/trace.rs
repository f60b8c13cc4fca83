//! Traces: which spans one request has, how they are named on the wire, and when they are recorded.
//!
//! Spans are made when the answer has ended, from the same facts as the access record; nothing is held on the way but
//! the ids. They are exported over OTLP by the feature `otel`.

mod context;
#[cfg(feature = "otel")]
pub mod otlp;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

pub use self::context::Context;
use super::access::{Ending, Record};
use crate::clock::Ambient;
use crate::config::tracing::Tracing;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// Takes in what became of a request.
pub(crate) trait Sink: Send + Sync + std::fmt::Debug {
    /// The answer has ended.
    fn ended(&self, trace: &Trace, record: &Record, ending: &Ending);
    /// Sends what is waiting; blocks for a few seconds at most. The last that is called.
    fn flush(&self);
    /// Sends what is waiting, and goes on; blocks for a few seconds at most.
    fn settle(&self) {}
}

/// Begins traces. One for the process.
#[derive(Debug)]
pub struct Traces {
    sink: Option<Box<dyn Sink>>,
    /// Traces whose last eight bytes, halved, are below this are recorded (OpenTelemetry's `TraceIdRatioBased`).
    below: u64,
    follow: bool,
    baggage: bool,
    ambient: Ambient,
}

/// The spans of one request.
#[derive(Clone, Debug)]
pub struct Trace {
    traces: Arc<Traces>,
    /// The span of the HTTP request.
    pub(crate) server: Context,
    /// The span that the client named in its headers.
    pub(crate) parent: Option<[u8; 8]>,
    /// The span of the MCP call, if the request is one.
    pub(crate) call: Option<Call>,
    /// The span of the exchange with the backend.
    pub(crate) exchange: [u8; 8],
    state: Option<HeaderValue>,
}

/// The span of an MCP call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) context: Context,
    /// The span that the client named in the message (`_meta.traceparent`); else the HTTP request's is the parent.
    pub(crate) parent: Option<Context>,
}

impl Traces {
    /// No traces: what clients send in their headers goes on as it is.
    pub fn off(ambient: Ambient) -> Arc<Self> {
        Arc::new(Self {
            sink: None,
            below: 0,
            follow: true,
            baggage: false,
            ambient,
        })
    }

    /// Traces that end in `sink`.
    pub(crate) fn to(sink: Box<dyn Sink>, config: &Tracing, ambient: Ambient) -> Arc<Self> {
        Arc::new(Self {
            sink: Some(sink),
            below: config.sample_ratio.threshold(),
            follow: config.follow_clients,
            baggage: config.forward_baggage,
            ambient,
        })
    }

    /// Begins the trace of a request, or goes on with the client's. `None` when there are no traces.
    pub fn begin(self: &Arc<Self>, headers: &HeaderMap) -> Option<Trace> {
        self.sink.as_ref()?;
        let said = one(headers, &TRACEPARENT).and_then(Context::parse);
        let [trace, spans] = [self.ambient.name(), self.ambient.name()];
        let (server, exchange) = halves(spans);
        let server = match said {
            Some(said) => Context {
                span: server,
                sampled: if self.follow {
                    said.sampled
                } else {
                    self.samples(&said.trace)
                },
                ..said
            },
            None => Context {
                trace,
                span: server,
                sampled: self.samples(&trace),
            },
        };
        let state = said.and_then(|_| headers.get(TRACESTATE).cloned());
        Some(Trace {
            traces: Arc::clone(self),
            server,
            parent: said.map(|said| said.span),
            call: None,
            exchange,
            state,
        })
    }

    /// Sends what is waiting, before the process ends.
    pub fn flush(&self) {
        if let Some(sink) = &self.sink {
            sink.flush();
        }
    }

    /// Sends what is waiting, before the process may stand still. Blocks for a few seconds at most.
    pub fn settle(&self) {
        if let Some(sink) = &self.sink {
            sink.settle();
        }
    }

    fn samples(&self, trace: &[u8; 16]) -> bool {
        let (_, low) = halves(*trace);
        u64::from_be_bytes(low) >> 1 < self.below
    }
}

impl Trace {
    /// The request is an MCP call. `said`: the `traceparent` of its message (SEP-414); whoever wrote the message knows
    /// better what it belongs to than whoever sent the request.
    pub fn call(&mut self, said: Option<&str>) {
        let said = said.and_then(Context::parse);
        let (span, _) = halves(self.traces.ambient.name());
        let of = said.unwrap_or(self.server);
        self.call = Some(Call {
            context: Context {
                span,
                sampled: self.server.sampled || self.traces.follow && of.sampled,
                ..of
            },
            parent: said,
        });
    }

    /// Names the exchange's span to the backend. What a client calls baggage is anybody's claim and goes no further,
    /// unless it is configured to.
    pub fn inject(&self, headers: &mut HeaderMap) {
        let of = self.call.map_or(self.server, |call| call.context);
        let own = Context {
            span: self.exchange,
            ..of
        };
        if let Ok(value) = HeaderValue::from_bytes(&own.write()) {
            headers.insert(TRACEPARENT, value);
        }
        headers.remove(TRACESTATE);
        if let Some(state) = self
            .state
            .as_ref()
            .filter(|_| of.trace == self.server.trace)
        {
            headers.insert(TRACESTATE, state.clone());
        }
        if !self.traces.baggage {
            headers.remove(BAGGAGE);
        }
    }

    /// The answer has ended: its spans are made.
    pub(crate) fn end(&self, record: &Record, ending: &Ending) {
        if let Some(sink) = &self.traces.sink {
            sink.ended(self, record, ending);
        }
    }
}

/// The only value of a header; several contradict each other.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values
        .next()
        .is_none()
        .then(|| value.to_str().ok())
        .flatten()
}

fn halves(bytes: [u8; 16]) -> ([u8; 8], [u8; 8]) {
    let (mut first, mut second) = ([0; 8], [0; 8]);
    first.copy_from_slice(&bytes[..8]);
    second.copy_from_slice(&bytes[8..]);
    (first, second)
}

#[cfg(test)]
mod tests;
