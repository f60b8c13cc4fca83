//! One key pair: ES256 (P-256) or `EdDSA` (`Ed25519`).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, ParsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::secret::{Digest, Secret};

/// A key pair that signs.
pub(crate) struct Pair {
    kid: String,
    secret: Private,
    public: ParsedPublicKey,
    jwk: Value,
    pkcs8: Zeroizing<Vec<u8>>,
}

enum Private {
    P256(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl Pair {
    /// A new P-256 key. `None` when the library cannot make one.
    pub(crate) fn generate() -> Option<Self> {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .ok()?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// Reads PKCS#8 (RFC 5958).
    pub(crate) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let pkcs8 = Zeroizing::new(der.to_vec());
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
            return Self::p256(pair, pkcs8);
        }
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
        Self::ed25519(pair, pkcs8)
    }

    /// Reads PEM: PKCS#8, or SEC 1 for EC keys.
    pub(crate) fn from_pem(pem: &Secret) -> Option<Self> {
        match PrivateKeyDer::from_pem_slice(pem.expose_secret().as_bytes()).ok()? {
            PrivateKeyDer::Pkcs8(der) => Self::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Sec1(der) => {
                let pair = EcdsaKeyPair::from_private_key_der(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    der.secret_sec1_der(),
                )
                .ok()?;
                Self::p256(pair, Zeroizing::new(Vec::new()))
            }
            _ => None,
        }
    }

    fn p256(pair: EcdsaKeyPair, pkcs8: Zeroizing<Vec<u8>>) -> Option<Self> {
        let point = pair.public_key().as_ref();
        let (x, y) = point.strip_prefix(&[4])?.split_at_checked(32)?;
        let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
        // RFC 7638 section 3.2: the required members, in lexical order.
        let thumb = json!({ "crv": "P-256", "kty": "EC", "x": encode(x), "y": encode(y) });
        let kid = thumbprint(
            "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"",
            &encode(x),
            "\",\"y\":\"",
            &encode(y),
        );
        let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?;
        Some(Self {
            jwk: with_use(thumb, &kid, "ES256"),
            kid,
            public,
            secret: Private::P256(Box::new(pair)),
            pkcs8,
        })
    }

    fn ed25519(pair: Ed25519KeyPair, pkcs8: Zeroizing<Vec<u8>>) -> Option<Self> {
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let thumb = json!({ "crv": "Ed25519", "kty": "OKP", "x": x });
        let kid = thumbprint("{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"", &x, "", "");
        let public = ParsedPublicKey::new(&ED25519, pair.public_key().as_ref()).ok()?;
        Some(Self {
            jwk: with_use(thumb, &kid, "EdDSA"),
            kid,
            public,
            secret: Private::Ed25519(Box::new(pair)),
            pkcs8,
        })
    }

    /// Its name: the thumbprint of RFC 7638.
    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    /// Its one algorithm.
    pub(crate) fn algorithm(&self) -> jsonwebtoken::Algorithm {
        match self.secret {
            Private::P256(_) => jsonwebtoken::Algorithm::ES256,
            Private::Ed25519(_) => jsonwebtoken::Algorithm::EdDSA,
        }
    }

    /// The name of the algorithm, as headers have it.
    pub(crate) fn algorithm_name(&self) -> &'static str {
        match self.secret {
            Private::P256(_) => "ES256",
            Private::Ed25519(_) => "EdDSA",
        }
    }

    /// The public part as a JWK.
    pub(crate) fn public_jwk(&self) -> &Value {
        &self.jwk
    }

    /// Signs; the signature as JWS has it (RFC 7518 section 3.4). `None` when the library fails.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.secret {
            Private::P256(pair) => pair
                .sign(&SystemRandom::new(), message)
                .ok()
                .map(|signature| signature.as_ref().to_vec()),
            Private::Ed25519(pair) => Some(pair.sign(message).as_ref().to_vec()),
        }
    }

    /// Whether this key made the signature.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public.verify_sig(message, signature).is_ok()
    }

    /// For keeping it sealed.
    pub(super) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pair({})", self.kid)
    }
}

fn with_use(mut jwk: Value, kid: &str, algorithm: &str) -> Value {
    jwk["kid"] = json!(kid);
    jwk["alg"] = json!(algorithm);
    jwk["use"] = json!("sig");
    jwk
}

/// SHA-256 over the members as RFC 7638 section 3 writes them.
fn thumbprint(before: &str, x: &str, between: &str, y: &str) -> String {
    let text = format!("{before}{x}{between}{y}\"}}");
    URL_SAFE_NO_PAD.encode(Digest::of(text).as_bytes())
}
