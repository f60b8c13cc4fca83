//! A verification key, made ready once: reading its numbers and setting up the arithmetic for its modulus costs as
//! much as the half of a verification.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, VerificationAlgorithm,
};
use jsonwebtoken::Algorithm;

/// One usable verification key.
pub struct VerifyKey {
    /// Its `kid`, if it has one.
    pub kid: Option<String>,
    /// The key, ready for each algorithm that it may verify: from the key (`alg`, else its type), never from a
    /// token.
    ready: Box<[(Algorithm, ParsedPublicKey)]>,
}

/// The numbers of a public key.
pub(super) enum Public {
    /// Modulus and exponent, big-endian (RFC 7518 section 6.3.1).
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// A point, uncompressed (SEC 1 section 2.3.3).
    Point(Vec<u8>),
    /// RFC 8032 section 5.1.5.
    Ed25519([u8; 32]),
}

impl Public {
    /// A point from its coordinates, which have the full size of the curve (RFC 7518 section 6.2.1.2).
    pub(super) fn point(size: usize, x: &[u8], y: &[u8]) -> Option<Self> {
        if x.len() != size || y.len() != size {
            return None;
        }
        Some(Self::Point([&[4], x, y].concat()))
    }

    fn ready(&self, algorithm: Algorithm) -> Option<ParsedPublicKey> {
        match self {
            Self::Rsa { n, e } => RsaPublicKeyComponents { n, e }
                .to_parsed_public_key(rsa(algorithm)?)
                .ok(),
            Self::Point(point) => ParsedPublicKey::new(curve(algorithm)?, point).ok(),
            Self::Ed25519(key) if algorithm == Algorithm::EdDSA => {
                ParsedPublicKey::new(&ED25519, key).ok()
            }
            Self::Ed25519(_) => None,
        }
    }
}

impl VerifyKey {
    /// `None` when it is no key for these algorithms: a point off its curve, an algorithm of another family.
    pub(super) fn new(
        kid: Option<String>,
        algorithms: &[Algorithm],
        public: &Public,
    ) -> Option<Self> {
        let ready: Option<Box<[_]>> = algorithms
            .iter()
            .map(|algorithm| Some((*algorithm, public.ready(*algorithm)?)))
            .collect();
        Some(Self { kid, ready: ready? })
    }

    /// Whether this key may verify signatures of an algorithm at all.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.ready.iter().any(|(each, _)| *each == algorithm)
    }

    /// Whether the signature (JWS form, RFC 7518 section 3) over `message` was made with this key and algorithm.
    /// `false` too for an algorithm that is not this key's, and for RSA keys shorter than 2048 bits.
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.ready
            .iter()
            .find(|(each, _)| *each == algorithm)
            .is_some_and(|(_, key)| key.verify_sig(message, signature).is_ok())
    }
}

impl std::fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

