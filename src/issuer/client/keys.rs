//! Keys of clients that authenticate with `private_key_jwt`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use jsonwebtoken::Algorithm;
use url::Url;

use super::document::miss;
use super::fetches::{Cause, Fetches};
use super::metadata::Source;
use super::shelf::{Fetched, Miss, Nothing, Shelf, fresh_for};
use crate::clock::Ambient;
use crate::oidc::jwks::{VerifyKey, read_key_set};
use crate::upstream::fetch::Fetch;
use crate::upstream::guarded::Guarded;

/// Key sets that are remembered.
const BOUND: usize = 500;
/// A set without the key of an assertion is fetched again when it is older than this: right after a rotation the
/// next assertion works, and a flood of made-up key ids is one fetch in this time.
const REFETCH: Duration = Duration::from_secs(10);
/// For the key sets of clients in the configuration.
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_BYTES: usize = 64 << 10;

/// Where the keys of a client are.
pub(crate) enum ClientKeys {
    /// In its document, in the configuration, or in its id.
    Inline(Vec<Arc<VerifyKey>>),
    /// At an address that the client named, fetched with the same guard as documents.
    At(Url),
    /// At an address that the operator wrote, fetched like any other of the configuration.
    Configured(Url),
}

impl ClientKeys {
    pub(super) fn of(source: Source) -> Self {
        match source {
            Source::Inline(_, keys) => Self::Inline(keys),
            Source::Address(url) => Self::At(url),
        }
    }
}

impl fmt::Debug for ClientKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(keys) => write!(f, "Inline({} keys)", keys.len()),
            Self::At(url) => write!(f, "At({url})"),
            Self::Configured(url) => write!(f, "Configured({url})"),
        }
    }
}

/// Key sets by their address.
pub(super) struct KeySets {
    shelf: Arc<Shelf<Vec<Arc<VerifyKey>>>>,
    fetch: Fetch,
    guard: Guarded,
    fetches: Arc<Fetches>,
}

impl KeySets {
    /// Fetches nothing yet. What `before` remembers is kept when it was fetched under the same rules. The error names
    /// the CA file.
    pub(super) fn new(
        guard: &Guarded,
        ca_file: Option<&Path>,
        fetches: &Arc<Fetches>,
        ambient: &Ambient,
        before: Option<&Self>,
    ) -> Result<Self, String> {
        let kept = before.filter(|before| before.guard.allows_as(guard));
        Ok(Self {
            shelf: kept.map_or_else(
                || Arc::new(Shelf::new(BOUND, ambient.clone())),
                |before| Arc::clone(&before.shelf),
            ),
            fetch: Fetch::new(ca_file, TIMEOUT, MAX_BYTES)?,
            guard: guard.clone(),
            fetches: Arc::clone(fetches),
        })
    }

    /// The keys of a client that could have made a signature: those with its key id, or without any.
    pub(super) async fn find(
        &self,
        keys: &ClientKeys,
        kid: Option<&str>,
        algorithm: Algorithm,
        cause: Cause,
    ) -> Result<Vec<Arc<VerifyKey>>, Nothing> {
        if let ClientKeys::Inline(keys) = keys {
            return Ok(fitting(keys, kid, algorithm));
        }
        let known = self.at(keys, Duration::MAX, cause).await?;
        let found = fitting(&known, kid, algorithm);
        if !found.is_empty() {
            return Ok(found);
        }
        let newer = self.at(keys, REFETCH, cause).await?;
        Ok(fitting(&newer, kid, algorithm))
    }

    async fn at(
        &self,
        keys: &ClientKeys,
        max_age: Duration,
        cause: Cause,
    ) -> Result<Arc<Vec<Arc<VerifyKey>>>, Nothing> {
        let (url, guard) = match keys {
            ClientKeys::Inline(_) => return Err(Nothing::NotHad),
            ClientKeys::At(url) => (url, Some(&self.guard)),
            ClientKeys::Configured(url) => (url, None),
        };
        // What the operator vouches for is kept apart from what a stranger may name as well.
        let place = match guard {
            Some(_) => format!("client {url}"),
            None => format!("operator {url}"),
        };
        self.shelf
            .get(
                &place,
                max_age,
                || self.fetch(url, guard, cause),
                |miss| tracing::warn!(%url, reason = miss.why(), "The key set of a client was not had."),
            )
            .await
            .map(|(keys, _)| keys)
    }

    async fn fetch(
        &self,
        url: &Url,
        guard: Option<&Guarded>,
        cause: Cause,
    ) -> Result<Fetched<Vec<Arc<VerifyKey>>>, Miss> {
        let answer = match guard {
            Some(guard) => {
                self.fetches.admit(cause, url).map_err(Miss::Limited)?;
                guard.get(url, TYPES).await.map_err(|error| miss(&error))?
            }
            None => self.plain(url).await.map_err(Miss::Silent)?,
        };
        Ok(Fetched {
            fresh_for: fresh_for(answer.headers()),
            value: read_key_set(answer.body()).map_err(Miss::Wrong)?,
        })
    }

    async fn plain(&self, url: &Url) -> Result<http::Response<Bytes>, String> {
        let request = http::Request::get(url.as_str())
            .header(ACCEPT, TYPES)
            .body(Bytes::new())
            .map_err(|error| format!("its address is not usable: {error}"))?;
        let answer = self
            .fetch
            .send(request)
            .await
            .map_err(|error| error.to_string())?;
        match answer.status() {
            http::StatusCode::OK => Ok(answer),
            status => Err(format!("its address answered {status}")),
        }
    }
}

const TYPES: &str = "application/json, application/jwk-set+json";

fn fitting(
    keys: &[Arc<VerifyKey>],
    kid: Option<&str>,
    algorithm: Algorithm,
) -> Vec<Arc<VerifyKey>> {
    keys.iter()
        .filter(|key| kid.is_none() || key.kid.is_none() || key.kid.as_deref() == kid)
        .filter(|key| key.fits(algorithm))
        .cloned()
        .collect()
}
