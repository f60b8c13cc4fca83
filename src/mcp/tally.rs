//! Keeps track of the requests of one message until each has its answer, or will have none.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::Message;
use super::learned::Learned;
use crate::telemetry::mcp::{Direction, Kind, Method, Tool, Verdict};

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The place of the request in its message.
    pub call: usize,
    /// What became of it.
    pub kind: Kind,
    /// From when it was handed on until then.
    pub took: Duration,
}

/// Is told of each request once, when its answer has passed or none will come. It must not block.
pub type Observer = Box<dyn Fn(&Outcome) + Send + Sync>;

/// The requests of one message on their way.
pub struct Tally {
    learned: Arc<Learned>,
    started: Instant,
    requests: Requests,
    observer: Option<Observer>,
}

enum Requests {
    One(Request),
    /// Of a batch, with their ids.
    Many(Box<[(Box<str>, Request)]>),
}

/// A request on its way.
struct Request {
    call: usize,
    method: Method,
    tool: Option<Called>,
    verdict: OnceLock<Kind>,
}

struct Called {
    tool: Arc<Tool>,
    /// The backend's list does not have it.
    unlisted: bool,
}

impl Tally {
    /// For a message that is about to be handed on; `None` when nothing in it awaits an answer.
    pub fn begin(
        learned: &Arc<Learned>,
        message: &Message,
        observer: Option<Observer>,
    ) -> Option<Arc<Self>> {
        learned
            .meters()
            .messages(Direction::ToBackend, message.calls().len() as u64);
        let mut requests = message.calls().iter().enumerate().filter_map(|(call, it)| {
            let (id, method) = (it.id.as_deref()?, it.method.as_deref()?);
            let tool = (method == "tools/call").then(|| {
                let (tool, unlisted) = learned.tool(it.name().unwrap_or_default());
                Called { tool, unlisted }
            });
            let method = Method::of(method);
            let verdict = OnceLock::new();
            Some((
                id,
                Request {
                    call,
                    method,
                    tool,
                    verdict,
                },
            ))
        });
        let requests = if message.is_batch() {
            let all: Box<[_]> = requests.map(|(id, it)| (id.into(), it)).collect();
            if all.is_empty() {
                return None;
            }
            Requests::Many(all)
        } else {
            Requests::One(requests.next()?.1)
        };
        Some(Arc::new(Self {
            learned: Arc::clone(learned),
            started: Instant::now(),
            requests,
            observer,
        }))
    }

    /// Whether the answers have to be told apart by their ids.
    pub fn needs_ids(&self) -> bool {
        matches!(self.requests, Requests::Many(_))
    }

    /// An answer has passed, with its `id` as it is written. Only the first counts.
    pub fn answered(&self, id: Option<&[u8]>, kind: Kind) {
        match &self.requests {
            Requests::One(request) => self.settle(request, kind),
            Requests::Many(all) => {
                let found = all.iter().find(|(known, _)| Some(known.as_bytes()) == id);
                if let Some((_, request)) = found {
                    self.settle(request, kind);
                }
            }
        }
    }

    /// No more answers will come: this is what became of the requests that have none.
    pub fn end(&self, kind: Kind) {
        for request in self.all() {
            self.settle(request, kind);
        }
    }

    fn all(&self) -> impl Iterator<Item = &Request> {
        let (one, many): (_, &[_]) = match &self.requests {
            Requests::One(request) => (Some(request), &[]),
            Requests::Many(all) => (None, all),
        };
        one.into_iter()
            .chain(many.iter().map(|(_, request)| request))
    }

    fn settle(&self, request: &Request, kind: Kind) {
        if request.verdict.set(kind).is_err() {
            return;
        }
        let took = self.started.elapsed();
        let meters = self.learned.meters();
        meters.ended(request.method, kind, took);
        if let Some(called) = &request.tool {
            meters.called(&called.tool, kind);
            if called.unlisted {
                self.learned.answered_unlisted(kind);
            }
        }
        if let Some(observer) = &self.observer {
            observer(&Outcome {
                call: request.call,
                kind,
                took,
            });
        }
    }
}

