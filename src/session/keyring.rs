//! The key ring of this installation: configured, kept in the store, or made for this process only.

use std::num::NonZeroU32;
use std::time::Duration;

use aws_lc_rs::pbkdf2;
use bytes::Bytes;
use zeroize::Zeroizing;

use crate::clock::Ambient;
use crate::config::Config;
use crate::config::session::StoreKind;
use crate::keys::{KeyRing, Purpose};
use crate::secret::Secret;
use crate::store::{Key, Replaced, Space, Store, Stored, Unavailable};

/// Why there is no key ring.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// Replicas could not agree on a root secret.
    #[error(
        "sessions in Redis need a root secret that every replica has; print one with `mcp-oidc-proxy keygen` and set it as secret_keys: [{{ env: MCP_ENCRYPTION_KEY }}]"
    )]
    NoRoot,
    /// A configured root secret cannot be used.
    #[error(
        "an entry of secret_keys is not base64 or base64url of at least 32 bytes; `mcp-oidc-proxy keygen` prints a good one"
    )]
    BadRoot,
    /// The root secret is in the store, and the store does not answer; trying again may help.
    #[error(
        "the root secret is kept in the session store: {0}; set secret_keys to start without it"
    )]
    Store(#[from] Unavailable),
    /// Other replicas kept on changing the root secret: they have another client secret.
    #[error(
        "the root secret in the store changes while it is read; give every replica the same oidc.client_secret, or set secret_keys"
    )]
    Contended,
    /// The process is ending.
    #[error("the root secret was not made, because the process is ending")]
    Ending,
}

/// The key ring: the configured root secrets; else, with Redis and a client secret of 16 bytes or more, a random
/// root that is made once and kept there, sealed under a key from the client secret; else, with the memory
/// store, `own`: a random root that lasts as long as the process, reloads included.
pub async fn key_ring(
    config: &Config,
    store: &dyn Store,
    own: &KeyRing,
    ambient: &Ambient,
) -> Result<KeyRing, KeyRingError> {
    if !config.secret_keys.is_empty() {
        return KeyRing::new(config.key_material(), ambient.clone()).ok_or(KeyRingError::BadRoot);
    }
    if config.sessions.store == StoreKind::Memory {
        return Ok(own.clone());
    }
    let secret = config
        .oidc
        .as_ref()
        .and_then(|oidc| oidc.client_secret.as_ref())
        .map(crate::config::SecretRef::secret);
    let secret = secret
        .filter(|secret| secret.len() >= MIN_CLIENT_SECRET)
        .ok_or(KeyRingError::NoRoot)?;
    tracing::warn!(
        "No secret_keys are set: the root secret is kept in Redis, sealed under a key made from the client secret. \
         Changing the client secret ends all sessions. Set secret_keys (`mcp-oidc-proxy keygen` prints one)."
    );
    stored_root(secret, store, ambient).await
}

/// Reads the root secret of the installation, or makes it. Of several replicas that start together all end up
/// with the one that was stored first.
async fn stored_root(
    secret: &Secret,
    store: &dyn Store,
    ambient: &Ambient,
) -> Result<KeyRing, KeyRingError> {
    let key = Key::new(Space::Install, "root");
    for _ in 0..ATTEMPTS {
        let Some(stored) = store.get(&key).await? else {
            let (root, blob) = make_root(secret, ambient)
                .await
                .ok_or(KeyRingError::Ending)?;
            if store.put_new(&key, blob, LIFE).await? {
                return KeyRing::new(vec![root.to_vec()], ambient.clone())
                    .ok_or(KeyRingError::BadRoot);
            }
            continue;
        };
        if let Some(root) = open_root(secret, &stored, ambient).await {
            store.expire(&key, LIFE).await?;
            return KeyRing::new(vec![root.to_vec()], ambient.clone()).ok_or(KeyRingError::BadRoot);
        }
        tracing::warn!(
            "The client secret has changed: a new root secret is made, and all sessions end."
        );
        let (root, blob) = make_root(secret, ambient)
            .await
            .ok_or(KeyRingError::Ending)?;
        if let Replaced::Done(_) = store.replace_if(&key, stored.revision, blob, LIFE).await? {
            return KeyRing::new(vec![root.to_vec()], ambient.clone()).ok_or(KeyRingError::BadRoot);
        }
    }
    Err(KeyRingError::Contended)
}

