//! Looks at answers of backends on their way to clients: what became of each request, and what lists have to leave
//! out. A byte that nothing has to be taken from is not held back.
//!
//! With a sight (somebody may not see everything) every message counts that has a list in it, whatever it answers:
//! backends have been seen to send an answer on another stream when a client uses one id twice, and streams that are
//! resumed replay what was said before. Events are held until they are whole; JSON is held where a list was asked for,
//! and cut off where one comes unasked.

mod lines;
mod scan;
mod sift;
mod splice;

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use self::lines::Lines;
use self::scan::{List, Scanner, Sink};
use self::sift::Sift;
use self::splice::Edits;
pub(super) use self::splice::Unreadable;
use crate::authz::Sight;
use crate::mcp::learned::Learned;
use crate::mcp::{Era, Kind, Message, Reach, Tally};
use crate::telemetry::mcp::Direction;

/// Methods whose answers are lists.
const LISTS: [&str; 4] = [
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
];

/// How an answer is to be looked at.
pub(super) struct Look {
    /// What its reader may see; `None`: everything.
    sight: Option<Shown>,
    /// The requests that it answers.
    tally: Option<Arc<Tally>>,
    learned: Arc<Learned>,
    /// A list was asked for.
    lists: bool,
    /// Nothing but a list of tools was asked for.
    tools: bool,
    era: Era,
    /// Bytes of a list, and of an event that may have one.
    limit: usize,
}

impl Look {
    pub(super) fn new(
        message: &Message,
        sight: Option<&Sight>,
        tally: Option<&Arc<Tally>>,
        learned: &Arc<Learned>,
        limit: usize,
    ) -> Self {
        let asks = |call: &crate::mcp::Call, methods: &[&str]| {
            call.method
                .as_deref()
                .is_some_and(|method| methods.contains(&method))
        };
        let calls = message.calls();
        Self {
            sight: sight.cloned().map(shown),
            tally: tally.cloned(),
            learned: Arc::clone(learned),
            lists: calls.iter().any(|call| asks(call, &LISTS)),
            tools: message.only().is_some_and(|call| asks(call, &LISTS[..1])),
            era: message.era(),
            limit,
        }
    }

    /// Whether an answer with this status has to be whole before any of it is handed on. In HTTP+SSE a list that was
    /// asked for comes in another stream, and the answer is 202.
    pub(super) fn withholds(&self, status: StatusCode) -> bool {
        self.sight.is_some() && self.lists && status.is_success() && status != StatusCode::ACCEPTED
    }

    /// Whether an answer with this status cannot be handed on encoded.
    pub(super) fn must_be_plain(&self, status: StatusCode) -> bool {
        self.sight.is_some() && status.is_success()
    }

    /// Bytes of an answer that is withheld at most.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Leaves out of a whole answer what its reader may not see; `None` when nothing changes.
    ///
    /// # Errors
    /// When that cannot be told.
    pub(super) fn filter(&self, body: &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
        let Some(sight) = &self.sight else {
            return Ok(None);
        };
        let edits = Edits::find(body, &**sight)?;
        Ok((!edits.is_empty()).then(|| edits.apply(body, |at| at)))
    }

    /// Looks at an answer that is no event stream; `None` when there is nothing to look for.
    pub(super) fn json(self, status: StatusCode) -> Option<Json> {
        let guards = self.sight.is_some();
        if self.tally.is_none() && !guards {
            return None;
        }
        let otherwise = if status == StatusCode::ACCEPTED {
            // HTTP+SSE: the answer comes in the stream.
            Kind::Unknown
        } else {
            Kind::UpstreamError
        };
        Some(Json {
            guards: guards && !self.withholds(status),
            scanner: Scanner::default(),
            ears: Ears::of(self.tally, self.tools, self.learned, false),
            otherwise,
        })
    }

    /// Looks at an event stream.
    pub(super) fn events(self) -> Events {
        // A stream of the older revisions may end early and be resumed (SEP-1699).
        let otherwise = match self.era {
            Era::Legacy => Kind::Unknown,
            Era::Modern => Kind::UpstreamError,
        };
        let sift = self.sight.map(|sight| Sift::new(sight, self.limit));
        Events {
            lines: Lines::default(),
            ears: Ears::of(self.tally, self.tools, self.learned, sift.is_some()),
            sift: sift.map(Box::new),
            otherwise,
        }
    }
}

/// Decides which elements of lists are shown, by what they are called.
type Shown = Arc<dyn Fn(List, &str) -> bool + Send + Sync>;

fn shown(sight: Sight) -> Shown {
    Arc::new(move |list, name| match list {
        List::Tools => sight.shows(&Reach::Tool(name.into())),
        List::Prompts => sight.shows(&Reach::Prompt(name.into())),
        List::Resources => sight.shows(&Reach::Resource(name.into())),
        List::Templates => sight.shows_template(name),
    })
}