impl Verdict for Tally {
    fn worst(&self) -> Kind {
        let kinds = self
            .all()
            .map(|request| request.verdict.get().copied().unwrap_or(Kind::Cancelled));
        kinds
            .reduce(|worst, kind| if worst.is_error() { worst } else { kind })
            .unwrap_or(Kind::Unknown)
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.end(Kind::Cancelled);
    }
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tally({} requests)", self.all().count())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;

    use super::*;
    use crate::config::service;
    use crate::telemetry::metrics::Metrics;

    fn message(text: &str) -> Message {
        let body = Bytes::copy_from_slice(text.as_bytes());
        Message::read(&http::HeaderMap::new(), &body).unwrap()
    }

    fn request(method: &str, name: &str) -> Message {
        let (method, name) = (serde_json::json!(method), serde_json::json!(name));
        message(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":{method},"params":{{"name":{name}}}}}"#
        ))
    }

    fn learned(metrics: &Arc<Metrics>, backend: &str) -> Arc<Learned> {
        Learned::new(metrics, &service::Metrics::default(), backend)
    }

    #[test]
    fn nothing_awaits_an_answer_where_nothing_was_asked() {
        let metrics = Metrics::new();
        let learned = learned(&metrics, "b");
        for text in [
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"[{"jsonrpc":"2.0","method":"notifications/initialized"}]"#,
        ] {
            assert!(Tally::begin(&learned, &message(text), None).is_none());
        }
        assert!(Tally::begin(&learned, &Message::default(), None).is_none());
    }

    #[test]
    fn each_request_is_told_of_once() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let metrics = Metrics::new();
        let learned = learned(&metrics, "b");
        let batch = message(
            r#"[{"jsonrpc":"2.0","method":"n"},{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]"#,
        );
        let hear = Arc::clone(&told);
        let observer: Observer =
            Box::new(move |outcome| hear.lock().unwrap().push((outcome.call, outcome.kind)));
        let tally = Tally::begin(&learned, &batch, Some(observer)).unwrap();
        assert!(tally.needs_ids());
        tally.answered(Some(b"2"), Kind::Ok);
        tally.answered(Some(b"2"), Kind::ToolError);
        tally.answered(Some(b"3"), Kind::ToolError);
        tally.answered(None, Kind::ToolError);
        assert_eq!(tally.worst(), Kind::Cancelled, "one has no answer yet");
        tally.end(Kind::Timeout);
        assert_eq!(tally.worst(), Kind::Timeout);
        drop(tally);
        assert_eq!(*told.lock().unwrap(), [(2, Kind::Ok), (1, Kind::Timeout)]);
    }

    const KINDS: [Kind; 10] = [
        Kind::Ok,
        Kind::ToolError,
        Kind::ProtocolError(-32602),
        Kind::InputRequired,
        Kind::Task,
        Kind::Denied,
        Kind::Timeout,
        Kind::UpstreamError,
        Kind::Cancelled,
        Kind::Unknown,
    ];

    /// Ten backends with more tools than are told apart, every outcome of every tool, and names that clients make up:
    /// the number of series has a bound, and stands still.
    #[test]
    fn series_are_bounded_whatever_clients_say() {
        let metrics = Metrics::new();
        let backends: Vec<_> = (0..10)
            .map(|n| learned(&metrics, &format!("b{n}")))
            .collect();
        let tools: Vec<String> = (0..300).map(|n| format!("tool{n}")).collect();
        let round = |salt: usize| {
            for learned in &backends {
                learned.listed(tools.iter().map(String::as_str), false);
                for kind in KINDS {
                    for tool in &tools {
                        let message = request("tools/call", tool);
                        Tally::begin(learned, &message, None).unwrap().end(kind);
                    }
                    for odd in 0..30 {
                        let odd = format!("evil\"}}{{{salt}.{odd}");
                        for message in [request("tools/call", &odd), request(&odd, "x")] {
                            learned.denied(&message);
                            Tally::begin(learned, &message, None).unwrap().end(kind);
                        }
                        let code = Kind::ProtocolError(i64::try_from(salt * 100).unwrap());
                        let ping = Tally::begin(learned, &request("ping", "x"), None).unwrap();
                        ping.end(code);
                    }
                }
            }
            let text = metrics.render();
            assert!(!text.contains("evil"));
            text.lines().filter(|line| !line.starts_with('#')).count()
        };
        let first = round(1);
        assert!(first < 25_000, "{first} series");
        assert_eq!(round(2), first);
    }
}
