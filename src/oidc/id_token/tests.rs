use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use super::*;

const NOW: i64 = 1_700_000_000;
const ISSUER: &str = "https://idp.example";

struct Keys {
    signing: Vec<(Option<&'static str>, Algorithm, EncodingKey)>,
}

impl Keys {
    fn new(kinds: &[(Option<&'static str>, Algorithm)]) -> Self {
        let key = |algorithm| {
            if algorithm == Algorithm::ES256 {
                let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
                return EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
            }
            let size = rcgen::RsaKeySize::_2048;
            let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).unwrap();
            EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap()
        };
        Self {
            signing: kinds
                .iter()
                .map(|(kid, algorithm)| (*kid, *algorithm, key(*algorithm)))
                .collect(),
        }
    }

    fn set(&self) -> CoreJsonWebKeySet {
        let keys: Vec<Value> = self
            .signing
            .iter()
            .map(|(kid, algorithm, key)| {
                let mut jwk = Jwk::from_encoding_key(key, *algorithm).unwrap();
                jwk.common.key_id = kid.map(str::to_owned);
                jwk.common.key_algorithm = None;
                serde_json::to_value(&jwk).unwrap()
            })
            .collect();
        serde_json::from_value(json!({ "keys": keys })).unwrap()
    }

    fn sign(&self, index: usize, claims: &Value) -> String {
        let (kid, algorithm, key) = &self.signing[index];
        let header = Header {
            kid: kid.map(str::to_owned),
            ..Header::new(*algorithm)
        };
        jsonwebtoken::encode(&header, claims, key).unwrap()
    }
}

fn claims(change: &Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": "proxy", "sub": "ann", "nonce": "n", "iat": NOW, "exp": NOW + 300,
    });
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn verify_now(
    raw: &str,
    keys: &CoreJsonWebKeySet,
    at: i64,
) -> Result<VerifiedIdToken, IdTokenError> {
    let nonce = Secret::new("n");
    let access = Secret::new("the access token");
    let expected = Expected {
        client_id: "proxy",
        nonce: Some(&nonce),
        access_token: &access,
        now: Timestamp::from_secs(at),
        skew: Duration::from_secs(30),
    };
    let held = Held {
        expected: &expected,
        issuer: ISSUER.to_owned(),
    };
    let kid = jsonwebtoken::decode_header(raw)
        .ok()
        .and_then(|header| header.kid);
    check(raw, kid.as_deref(), keys, &held)
}

#[test]
fn every_supported_kind_of_key_verifies() {
    for algorithm in [Algorithm::RS256, Algorithm::PS384, Algorithm::ES256] {
        let keys = Keys::new(&[(Some("k"), algorithm)]);
        let token = keys.sign(0, &claims(&json!({"groups": ["a"], "sid": "s"})));
        let verified = verify_now(&token, &keys.set(), NOW)
            .unwrap_or_else(|error| panic!("{algorithm:?}: {error}"));
        assert_eq!(verified.subject, "ann");
        assert_eq!(verified.claims["groups"], json!(["a"]));
        assert_eq!(verified.provider_session().as_deref(), Some("s"));
    }
}

#[test]
fn a_wrong_claim_is_refused() {
    let keys = Keys::new(&[(Some("k"), Algorithm::ES256)]);
    let set = keys.set();
    for (change, word) in [
        (json!({"iss": "https://idp.example/"}), "issuer"),
        (json!({"iss": null}), ""),
        (json!({"aud": "other"}), "audience"),
        (json!({"aud": ["other", "proxy"]}), "azp"),
        (json!({"aud": ["other", "proxy"], "azp": "other"}), "azp"),
        (json!({"azp": "other"}), "azp"),
        (json!({"aud": null}), ""),
        (json!({"exp": NOW - 31}), "Expired"),
        (json!({"exp": null}), ""),
        (json!({"exp": 1e300}), ""),
        (json!({"iat": NOW + 31}), "future"),
        (json!({"iat": null}), ""),
        (json!({"nbf": NOW + 31}), "nbf"),
        (json!({"nbf": "soon"}), "nbf"),
        (json!({"nonce": "m"}), "nonce"),
        (json!({"nonce": null}), "nonce"),
        (json!({"sub": ""}), "sub"),
        (json!({"sub": null}), ""),
        (json!({"sub": "a".repeat(256)}), "sub"),
        (json!({"sub": "a\u{0}b"}), "sub"),
        (json!({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}), "at_hash"),
    ] {
        let error =
            verify_now(&keys.sign(0, &claims(&change)), &set, NOW).expect_err(&change.to_string());
        assert!(error.to_string().contains(word), "{change}: {error}");
    }
    for change in [
        json!({"aud": ["proxy"]}),
        json!({"aud": ["proxy", "account"], "azp": "proxy"}),
        json!({"exp": NOW - 20}),
        json!({"iat": NOW + 20}),
        json!({"nbf": NOW + 20}),
        json!({"email_verified": "true", "updated_at": "2026-01-01T00:00:00Z"}),
    ] {
        verify_now(&keys.sign(0, &claims(&change)), &set, NOW)
            .unwrap_or_else(|error| panic!("{change}: {error}"));
    }
}

#[test]
fn at_hash_is_checked_against_the_access_token() {
    let keys = Keys::new(&[(Some("k"), Algorithm::ES256)]);
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"the access token");
    let good = URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]);
    assert!(
        verify_now(
            &keys.sign(0, &claims(&json!({ "at_hash": good }))),
            &keys.set(),
            NOW
        )
        .is_ok()
    );
}

