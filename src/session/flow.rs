//! Login flows on their way through the provider: written at `start`, taken once at `callback`.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ticket::hex;
use crate::clock::{Ambient, Timestamp};
use crate::keys::{KeyRing, Purpose};
use crate::seal::Sealer;
use crate::secret::Digest;
use crate::store::{Key, Space, Store, Unavailable, records};

/// A login flow under way, kept in the store between `start` and `callback`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Flow {
    /// `nonce` of the authorization request.
    pub nonce: String,
    /// PKCE verifier.
    pub verifier: String,
    /// Where the person goes afterwards.
    pub return_to: String,
    /// Issuer that the flow was begun with.
    pub issuer: String,
    /// When it was begun.
    pub started: Timestamp,
    /// `prompt` of the authorization request, if a page of ours wished for one.
    #[serde(default)]
    pub prompt: Option<String>,
}

/// The login flows of this installation.
pub struct Flows {
    store: Arc<dyn Store>,
    sealer: Sealer,
    timeout: Duration,
    ambient: Ambient,
}

impl Flows {
    /// Over a store. A flow ends after `timeout` (`sessions.login_timeout`).
    pub fn new(store: Arc<dyn Store>, keys: &KeyRing, timeout: Duration, ambient: Ambient) -> Self {
        Self {
            store,
            sealer: keys.sealer(Purpose::Flow, None),
            timeout,
            ambient,
        }
    }

    /// Keeps a flow under its `state`. The store sees a digest of the state only, so that who reads the store
    /// cannot finish somebody's login. Binding the flow to the browser that began it is the caller's part.
    pub async fn put(&self, state: &str, flow: &Flow) -> Result<(), Unavailable> {
        let key = key(state);
        let blob = records::seal(&self.sealer, &key, flow);
        self.store.put(&key, blob, self.timeout).await.map(drop)
    }

    /// Takes the flow of a `state`: the first caller gets it, all others get nothing, and so does one who comes
    /// too late.
    pub async fn take(&self, state: &str) -> Result<Option<Flow>, Unavailable> {
        let key = key(state);
        let Some(stored) = self.store.take(&key).await? else {
            return Ok(None);
        };
        let flow: Option<Flow> = records::open(&self.sealer, &key, &stored);
        Ok(flow.filter(|flow| self.ambient.now() < flow.started.plus(self.timeout)))
    }
}

fn key(state: &str) -> Key {
    Key::new(Space::Flow, hex(Digest::of(state).as_bytes()))
}
