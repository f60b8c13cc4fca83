//! What was fetched from addresses that strangers name: remembered for as long as its server said, within bounds,
//! and fetched once at a time for each address.
//!
//! Failures are not remembered (draft-ietf-oauth-client-id-metadata-document section 4.4: errors must not be cached),
//! or a document that was put right would stay wrong. A failure stands only for those who were waiting for that
//! fetch when it came; a flood is one fetch at a time for each address, and the limits of [`super::fetches`].

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
/// How long the last good answer serves after its server could not be asked, before it is asked again: who comes
/// meanwhile need not wait for the next time-out.
const PAUSE: Duration = Duration::from_secs(10);

/// Things by the address that they were fetched from.
pub(super) struct Shelf<T> {
    entries: Cache<Arc<str>, Entry<T>>,
    /// Fetches under way; no more than requests that wait for them.
    flights: Mutex<HashMap<Arc<str>, Weak<Flight>>>,
    ambient: Ambient,
}

/// Whether the fetch has failed for all who wait for it.
type Flight = tokio::sync::Mutex<bool>;

struct Entry<T> {
    good: Good<T>,
    /// When its server could not be asked last.
    unasked: Option<Timestamp>,
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
    /// Who asked for it has to wait so many seconds; others need not.
    Limited(u64),
}

/// Why there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nothing {
    /// It was not had.
    NotHad,
    /// Who asks has to wait so many seconds.
    Limited(u64),
}

impl Miss {
    /// For logs.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Silent(why) | Self::Wrong(why) => why,
            Self::Limited(_) => "too many fetches for its source, or from its host",
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
            unasked: self.unasked,
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

    /// What is at an address: remembered (and not older than `max_age`), or fetched now. when nobody knows,
    /// why is told to `failed`, once for a fetch.
    pub(super) async fn get<F>(
        &self,
        address: &str,
        max_age: Duration,
        fetch: impl FnOnce() -> F,
        failed: impl FnOnce(&Miss),
    ) -> Result<(Arc<T>, Source), Nothing>
    where
        F: Future<Output = Result<Fetched<T>, Miss>>,
    {
        if let Some(known) = self.known(address, max_age) {
            return Ok(known);
        }
        let ticket = self.board(address);
        let mut has_failed = ticket.flight.lock().await;
        // Whoever was first has fetched it, or failed for all.
        if let Some(known) = self.known(address, max_age) {
            return Ok(known);
        }
        if *has_failed {
            return self.stale(address).ok_or(Nothing::NotHad);
        }
        match fetch().await {
            Ok(Fetched { value, fresh_for }) => {
                let value = Arc::new(value);
                let entry = Entry {
                    good: Good {
                        value: Arc::clone(&value),
                        fetched: self.ambient.now(),
                        fresh_for,
                    },
                    unasked: None,
                };
                self.entries.insert(address.into(), entry);
                Ok((value, Source::Fetch))
            }
            Err(miss @ Miss::Limited(seconds)) => {
                failed(&miss);
                self.stale(address).ok_or(Nothing::Limited(seconds))
            }
            Err(miss) => {
                failed(&miss);
                *has_failed = true;
                // Who comes from now on tries anew.
                ticket.close();
                match miss {
                    Miss::Silent(_) | Miss::Limited(_) => self.postpone(address),
                    Miss::Wrong(_) => drop(self.entries.remove(address)),
                }
                self.stale(address).ok_or(Nothing::NotHad)
            }
        }
    }

    /// What needs no fetch.
    fn known(&self, address: &str, max_age: Duration) -> Option<(Arc<T>, Source)> {
        let now = self.ambient.now();
        let entry = self.entries.get(address)?;
        if now.since(entry.good.fetched) < entry.good.fresh_for.min(max_age) {
            return Some((entry.good.value, Source::Memory));
        }
        let paused = entry.unasked.is_some_and(|at| now.since(at) < PAUSE);
        (paused && entry.good.is_usable(now)).then_some((entry.good.value, Source::Stale))
    }

    /// What serves on though it is old.
    fn stale(&self, address: &str) -> Option<(Arc<T>, Source)> {
        let entry = self.entries.get(address)?;
        let usable = entry.good.is_usable(self.ambient.now());
        usable.then_some((entry.good.value, Source::Stale))
    }

    fn postpone(&self, address: &str) {
        if let Some(mut entry) = self.entries.get(address) {
            entry.unasked = Some(self.ambient.now());
            self.entries.insert(address.into(), entry);
        }
    }

    fn board<'s>(&'s self, address: &str) -> Ticket<'s, T> {
        let mut flights = self.flights();
        let known = flights.get(address).and_then(Weak::upgrade);
        let flight = known.unwrap_or_else(|| {
            let flight = Arc::new(Flight::new(false));
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

impl<T> Good<T> {
    fn is_usable(&self, now: Timestamp) -> bool {
        now.since(self.fetched) < self.fresh_for.max(STALE)
    }
}

/// A place in the queue for a fetch; the last one that leaves takes the queue away.
struct Ticket<'s, T> {
    shelf: &'s Shelf<T>,
    address: Arc<str>,
    flight: Arc<Flight>,
}

impl<T> Ticket<'_, T> {
    /// Lets nobody board any more.
    fn close(&self) {
        let mut flights = self.shelf.flights();
        if self.is_listed(&flights) {
            flights.remove(&self.address);
        }
    }

    fn is_listed(&self, flights: &HashMap<Arc<str>, Weak<Flight>>) -> bool {
        flights
            .get(&self.address)
            .is_some_and(|there| std::ptr::eq(there.as_ptr(), Arc::as_ptr(&self.flight)))
    }
}

impl<T> Drop for Ticket<'_, T> {
    fn drop(&mut self) {
        let mut flights = self.shelf.flights();
        // Ours is the last one; nobody can board while the list is locked.
        if Arc::strong_count(&self.flight) == 1 && self.is_listed(&flights) {
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
