//! ID tokens: the whole of OpenID Connect Core section 3.1.3.7.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{
    CoreGenderClaim, CoreIdToken, CoreJsonWebKey, CoreJsonWebKeySet, CoreJwsSigningAlgorithm,
};
use openidconnect::{
    AccessTokenHash, ClientId, EmptyAdditionalClaims, IdTokenClaims, IdTokenVerifier, IssuerUrl,
    JsonWebKey, JsonWebKeyId, Nonce,
};
use serde_json::{Map, Value};

use super::jwks::KeyError;
use super::provider::Ready;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// What an ID token is held against.
pub(crate) struct Expected<'a> {
    pub(crate) client_id: &'a str,
    /// The nonce of the login; `None` at a refresh, where none is promised.
    pub(crate) nonce: Option<&'a Secret>,
    /// The access token that came with it, for `at_hash`.
    pub(crate) access_token: &'a Secret,
    pub(crate) now: Timestamp,
    pub(crate) skew: Duration,
}

/// An ID token that was verified.
#[derive(Clone, Debug)]
pub(crate) struct VerifiedIdToken {
    pub(crate) subject: String,
    /// All its claims.
    pub(crate) claims: Map<String, Value>,
}

impl VerifiedIdToken {
    /// Its `iss`.
    pub(crate) fn issuer(&self) -> &str {
        let issuer = self.claims.get("iss");
        issuer.and_then(Value::as_str).unwrap_or_default()
    }

    /// The provider's own session.
    pub(crate) fn provider_session(&self) -> Option<String> {
        self.claims
            .get("sid")
            .and_then(Value::as_str)
            .map(str::to_owned)
    }
}

/// Why an ID token does not count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdTokenError {
    /// It is wrong.
    #[error("the ID token does not count: {0}")]
    Invalid(String),
    /// The provider's keys cannot be had just now: nobody knows.
    #[error("{0}")]
    Keys(KeyError),
}

fn invalid(why: impl std::fmt::Display) -> IdTokenError {
    IdTokenError::Invalid(why.to_string())
}

/// Verifies an ID token: signature by a key of the provider whose own type decides the algorithm, `iss`, `aud`,
/// `azp`, `exp`, `iat`, `nbf`, `nonce`, `at_hash`, `typ`, `crit`.
pub(crate) async fn verify(
    token: &Secret,
    ready: &Ready,
    expected: &Expected<'_>,
) -> Result<VerifiedIdToken, IdTokenError> {
    let raw = token.expose_secret();
    let jwks = ready
        .jwks()
        .ok_or_else(|| invalid("the provider has no keys"))?;
    let header = jsonwebtoken::decode_header(raw).map_err(invalid)?;
    // An unknown key id makes the set be read again before we look into it.
    match jwks.find(header.kid.as_deref(), header.alg).await {
        Ok(_) => {}
        Err(KeyError::Unknown) => {
            return Err(invalid("no key of the provider fits its `kid` and `alg`"));
        }
        Err(error @ KeyError::Unavailable(_)) => return Err(IdTokenError::Keys(error)),
    }
    let keys = jwks.raw().await.map_err(IdTokenError::Keys)?;
    let keys: CoreJsonWebKeySet = serde_json::from_str(&keys).map_err(invalid)?;
    let issuer = issuer(raw, ready)?;
    let held = Held { expected, issuer };
    check(raw, header.kid.as_deref(), &keys, &held)
}

/// What a token is held against, with the one of the provider's issuers that it names.
struct Held<'a> {
    expected: &'a Expected<'a>,
    issuer: String,
}

/// The `iss` that the token has to have: what it says, where that is the provider's. One that stands for a tenant has to
/// be the tenant's that the token is of (`tid`).
fn issuer(raw: &str, ready: &Ready) -> Result<String, IdTokenError> {
    let claims = payload(raw)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let named = text("iss").filter(|named| ready.is_issuer(named));
    let named = named.ok_or_else(|| invalid("its `iss` is not the provider's"))?;
    let other = |tenant: &str| !named.split('/').any(|part| part == tenant);
    if *named != *ready.issuer && named.contains('/') && text("tid").is_none_or(other) {
        return Err(invalid("its `iss` is another tenant's than its `tid`"));
    }
    Ok(named.to_owned())
}

