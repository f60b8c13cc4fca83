//! A provider's keys: cached, fetched again at once for an unknown `kid`, single flight, rate-limited.
//!
//! A key set that cannot be read is never "no such key": nobody knows then ([`KeyError::Unavailable`], 503).
//! The last good set serves on for a day while its address fails; a set that was read replaces all of it,
//! so that removed keys are gone.

mod set;
mod verify;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::ACCEPT;
use jsonwebtoken::Algorithm;
use metrics::{Counter, Histogram};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::set::algorithm;
pub use self::verify::VerifyKey;

use crate::clock::Ambient;
use crate::secret::Digest;
use crate::telemetry::metrics::{Metrics, Name, Shown};
use crate::upstream::fetch::Fetch;

/// Between two background readings.
const REFRESH: Duration = Duration::from_secs(300);
/// Between background readings that fail, at first; doubles up to [`REFRESH`].
const RETRY: Duration = Duration::from_secs(5);
/// How long the last good set is used while its address fails.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// Readings that requests may cause at once, and how fast the right to one comes back.
const BURST: u32 = 3;
const REFILL: Duration = Duration::from_secs(10);
/// How long an unknown `kid` is remembered, and how many are.
const NEGATIVE: Duration = Duration::from_secs(5);
const MAX_NEGATIVE: usize = 256;
/// A `kid` that is longer is nobody's.
const MAX_KID: usize = 512;

/// Whether a document is a key set with a usable key. For fuzzing.
pub(crate) fn is_key_set(document: &[u8]) -> bool {
    set::parse(document).is_ok_and(|(keys, _)| !keys.is_empty())
}

/// The usable keys of a key set; why, when it is none or has none.
pub(crate) fn read_key_set(document: &[u8]) -> Result<Vec<Arc<VerifyKey>>, String> {
    set::parse(document).map(|(keys, _)| keys)
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key set was read after the token arrived, and has no such key.
    #[error("no key with this id")]
    Unknown,
    /// The key set cannot be read just now, or was asked for too often: nobody knows (503, not 401).
    #[error("the key set is unavailable: {0}")]
    Unavailable(String),
}

type Read = Box<dyn Fn() -> BoxFuture<'static, Result<Bytes, String>> + Send + Sync>;

/// The key set of one issuer.
pub struct Jwks {
    read: Read,
    ambient: Ambient,
    current: ArcSwapOption<KeySet>,
    generation: AtomicU64,
    flight: Mutex<Flight>,
    unknown: StdMutex<VecDeque<(Digest, Instant)>>,
    meters: Meters,
}

struct KeySet {
    keys: Vec<Arc<VerifyKey>>,
    raw: Arc<str>,
    read: Instant,
}

/// Held while the set is being read: what waits for it is served by the same reading.
struct Flight {
    permits: u32,
    refilled: Instant,
    /// When the last successful reading began.
    begun: Option<Instant>,
    /// When the last reading failed, and why.
    failed: Option<(Instant, String)>,
}

struct Meters {
    keys: Shown,
    last_success: Shown,
    ok: Counter,
    error: Counter,
    duration: Histogram,
}

impl Jwks {
    /// Reads from `uri` when first needed. `provider` labels metrics.
    pub fn new(
        provider: &str,
        uri: String,
        fetch: Fetch,
        ambient: Ambient,
        metrics: &Arc<Metrics>,
    ) -> Arc<Self> {
        let read = move || {
            let (uri, fetch) = (uri.clone(), fetch.clone());
            async move { get(&uri, &fetch).await }.boxed()
        };
        Self::reading(provider, Box::new(read), ambient, metrics)
    }

    fn reading(provider: &str, read: Read, ambient: Ambient, metrics: &Metrics) -> Arc<Self> {
        let labels = |result| {
            [
                ("provider", provider),
                ("endpoint", "jwks"),
                ("result", result),
            ]
        };
        Arc::new(Self {
            read,
            ambient,
            current: ArcSwapOption::empty(),
            generation: AtomicU64::new(0),
            flight: Mutex::new(Flight {
                permits: BURST,
                refilled: Instant::now(),
                begun: None,
                failed: None,
            }),
            unknown: StdMutex::new(VecDeque::new()),
            meters: Meters {
                keys: metrics.shown(Name::JwksKeys, &[("provider", provider)]),
                last_success: metrics.shown(Name::JwksLastSuccess, &[("provider", provider)]),
                ok: metrics.counter(Name::IdpRequests, &labels("success")),
                error: metrics.counter(Name::IdpRequests, &labels("failed")),
                duration: metrics.histogram(
                    Name::IdpDuration,
                    &[("provider", provider), ("endpoint", "jwks")],
                ),
            },
        })
    }

