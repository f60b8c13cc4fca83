//! What became of a request that was let through: one record for each of its calls, written when the answer has ended.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::event::{Done, Event, Kind, Outcome};
use super::queue::Admitted;

/// The decisions on the calls of a request, kept until what became of them is known.
#[derive(Debug)]
pub struct Trail {
    admitted: Admitted,
    calls: Vec<Event>,
    seen: Outcomes,
}

/// What was seen of single calls while the answer passed. Cheap to clone; in the end what it has not seen is told by
/// the status.
#[derive(Clone, Debug, Default)]
pub struct Outcomes(Arc<Mutex<Vec<(usize, &'static str)>>>);

/// Calls whose outcomes are kept; a request has no more of them.
const MAX_CALLS: usize = 1024;

impl Outcomes {
    /// Call number `index` of the request ended like this: `ok`, `tool_error`, `protocol_error`. The last word counts.
    pub fn set(&self, index: usize, outcome: &'static str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MAX_CALLS {
            all.push((index, outcome));
        }
    }

    fn of(&self, index: usize) -> Option<&'static str> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.iter().rev().find(|(call, _)| *call == index);
        found.map(|(_, outcome)| *outcome)
    }
}

/// How an answer ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Its status.
    pub status: u16,
    /// Why it went no further, if it was rejected.
    pub code: Option<&'static str>,
    /// Bytes of its body.
    pub bytes: u64,
    /// From the head of the request to the end of the answer.
    pub took: Duration,
    /// Whether it came to its end.
    pub complete: bool,
}

impl Trail {
    /// For a request that was let through; `calls` are its decisions, in the order of its calls.
    pub fn new(admitted: Admitted, calls: Vec<Event>) -> Self {
        Self {
            admitted,
            calls,
            seen: Outcomes::default(),
        }
    }

    /// Where whoever watches the answer tells what it sees.
    pub fn outcomes(&self) -> Outcomes {
        self.seen.clone()
    }

    /// Writes what became of the calls.
    pub fn end(self, ended: Ended) {
        for (index, decision) in self.calls.into_iter().enumerate() {
            let outcome = match self.seen.of(index) {
                Some(seen) => Some(seen),
                None if ended.status >= 400 => Some("http_error"),
                None if !ended.complete => Some("cut"),
                None => None,
            };
            let how = how(ended.status, outcome);
            let mut event = Event::new(Kind::Result, how)
                .by(decision.who)
                .at(decision.place)
                .what(decision.what)
                .done(Done {
                    status: Some(ended.status),
                    outcome,
                    duration_ms: Some(u64::try_from(ended.took.as_millis()).unwrap_or(u64::MAX)),
                    bytes: Some(ended.bytes),
                });
            // Once is enough.
            event.what.arguments = None;
            if let Some(code) = ended.code {
                event = event.because(code);
            }
            self.admitted.result(event);
        }
    }
}

/// The outcome of a call by the status of the answer and by what was seen in it.
fn how(status: u16, outcome: Option<&str>) -> Outcome {
    match (status, outcome) {
        (500.., _) | (_, Some("cut" | "timeout" | "upstream_error")) => Outcome::Error,
        (400..500, _) | (_, Some("tool_error" | "protocol_error" | "cancelled")) => {
            Outcome::Failure
        }
        (_, Some("denied")) => Outcome::Denied,
        _ => Outcome::Success,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_in_an_answer_counts_more_than_its_status() {
        for (status, outcome, expected) in [
            (200, None, Outcome::Success),
            (200, Some("ok"), Outcome::Success),
            (200, Some("tool_error"), Outcome::Failure),
            (200, Some("protocol_error"), Outcome::Failure),
            (200, Some("cut"), Outcome::Error),
            (404, Some("http_error"), Outcome::Failure),
            (502, Some("http_error"), Outcome::Error),
        ] {
            assert_eq!(how(status, outcome), expected, "{status} {outcome:?}");
        }
        let seen = Outcomes::default();
        seen.set(1, "ok");
        seen.set(1, "tool_error");
        assert_eq!(seen.of(1), Some("tool_error"));
        assert_eq!(seen.of(0), None);
    }
}
