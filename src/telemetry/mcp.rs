//! What becomes of MCP calls, as metrics: handles for each backend, made when they are first needed and then kept.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Counter, Histogram};

use super::metrics::{Metrics, Name};

/// Values of `mcp_method_name`: the requests of clients that OpenTelemetry's conventions for MCP name, and those of
/// later revisions. The last one stands for all others.
const METHODS: [&str; 21] = [
    "tools/call",
    "tools/list",
    "prompts/get",
    "prompts/list",
    "resources/read",
    "resources/list",
    "resources/templates/list",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "initialize",
    "server/discover",
    "subscriptions/listen",
    "ping",
    "logging/setLevel",
    "tasks/get",
    "tasks/result",
    "tasks/list",
    "tasks/cancel",
    "tasks/update",
    "_other",
];

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A result.
    Ok,
    /// A tool's result that says of itself that it is an error (`isError`).
    ToolError,
    /// A JSON-RPC error with this code.
    ProtocolError(i64),
    /// The backend asks for more first (`resultType: "input_required"`): the call is not completed.
    InputRequired,
    /// The backend goes on with it in a task: the call is not completed.
    Task,
    /// The policy denied it; the backend never saw it.
    Denied,
    /// No answer in time.
    Timeout,
    /// The backend failed: no connection, an exchange that broke off, no answer in its answer.
    UpstreamError,
    /// The client went away, or its leave ended, before there was an answer.
    Cancelled,
    /// The answer may come in another stream (HTTP+SSE, a stream that is to be resumed), or could not be read.
    Unknown,
}

/// Values of `status`, in the order of [`Kind`].
const STATUSES: [&str; 10] = [
    "ok",
    "tool_error",
    "protocol_error",
    "input_required",
    "task",
    "denied",
    "timeout",
    "upstream_error",
    "cancelled",
    "unknown",
];

impl Kind {
    fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::ToolError => 1,
            Self::ProtocolError(_) => 2,
            Self::InputRequired => 3,
            Self::Task => 4,
            Self::Denied => 5,
            Self::Timeout => 6,
            Self::UpstreamError => 7,
            Self::Cancelled => 8,
            Self::Unknown => 9,
        }
    }

    /// The label, and what the access record says.
    pub fn as_str(self) -> &'static str {
        STATUSES[self.index()]
    }

    /// Whether the request did not get what it asked for.
    pub fn is_error(self) -> bool {
        !matches!(
            self,
            Self::Ok | Self::InputRequired | Self::Task | Self::Unknown
        )
    }

    /// The label `error_type`; empty, as if it were not there, when there is no error.
    fn error_type(self) -> &'static str {
        if self.is_error() { self.as_str() } else { "" }
    }
}

/// Classes of JSON-RPC error codes (JSON-RPC 2.0 section 5.1).
const CLASSES: [&str; 7] = [
    "parse",
    "invalid_request",
    "method_not_found",
    "invalid_params",
    "internal",
    "server",
    "other",
];

fn class(code: i64) -> usize {
    match code {
        -32700 => 0,
        -32600 => 1,
        -32601 => 2,
        -32602 => 3,
        -32603 => 4,
        -32099..=-32000 => 5,
        _ => 6,
    }
}

/// Which way a message goes in the counter of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Events of the backend's streams.
    ToClient,
    /// Messages that clients post.
    ToBackend,
}

/// A method, as far as metrics tell methods apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method(usize);

impl Method {
    /// By its name.
    pub fn of(name: &str) -> Self {
        let at = METHODS.iter().position(|known| *known == name);
        Self(at.unwrap_or(METHODS.len() - 1))
    }
}

/// Handles of one backend.
pub struct Meters {
    metrics: Arc<Metrics>,
    backend: Box<str>,
    durations: Box<[OnceLock<Histogram>]>,
    errors: [OnceLock<Counter>; CLASSES.len()],
    events: [Counter; 2],
    overflow: Counter,
}

/// Handles of one tool, or of all that are not told apart.
#[derive(Default)]
pub struct Tool {
    name: Box<str>,
    calls: [OnceLock<Counter>; STATUSES.len()],
}