    /// The keys that could verify a token with this `kid` and algorithm (all fitting ones when it has no `kid`);
    /// never an empty list.
    pub async fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<Arc<VerifyKey>>, KeyError> {
        if kid.is_some_and(|kid| kid.len() > MAX_KID) {
            return Err(KeyError::Unknown);
        }
        let arrived = Instant::now();
        if let Some(set) = self.usable() {
            match set.fitting(kid, algorithm) {
                Fitting::Keys(keys) => return Ok(keys),
                // The issuer has such a key, and it is for something else.
                Fitting::WrongAlgorithm => return Err(KeyError::Unknown),
                Fitting::None if self.is_known_unknown(kid) => return Err(KeyError::Unknown),
                Fitting::None => {}
            }
        }
        let set = self
            .newer(arrived, |set| {
                matches!(set.fitting(kid, algorithm), Fitting::Keys(_))
            })
            .await?;
        match set.fitting(kid, algorithm) {
            Fitting::Keys(keys) => Ok(keys),
            Fitting::WrongAlgorithm => Err(KeyError::Unknown),
            Fitting::None => {
                self.remember_unknown(kid);
                Err(KeyError::Unknown)
            }
        }
    }

    /// The raw key set as last read, for the ID token verifier.
    pub async fn raw(&self) -> Result<Arc<str>, KeyError> {
        if let Some(set) = self.usable() {
            return Ok(Arc::clone(&set.raw));
        }
        let set = self.newer(Instant::now(), |_| true).await?;
        Ok(Arc::clone(&set.raw))
    }

    /// Grows whenever the set's content changes: what was verified before may have been signed by a key that is
    /// gone.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Reads the set again in the background before it grows old, until cancelled.
    pub async fn watch(self: Arc<Self>, until: CancellationToken) {
        let mut retry = RETRY;
        loop {
            let age = self.usable().map(|set| set.read.elapsed());
            let due = age.map_or(Duration::ZERO, |age| REFRESH.saturating_sub(age));
            if until
                .run_until_cancelled(tokio::time::sleep(due))
                .await
                .is_none()
            {
                return;
            }
            let began = Instant::now();
            let outcome = async {
                let mut flight = self.flight.lock().await;
                // A request may have had it read in the meantime.
                if flight.begun.is_some_and(|begun| begun >= began) {
                    Ok(())
                } else {
                    self.fetch(&mut flight).await
                }
            };
            match until.run_until_cancelled(outcome).await {
                None => return,
                Some(Ok(())) => retry = RETRY,
                Some(Err(_)) => {
                    if until
                        .run_until_cancelled(tokio::time::sleep(retry))
                        .await
                        .is_none()
                    {
                        return;
                    }
                    retry = (retry * 2).min(REFRESH);
                }
            }
        }
    }

    fn usable(&self) -> Option<Arc<KeySet>> {
        self.current
            .load_full()
            .filter(|set| set.read.elapsed() < MAX_AGE)
    }

    /// A set whose reading began after a request arrived, or any that has what the request needs.
    async fn newer(
        &self,
        arrived: Instant,
        enough: impl Fn(&KeySet) -> bool,
    ) -> Result<Arc<KeySet>, KeyError> {
        let mut flight = self.flight.lock().await;
        if let Some(set) = self.usable()
            && enough(&set)
        {
            return Ok(set);
        }
        if flight.begun.is_none_or(|begun| begun < arrived) {
            // Whoever waited for a reading that failed shares its failure; a queue of them would otherwise wait
            // for one timeout after the other.
            if let Some((at, why)) = &flight.failed
                && *at >= arrived
            {
                return Err(KeyError::Unavailable(why.clone()));
            }
            if !flight.take_permit() {
                return Err(KeyError::Unavailable(
                    "it was asked for too often".to_owned(),
                ));
            }
            self.fetch(&mut flight).await?;
        }
        self.usable()
            .ok_or_else(|| KeyError::Unavailable("it is too old".to_owned()))
    }

