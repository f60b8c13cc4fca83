//! A provider's keys: cached, fetched again at once for an unknown `kid`, single flight, rate-limited.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey};
use tokio_util::sync::CancellationToken;

use crate::clock::Ambient;
use crate::telemetry::metrics::Metrics;
use crate::upstream::fetch::Fetch;

/// One usable verification key.
pub struct VerifyKey {
    /// Its `kid`, if it has one.
    pub kid: Option<String>,
    /// Algorithms that may be verified with it: from the key (`alg`, else its type), never from a token.
    pub algorithms: Vec<Algorithm>,
    /// The key.
    pub key: DecodingKey,
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

/// The key set of one issuer.
pub struct Jwks {
    _private: (),
}

impl Jwks {
    /// Reads from `uri` when first needed. `provider` labels metrics.
    pub fn new(_provider: &str, _uri: String, _fetch: Fetch, _ambient: Ambient, _metrics: &Arc<Metrics>) -> Arc<Self> {
        todo!()
    }

    /// The keys that could verify a token with this `kid` (all of a fitting type when it has none).
    pub async fn find(&self, _kid: Option<&str>, _algorithm: Algorithm) -> Result<Arc<VerifyKey>, KeyError> {
        todo!()
    }

    /// The raw key set as last read, for the ID token verifier.
    pub async fn raw(&self) -> Result<Arc<str>, KeyError> {
        todo!()
    }

    /// Reads the set again in the background before it grows old, until cancelled.
    pub async fn watch(self: Arc<Self>, _until: CancellationToken) {
        todo!()
    }
}
