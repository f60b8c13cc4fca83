//! Whose turn it is to refresh a login, and waiting for the one whose it is.

use std::time::Duration;

use futures_util::future::try_join;
use tokio::time::{Instant, timeout_at};

use super::Sessions;
use super::lease::{Lease, Leases};
use super::ticket::LoginId;
use crate::store::Unavailable;

impl Sessions {
    /// Takes the right to refresh a login; `None` while another request or replica has it, in which case
    /// [`Self::changed`] waits for the outcome.
    pub async fn lease(&self, login: &str) -> Result<Option<Lease>, Unavailable> {
        match LoginId::parse(login) {
            Some(id) => self.0.leases.acquire(&id.hex()).await,
            None => Ok(None),
        }
    }

    /// Waits until a login record is no longer at `revision` or nobody holds its lease any more (`true`: look
    /// again), at most for `patience` (`false`). An event wakes it; otherwise it looks every 250 ms.
    pub async fn changed(
        &self,
        login: &str,
        revision: u64,
        patience: Duration,
    ) -> Result<bool, Unavailable> {
        let Some(id) = LoginId::parse(login) else {
            return Ok(true);
        };
        let record = id.record();
        let lease = Leases::key(&id.hex());
        let deadline = Instant::now() + patience;
        loop {
            let told = self.0.changed.notified();
            let look = try_join(self.0.store.get(&record), self.0.store.get(&lease));
            let (stored, leased) = look.await?;
            if leased.is_none() || stored.is_none_or(|stored| stored.revision != revision) {
                return Ok(true);
            }
            let next = deadline.min(Instant::now() + POLL);
            // Many logins share one bell, so being told is only a reason to look.
            let _ = timeout_at(next, told).await;
            if Instant::now() >= deadline {
                return Ok(false);
            }
        }
    }
}

/// How often a waiting one looks by itself.
pub(super) const POLL: Duration = Duration::from_millis(250);
