//! Signed statements about the caller, for backends that verify instead of trusting the network: a short JWT (RFC 7519)
//! for one audience. They say who asks, not what for, so one serves many requests.
//!
//! They are signed by keys of their own, under a `typ` of their own (RFC 8725 section 3.11): neither can one of them be
//! taken for an access token, nor an access token for one of them.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use quick_cache::sync::Cache;
use serde_json::{Map, Value, json};

use crate::authn::Identity;
use crate::claims::Claims;
use crate::clock::{Ambient, Timestamp};
use crate::config::Config;
use crate::config::backend::{Assertion, AssertionPlace};
use crate::reject::{Code, Fault, Reject};
use crate::signing::SigningKeys;
use crate::urls::PublicUrl;

/// The `typ` of our assertions.
pub(crate) const TYPE: &str = "identity-assertion+jwt";

/// Longest header value; many servers refuse lines beyond 8 KiB.
const MAX_VALUE: usize = 8 << 10;

/// Assertions that are kept ready.
const REMEMBERED: usize = 4096;

/// Makes assertions for the backends that want them, and keeps those of recent callers for half of their life.
pub struct Assertions {
    /// In the order of the backends; `None` for those that get none.
    wanted: Box<[Option<Wanted>]>,
    keys: Arc<SigningKeys>,
    issuer: Arc<str>,
    ambient: Ambient,
    recent: Cache<Name, Arc<Ready>>,
}

/// What one backend wants.
struct Wanted {
    audience: Box<str>,
    place: Place,
    life: Duration,
    /// Name in the assertion, and the path of the person's claim.
    claims: Box<[(Box<str>, Box<str>)]>,
}

enum Place {
    Header(HeaderName),
    Bearer,
}

/// Whose assertion for whom. The address belongs to the claims that the entry holds.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Name {
    claims: usize,
    backend: usize,
    credential: &'static str,
}

/// An assertion that was made.
struct Ready {
    claims: Arc<Claims>,
    client: Option<Box<str>>,
    value: HeaderValue,
    made: Timestamp,
    ends: Timestamp,
}

impl Assertions {
    /// For the backends of a configuration.
    pub fn new(
        config: &Config,
        public_url: &PublicUrl,
        keys: Arc<SigningKeys>,
        ambient: Ambient,
    ) -> Self {
        let wanted = config.backends.iter().map(|backend| {
            let assertion = backend.assertion.as_ref()?;
            Some(Wanted::new(assertion))
        });
        Self {
            wanted: wanted.collect(),
            keys,
            issuer: public_url.as_str().into(),
            ambient,
            recent: Cache::new(REMEMBERED),
        }
    }

    /// Puts the caller's assertion on a request to a backend, where that wants one.
    ///
    /// # Errors
    /// 503 while there is no key to sign with; 500 when the claims are too long for a header. The request must not go
    /// on without: a backend that takes both signed and unsigned callers would take it for somebody else's.
    pub(super) fn tell(
        &self,
        backend: usize,
        identity: &Identity,
        to: &mut HeaderMap,
    ) -> Result<(), Reject> {
        let Some(Some(wanted)) = self.wanted.get(backend) else {
            return Ok(());
        };
        let name = Name {
            claims: Arc::as_ptr(identity.claims()).addr(),
            backend,
            credential: identity.credential().as_str(),
        };
        let now = self.ambient.now();
        let value = match self.recent.get(&name) {
            Some(ready) if ready.serves(identity, now) => ready.value.clone(),
            _ => {
                let ready = Arc::new(self.make(wanted, identity, now)?);
                let value = ready.value.clone();
                self.recent.insert(name, ready);
                value
            }
        };
        match &wanted.place {
            Place::Header(header) => to.insert(header.clone(), value),
            Place::Bearer => to.insert(AUTHORIZATION, value),
        };
        Ok(())
    }

