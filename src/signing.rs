//! The keys that sign access tokens and the keys that sign identity assertions, two sets that are never mixed: written in
//! the configuration, or made here, kept sealed in the store and renewed.
//!
//! A key is published before it signs, so that every replica and everybody who caches the key set knows it by then; and
//! it verifies until the last token that it signed is over.

mod pair;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::pair::Pair;

use crate::clock::{Ambient, Timestamp};
use crate::config::SecretRef;
use crate::keys::{KeyRing, Purpose};
use crate::seal::Sealer;
use crate::store::{Key, Outcome, Replaced, Space, Store, records};

/// What a set of keys signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signs {
    /// Access tokens of the authorization server.
    AccessTokens,
    /// What backends are told about callers.
    Assertions,
}

impl Signs {
    /// The name in the store.
    fn stored(self) -> Key {
        let name = match self {
            Self::AccessTokens => "signing-keys",
            Self::Assertions => "assertion-keys",
        };
        Key::new(Space::Install, name)
    }

    fn purpose(self) -> Purpose {
        match self {
            Self::AccessTokens => Purpose::SigningKeys,
            Self::Assertions => Purpose::AssertionKeys,
        }
    }

    /// The key of the configuration.
    fn configured(self) -> &'static str {
        match self {
            Self::AccessTokens => "authorization_server.signing_keys",
            Self::Assertions => "assertions.signing_keys",
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::AccessTokens => "access tokens",
            Self::Assertions => "identity assertions",
        }
    }
}

/// Signs tokens of one kind, and tells the keys to whoever verifies them.
pub struct SigningKeys {
    signs: Signs,
    set: ArcSwapOption<KeySet>,
    kept: Option<Kept>,
    ambient: Ambient,
    /// One look into the store at a time, and when the last one was.
    looking: Mutex<Option<Instant>>,
}

/// Where the keys are kept when the configuration has none.
struct Kept {
    store: Arc<dyn Store>,
    sealer: Sealer,
}

/// All keys at one moment.
pub(crate) struct KeySet {
    pairs: Vec<Held>,
    document: Bytes,
    revision: u64,
}

struct Held {
    pair: Pair,
    /// Signs from then on, until a later one does.
    from: Timestamp,
}

/// The keys as they are kept.
#[derive(Serialize, Deserialize)]
struct Record {
    keys: Vec<KeptKey>,
}

#[derive(Serialize, Deserialize)]
struct KeptKey {
    /// PKCS#8, base64.
    pkcs8: String,
    from: Timestamp,
}

impl Drop for KeptKey {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.pkcs8);
    }
}

impl SigningKeys {
    /// Of the configuration, or kept in the store when that has none. Kept ones are there after the first
    /// look into the store; [`Self::watch`] sees to that.
    ///
    /// # Errors
    /// The key of the configuration that cannot be used, and why.
    pub fn new(
        signs: Signs,
        configured: &[SecretRef],
        store: Arc<dyn Store>,
        ring: &KeyRing,
        ambient: Ambient,
    ) -> Result<Arc<Self>, String> {
        let mut pairs = Vec::new();
        for (at, key) in configured.iter().enumerate() {
            let pair = Pair::from_pem(key.secret()).ok_or_else(|| {
                format!(
                    "{}[{at}] is no PEM private key of an EC key on P-256 or an Ed25519 key",
                    signs.configured()
                )
            })?;
            // The first is the one that signs: the others count as older.
            let from = Timestamp::from_millis(i64::from(at == 0));
            pairs.push(Held { pair, from });
        }
        let kept = configured.is_empty().then(|| Kept {
            store,
            sealer: ring.sealer(signs.purpose(), None),
        });
        let set = (!pairs.is_empty()).then(|| Arc::new(KeySet::new(pairs, 0)));
        Ok(Arc::new(Self {
            signs,
            set: ArcSwapOption::new(set),
            kept,
            ambient,
            looking: Mutex::new(None),
        }))
    }

    /// Reads the kept keys again every minute, makes and renews them, until cancelled.
    pub async fn watch(self: Arc<Self>, until: CancellationToken) {
        let work = async {
            loop {
                let pause = match self.renew().await {
                    Ok(()) => EVERY,
                    Err(error) => {
                        tracing::warn!(%error, "the keys that sign {} cannot be read; those that are known stay in use", self.signs.as_str());
                        RETRY
                    }
                };
                tokio::time::sleep(pause).await;
            }
        };
        if self.kept.is_some() {
            until.run_until_cancelled(work).await;
        }
    }

    /// All keys; `None` while the kept ones could not be read yet.
    pub(crate) fn current(&self) -> Option<Arc<KeySet>> {
        self.set.load_full()
    }

    /// The key of a `kid`. One that is not known may have been made by another replica a moment ago, so the store is
    /// asked again, once in five seconds. `Err`: nobody knows now.
    pub(crate) async fn find(&self, kid: &str) -> Result<Arc<KeySet>, UnknownKey> {
        if let Some(set) = self.current().filter(|set| set.pair(kid).is_some()) {
            return Ok(set);
        }
        let Some(_) = &self.kept else {
            return Err(UnknownKey);
        };
        let mut last = self.looking.lock().await;
        if last.is_none_or(|last| last.elapsed() >= LOOK_AGAIN) {
            *last = Some(Instant::now());
            if let Err(error) = self.renew().await {
                tracing::warn!(%error, "the keys that sign {} cannot be read", self.signs.as_str());
            }
        }
        drop(last);
        self.current()
            .filter(|set| set.pair(kid).is_some())
            .ok_or(UnknownKey)
    }

