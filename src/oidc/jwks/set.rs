//! Reading a key set (RFC 7517): public signature keys of known types, everything else is passed over.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;

use super::verify::{Public, VerifyKey};

/// Keys that are read at most; providers have a handful.
const MAX_KEYS: usize = 64;
/// Longest text of one key's number: RSA with 8192 bits in base64url.
const MAX_NUMBER: usize = 1400;

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Key {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    #[serde(rename = "key_ops")]
    operations: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<Value>,
}

/// The usable keys and the document's text; an error when it is no key set, or one without a usable key.
pub(super) fn parse(body: &[u8]) -> Result<(Vec<Arc<VerifyKey>>, String), String> {
    let text = std::str::from_utf8(body).map_err(|_| "it is not UTF-8".to_owned())?;
    let document: Document =
        serde_json::from_str(text).map_err(|_| "it is no JSON object with `keys`".to_owned())?;
    let keys: Vec<_> = document
        .keys
        .into_iter()
        .take(MAX_KEYS)
        .filter_map(usable)
        .map(Arc::new)
        .collect();
    if keys.is_empty() {
        return Err("it holds no key that could verify a signature".to_owned());
    }
    Ok((keys, text.to_owned()))
}

/// A public key for signatures; `None` for secrets (`oct`, private parts), other uses and unknown types.
fn usable(value: Value) -> Option<VerifyKey> {
    let key: Key = serde_json::from_value(value).ok()?;
    let foreign_use = key.usage.as_deref().is_some_and(|usage| usage != "sig")
        || key
            .operations
            .as_ref()
            .is_some_and(|ops| !ops.iter().any(|op| op == "verify"));
    if key.d.is_some() || foreign_use {
        return None;
    }
    let number = |text: &Option<String>| {
        let text = text.as_deref()?;
        if text.is_empty() || text.len() > MAX_NUMBER {
            return None;
        }
        URL_SAFE_NO_PAD.decode(text).ok()
    };
    let (fitting, public): (&[Algorithm], _) = match (key.kty.as_str(), key.crv.as_deref()) {
        ("RSA", _) => (
            &RSA,
            Public::Rsa {
                n: number(&key.n)?,
                e: number(&key.e)?,
            },
        ),
        ("EC", Some("P-256")) => (
            &[Algorithm::ES256],
            Public::point(32, &number(&key.x)?, &number(&key.y)?)?,
        ),
        ("EC", Some("P-384")) => (
            &[Algorithm::ES384],
            Public::point(48, &number(&key.x)?, &number(&key.y)?)?,
        ),
        ("OKP", Some("Ed25519")) => (
            &[Algorithm::EdDSA],
            Public::Ed25519(number(&key.x)?.try_into().ok()?),
        ),
        _ => return None,
    };
    let algorithms = match key.alg.as_deref() {
        None => fitting.to_vec(),
        Some(name) => vec![algorithm(name).filter(|named| fitting.contains(named))?],
    };
    VerifyKey::new(key.kid, &algorithms, &public)
}

/// An asymmetric signature algorithm by its name (RFC 7518 section 3.1, RFC 9864); `None` for `none`, HMAC and
/// what is not known.
pub(crate) fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" | "Ed25519" => Algorithm::EdDSA,
        _ => return None,
    })
}
