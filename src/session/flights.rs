//! Requests of one browser that arrive together share one look at the store.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, FutureExt, Shared, WeakShared};

use super::Session;
use super::ticket::{LoginId, Ticket};
use crate::secret::Digest;
use crate::store::Unavailable;

pub(super) type Found = Result<Option<Arc<Session>>, Unavailable>;
type Flight = Shared<BoxFuture<'static, Found>>;

/// Reads under way. There are never more than requests waiting for them: an entry without a waiter is
/// removed by the last one that leaves.
#[derive(Default)]
pub(super) struct Flights(Mutex<UnderWay>);

type UnderWay = HashMap<LoginId, (Digest, WeakShared<BoxFuture<'static, Found>>)>;

impl Flights {
    /// Joins the read of this ticket, or begins it.
    pub(super) async fn join<F>(&self, ticket: &Ticket, read: impl FnOnce() -> F) -> Found
    where
        F: Future<Output = Found> + Send + 'static,
    {
        let login = ticket.login();
        let digest = ticket.digest();
        let flight = {
            let mut flights = self.lock();
            let under_way = flights
                .get(&login)
                // Another ticket that names the same login is not of our making; it gets a look of its own.
                .filter(|(theirs, _)| *theirs == digest)
                .and_then(|(_, weak)| weak.upgrade());
            under_way.unwrap_or_else(|| {
                let flight = read().boxed().shared();
                if let Some(weak) = flight.downgrade() {
                    flights.insert(login, (digest, weak));
                }
                flight
            })
        };
        let waiter = Waiter {
            flights: self,
            login,
            flight: Some(flight.clone()),
        };
        let found = flight.await;
        drop(waiter);
        found
    }

    /// Requests that come from now on look anew, because what is under way may have begun before a change.
    pub(super) fn forget(&self, login: LoginId) {
        self.lock().remove(&login);
    }

    /// The same for everybody.
    pub(super) fn forget_all(&self) {
        self.lock().clear();
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the entry when its flight has nobody left, also when a request was dropped while it waited.
struct Waiter<'a> {
    flights: &'a Flights,
    login: LoginId,
    flight: Option<Flight>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let ended = self.flight.take().filter(|flight| flight.peek().is_some());
        let mut flights = self.flights.lock();
        let Some((_, weak)) = flights.get(&self.login) else {
            return;
        };
        // A newer flight of the same login may have taken the place of the one that ended.
        let useless = match weak.upgrade() {
            None => true,
            Some(there) => ended.is_some_and(|ended| ended.ptr_eq(&there)),
        };
        if useless {
            flights.remove(&self.login);
        }
    }
}
