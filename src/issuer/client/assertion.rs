//! `private_key_jwt`: a client proves itself by a signed assertion (RFC 7523 section 3, OpenID Connect Core section 9).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::oidc::jwks;
use crate::secret::Digest;

/// Longest assertion that is looked at, in bytes.
const MAX: usize = 16 << 10;
/// How far ahead an assertion may end: a longer one would be worth stealing.
const LONGEST: Duration = Duration::from_secs(600);
/// The last second of the year 9999.
const MAX_TIME: f64 = 253_402_300_799.0;

/// An assertion taken apart, not verified.
#[derive(Debug)]
pub(super) struct Assertion<'t> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) signed: &'t str,
    pub(super) signature: Vec<u8>,
    claims: Claims,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Value,
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
    jti: Option<String>,
}

/// What is to be written down so that an assertion is used once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Once {
    /// Names the assertion.
    pub(super) id: String,
    /// How long it could be used again.
    pub(super) life: Duration,
}

impl<'t> Assertion<'t> {
    /// Takes it apart. Header members that name keys or places of keys are not read.
    pub(super) fn parse(token: &'t str) -> Result<Self, &'static str> {
        const FORM: &str = "the assertion is no JWT";
        if token.len() > MAX {
            return Err(FORM);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(FORM)?;
        let (header, payload) = signed.split_once('.').ok_or(FORM)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| FORM);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| FORM)?;
        if header.crit {
            return Err("the assertion has a `crit` header");
        }
        // What has a type of its own for another purpose is no proof of a client.
        if !header.typ.as_deref().is_none_or(|typ| {
            ["JWT", "client-authentication+jwt"]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(typ))
        }) {
            return Err("the assertion is a JWT of another type");
        }
        Ok(Self {
            algorithm: jwks::algorithm(&header.alg)
                .ok_or("the assertion has an algorithm that is not accepted")?,
            kid: header.kid,
            claims: serde_json::from_slice(&decode(payload)?)
                .map_err(|_| "the assertion lacks one of iss, sub, aud, exp")?,
            signature: decode(signature)?,
            signed,
        })
    }

    /// The client that it speaks for.
    pub(super) fn client(&self) -> &str {
        &self.claims.sub
    }

    /// Judges what it says, its signature apart.
    pub(super) fn judge(
        &self,
        audiences: &[String],
        now: Timestamp,
        skew: Duration,
    ) -> Result<Once, &'static str> {
        let claims = &self.claims;
        if claims.iss != claims.sub {
            return Err("iss and sub of the assertion are not both the client_id");
        }
        let is_ours = |aud: &Value| {
            aud.as_str()
                .is_some_and(|aud| audiences.iter().any(|each| each == aud))
        };
        let for_us = match &claims.aud {
            Value::Array(many) => many.iter().any(is_ours),
            one => is_ours(one),
        };
        if !for_us {
            return Err("aud of the assertion is neither our issuer nor our token endpoint");
        }
        let exp = time(claims.exp)?;
        if now >= exp.plus(skew) {
            return Err("the assertion has expired");
        }
        if exp > now.plus(LONGEST).plus(skew) {
            return Err("the assertion is good for more than 10 minutes");
        }
        for begins in [claims.nbf, claims.iat].into_iter().flatten() {
            if time(begins)? > now.plus(skew) {
                return Err("the assertion is from the future");
            }
        }
        // Without a `jti` it is named by its content; the signature is no name, for there are several of one content.
        let name = match &claims.jti {
            Some(jti) => format!("jti\0{}\0{jti}", claims.sub),
            None => format!("assertion\0{}", self.signed),
        };
        Ok(Once {
            id: URL_SAFE_NO_PAD.encode(Digest::of(&name).as_bytes()),
            life: exp.plus(skew).since(now),
        })
    }
}

fn time(seconds: f64) -> Result<Timestamp, &'static str> {
    if !(0.0..=MAX_TIME).contains(&seconds) {
        return Err("a time of the assertion is none");
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range was checked; less than a millisecond is lost"
    )]
    Ok(Timestamp::from_millis((seconds * 1000.0) as i64))
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}