fn curve(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &ECDSA_P384_SHA384_FIXED,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    };

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const ALL: [Algorithm; 12] = [
        Algorithm::HS256,
        Algorithm::HS384,
        Algorithm::HS512,
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ];

    fn rsa_numbers(pair: &RsaKeyPair) -> Public {
        let public: PublicKeyComponents<Vec<u8>> = pair.public_key().into();
        Public::Rsa {
            n: public.n,
            e: public.e,
        }
    }

    /// The algorithms by which a key takes a signature over `b"message"`, of all that there are; every change of
    /// the signature or the message has to be refused.
    fn taken(key: &VerifyKey, signature: &[u8]) -> Vec<Algorithm> {
        let taken = ALL.into_iter().filter(|algorithm| {
            assert!(!key.verifies(*algorithm, b"another", signature));
            assert!(!key.verifies(*algorithm, b"message", &[]));
            assert!(!key.verifies(*algorithm, b"message", &signature[1..]));
            for at in [0, signature.len() / 2, signature.len() - 1] {
                let mut changed = signature.to_vec();
                changed[at] ^= 1;
                assert!(!key.verifies(*algorithm, b"message", &changed));
            }
            key.verifies(*algorithm, b"message", signature)
        });
        taken.collect()
    }

    #[test]
    fn attack_s11_a_signature_counts_for_its_own_algorithm_alone() {
        let random = SystemRandom::new();
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let sign = |encoding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &random, b"message", &mut signature)
                .unwrap();
            signature
        };
        let any = VerifyKey::new(None, &ALL[3..9], &rsa_numbers(&pair)).unwrap();
        let only = VerifyKey::new(None, &[Algorithm::PS256], &rsa_numbers(&pair)).unwrap();
        assert_eq!(taken(&any, &sign(&RSA_PKCS1_SHA256)), [Algorithm::RS256]);
        assert_eq!(taken(&any, &sign(&RSA_PSS_SHA256)), [Algorithm::PS256]);
        assert_eq!(taken(&only, &sign(&RSA_PKCS1_SHA256)), []);
        assert_eq!(taken(&only, &sign(&RSA_PSS_SHA256)), [Algorithm::PS256]);

        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref();
        let public = Public::point(32, &point[1..33], &point[33..]).unwrap();
        let key = VerifyKey::new(None, &[Algorithm::ES256], &public).unwrap();
        let signature = pair.sign(&random, b"message").unwrap();
        assert_eq!(taken(&key, signature.as_ref()), [Algorithm::ES256]);

        let pair = Ed25519KeyPair::generate().unwrap();
        let public = Public::Ed25519(pair.public_key().as_ref().try_into().unwrap());
        let key = VerifyKey::new(None, &[Algorithm::EdDSA], &public).unwrap();
        assert_eq!(
            taken(&key, pair.sign(b"message").as_ref()),
            [Algorithm::EdDSA]
        );
    }

    #[test]
    fn advisory_cve_2022_21449_zeros_are_no_signature_and_der_is_not_the_form_of_jws() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let point = pair.public_key().as_ref();
        let public = Public::point(32, &point[1..33], &point[33..]).unwrap();
        let key = VerifyKey::new(None, &[Algorithm::ES256], &public).unwrap();
        let der = pair.sign(&SystemRandom::new(), b"message").unwrap();
        assert!(!key.verifies(Algorithm::ES256, b"message", der.as_ref()));
        assert!(!key.verifies(Algorithm::ES256, b"message", &[0; 64]));
    }

    #[test]
    fn what_is_no_key_of_its_kind_is_not_taken() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = (&point[1..33], &point[33..]);
        assert!(Public::point(32, &point[1..34], &point[34..]).is_none());
        assert!(Public::point(48, x, y).is_none());
        let mut off = y.to_vec();
        off[31] ^= 1;
        for (x, y) in [(x, &off[..]), (&[0; 32][..], &[0; 32][..])] {
            let public = Public::point(32, x, y).unwrap();
            assert!(VerifyKey::new(None, &[Algorithm::ES256], &public).is_none());
        }
        let public = Public::point(32, x, y).unwrap();
        for algorithm in [Algorithm::ES384, Algorithm::RS256, Algorithm::EdDSA] {
            assert!(VerifyKey::new(None, &[algorithm], &public).is_none());
        }
    }

    #[test]
    fn short_rsa_keys_verify_nothing() {
        // A good signature, by a key of 1024 bits.
        let bytes = |text| URL_SAFE_NO_PAD.decode(text).unwrap();
        let public = Public::Rsa {
            n: bytes(
                "sJdL4YlO4eu5kocNZv9VXG_YDiHhEqhpLDuhva8W31anG9f01Y-supdcCVoNIvIWuNo_sz3ahYB81raZYBEgZJw3ve0jTfMxDmBzFVdgPl5uNWYWrQWiKMGSh0F4Jkm_6txCR-RNAAWzdmhKju9lXRunQk_Qi3DWTfhSOKh0TOk",
            ),
            e: vec![1, 0, 1],
        };
        let signature = bytes(
            "Wn7jHYP1derTLx4bdfnrFY5yN2F2zOeXZy8DU8jPIy_vBvNKt1FprlOmSXaxf4JbSy29oACEwkr_RHVU3bgm2q0ZadkSy8UVQc1pMoZqkJlQ0E32lOTwZ4EwA-y1LwHNXNZZpGs2Foedf70Zmqwlj1u5Y0mDxgZ5WXanQxnXVLA",
        );
        let key = VerifyKey::new(None, &[Algorithm::RS256], &public).unwrap();
        assert_eq!(taken(&key, &signature), []);
    }
}
