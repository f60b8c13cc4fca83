//! Signing keys.

use std::sync::OnceLock;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::Value;

#[derive(Clone)]
pub(super) struct SigningKey {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    key: EncodingKey,
}

impl SigningKey {
    pub(super) fn new(kid: &str, algorithm: Algorithm, number: usize) -> Self {
        let key = if algorithm == Algorithm::ES256 {
            let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
            EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap()
        } else {
            EncodingKey::from_rsa_pem(rsa_pem(number).as_bytes()).unwrap()
        };
        Self {
            kid: kid.to_owned(),
            algorithm,
            key,
        }
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_as("JWT", claims)
    }

    pub(super) fn sign_as(&self, typ: &str, claims: &Value) -> String {
        let header = Header {
            kid: Some(self.kid.clone()),
            typ: Some(typ.to_owned()),
            ..Header::new(self.algorithm)
        };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }

    pub(super) fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.kid.clone());
        serde_json::to_value(&jwk).unwrap()
    }
}

/// RSA keys take long to make, so all providers of a test run share four.
fn rsa_pem(number: usize) -> &'static str {
    static KEYS: [OnceLock<String>; 4] = [const { OnceLock::new() }; 4];
    KEYS[number].get_or_init(|| {
        let size = rcgen::RsaKeySize::_2048;
        rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size)
            .unwrap()
            .serialize_pem()
    })
}
