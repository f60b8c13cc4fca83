//! What was fetched from addresses that strangers name: remembered for as long as its server said, within bounds,
//! and fetched once at a time for each address.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES};
use quick_cache::sync::Cache;

use crate::clock::{Ambient, Timestamp};

/// What a server may say about how long its answer is good.
const SHORTEST: Duration = Duration::from_secs(300);
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// When it says nothing.
const USUAL: Duration = Duration::from_secs(3600);
/// How long the last good answer serves while its server cannot be asked.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// How long a failure stands for all who ask, so that a flood of requests is not a flood of fetches.
const FAILURE: Duration = Duration::from_secs(10);

/// Things by the address that they were fetched from.
pub(super) struct Shelf<T> {
    entries: Cache<Arc<str>, Entry<T>>,
    /// Fetches under way; no more than requests that wait for them.
    flights: Mutex<HashMap<Arc<str>, Weak<Flight>>>,
    ambient: Ambient,
}

type Flight = tokio::sync::Mutex<()>;

struct Entry<T> {
    good: Option<Good<T>>,
    failed: Option<Timestamp>,
}

struct Good<T> {
    value: Arc<T>,
    fetched: Timestamp,
    fresh_for: Duration,
}

/// What a fetch gave.
pub(super) struct Fetched<T> {
    pub(super) value: T,
    /// By [`fresh_for`].
    pub(super) fresh_for: Duration,
}

/// Why a fetch gave nothing.
#[derive(Debug)]
pub(super) enum Miss {
    /// It could not be asked for: what was there before may serve on.
    Silent(String),
    /// It was answered, and the answer is not what it was before or has to be.
    Wrong(String),
}

impl Miss {
    /// For logs.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Silent(why) | Self::Wrong(why) => why,
        }
    }
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// It was remembered.
    Memory,
    /// It was fetched just now.
    Fetch,
    /// It is old, and its server cannot be asked.
    Stale,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self {
            good: self.good.clone(),
            failed: self.failed,
        }
    }
}

impl<T> Clone for Good<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            ..*self
        }
    }
}

impl<T> Shelf<T> {
    /// With room for this many addresses.
    pub(super) fn new(bound: usize, ambient: Ambient) -> Self {
        Self {
            entries: Cache::new(bound),
            flights: Mutex::default(),
            ambient,
        }
    }

    /// What is at an address: remembered (and not older than `max_age`), or fetched now. `None` when nobody knows;
    /// why is told to `failed`, once for a fetch.
    pub(super) async fn get<F>(
        &self,
        address: &str,
        max_age: Duration,
        fetch: impl FnOnce() -> F,
        failed: impl FnOnce(&Miss),
    ) -> Option<(Arc<T>, Source)>
    where
        F: Future<Output = Result<Fetched<T>, Miss>>,
    {
        if let Some(known) = self.known(address, max_age) {
            return known;
        }
        let ticket = self.board(address);
        let _turn = ticket.flight.lock().await;
        // Whoever was first has fetched it, or failed for all.
        if let Some(known) = self.known(address, max_age) {
            return known;
        }
        let outcome = fetch().await;
        let now = self.ambient.now();
        let entry = match outcome {
            Ok(Fetched { value, fresh_for }) => Entry {
                good: Some(Good {
                    value: Arc::new(value),
                    fetched: now,
                    fresh_for,
                }),
                failed: None,
            },
            Err(miss) => {
                failed(&miss);
                let before = self.entries.get(address).and_then(|entry| entry.good);
                Entry {
                    good: before.filter(|_| matches!(miss, Miss::Silent(_))),
                    failed: Some(now),
                }
            }
        };
        let found = entry.usable(now).map(|value| {
            let source = if entry.failed.is_none() {
                Source::Fetch
            } else {
                Source::Stale
            };
            (value, source)
        });
        self.entries.insert(address.into(), entry);
        found
    }

    /// What needs no fetch: outer `None` when one is due.
    #[expect(
        clippy::option_option,
        reason = "nothing known, and known to be nothing"
    )]
    fn known(&self, address: &str, max_age: Duration) -> Option<Option<(Arc<T>, Source)>> {
        let now = self.ambient.now();
        let entry = self.entries.get(address)?;
        if let Some(good) = &entry.good
            && now.since(good.fetched) < good.fresh_for.min(max_age)
        {
            return Some(Some((Arc::clone(&good.value), Source::Memory)));
        }
        entry
            .failed
            .is_some_and(|at| now.since(at) < FAILURE)
            .then(|| entry.usable(now).map(|value| (value, Source::Stale)))
    }

    fn board<'s>(&'s self, address: &str) -> Ticket<'s, T> {
        let mut flights = self.flights();
        let known = flights.get(address).and_then(Weak::upgrade);
        let flight = known.unwrap_or_else(|| {
            let flight = Arc::new(Flight::new(()));
            flights.insert(address.into(), Arc::downgrade(&flight));
            flight
        });
        Ticket {
            shelf: self,
            address: address.into(),
            flight,
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Arc<str>, Weak<Flight>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Entry<T> {
    fn usable(&self, now: Timestamp) -> Option<Arc<T>> {
        self.good
            .as_ref()
            .filter(|good| now.since(good.fetched) < good.fresh_for.max(STALE))
            .map(|good| Arc::clone(&good.value))
    }
}

/// A place in the queue for a fetch; the last one that leaves takes the queue away.
struct Ticket<'s, T> {
    shelf: &'s Shelf<T>,
    address: Arc<str>,
    flight: Arc<Flight>,
}

impl<T> Drop for Ticket<'_, T> {
    fn drop(&mut self) {
        let mut flights = self.shelf.flights();
        // Ours is the last one; nobody can board while the list is locked.
        if Arc::strong_count(&self.flight) == 1 {
            flights.remove(&self.address);
        }
    }
}

/// How long an answer is good by its headers (RFC 9111 section 4.2), within our bounds. `no-store` and `no-cache`
/// get the shortest time: without any memory, every visitor would be a fetch.
pub(super) fn fresh_for(headers: &HeaderMap) -> Duration {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &http::HeaderValue| value.to_str().ok())
    };
    let mut said = None;
    for directive in headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
    {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return SHORTEST,
            "max-age" => said = value.trim().trim_matches('"').parse().ok(),
            _ => {}
        }
    }
    let said = match said {
        Some(seconds) => {
            let age = text(AGE)
                .and_then(|age| age.trim().parse().ok())
                .unwrap_or(0);
            Some(Duration::from_secs(u64::saturating_sub(seconds, age)))
        }
        None => text(EXPIRES).map(|expires| {
            let date = |text| httpdate::parse_http_date(text).ok();
            // What cannot be read has expired (RFC 9111 section 5.3).
            date(expires)
                .zip(text(DATE).and_then(date))
                .and_then(|(expires, from)| expires.duration_since(from).ok())
                .unwrap_or_default()
        }),
    };
    said.unwrap_or(USUAL).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests;
