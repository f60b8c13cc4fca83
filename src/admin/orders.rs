//! What an operator orders of the process itself: another configuration, or its end. Whoever runs the process carries
//! the orders out, one reload after the other.

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::config::{Problem, Span};

/// Orders that wait at most, of each kind.
const WAITING: usize = 16;

/// Where orders are given.
#[derive(Clone, Debug)]
pub struct Orders {
    reloads: mpsc::Sender<Reload>,
    ends: mpsc::Sender<End>,
}

/// Where orders arrive. Reloads and ends come apart, so that an end need not wait for a reload.
#[derive(Debug)]
pub struct Inbox {
    /// To load the configuration again.
    pub reloads: mpsc::Receiver<Reload>,
    /// To end.
    pub ends: mpsc::Receiver<End>,
}

/// The order to load the configuration again.
#[derive(Debug)]
pub struct Reload {
    /// What let whoever ordered it in, for the audit log.
    pub by: &'static str,
    /// Told when it is done. Nobody may be listening any more.
    pub answer: oneshot::Sender<Result<Taken, NotTaken>>,
}

/// The order to end in order.
#[derive(Debug)]
pub struct End {
    /// Without the time in which load balancers notice.
    pub now: bool,
    /// What let whoever ordered it in.
    pub by: &'static str,
    /// Told at once.
    pub answer: oneshot::Sender<Ending>,
}

/// A configuration that was taken over.
#[derive(Clone, Debug, Serialize)]
pub struct Taken {
    /// The files that were read, in order.
    pub files: Vec<String>,
    /// Keys that changed and hold only after a restart.
    pub needs_restart: Vec<&'static str>,
    /// What works, but is probably not what was meant.
    pub warnings: Vec<String>,
}

/// Why a configuration was not taken over. The old one is in force.
#[derive(Clone, Debug, Serialize)]
pub struct NotTaken {
    /// A stable code: `invalid_config` or `unusable_config`.
    pub error: &'static str,
    /// One sentence.
    pub message: String,
    /// What is wrong, each with its place; empty when it is nothing that the files say.
    pub problems: Vec<Problem>,
}

/// The times of an end that was begun.
#[derive(Clone, Debug, Serialize)]
pub struct Ending {
    /// Always true.
    pub draining: bool,
    /// How long connections are still accepted.
    pub delay: Span,
    /// After that: how long event streams go on.
    pub stream_grace: Span,
    /// After the delay: how long requests may take to finish.
    pub timeout: Span,
}

impl Orders {
    /// Both ends.
    pub fn new() -> (Self, Inbox) {
        let (reloads, to_reload) = mpsc::channel(WAITING);
        let (ends, to_end) = mpsc::channel(WAITING);
        let inbox = Inbox {
            reloads: to_reload,
            ends: to_end,
        };
        (Self { reloads, ends }, inbox)
    }

    /// Loads the configuration again, after those who asked before. `None`: nobody carries out orders, or too many
    /// wait.
    pub async fn reload(&self, by: &'static str) -> Option<Result<Taken, NotTaken>> {
        let (answer, outcome) = oneshot::channel();
        self.reloads.try_send(Reload { by, answer }).ok()?;
        outcome.await.ok()
    }

    /// Begins the end, or tells the times of the one that was begun. `None`: nobody carries out orders.
    pub async fn end(&self, now: bool, by: &'static str) -> Option<Ending> {
        let (answer, times) = oneshot::channel();
        self.ends.try_send(End { now, by, answer }).ok()?;
        times.await.ok()
    }
}