fn check(
    raw: &str,
    kid: Option<&str>,
    keys: &CoreJsonWebKeySet,
    held: &Held<'_>,
) -> Result<VerifiedIdToken, IdTokenError> {
    let token: CoreIdToken = raw.parse().map_err(invalid)?;
    let kid = kid.map(|kid| JsonWebKeyId::new(kid.to_owned()));
    let mut last = invalid("no key of the provider fits");
    // Without a `kid` several keys may fit; the crate takes only one at a time.
    for key in keys
        .keys()
        .iter()
        .filter(|key| kid.is_none() || key.key_id() == kid.as_ref())
    {
        match check_with(&token, key, held) {
            Ok(subject) => {
                let claims = payload(raw)?;
                check_rest(&claims, held.expected)?;
                return Ok(VerifiedIdToken { subject, claims });
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn check_with(
    token: &CoreIdToken,
    key: &CoreJsonWebKey,
    held: &Held<'_>,
) -> Result<String, IdTokenError> {
    use CoreJwsSigningAlgorithm as Alg;
    let expected = held.expected;
    let issuer = IssuerUrl::new(held.issuer.clone()).map_err(invalid)?;
    let client = ClientId::new(expected.client_id.to_owned());
    let skew = i64::try_from(expected.skew.as_secs()).unwrap_or(0);
    let now = expected.now;
    let tolerated =
        Duration::from_millis(u64::try_from(now.minus(expected.skew).as_millis()).unwrap_or(0));
    let verifier = IdTokenVerifier::new_public_client(
        client,
        issuer,
        CoreJsonWebKeySet::new(vec![key.clone()]),
    )
    // Which of these it may be is decided by the key's own type.
    .set_allowed_algs([
        Alg::RsaSsaPkcs1V15Sha256,
        Alg::RsaSsaPkcs1V15Sha384,
        Alg::RsaSsaPkcs1V15Sha512,
        Alg::RsaSsaPssSha256,
        Alg::RsaSsaPssSha384,
        Alg::RsaSsaPssSha512,
        Alg::EcdsaP256Sha256,
        Alg::EcdsaP384Sha384,
        Alg::EdDsa,
    ])
    // Judged by `azp` below.
    .set_other_audience_verifier_fn(|_| true)
    .set_time_fn(move || (UNIX_EPOCH + tolerated).into())
    .set_issue_time_verifier_fn(move |issued| {
        if issued.timestamp() > now.as_secs().saturating_add(skew) {
            return Err("it was issued in the future".to_owned());
        }
        Ok(())
    });
    let nonce = expected.nonce;
    let claims: &IdTokenClaims<EmptyAdditionalClaims, CoreGenderClaim> = token
        .claims(&verifier, move |found: Option<&Nonce>| {
            match (nonce, found) {
                (None, _) => Ok(()),
                (Some(nonce), Some(found)) if *nonce == Secret::new(found.secret().as_str()) => {
                    Ok(())
                }
                _ => Err("it is not the one of this login".to_owned()),
            }
        })
        .map_err(invalid)?;
    let party = claims.authorized_party().map(|party| party.as_str());
    if party.is_some_and(|party| party != expected.client_id) {
        return Err(invalid("`azp` names another client"));
    }
    if claims.audiences().len() > 1 && party.is_none() {
        return Err(invalid("it has several audiences and no `azp`"));
    }
    if let Some(hash) = claims.access_token_hash() {
        let access = oauth2::AccessToken::new(expected.access_token.expose_secret().to_owned());
        let algorithm = token.signing_alg().map_err(invalid)?;
        if *hash != AccessTokenHash::from_token(&access, algorithm, key).map_err(invalid)? {
            return Err(invalid("`at_hash` does not fit the access token"));
        }
    }
    let subject = claims.subject().as_str();
    // OpenID Connect Core section 2: at most 255 ASCII characters.
    if subject.is_empty() || subject.len() > 255 || subject.chars().any(char::is_control) {
        return Err(invalid("`sub` is empty, too long, or not printable"));
    }
    Ok(subject.to_owned())
}

/// `nbf` is not among the claims that OpenID Connect Core speaks of; where it is, it binds (RFC 7519).
fn check_rest(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), IdTokenError> {
    match claims.get("nbf") {
        None => Ok(()),
        Some(value) => match value.as_f64() {
            #[expect(
                clippy::cast_precision_loss,
                reason = "seconds since 1970 are far below 2^52"
            )]
            Some(from) if from <= expected.now.plus(expected.skew).as_secs() as f64 => Ok(()),
            _ => Err(invalid("it is not good yet (`nbf`)")),
        },
    }
}

fn payload(raw: &str) -> Result<Map<String, Value>, IdTokenError> {
    let part = raw.split('.').nth(1).unwrap_or_default();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).map_err(invalid)?).map_err(invalid)
}

/// The claims of an ID token that was verified when it was stored.
pub(crate) fn stored_claims(token: &Secret) -> Option<Map<String, Value>> {
    payload(token.expose_secret()).ok()
}

#[cfg(test)]
mod tests;