impl Meters {
    /// For a backend.
    pub fn new(metrics: &Arc<Metrics>, backend: &str) -> Self {
        let events = |direction| {
            let labels = [("backend", backend), ("direction", direction)];
            let counter = metrics.counter(Name::StreamEvents, &labels);
            counter.absolute(0);
            counter
        };
        let overflow =
            metrics.counter(Name::LabelOverflow, &[("metric", Name::ToolCalls.as_str())]);
        Self {
            backend: backend.into(),
            durations: (0..METHODS.len() * STATUSES.len())
                .map(|_| OnceLock::new())
                .collect(),
            errors: [const { OnceLock::new() }; CLASSES.len()],
            events: [events("to_client"), events("to_backend")],
            overflow,
            metrics: Arc::clone(metrics),
        }
    }

    /// Counts a call of a tool.
    pub fn called(&self, tool: &Tool, kind: Kind) {
        let counter = tool.calls[kind.index()].get_or_init(|| {
            let labels = [
                ("tool_name", &*tool.name),
                ("status", kind.as_str()),
                ("backend", &*self.backend),
            ];
            self.metrics.counter(Name::ToolCalls, &labels)
        });
        counter.increment(1);
    }

    /// Counts a request that was forwarded, and what became of it.
    pub fn ended(&self, method: Method, kind: Kind, took: Duration) {
        if let Some(slot) = self.durations.get(method.0 * STATUSES.len() + kind.index()) {
            let histogram = slot.get_or_init(|| {
                let labels = [
                    ("mcp_method_name", METHODS[method.0]),
                    ("backend", &*self.backend),
                    ("error_type", kind.error_type()),
                ];
                self.metrics.histogram(Name::OperationDuration, &labels)
            });
            histogram.record(took.as_secs_f64());
        }
        if let Kind::ProtocolError(code) = kind {
            let class = class(code);
            let counter = self.errors[class].get_or_init(|| {
                let labels = [("backend", &*self.backend), ("code_class", CLASSES[class])];
                self.metrics.counter(Name::RpcErrors, &labels)
            });
            counter.increment(1);
        }
    }

    /// Counts messages.
    pub fn messages(&self, direction: Direction, count: u64) {
        self.events[direction as usize].increment(count);
    }

    /// Counts a tool that got no label value of its own because there were too many.
    pub fn overflowed(&self) {
        self.overflow.increment(1);
    }
}

impl Tool {
    /// For a name that is known, or `_other`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            calls: Default::default(),
        }
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Meters({})", self.backend)
    }
}

impl std::fmt::Debug for Tool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tool({})", self.name)
    }
}

/// What an access record asks when the answer has ended.
pub trait Verdict: Send + Sync + std::fmt::Debug {
    /// The worst of what became of the requests so far; `Cancelled` for those without an answer.
    fn worst(&self) -> Kind;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_classes() {
        for (code, expected) in [
            (-32700, "parse"),
            (-32600, "invalid_request"),
            (-32601, "method_not_found"),
            (-32602, "invalid_params"),
            (-32603, "internal"),
            (-32000, "server"),
            (-32042, "server"),
            (403, "other"),
            (0, "other"),
            (i64::MIN, "other"),
        ] {
            assert_eq!(CLASSES[class(code)], expected, "{code}");
        }
    }

    #[test]
    fn unknown_methods_share_a_value() {
        assert_eq!(Method::of("tools/call"), Method(0));
        assert_eq!(Method::of("evil/\u{0}"), Method(METHODS.len() - 1));
        assert_eq!(Method::of("_other"), Method(METHODS.len() - 1));
    }

    #[test]
    fn an_overflowed_tool_is_counted_with_the_others() {
        let metrics = Metrics::new();
        let meters = Meters::new(&metrics, "b");
        let tool = Tool::new("_other");
        meters.called(&tool, Kind::ProtocolError(1));
        meters.called(&tool, Kind::ProtocolError(2));
        meters.ended(
            Method::of("tools/call"),
            Kind::ProtocolError(-32602),
            Duration::ZERO,
        );
        let text = metrics.render();
        for line in [
            "mcp_tool_calls_total{tool_name=\"_other\",status=\"protocol_error\",backend=\"b\"} 2",
            "mcp_proxy_jsonrpc_errors_total{backend=\"b\",code_class=\"invalid_params\"} 1",
            "mcp_server_operation_duration_seconds_count{mcp_method_name=\"tools/call\",backend=\"b\",error_type=\"protocol_error\"} 1",
            "mcp_proxy_stream_events_total{backend=\"b\",direction=\"to_client\"} 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
