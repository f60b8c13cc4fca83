//! Handles of the per-request metrics, prepared so that a request costs atomic operations only.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Method, StatusCode};
use metrics::{Counter, Gauge, Histogram};

use super::metrics::{Metrics, Name};

/// Label values of `method`; the last one stands for all others.
const METHODS: [&str; 7] = ["GET", "POST", "DELETE", "OPTIONS", "HEAD", "PUT", "_other"];

/// Status codes of RFC 9110 and RFC 6585 that occur as label values; every other code counts as `_other`.
const STATUSES: [u16; 48] = [
    101, 200, 201, 202, 203, 204, 205, 206, 300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403,
    404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 425, 426,
    428, 429, 431, 451, 500, 501, 502, 503, 504, 505,
];

/// Handles for every route, and for the proxy's own endpoints.
pub struct RequestMetrics {
    metrics: Arc<Metrics>,
    routes: Box<[RouteMetrics]>,
}

/// Handles of one route.
pub struct RouteMetrics {
    name: Box<str>,
    in_flight: Gauge,
    overhead: Histogram,
    request_bytes: Counter,
    response_bytes: Counter,
    answers: Box<[OnceLock<Answer>]>,
}

struct Answer {
    count: Counter,
    duration: Histogram,
}

/// Which row of the table a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// A route, by its index in the configuration.
    Route(usize),
    /// An endpoint of our own.
    Own,
    /// Nothing that exists.
    Unmatched,
}

impl RequestMetrics {
    /// For these routes, in the order of the configuration.
    pub fn new<'a>(metrics: &Arc<Metrics>, routes: impl IntoIterator<Item = &'a str>) -> Self {
        let names = ["_own", "_unmatched"].into_iter().chain(routes);
        let routes = names
            .map(|name| {
                let label = [("route", name)];
                RouteMetrics {
                    name: name.into(),
                    in_flight: metrics.gauge(Name::RequestsInFlight, &label),
                    overhead: metrics.histogram(Name::RequestOverhead, &label),
                    request_bytes: metrics.counter(Name::RequestBytes, &label),
                    response_bytes: metrics.counter(Name::ResponseBytes, &label),
                    answers: (0..METHODS.len() * (STATUSES.len() + 1))
                        .map(|_| OnceLock::new())
                        .collect(),
                }
            })
            .collect();
        Self {
            metrics: Arc::clone(metrics),
            routes,
        }
    }

    /// The handles of a row.
    pub fn row(&self, row: Row) -> &RouteMetrics {
        let at = match row {
            Row::Own => 0,
            Row::Unmatched => 1,
            Row::Route(index) => index + 2,
        };
        // A route that is not in the table cannot be matched; counting it as unmatched beats ending.
        self.routes.get(at).unwrap_or(&self.routes[1])
    }

    /// Counts an answer when its head is there: how long it took, and which part of that was ours.
    pub fn answered(
        &self,
        row: Row,
        method: &Method,
        status: StatusCode,
        took: Duration,
        backend: Duration,
    ) {
        let route = self.row(row);
        let method_at = method_index(method);
        let status_at = status_index(status);
        if let Some(slot) = route
            .answers
            .get(method_at * (STATUSES.len() + 1) + status_at)
        {
            let answer = slot.get_or_init(|| {
                let method = METHODS[method_at];
                let code = STATUSES
                    .get(status_at)
                    .map_or_else(|| "_other".to_owned(), u16::to_string);
                let labels = [
                    ("status", &*code),
                    ("method", method),
                    ("route", &*route.name),
                ];
                let timed = [
                    ("method", method),
                    ("route", &*route.name),
                    ("status_code", &*code),
                ];
                Answer {
                    count: self.metrics.counter(Name::Requests, &labels),
                    duration: self.metrics.histogram(Name::RequestDuration, &timed),
                }
            });
            answer.count.increment(1);
            answer.duration.record(took.as_secs_f64());
        }
        route
            .overhead
            .record(took.saturating_sub(backend).as_secs_f64());
    }
}

impl RouteMetrics {
    /// A request begins.
    pub fn begin(&self) {
        self.in_flight.increment(1.0);
    }

    /// Its answer has ended.
    pub fn end(&self, bytes_in: u64, bytes_out: u64) {
        self.in_flight.decrement(1.0);
        self.request_bytes.increment(bytes_in);
        self.response_bytes.increment(bytes_out);
    }

    /// The label.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn method_index(method: &Method) -> usize {
    METHODS
        .iter()
        .position(|known| *known == method.as_str())
        .unwrap_or(METHODS.len() - 1)
}

fn status_index(status: StatusCode) -> usize {
    STATUSES
        .binary_search(&status.as_u16())
        .unwrap_or(STATUSES.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_sorted_for_the_search() {
        assert!(STATUSES.is_sorted());
    }

    #[test]
    fn labels_are_bounded_whatever_comes() {
        let metrics = Metrics::new();
        let table = RequestMetrics::new(&metrics, ["/mcp"]);
        for code in 100..1000 {
            let Ok(status) = StatusCode::from_u16(code) else {
                continue;
            };
            for method in ["GET", "BREW", "X-ODD", "POST"] {
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                table.answered(
                    Row::Route(0),
                    &method,
                    status,
                    Duration::ZERO,
                    Duration::ZERO,
                );
            }
        }
        let series = metrics
            .render()
            .lines()
            .filter(|line| line.starts_with("mcp_proxy_requests_total{"))
            .count();
        assert_eq!(series, 3 * (STATUSES.len() + 1));
    }
}