    /// Reads the kept keys; makes the first one, appends the next one in time, drops those whose tokens are over.
    pub(crate) async fn renew(&self) -> Outcome<()> {
        let Some(Kept { store, sealer }) = &self.kept else {
            return Ok(());
        };
        let key = self.signs.stored();
        for _ in 0..ATTEMPTS {
            let now = self.ambient.now();
            let Some(stored) = store.get(&key).await? else {
                let Some(first) = Pair::generate() else {
                    continue;
                };
                let record = Record {
                    keys: vec![KeptKey::new(&first, now)],
                };
                // Whoever was first wins; the record is read again either way.
                store
                    .put_new(&key, records::seal(sealer, &key, &record), LIFE)
                    .await?;
                continue;
            };
            let Some(mut record) = records::open::<Record>(sealer, &key, &stored) else {
                tracing::error!(
                    "The kept keys that sign {} were sealed by a secret that is no longer in secret_keys: new ones are made.",
                    self.signs.as_str()
                );
                let Some(first) = Pair::generate() else {
                    continue;
                };
                let record = Record {
                    keys: vec![KeptKey::new(&first, now)],
                };
                store
                    .replace_if(
                        &key,
                        stored.revision,
                        records::seal(sealer, &key, &record),
                        LIFE,
                    )
                    .await?;
                continue;
            };
            if record.turn(now) {
                let blob = records::seal(sealer, &key, &record);
                if let Replaced::Done(revision) =
                    store.replace_if(&key, stored.revision, blob, LIFE).await?
                {
                    tracing::info!(
                        keys = record.keys.len(),
                        "the keys that sign {} were renewed",
                        self.signs.as_str()
                    );
                    self.take(&record, revision);
                    return Ok(());
                }
                continue;
            }
            if self
                .current()
                .is_none_or(|set| set.revision != stored.revision)
            {
                self.take(&record, stored.revision);
            }
            return Ok(());
        }
        Err(crate::store::Unavailable(
            "the signing keys are being changed by others all the time".into(),
        ))
    }

    fn take(&self, record: &Record, revision: u64) {
        let pairs = record.keys.iter().filter_map(|kept| {
            let pkcs8 = STANDARD.decode(&kept.pkcs8).ok()?;
            Some(Held {
                pair: Pair::from_pkcs8(&pkcs8)?,
                from: kept.from,
            })
        });
        self.set
            .store(Some(Arc::new(KeySet::new(pairs.collect(), revision))));
    }
}

/// No key of this `kid`, as far as anybody can tell just now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnknownKey;

impl KeySet {
    fn new(pairs: Vec<Held>, revision: u64) -> Self {
        let keys: Vec<_> = pairs.iter().map(|held| held.pair.public_jwk()).collect();
        Self {
            document: json!({ "keys": keys }).to_string().into(),
            pairs,
            revision,
        }
    }

    /// The key that signs now.
    pub(crate) fn signing(&self, now: Timestamp) -> Option<&Pair> {
        self.pairs
            .iter()
            .filter(|held| held.from <= now)
            .max_by_key(|held| held.from)
            .or_else(|| self.pairs.first())
            .map(|held| &held.pair)
    }

    /// The key of a `kid`.
    pub(crate) fn pair(&self, kid: &str) -> Option<&Pair> {
        self.pairs
            .iter()
            .map(|held| &held.pair)
            .find(|pair| pair.kid() == kid)
    }

    /// The JWK set (RFC 7517 section 5), public parts only.
    pub(crate) fn document(&self) -> &Bytes {
        &self.document
    }
}

impl KeptKey {
    fn new(pair: &Pair, from: Timestamp) -> Self {
        Self {
            pkcs8: STANDARD.encode(pair.pkcs8()),
            from,
        }
    }
}

impl Record {
    /// Appends and drops what is due; whether anything changed.
    fn turn(&mut self, now: Timestamp) -> bool {
        let before = self.keys.len();
        // What was replaced longer ago than any token lives verifies nothing any more.
        let mut starts: Vec<Timestamp> = self.keys.iter().map(|key| key.from).collect();
        starts.sort_unstable();
        self.keys.retain(|key| {
            let next = starts.iter().find(|start| **start > key.from);
            next.is_none_or(|next| now < next.plus(LONGEST_TOKEN))
        });
        let mut changed = self.keys.len() != before;
        let newest = starts.last().copied();
        let due = newest.is_none_or(|newest| now.plus(ANNOUNCE) >= newest.plus(PERIOD));
        if due && let Some(pair) = Pair::generate() {
            let from = if self.keys.is_empty() {
                now
            } else {
                now.plus(ANNOUNCE)
            };
            self.keys.push(KeptKey::new(&pair, from));
            changed = true;
        }
        changed
    }
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKeys")
    }
}

/// A key signs for this long.
const PERIOD: Duration = Duration::from_secs(90 * 86_400);
/// A key is published this long before it signs.
const ANNOUNCE: Duration = Duration::from_secs(86_400);
/// The longest life of an access token that the configuration allows, and a little more for clocks.
const LONGEST_TOKEN: Duration = Duration::from_secs(86_400 + 3600);
/// How often the kept keys are read.
const EVERY: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const ATTEMPTS: usize = 8;
/// Every key in the store has a time to live; this one is set anew at each change.
const LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);

#[cfg(test)]
mod tests;
