//! The provider's key, and what it signs.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};

use crate::Outcome;

const KID: &str = "demo-1";

/// An ES256 key made at start; its tokens end with the process.
pub(crate) struct Signer {
    private: EncodingKey,
    public: DecodingKey,
    jwk: Value,
}

impl Signer {
    pub(crate) fn generate() -> Outcome<Self> {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref())?;
        // Uncompressed point (SEC 1 section 2.3.3): 0x04, x, y.
        let point = pair.public_key().as_ref();
        let (x, y) = (
            URL_SAFE_NO_PAD.encode(&point[1..33]),
            URL_SAFE_NO_PAD.encode(&point[33..65]),
        );
        Ok(Self {
            private: EncodingKey::from_ec_der(pkcs8.as_ref()),
            public: DecodingKey::from_ec_components(&x, &y)?,
            jwk: json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": KID, "x": x, "y": y }),
        })
    }

    /// The public half (RFC 7517).
    pub(crate) fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk] })
    }

    /// A JWT of the given type (`JWT`, `at+jwt`).
    pub(crate) fn sign(&self, typ: &str, claims: &Value) -> Outcome<String> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(typ.to_owned());
        header.kid = Some(KID.to_owned());
        Ok(jsonwebtoken::encode(&header, claims, &self.private)?)
    }

    /// The claims of a token of ours, whatever its times say: the caller knows the clock.
    pub(crate) fn open(&self, typ: &str, token: &str) -> Option<Value> {
        let mut rules = Validation::new(Algorithm::ES256);
        rules.validate_exp = false;
        rules.validate_aud = false;
        rules.required_spec_claims.clear();
        let data = jsonwebtoken::decode::<Value>(token, &self.public, &rules).ok()?;
        (data.header.typ.as_deref() == Some(typ)).then_some(data.claims)
    }
}
