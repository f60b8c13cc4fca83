//! What replicas tell each other: logins to forget, and heartbeats that prove that telling works.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::Inner;
use super::ticket::{LoginId, hex};
use crate::store::Space;
use crate::telemetry::metrics::Name;

impl Inner {
    /// Hears and tells, until dropped.
    pub(super) async fn background(&self) {
        if self.store.shared() {
            let me = hex(&self.ambient.random::<8>());
            tokio::join!(self.hear(&me), self.beat(&me), self.sweep());
        } else {
            self.sweep().await;
        }
    }

    /// Forgets a login here, then tells the other replicas. When they cannot be told, their heartbeats fail to
    /// arrive as well, and they ask the store anew within three seconds.
    pub(super) async fn forget_everywhere(&self, login: LoginId) {
        self.forget(login);
        if !self.store.shared() {
            return;
        }
        let message = format!("{FORGET}{}", login.hex());
        if let Err(error) = self.store.publish(CHANNEL, &message).await {
            tracing::warn!(%error, "The other replicas could not be told to forget a login.");
        }
    }

    /// Forgets a login in this process.
    pub(super) fn forget(&self, login: LoginId) {
        self.seen.forget(login);
        self.flights.forget(login);
        self.changed.notify_waiters();
    }

    async fn hear(&self, me: &Arc<str>) {
        loop {
            match self.store.subscribe(CHANNEL).await {
                Ok(mut messages) => {
                    self.seen.distrust_all();
                    while let Some(message) = messages.next().await {
                        match message {
                            Some(message) => self.heard(&message, me),
                            None => self.seen.distrust_all(),
                        }
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "The events of other replicas cannot be heard.");
                }
            }
            self.seen.distrust_all();
            sleep(HEARTBEAT).await;
        }
    }

    fn heard(&self, message: &str, me: &str) {
        if let Some(login) = message.strip_prefix(FORGET).and_then(LoginId::parse) {
            self.forget(login);
        } else if message.strip_prefix(BEAT) == Some(me) {
            self.seen.heartbeat(self.ambient.now());
        }
    }

    async fn beat(&self, me: &str) {
        let message = format!("{BEAT}{me}");
        let mut due = interval(HEARTBEAT);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            if let Err(error) = self.store.publish(CHANNEL, &message).await {
                tracing::debug!(%error, "The heartbeat of the session events was not sent.");
            }
        }
    }

    async fn sweep(&self) {
        let mut due = interval(SWEEP);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            let now = self.ambient.now();
            self.seen.sweep(now);
            self.active.sweep(now);
            self.count_active().await;
        }
    }

    /// Sets the gauge of living sessions: the store's own count where it is cheap, else the sessions that
    /// this process has seen.
    pub(super) async fn count_active(&self) {
        let counted = match self.store.count(Space::Session).await {
            Ok(Some(count)) => count,
            _ => self.active.count(),
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge is a float, and counts stay far below 2^52"
        )]
        self.gauge.set(counted as f64);
    }
}

/// The gauge that [`Inner::count_active`] sets.
pub(super) const GAUGE: Name = Name::ActiveSessions;

const CHANNEL: &str = "events";
const FORGET: &str = "forget ";
const BEAT: &str = "beat ";
const HEARTBEAT: Duration = Duration::from_secs(1);
const SWEEP: Duration = Duration::from_secs(15);
