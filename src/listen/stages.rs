//! How far the end has come, readable by every connection at the cost of one atomic load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

/// The stages of ending, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Business as usual.
    Serving = 0,
    /// Still accepting; HTTP/1 clients are asked to connect anew, which brings them to another replica.
    Announced = 1,
    /// No new connections; what is under way is finished.
    Closing = 2,
    /// What is left is dropped.
    Cut = 3,
}

/// The current stage. Cancellation tokens take a lock to be asked; connections ask on every wake.
#[derive(Debug)]
pub(crate) struct Stages {
    stage: AtomicU8,
    changed: Arc<Notify>,
}

impl Stages {
    pub(crate) fn new() -> Self {
        Self {
            stage: AtomicU8::new(0),
            changed: Arc::new(Notify::new()),
        }
    }

    pub(crate) fn get(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Serving,
            1 => Stage::Announced,
            2 => Stage::Closing,
            _ => Stage::Cut,
        }
    }

    /// Goes on to a later stage; never back.
    pub(crate) fn advance(&self, to: Stage) {
        self.stage.fetch_max(to as u8, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    /// A bell that rings at the next change after this call, also when it is polled later.
    pub(crate) fn bell(&self) -> tokio::sync::futures::OwnedNotified {
        Arc::clone(&self.changed).notified_owned()
    }

    /// Waits until `stage` or a later one has come.
    pub(crate) async fn reached(&self, stage: Stage) {
        loop {
            let changed = self.changed.notified();
            if self.get() >= stage {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stages_only_go_forward_and_wake_those_who_wait() {
        let stages = Arc::new(Stages::new());
        let waiting = tokio::spawn({
            let stages = Arc::clone(&stages);
            async move { stages.reached(Stage::Closing).await }
        });
        let bell = stages.bell();
        stages.advance(Stage::Announced);
        bell.await;
        stages.advance(Stage::Cut);
        stages.advance(Stage::Closing);
        waiting.await.unwrap();
        assert_eq!(stages.get(), Stage::Cut);
    }
}
