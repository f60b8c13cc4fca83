//! API keys: a few live ones, known by their digests, each a named principal.

use std::sync::Arc;

use http::HeaderName;
use serde_json::{Map, Value};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{Credential, Identity};
use crate::claims::{Claims, Tag};
use crate::config::authn::ApiKey;
use crate::ids::Subject;
use crate::secret::Digest;

/// The header that keys come in.
pub(super) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The issuer of principals that are API keys, so that no provider's subject is ever taken for one.
const ISSUER: &str = "urn:mcp-oidc-proxy:api-key";

/// Longest key that is looked at, in bytes.
const MAX_KEY: usize = 4096;

/// All live keys. Several may be for one name, so that a key can be replaced without a gap.
pub(super) struct ApiKeys(Vec<(Digest, Identity)>);

impl ApiKeys {
    /// Keeps digests only. The configuration was validated; a key without `key` and `sha256` is passed over.
    pub(super) fn new(keys: &[ApiKey]) -> Self {
        Self(
            keys.iter()
                .filter_map(|key| Some((digest(key)?, principal(key))))
                .collect(),
        )
    }

    /// Whether there are any.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The principal of a key. Every digest is compared, all of it, whatever was found before.
    pub(super) fn find(&self, key: &[u8]) -> Option<Identity> {
        if key.is_empty() || key.len() > MAX_KEY {
            return None;
        }
        let given = Digest::of(key);
        let mut found = Choice::from(0);
        let mut at = 0_u64;
        for (index, (digest, _)) in (0_u64..).zip(&self.0) {
            let same = digest.as_bytes().ct_eq(given.as_bytes());
            at.conditional_assign(&index, same);
            found |= same;
        }
        if !bool::from(found) {
            return None;
        }
        self.0
            .get(usize::try_from(at).ok()?)
            .map(|(_, identity)| identity.clone())
    }
}

fn digest(key: &ApiKey) -> Option<Digest> {
    if let Some(key) = &key.key {
        return Some(Digest::of(key.secret().expose_secret()));
    }
    let hex = key.sha256.as_deref()?;
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&hex[at..at + 2], 16).ok()?;
    }
    Some(Digest::from_bytes(bytes))
}

fn principal(key: &ApiKey) -> Identity {
    let mut all: Map<String, Value> = key
        .claims
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    all.insert("sub".to_owned(), key.name.as_str().into());
    if !key.groups.is_empty() {
        all.insert("groups".to_owned(), key.groups.as_slice().into());
    }
    if let Some(email) = &key.email {
        all.insert("email".to_owned(), email.as_str().into());
    }
    Identity {
        claims: Arc::new(Claims {
            subject: Subject {
                issuer: ISSUER.into(),
                subject: key.name.as_str().into(),
            },
            email: key.email.clone(),
            name: None,
            preferred_username: Some(key.name.clone()),
            groups: key.groups.clone(),
            all: Arc::new(all),
            tag: Tag::default(),
        }),
        credential: Credential::ApiKey,
        scopes: Arc::from([]),
        client_id: None,
        expires: None,
        basis: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> ApiKeys {
        let list: Vec<ApiKey> = serde_json::from_value(serde_json::json!([
            {"name": "ci", "key": "0123456789abcdef-old", "groups": ["bots"], "email": "ci@corp.com", "claims": {"tier": 2}},
            {"name": "ci", "key": "0123456789abcdef-new", "groups": ["bots"]},
            {"name": "ops", "sha256": "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"},
            {"name": "broken", "sha256": "zz"},
            {"name": "empty"},
        ]))
        .unwrap();
        ApiKeys::new(&list)
    }

    #[test]
    fn each_live_key_is_its_principal() {
        let keys = keys();
        for (key, name) in [
            ("0123456789abcdef-old", "ci"),
            ("0123456789abcdef-new", "ci"),
            ("test", "ops"),
        ] {
            let identity = keys.find(key.as_bytes()).unwrap();
            let claims = identity.claims();
            assert_eq!(
                (&*claims.subject.issuer, &*claims.subject.subject),
                (ISSUER, name)
            );
            assert_eq!(identity.credential(), &Credential::ApiKey);
        }
        let ci = keys.find(b"0123456789abcdef-old").unwrap();
        assert_eq!(
            (ci.claims().groups.as_slice(), ci.claims().email.as_deref()),
            (&["bots".to_owned()][..], Some("ci@corp.com"))
        );
        assert_eq!(ci.claims().get("tier"), Some(&Value::from(2)));
    }

    #[test]
    fn nothing_else_is_a_key() {
        let keys = keys();
        for key in [
            "",
            "ci",
            "0123456789abcdef-ol",
            "0123456789abcdef-old ",
            "TEST",
            "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08",
        ] {
            assert!(keys.find(key.as_bytes()).is_none(), "{key}");
        }
        assert!(keys.find(&vec![b'a'; MAX_KEY + 1]).is_none());
        assert!(ApiKeys::new(&[]).find(b"test").is_none());
    }
}
