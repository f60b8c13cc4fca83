//! Tasks that run from the start to the end, and looking after the store: what health says about it without asking it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::Lasting;
use crate::admin::Status;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// Whether the store answered when it was last looked at.
#[derive(Debug, Default)]
pub(super) struct StoreState(AtomicU8);

impl StoreState {
    pub(super) fn status(&self) -> Status {
        match self.0.load(Ordering::Relaxed) {
            0 => Status::Degraded,
            1 => Status::Healthy,
            _ => Status::Unhealthy,
        }
    }
}

/// Starts what runs as long as the process does.
pub(super) fn all(lasting: &Arc<Lasting>) {
    // Without it raw histogram values would pile up where nobody scrapes.
    lasting
        .tracker
        .spawn(Arc::clone(&lasting.metrics).upkeep(lasting.end.clone()));
    let (revocations, end) = (Arc::clone(&lasting.revocations), lasting.end.clone());
    lasting
        .tracker
        .spawn(async move { revocations.run(end).await });
    let (sessions, end) = (Arc::clone(&lasting.mcp_sessions), lasting.end.clone());
    lasting.tracker.spawn(sessions.run(end));
    store(lasting);
}

/// Looks at the store until the end. Two misses in a row make it unhealthy, so that a blip moves nobody.
fn store(lasting: &Arc<Lasting>) {
    let (store, state, end) = (
        Arc::clone(&lasting.store),
        Arc::clone(&lasting.store_state),
        lasting.end.clone(),
    );
    lasting.tracker.spawn(async move {
        let mut misses = 0_u32;
        let mut ticks = tokio::time::interval(EVERY);
        while end.run_until_cancelled(ticks.tick()).await.is_some() {
            let Some(outcome) = end.run_until_cancelled(store.ping()).await else {
                return;
            };
            match outcome {
                Ok(()) => {
                    if misses > 1 {
                        tracing::info!("the session store answers again");
                    }
                    misses = 0;
                    state.0.store(1, Ordering::Relaxed);
                }
                Err(error) => {
                    misses = misses.saturating_add(1);
                    if misses == 2 {
                        tracing::error!(%error, "the session store does not answer");
                        state.0.store(2, Ordering::Relaxed);
                    }
                }
            }
        }
    });
}
