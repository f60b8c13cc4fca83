//! Logins to forget, and the count of living sessions.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Inner;
use super::ticket::LoginId;
use crate::revocation::{self, Listener, News};
use crate::store::Space;
use crate::telemetry::metrics::Name;

impl Listener for Inner {
    fn heard(&self, name: &revocation::Name, _: News) {
        if let revocation::Name::Login(id) = name
            && let Some(login) = LoginId::parse(id)
        {
            self.forget(login);
        }
    }

    fn distrust(&self) {
        self.seen.distrust_all();
        self.cutoff.distrust();
    }

    fn ended_all(&self) {
        self.seen.forget_all();
        self.flights.forget_all();
        self.active.clear();
        self.changed.notify_waiters();
    }
}

impl Inner {
    /// Forgets a login here and on the other replicas, and wakes what rests on it.
    pub(super) async fn tell(&self, login: LoginId, news: News) {
        self.revocations
            .tell(revocation::Name::Login(login.hex()), news)
            .await;
    }

    /// Forgets a login in this process.
    pub(super) fn forget(&self, login: LoginId) {
        self.seen.forget(login);
        self.flights.forget(login);
        self.changed.notify_waiters();
    }

    /// Clears away what has aged, until dropped.
    pub(super) async fn sweep(&self) {
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

const SWEEP: Duration = Duration::from_secs(15);