    fn make(&self, wanted: &Wanted, identity: &Identity, now: Timestamp) -> Result<Ready, Reject> {
        let no_key = || {
            Reject::unavailable(
                Code::StoreUnavailable,
                Fault::Proxy,
                "The keys that sign for the server behind this address cannot be read just now. Try again in a moment.",
            )
        };
        let set = self.keys.current().ok_or_else(no_key)?;
        let pair = set.signing(now).ok_or_else(no_key)?;
        // An assertion does not outlive what proved the identity.
        let end = now.plus(wanted.life);
        let end = identity.expires().map_or(end, |expires| end.min(expires));
        let header = json!({ "alg": pair.algorithm_name(), "typ": TYPE, "kid": pair.kid() });
        let mut message = String::new();
        URL_SAFE_NO_PAD.encode_string(header.to_string(), &mut message);
        message.push('.');
        let content = self.content(wanted, identity, now, end);
        URL_SAFE_NO_PAD.encode_string(content.to_string(), &mut message);
        let signature = pair
            .sign(message.as_bytes())
            .ok_or_else(|| Reject::internal().because("an assertion could not be signed"))?;
        message.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut message);
        if let Place::Bearer = wanted.place {
            message.insert_str(0, "Bearer ");
        }
        if message.len() > MAX_VALUE {
            return Err(Reject::internal().because(format!(
                "the assertion for `{}` has {} bytes, and {MAX_VALUE} is the most; take claims out of the backend's assertion.claims",
                wanted.audience,
                message.len()
            )));
        }
        let mut value = HeaderValue::try_from(message)
            .map_err(|_| Reject::internal().because("an assertion is no header value"))?;
        value.set_sensitive(true);
        Ok(Ready {
            claims: Arc::clone(identity.claims()),
            client: identity.client_id().map(Into::into),
            value,
            made: now,
            ends: end,
        })
    }

    fn content(
        &self,
        wanted: &Wanted,
        identity: &Identity,
        now: Timestamp,
        end: Timestamp,
    ) -> Value {
        let claims = identity.claims();
        let mut out = Map::new();
        for (name, path) in &wanted.claims {
            if let Some(value) = claim(claims, path) {
                out.insert(name.to_string(), value);
            }
        }
        // After the configured ones, so that none of these is ever another's.
        let id = URL_SAFE_NO_PAD.encode(self.ambient.random::<16>());
        out.insert("iss".to_owned(), json!(&*self.issuer));
        out.insert("sub".to_owned(), json!(&*claims.subject.subject));
        out.insert("idp_iss".to_owned(), json!(&*claims.subject.issuer));
        out.insert("aud".to_owned(), json!(&*wanted.audience));
        out.insert("iat".to_owned(), json!(now.as_secs()));
        out.insert("exp".to_owned(), json!(end.as_secs()));
        out.insert("jti".to_owned(), json!(id));
        out.insert(
            "credential".to_owned(),
            json!(identity.credential().as_str()),
        );
        match identity.client_id() {
            Some(client) => out.insert("client_id".to_owned(), json!(client)),
            None => out.remove("client_id"),
        };
        Value::Object(out)
    }
}

impl Wanted {
    /// The configuration was validated: what is no header name cannot be sent, so the usual one is taken.
    fn new(config: &Assertion) -> Self {
        let usual = HeaderName::from_static("x-identity-assertion");
        Self {
            audience: config.audience.as_str().into(),
            place: match config.place {
                AssertionPlace::Bearer => Place::Bearer,
                AssertionPlace::Header => {
                    Place::Header(HeaderName::try_from(&*config.header).unwrap_or(usual))
                }
            },
            life: config.lifetime.0,
            claims: config
                .claims
                .iter()
                .map(|(name, path)| (name.as_str().into(), path.as_str().into()))
                .collect(),
        }
    }
}

impl Ready {
    /// Whether it still serves for this caller: half of its life is left, and it ends no later than their credential.
    fn serves(&self, identity: &Identity, now: Timestamp) -> bool {
        Arc::ptr_eq(&self.claims, identity.claims())
            && self.client.as_deref() == identity.client_id()
            && self.ends.since(now) * 2 >= self.ends.since(self.made)
            && identity
                .expires()
                .is_none_or(|expires| self.ends <= expires)
    }
}

/// A claim by its path. `email`, `groups` and `preferred_username` are what the proxy found to be those, as in the
/// identity headers.
fn claim(claims: &Claims, path: &str) -> Option<Value> {
    match path {
        "email" => claims.email.as_deref().map(Value::from),
        "groups" => Some(claims.groups.iter().map(String::as_str).collect()),
        "preferred_username" => claims.preferred_username.as_deref().map(Value::from),
        path => claims.get(path).cloned(),
    }
}

impl std::fmt::Debug for Assertions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Assertions")
    }
}

#[cfg(test)]
mod tests;