/// A random root, and the blob that keeps it: the salt of the key, then the root sealed under the key.
async fn make_root(secret: &Secret, ambient: &Ambient) -> Option<(Zeroizing<Vec<u8>>, Bytes)> {
    let root = Zeroizing::new(ambient.random::<32>().to_vec());
    let salt: [u8; SALT] = ambient.random();
    let mut blob = salt.to_vec();
    let wrap = wrapping(secret, &salt, ambient).await?;
    blob.extend_from_slice(&wrap.sealer(Purpose::Root, None).seal(CONTEXT, &root));
    Some((root, blob.into()))
}

async fn open_root(
    secret: &Secret,
    stored: &Stored,
    ambient: &Ambient,
) -> Option<Zeroizing<Vec<u8>>> {
    let (salt, sealed) = stored.blob.split_at_checked(SALT)?;
    let wrap = wrapping(secret, salt.try_into().ok()?, ambient).await?;
    wrap.sealer(Purpose::Root, None)
        .open(CONTEXT, sealed)
        .ok()
        .map(Zeroizing::new)
}

/// The key that seals the root: PBKDF2-HMAC-SHA-256 of the client secret, so that who has a dump of the store
/// pays for each guess. It takes a moment, so it runs beside the event loop.
async fn wrapping(secret: &Secret, salt: &[u8; SALT], ambient: &Ambient) -> Option<KeyRing> {
    let (secret, salt) = (secret.clone(), *salt);
    let key = tokio::task::spawn_blocking(move || {
        let mut key = Zeroizing::new(vec![0; 32]);
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            ROUNDS,
            &salt,
            secret.expose_secret().as_bytes(),
            &mut key,
        );
        key
    });
    KeyRing::new(vec![key.await.ok()?.to_vec()], ambient.clone())
}

const MIN_CLIENT_SECRET: usize = 16;
const SALT: usize = 16;
/// As OWASP recommends for PBKDF2 with SHA-256 (2023).
const ROUNDS: NonZeroU32 = match NonZeroU32::new(600_000) {
    Some(rounds) => rounds,
    None => NonZeroU32::MIN,
};
const CONTEXT: &[u8] = b"mcp:install:root";
const ATTEMPTS: usize = 5;
/// Every key in the store has a time to live; this one is set anew at each start.
const LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::session::Sessions;
    use crate::store::memory::MemoryStore;

    fn store() -> MemoryStore {
        MemoryStore::new(&Sessions::default(), Ambient::system())
    }

    /// Two rings with the same roots name things alike.
    fn name(ring: &KeyRing) -> [u8; 32] {
        ring.mac(Purpose::Index, b"x")
    }

    #[tokio::test]
    async fn replicas_that_start_together_agree() {
        let (store, ambient) = (store(), Ambient::system());
        let secret = Secret::new("a-client-secret-of-the-provider");
        let rings = futures_util::future::try_join_all(
            (0..2).map(|_| stored_root(&secret, &store, &ambient)),
        );
        let names: Vec<_> = rings.await.unwrap().iter().map(name).collect();
        assert!(names.iter().all(|each| *each == names[0]));
        let blob = store
            .get(&Key::new(Space::Install, "root"))
            .await
            .unwrap()
            .unwrap()
            .blob;
        assert!(blob.len() > SALT + 32);
    }

    #[tokio::test]
    async fn another_client_secret_makes_another_root() {
        let (store, ambient) = (store(), Ambient::system());
        let first = stored_root(&Secret::new("the-first-client-secret"), &store, &ambient)
            .await
            .unwrap();
        let second = stored_root(&Secret::new("another-client-secret"), &store, &ambient)
            .await
            .unwrap();
        assert_ne!(name(&first), name(&second));
        let again = stored_root(&Secret::new("another-client-secret"), &store, &ambient)
            .await
            .unwrap();
        assert_eq!(name(&second), name(&again));
    }

    #[tokio::test]
    async fn redis_without_a_root_or_a_good_client_secret_is_refused() {
        let (store, ambient) = (store(), Ambient::system());
        let own = KeyRing::ephemeral(ambient.clone());
        let config = |text: &str| -> Config { serde_yaml::from_str(text).unwrap() };
        let bare = config("version: 1\n");
        assert!(key_ring(&bare, &store, &own, &ambient).await.is_ok());
        let short = "version: 1\nsessions: { store: redis }\noidc: { issuer: 'https://i', client_id: c, client_secret: short }\n";
        let refused = key_ring(&config(short), &store, &own, &ambient).await;
        assert!(matches!(refused, Err(KeyRingError::NoRoot)), "{refused:?}");
        let root = "version: 1\nsessions: { store: redis }\nsecret_keys: [AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=]\n";
        assert!(
            key_ring(&config(root), &store, &own, &ambient)
                .await
                .is_ok()
        );
        assert_eq!(
            store.get(&Key::new(Space::Install, "root")).await.unwrap(),
            None
        );
    }
}