    async fn fetch(&self, flight: &mut Flight) -> Result<(), KeyError> {
        let begun = Instant::now();
        let outcome = (self.read)().await.and_then(|body| set::parse(&body));
        self.meters.duration.record(begun.elapsed());
        match outcome {
            Ok((keys, raw)) => {
                self.meters.ok.increment(1);
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "a gauge is a float; both are small"
                )]
                {
                    self.meters.keys.set(keys.len() as f64);
                    self.meters
                        .last_success
                        .set(self.ambient.now().as_secs() as f64);
                }
                let changed = self
                    .current
                    .load()
                    .as_ref()
                    .is_none_or(|before| *before.raw != raw);
                self.current.store(Some(Arc::new(KeySet {
                    keys,
                    raw: raw.into(),
                    read: begun,
                })));
                if changed {
                    self.generation.fetch_add(1, Ordering::AcqRel);
                    if let Ok(mut unknown) = self.unknown.lock() {
                        unknown.clear();
                    }
                }
                flight.begun = Some(begun);
                flight.failed = None;
                Ok(())
            }
            Err(why) => {
                self.meters.error.increment(1);
                tracing::warn!(error = %why, "the identity provider's key set cannot be read");
                flight.failed = Some((Instant::now(), why.clone()));
                Err(KeyError::Unavailable(why))
            }
        }
    }

    fn is_known_unknown(&self, kid: Option<&str>) -> bool {
        let digest = Digest::of(kid.unwrap_or_default());
        let Ok(mut unknown) = self.unknown.lock() else {
            return false;
        };
        while unknown
            .front()
            .is_some_and(|(_, at)| at.elapsed() >= NEGATIVE)
        {
            unknown.pop_front();
        }
        unknown.iter().any(|(known, _)| *known == digest)
    }

    fn remember_unknown(&self, kid: Option<&str>) {
        let Ok(mut unknown) = self.unknown.lock() else {
            return;
        };
        if unknown.len() >= MAX_NEGATIVE {
            unknown.pop_front();
        }
        unknown.push_back((Digest::of(kid.unwrap_or_default()), Instant::now()));
    }
}

enum Fitting {
    Keys(Vec<Arc<VerifyKey>>),
    WrongAlgorithm,
    None,
}

impl KeySet {
    fn fitting(&self, kid: Option<&str>, algorithm: Algorithm) -> Fitting {
        // A key without an id fits every token: its issuer has no use for ids.
        let named =
            |key: &VerifyKey| kid.is_none() || key.kid.is_none() || key.kid.as_deref() == kid;
        let mut named = self.keys.iter().filter(|key| named(key)).peekable();
        let exact = kid.is_some() && self.keys.iter().any(|key| key.kid.as_deref() == kid);
        if named.peek().is_none() {
            return Fitting::None;
        }
        let keys: Vec<_> = named.filter(|key| key.fits(algorithm)).cloned().collect();
        match (keys.is_empty(), exact) {
            (false, _) => Fitting::Keys(keys),
            (true, true) => Fitting::WrongAlgorithm,
            (true, false) => Fitting::None,
        }
    }
}

impl Flight {
    fn take_permit(&mut self) -> bool {
        let elapsed = self.refilled.elapsed();
        let back = u32::try_from(elapsed.as_millis() / REFILL.as_millis()).unwrap_or(BURST);
        if self.permits.saturating_add(back) >= BURST {
            self.permits = BURST;
            self.refilled = Instant::now();
        } else {
            self.permits += back;
            self.refilled += REFILL * back;
        }
        let left = self.permits.checked_sub(1);
        self.permits = left.unwrap_or(0);
        left.is_some()
    }
}

impl std::fmt::Debug for Jwks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwks")
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

/// Asks for the document. Anything but 200 is no key set, a redirect too: it could lead where nobody checked.
async fn get(uri: &str, fetch: &Fetch) -> Result<Bytes, String> {
    let request = http::Request::get(uri)
        .header(ACCEPT, "application/json, application/jwk-set+json")
        .body(Bytes::new())
        .map_err(|error| format!("its address is not usable: {error}"))?;
    let response = fetch
        .send(request)
        .await
        .map_err(|error| error.to_string())?;
    match response.status() {
        http::StatusCode::OK => Ok(response.into_body()),
        status => Err(format!("its address answered {status}")),
    }
}

#[cfg(test)]
mod tests;
