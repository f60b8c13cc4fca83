//! Filters lists in an event stream: each event is held until it is whole, and goes on at once then.

use serde_json::value::RawValue;

use super::lines::{self, Lines};
use super::splice::{Edits, Unreadable};
use super::{Ears, Pushed, Shown};
use crate::mcp::Kind;
use crate::reject::Code;

/// What an answer is replaced by that has a list in it and cannot be filtered.
const UNFILTERED: &str = "The server's answer has a list that could not be filtered for you, so it was not handed on. Tell whoever runs the server.";

/// Filters the events of one stream.
pub(super) struct Sift {
    sight: Shown,
    limit: usize,
    mode: Mode,
    /// The present event as far as it came.
    held: Vec<u8>,
    /// No event was complete yet.
    first: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The event is held until it is whole.
    Holding,
    /// It is larger than what is held, and had no list so far.
    Passing,
    /// It is larger than what is held, and has a list.
    Dropping,
}

impl Sift {
    pub(super) fn new(sight: Shown, limit: usize) -> Self {
        Self {
            sight,
            limit,
            mode: Mode::Holding,
            held: Vec::new(),
            first: true,
        }
    }

    pub(super) fn push(&mut self, piece: &[u8], lines: &mut Lines, ears: &mut Ears) -> Pushed {
        let mut out = Vec::new();
        let mut rest = piece;
        while !rest.is_empty() {
            let end = lines.event(rest, ears);
            let (part, behind) = rest.split_at(end.unwrap_or(rest.len()));
            rest = behind;
            match self.mode {
                Mode::Passing if ears.list => return Pushed::Refused,
                Mode::Passing => out.extend_from_slice(part),
                Mode::Dropping => {}
                Mode::Holding => {
                    self.held.extend_from_slice(part);
                    if self.held.len() > self.limit && ears.list {
                        self.held = Vec::new();
                        self.mode = Mode::Dropping;
                    } else if self.held.len() > self.limit {
                        out.append(&mut self.held);
                        self.mode = Mode::Passing;
                    }
                }
            }
            if end.is_some() {
                self.complete(lines, ears, &mut out);
            }
        }
        if out.is_empty() {
            Pushed::Held
        } else {
            Pushed::Given(out.into())
        }
    }

    /// The stream has ended; some clients take what stands there without its empty line for an event.
    pub(super) fn rest(&mut self, lines: &mut Lines, ears: &mut Ears) -> Vec<u8> {
        let mut out = Vec::new();
        self.complete(lines, ears, &mut out);
        out
    }

    /// The present event is complete.
    fn complete(&mut self, lines: &mut Lines, ears: &mut Ears, out: &mut Vec<u8>) {
        let event = std::mem::take(&mut self.held);
        let instead = match self.mode {
            Mode::Holding if ears.list => match self.filter(&event) {
                Ok(filtered) => {
                    out.extend_from_slice(&filtered);
                    None
                }
                Err(_) => Some(Kind::UpstreamError),
            },
            Mode::Holding | Mode::Passing => {
                out.extend_from_slice(&event);
                None
            }
            Mode::Dropping => Some(Kind::UpstreamError),
        };
        if instead.is_some() {
            tracing::warn!("an event with a list could not be filtered, and was not handed on");
            refuse(ears, out);
        }
        ears.event(lines.has_data());
        ears.settle(instead);
        lines.next();
        self.mode = Mode::Holding;
        self.first = false;
    }

    fn filter(&self, event: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let data: Vec<_> = lines::data(event, self.first).collect();
        let mut text = Vec::with_capacity(event.len());
        let mut from = Vec::with_capacity(data.len());
        for range in &data {
            if !from.is_empty() {
                text.push(b'\n');
            }
            from.push(text.len());
            text.extend_from_slice(event.get(range.clone()).unwrap_or_default());
        }
        let edits = Edits::find(&text, &*self.sight)?;
        Ok(edits.apply(event, |at| {
            let line = from.partition_point(|begin| *begin <= at).saturating_sub(1);
            let begin = data.get(line).map_or(0, |range| range.start);
            begin + at - from.get(line).copied().unwrap_or_default()
        }))
    }
}

/// Puts an error in the place of each answer that is not handed on, so that nobody waits for it.
fn refuse(ears: &Ears, out: &mut Vec<u8>) {
    for (id, _) in ears.waits.iter().flatten() {
        let id = id.as_deref().map(serde_json::from_slice::<&RawValue>);
        let Some(Ok(id)) = id else { continue };
        let error = serde_json::json!({
            "code": http::StatusCode::BAD_GATEWAY.as_u16(),
            "message": UNFILTERED,
            "data": { "code": Code::BackendFailed.as_str() },
        });
        let event = format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}\n\n");
        out.extend_from_slice(event.as_bytes());
    }
}