#[test]
fn without_a_kid_every_fitting_key_is_tried() {
    let keys = Keys::new(&[
        (None, Algorithm::ES256),
        (None, Algorithm::ES256),
        (None, Algorithm::RS256),
    ]);
    for index in 0..3 {
        assert!(
            verify_now(&keys.sign(index, &claims(&json!({}))), &keys.set(), NOW).is_ok(),
            "{index}"
        );
    }
}

#[test]
fn attack_s11_algorithm_confusion_is_refused() {
    let keys = Keys::new(&[(Some("k"), Algorithm::RS256)]);
    let set = keys.set();
    let body = URL_SAFE_NO_PAD.encode(claims(&json!({})).to_string());
    let part = |header: Value| URL_SAFE_NO_PAD.encode(header.to_string());
    // None.
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "none", "kid": "k"}),
        json!({"alg": "NONE"}),
        json!({}),
    ] {
        assert!(verify_now(&format!("{}.{body}.", part(header)), &set, NOW).is_err());
    }
    // HMAC with the public key as the secret, or with the client id.
    for secret in [serde_json::to_vec(&set).unwrap(), b"proxy".to_vec()] {
        let header = Header {
            kid: Some("k".to_owned()),
            ..Header::new(Algorithm::HS256)
        };
        let token = jsonwebtoken::encode(
            &header,
            &claims(&json!({})),
            &EncodingKey::from_secret(&secret),
        )
        .unwrap();
        assert!(verify_now(&token, &set, NOW).is_err());
    }
    // Another key of the same id, an unknown id, a key of the token's own.
    let stray = Keys::new(&[
        (Some("k"), Algorithm::RS256),
        (Some("other"), Algorithm::RS256),
    ]);
    assert!(verify_now(&stray.sign(0, &claims(&json!({}))), &set, NOW).is_err());
    assert!(verify_now(&stray.sign(1, &claims(&json!({}))), &set, NOW).is_err());
    let own = serde_json::to_value(
        Jwk::from_encoding_key(&stray.signing[0].2, Algorithm::RS256).unwrap(),
    )
    .unwrap();
    let good = keys.sign(0, &claims(&json!({})));
    let signature = good.rsplit('.').next().unwrap();
    for header in [
        json!({"alg": "RS256", "kid": "k", "jwk": own}),
        json!({"alg": "RS256", "kid": "k", "crit": ["exp"]}),
        json!({"alg": "RS256", "kid": "k", "typ": "at+jwt"}),
        json!({"alg": "RS256", "kid": "k", "jku": "https://evil.example/jwks"}),
    ] {
        assert!(verify_now(&format!("{}.{body}.{signature}", part(header)), &set, NOW).is_err());
    }
}

#[test]
fn a_changed_token_is_refused_at_every_place() {
    let keys = Keys::new(&[(Some("k"), Algorithm::ES256)]);
    let set = keys.set();
    let good = keys.sign(0, &claims(&json!({})));
    for at in (0..good.len()).step_by(7) {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        // The last character of a part holds bits that mean nothing.
        if changed != good && !good[at + 1..].starts_with('.') && at + 1 != good.len() {
            assert!(verify_now(&changed, &set, NOW).is_err(), "{at}");
        }
    }
    for odd in ["", ".", "..", "a.b", "a.b.c", "....", "\u{e4}.b.c"] {
        assert!(verify_now(odd, &set, NOW).is_err(), "{odd}");
    }
}

#[test]
fn ed25519_verifies() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let key = EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes()).unwrap();
    let token =
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims(&json!({})), &key).unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key_raw());
    let set = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x }] });
    assert!(verify_now(&token, &serde_json::from_value(set).unwrap(), NOW).is_ok());
}
