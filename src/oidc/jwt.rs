//! JSON Web Tokens that the provider signs besides ID tokens: logout tokens and signed userinfo answers. Signature and
//! type are judged here; what the claims have to say is judged by who asked.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::jwks::{self, Jwks, KeyError};
use crate::clock::Timestamp;

/// Longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 64 << 10;
/// The last second of the year 9999.
const MAX_TIME: f64 = 253_402_300_799.0;

/// Why a token does not count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JwtError {
    /// It is wrong.
    #[error("{0}")]
    Invalid(&'static str),
    /// The provider's keys cannot be had just now: nobody knows.
    #[error("{0}")]
    Keys(KeyError),
}

/// A token taken apart, not verified: good for nothing but finding out whom to ask.
#[derive(Debug)]
pub(crate) struct Unverified<'t> {
    header: Header,
    /// What it says.
    pub(crate) payload: Map<String, Value>,
    signed: &'t str,
    signature: Vec<u8>,
}

/// The header members that are read. Members that name keys or places of keys (`jku`, `jwk`, `x5u`, `x5c`) are not: a
/// token does not say whom to believe.
#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'t> Unverified<'t> {
    /// Takes a token in compact form apart (RFC 7515 section 3.1).
    pub(crate) fn parse(token: &'t str) -> Result<Self, JwtError> {
        let malformed = || JwtError::Invalid("it is no JWT in compact form");
        if token.len() > MAX_TOKEN {
            return Err(malformed());
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
        let (signed, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (header, payload) = signed.split_once('.').ok_or_else(malformed)?;
        Ok(Self {
            header: serde_json::from_slice(&decode(header)?).map_err(|_| malformed())?,
            payload: serde_json::from_slice(&decode(payload)?).map_err(|_| malformed())?,
            signature: decode(signature)?,
            signed,
        })
    }

    /// A text claim.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.payload.get(name).and_then(Value::as_str)
    }

    /// Verifies the signature with a key of the provider, whose own type decides the algorithm: neither `none` nor an
    /// HMAC can be meant. `types` are the values of `typ` that there may be; without `typ` any is meant.
    pub(crate) async fn verify(
        self,
        jwks: &Jwks,
        types: &[&str],
    ) -> Result<Map<String, Value>, JwtError> {
        let Header {
            alg,
            kid,
            typ,
            crit,
        } = &self.header;
        if crit.is_some() {
            return Err(JwtError::Invalid(
                "it has `crit`, and no extension is understood",
            ));
        }
        let fits = |typ: &String| types.iter().any(|known| typ.eq_ignore_ascii_case(known));
        if !typ.as_ref().is_none_or(fits) {
            return Err(JwtError::Invalid("its `typ` is for something else"));
        }
        let algorithm = jwks::algorithm(alg).ok_or(JwtError::Invalid(
            "its `alg` is no signature by a public key",
        ))?;
        let keys = match jwks.find(kid.as_deref(), algorithm).await {
            Ok(keys) => keys,
            Err(KeyError::Unknown) => {
                return Err(JwtError::Invalid(
                    "no key of the provider fits its `kid` and `alg`",
                ));
            }
            Err(error @ KeyError::Unavailable(_)) => return Err(JwtError::Keys(error)),
        };
        let message = self.signed.as_bytes();
        if !keys
            .iter()
            .any(|key| key.verifies(algorithm, message, &self.signature))
        {
            return Err(JwtError::Invalid("its signature is not the provider's"));
        }
        Ok(self.payload)
    }
}

/// Whether `aud` names a client; one text or a list (RFC 7519 section 4.1.3).
pub(crate) fn is_for(claims: &Map<String, Value>, client_id: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(one)) => one == client_id,
        Some(Value::Array(many)) => many.iter().any(|one| one.as_str() == Some(client_id)),
        _ => false,
    }
}

/// A `NumericDate` (RFC 7519 section 2), which may have a fraction.
pub(crate) fn time(
    claims: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<Timestamp>, JwtError> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value
        .as_f64()
        .filter(|seconds| (0.0..=MAX_TIME).contains(seconds))
        .ok_or(JwtError::Invalid("a time in it is no time"))?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range was checked; less than a millisecond is lost"
    )]
    Ok(Some(Timestamp::from_millis((seconds * 1000.0) as i64)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_token_is_refused() {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(&json!({"alg": "RS256"}));
        let payload = part(&json!({"iss": "x"}));
        let good = format!("{header}.{payload}.AA");
        assert_eq!(Unverified::parse(&good).unwrap().text("iss"), Some("x"));
        for bad in [
            String::new(),
            format!("{header}.{payload}"),
            format!("{good}.AA"),
            format!("{header}.{header}=.AA"),
            format!("{}.{payload}.AA", part(&json!({"kid": "x"}))),
            format!("{header}.{}.AA", part(&json!([]))),
            format!("{header}.{payload}.!"),
            "a".repeat(MAX_TOKEN + 1),
        ] {
            assert!(Unverified::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn audiences_and_times_are_read_as_they_may_be_written() {
        let claims = |value: Value| value.as_object().unwrap().clone();
        assert!(is_for(&claims(json!({"aud": "me"})), "me"));
        assert!(is_for(&claims(json!({"aud": ["you", "me"]})), "me"));
        for other in [json!({}), json!({"aud": "you"}), json!({"aud": {"me": 1}})] {
            assert!(!is_for(&claims(other), "me"));
        }
        let at = |value: Value| time(&claims(json!({ "exp": value })), "exp");
        assert_eq!(at(json!(1.5)).unwrap(), Some(Timestamp::from_millis(1500)));
        assert_eq!(time(&Map::new(), "exp").unwrap(), None);
        for bad in [json!("1"), json!(-1), json!(1e18), json!(null)] {
            assert!(at(bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in ".{0,200}") {
            let _ = Unverified::parse(&text);
        }
    }
}
