//! JSON Web Tokens (RFC 7519, RFC 9068): taking one apart, and what its claims say. No keys here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use std::time::Duration;

use super::refusal::Refusal;
use crate::clock::Timestamp;
use crate::oidc::jwks;

/// Longest token that is looked at, in bytes.
pub(super) const MAX_TOKEN: usize = 16 << 10;

/// Longest `sub`, in bytes.
const MAX_SUBJECT: usize = 1024;
/// Scopes and audiences that are kept of one token.
const MAX_LIST: usize = 256;
/// The last second of the year 9999: what is later is no time that anybody meant.
const MAX_TIME: f64 = 253_402_300_799.0;

/// A token taken apart, not verified: good for nothing but finding the key.
#[derive(Debug)]
pub(super) struct Unverified<'t> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    /// `typ` says that it is an access token and nothing else (RFC 9068 section 2.1).
    pub(super) is_access_token: bool,
    pub(super) payload: Map<String, Value>,
    /// Header and payload as they were signed.
    pub(super) signed: &'t str,
    /// The signature, still encoded.
    signature: &'t str,
}

impl Unverified<'_> {
    /// The signature's bytes.
    pub(super) fn signature(&self) -> Result<Vec<u8>, Refusal> {
        URL_SAFE_NO_PAD
            .decode(self.signature)
            .map_err(|_| Refusal::BadSignature)
    }
}

/// The header members that are read. Members that name keys or places of keys (`jku`, `jwk`, `x5u`, `x5c`) are not:
/// a token does not say whom to believe.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

/// Takes a token apart. Refused here: what is no JWS in compact form, `none` and HMAC algorithms, types other than
/// `JWT` and `at+jwt`, and any `crit` (RFC 7515 section 4.1.11: we understand no extension).
pub(super) fn parse(token: &str) -> Result<Unverified<'_>, Refusal> {
    if token.len() > MAX_TOKEN {
        return Err(Refusal::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(Refusal::Malformed)?;
    if payload.contains('.') || signature.is_empty() {
        return Err(Refusal::Malformed);
    }
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed);
    let header: Header =
        serde_json::from_slice(&decode(header)?).map_err(|_| Refusal::Malformed)?;
    let algorithm = jwks::algorithm(&header.alg).ok_or(Refusal::Algorithm)?;
    if header.crit {
        return Err(Refusal::Critical);
    }
    if !header.typ.as_deref().is_none_or(is_access_token_type) {
        return Err(Refusal::Type);
    }
    let payload = serde_json::from_slice(&decode(payload)?).map_err(|_| Refusal::Malformed)?;
    Ok(Unverified {
        is_access_token: header.typ.as_deref() == Some(crate::issuer::access::TYPE),
        algorithm,
        kid: header.kid,
        payload,
        signed,
        signature,
    })
}

/// `at+jwt` (RFC 9068 section 2.1) and the plain `JWT` that most providers write. What has a type of its own for
/// another purpose (`logout+jwt`, `dpop+jwt`, `oauth-id-jag+jwt`) is not for us.
fn is_access_token_type(typ: &str) -> bool {
    ["JWT", "at+jwt", "application/at+jwt", "application/jwt"]
        .iter()
        .any(|known| typ.eq_ignore_ascii_case(known))
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// What a payload says about the token itself.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) subject: String,
    pub(super) audiences: Vec<Box<str>>,
    pub(super) expires: Timestamp,
    pub(super) scopes: Vec<Box<str>>,
    pub(super) client_id: Option<String>,
}

/// Reads the times of a payload and judges them: `exp` is required, `nbf` and `iat` are judged when present.
pub(super) fn times(
    payload: &Map<String, Value>,
    now: Timestamp,
    skew: Duration,
) -> Result<Timestamp, Refusal> {
    let expires = time(payload, "exp")
        .map_err(|()| Refusal::NoExpiry)?
        .ok_or(Refusal::NoExpiry)?;
    if now >= expires.plus(skew) {
        return Err(Refusal::Expired);
    }
    let latest = now.plus(skew);
    if time(payload, "nbf")
        .map_err(|()| Refusal::Malformed)?
        .is_some_and(|nbf| nbf > latest)
    {
        return Err(Refusal::NotYetValid);
    }
    if time(payload, "iat")
        .map_err(|()| Refusal::Malformed)?
        .is_some_and(|iat| iat > latest)
    {
        return Err(Refusal::IssuedInFuture);
    }
    Ok(expires)
}

/// A `NumericDate` (RFC 7519 section 2), which may have a fraction.
fn time(payload: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, ()> {
    match payload.get(name) {
        None => Ok(None),
        Some(value) => {
            let seconds = value
                .as_f64()
                .filter(|seconds| (0.0..=MAX_TIME).contains(seconds))
                .ok_or(())?;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the range was checked; less than a millisecond is lost"
            )]
            Ok(Some(Timestamp::from_millis((seconds * 1000.0) as i64)))
        }
    }
}

/// Reads everything else about the token.
pub(super) fn facts(payload: &Map<String, Value>, expires: Timestamp) -> Result<Facts, Refusal> {
    let text = |name: &str| payload.get(name).and_then(Value::as_str);
    let subject = text("sub")
        .filter(|sub| !sub.is_empty() && sub.len() <= MAX_SUBJECT)
        .ok_or(Refusal::NoSubject)?;
    let audiences = match payload.get("aud") {
        Some(Value::String(one)) => vec![one.as_str().into()],
        Some(Value::Array(many)) => texts(many),
        _ => return Err(Refusal::NoAudience),
    };
    if audiences.is_empty() {
        return Err(Refusal::NoAudience);
    }
    // `scope` by RFC 9068 section 2.2.3; `scp`, as Entra ID (a text) and Okta (a list) have it.
    let scopes = match payload.get("scope").or_else(|| payload.get("scp")) {
        Some(Value::String(list)) => list
            .split_ascii_whitespace()
            .take(MAX_LIST)
            .map(Box::from)
            .collect(),
        Some(Value::Array(many)) => texts(many),
        _ => Vec::new(),
    };
    Ok(Facts {
        subject: subject.to_owned(),
        audiences,
        expires,
        scopes,
        client_id: text("client_id").or_else(|| text("azp")).map(str::to_owned),
    })
}

fn texts(values: &[Value]) -> Vec<Box<str>> {
    values
        .iter()
        .filter_map(Value::as_str)
        .take(MAX_LIST)
        .map(Box::from)
        .collect()
}

#[cfg(test)]
mod tests;