/// A list came unasked, in bytes that were partly handed on already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a list came where none was asked for")]
pub(super) struct Unasked;

/// Looks at an answer that is no event stream.
pub(super) struct Json {
    scanner: Scanner,
    ears: Ears,
    /// A list must not pass.
    guards: bool,
    /// What it means when there is no answer in it.
    otherwise: Kind,
}

impl Json {
    /// Takes in a piece.
    ///
    /// # Errors
    /// When it must not be handed on.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Unasked> {
        self.scanner.feed(piece, &mut self.ears);
        if self.guards && self.ears.list {
            return Err(Unasked);
        }
        Ok(())
    }

    /// The answer has ended.
    pub(super) fn end(&self) {
        self.ears.end(self.otherwise);
    }

    /// It will not come to its end.
    pub(super) fn fail(&self, kind: Kind) {
        self.ears.end(kind);
    }
}

/// Looks at an event stream.
pub(super) struct Events {
    lines: Lines,
    ears: Ears,
    sift: Option<Box<Sift>>,
    /// What it means for a request when the stream ends without its answer.
    otherwise: Kind,
}

/// What becomes of a piece of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// Nothing is handed on for now.
    Held,
    /// This is handed on.
    Given(Bytes),
    /// The stream must not go on.
    Refused,
}

impl Events {
    /// Takes in a piece.
    pub(super) fn push(&mut self, piece: Bytes) -> Pushed {
        if let Some(sift) = &mut self.sift {
            return sift.push(&piece, &mut self.lines, &mut self.ears);
        }
        let mut rest = &piece[..];
        while let Some(end) = self.lines.event(rest, &mut self.ears) {
            self.ears.event(self.lines.has_data());
            self.lines.next();
            rest = rest.get(end..).unwrap_or_default();
        }
        Pushed::Given(piece)
    }

    /// The stream has ended: what was held back of it, once.
    pub(super) fn rest(&mut self) -> Bytes {
        let rest = self
            .sift
            .as_mut()
            .map(|sift| sift.rest(&mut self.lines, &mut self.ears));
        rest.unwrap_or_default().into()
    }

    /// The stream has ended in order.
    pub(super) fn end(&self) {
        self.ears.end(self.otherwise);
    }

    /// The stream was ended.
    pub(super) fn fail(&self, kind: Kind) {
        self.ears.end(kind);
    }
}

/// Hears what the messages of an answer say.
struct Ears {
    tally: Option<Arc<Tally>>,
    learned: Arc<Learned>,
    /// Names of a list of tools that is on its way.
    tools: Option<Vec<Box<str>>>,
    /// A list was seen.
    list: bool,
    /// Answers that have come count only when they have been handed on.
    waits: Option<Vec<Came>>,
}

/// The `id` of an answer as it is written, and what it says.
type Came = (Option<Box<[u8]>>, Kind);

impl Ears {
    fn of(tally: Option<Arc<Tally>>, tools: bool, learned: Arc<Learned>, waits: bool) -> Self {
        Self {
            tally,
            learned,
            tools: tools.then(Vec::new),
            list: false,
            waits: waits.then(Vec::new),
        }
    }

    /// An event is complete.
    fn event(&mut self, has_data: bool) {
        if has_data {
            self.learned.meters().messages(Direction::ToClient, 1);
        }
    }

    /// What waited was handed on, or what took its place says this.
    fn settle(&mut self, instead: Option<Kind>) {
        self.list = false;
        let Some(waits) = &mut self.waits else { return };
        for (id, kind) in waits.drain(..) {
            if let Some(tally) = &self.tally {
                tally.answered(id.as_deref(), instead.unwrap_or(kind));
            }
        }
    }

    fn end(&self, kind: Kind) {
        if let Some(tally) = &self.tally {
            tally.end(kind);
        }
    }
}

/// Names of one answer that are learned at most.
const MAX_NAMES: usize = 4096;

impl Sink for Ears {
    fn list(&mut self, _: List) {
        self.list = true;
    }

    fn tool(&mut self, name: &str) {
        if let Some(names) = &mut self.tools
            && names.len() <= MAX_NAMES
        {
            names.push(name.into());
        }
    }

    fn message(&mut self, message: &scan::Message<'_>) {
        let Some(kind) = message.kind else { return };
        if let Some(names) = &mut self.tools
            && kind == Kind::Ok
        {
            let tools = std::mem::take(names);
            self.learned
                .listed(tools.iter().map(|name| &**name), message.more);
        }
        if let Some(waits) = &mut self.waits {
            waits.push((message.id.map(Box::from), kind));
        } else if let Some(tally) = &self.tally {
            tally.answered(message.id, kind);
        }
    }
}

#[cfg(test)]
mod tests;
