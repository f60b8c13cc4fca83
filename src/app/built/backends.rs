//! Backends, and the keys that sign what they are told.

use std::sync::Arc;
use std::time::Duration;

use super::{Built, Part, RingMark};
use crate::app::{Lasting, StartError};
use crate::config::Config;
use crate::config::backend::{AssertionKeys, Backend};
use crate::forward::{Assertions, Forwarder};
use crate::keys::KeyRing;
use crate::signing::{SigningKeys, Signs};
use crate::upstream::Upstream;
use crate::urls::PublicUrl;

/// How long a start or a reload waits for the store to give keys.
const KEYS_AT_START: Duration = Duration::from_secs(3);

/// The keys of assertions are carried over while the configured ones and the key ring stay the same.
#[derive(Clone, PartialEq)]
pub(super) struct AssertionKey {
    config: AssertionKeys,
    ring: RingMark,
}

/// The backends. One that differs from before in its endpoints only keeps those that stay.
pub(super) fn upstreams(
    lasting: &Lasting,
    config: &Config,
    old: Option<&Built>,
) -> Result<Vec<Part<Backend, Upstream>>, StartError> {
    let mut upstreams = Vec::with_capacity(config.backends.len());
    for (index, backend) in config.backends.iter().enumerate() {
        // Files behind the same names may have changed, so what reads files is made anew.
        let reads_files = backend.tls.ca_file.is_some() || backend.tls.cert_file.is_some();
        let before = old
            .and_then(|old| {
                old.upstreams
                    .iter()
                    .find(|part| part.config.name == backend.name)
            })
            .filter(|_| !reads_files);
        upstreams.push(Part::or_carry(
            before,
            backend.clone(),
            &lasting.end,
            || {
                let made = match before.filter(|old| differ_in_endpoints(&old.config, backend)) {
                    Some(old) => Upstream::with_endpoints_of(&old.value, backend),
                    None => Upstream::new(backend, &lasting.metrics),
                };
                made.map_err(|error| {
                    StartError::Config(format!(
                        "backends[{index}].{}: {}",
                        error.key, error.message
                    ))
                })
            },
        )?);
    }
    Ok(upstreams)
}

/// Whether two backends differ in their list of endpoints, and the choice among them, only.
fn differ_in_endpoints(one: &Backend, other: &Backend) -> bool {
    let is_tls = |backend: &Backend| {
        backend
            .addresses()
            .any(|address| address.starts_with("https:"))
    };
    if is_tls(one) != is_tls(other) {
        return false;
    }
    let mut one = one.clone();
    one.upstream.clone_from(&other.upstream);
    one.endpoints.clone_from(&other.endpoints);
    one.balance = other.balance;
    one == *other
}

/// The keys that sign what backends are told, when one wants to be told.
pub(super) fn assertion_keys(
    lasting: &Lasting,
    config: &Config,
    keys: &KeyRing,
    old: Option<&Built>,
) -> Result<Option<Part<AssertionKey, SigningKeys>>, StartError> {
    if config.backends.iter().all(|each| each.assertion.is_none()) {
        return Ok(None);
    }
    let key = AssertionKey {
        config: config.assertions.clone(),
        ring: RingMark::of(keys),
    };
    let before = old.and_then(|old| old.assertion_keys.as_ref());
    Part::or_carry(before, key, &lasting.end, || {
        SigningKeys::new(
            Signs::Assertions,
            &config.assertions.signing_keys,
            Arc::clone(&lasting.store),
            keys,
            lasting.ambient.clone(),
        )
        .map_err(StartError::Config)
    })
    .map(Some)
}

/// Reads the keys of assertions before the first request; when the store does not give them at once, requests that need
/// them are 503 until it does.
pub(super) async fn read_keys(keys: &SigningKeys) {
    match tokio::time::timeout(KEYS_AT_START, keys.renew()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "the keys that sign identity assertions cannot be read yet");
        }
        Err(_) => {
            tracing::warn!(
                "the keys that sign identity assertions cannot be read yet: the store is slow"
            );
        }
    }
}

/// What sends requests to the backends.
pub(super) fn forwarder(
    lasting: &Lasting,
    config: &Config,
    public_url: &PublicUrl,
    keys: &KeyRing,
    upstreams: &[Part<Backend, Upstream>],
    assertion_keys: Option<&Part<AssertionKey, SigningKeys>>,
) -> Forwarder {
    let assertions = assertion_keys.map(|part| {
        let keys = Arc::clone(&part.value);
        Assertions::new(config, public_url, keys, lasting.ambient.clone())
    });
    let upstreams = upstreams.iter().map(|part| Arc::clone(&part.value));
    Forwarder::new(
        config,
        public_url,
        upstreams.collect(),
        assertions,
        keys,
        &lasting.revocations,
        lasting.drain.streams.clone(),
    )
}
