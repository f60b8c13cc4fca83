//! How we prove at the token endpoint that we are the registered client (OpenID Connect Core section 9).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::clock::Ambient;
use crate::config::oidc::{ClientAuth, Oidc};
use crate::secret::Secret;

/// RFC 7523 section 2.2.
pub(crate) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How long a client assertion is good.
const ASSERTION_LIFE: Duration = Duration::from_secs(60);

/// What the configuration gives to prove who we are.
pub(crate) struct Credentials {
    chosen: Option<ClientAuth>,
    client_id: String,
    secret: Option<Secret>,
    key: Option<SigningKey>,
}

struct SigningKey {
    key: EncodingKey,
    algorithm: Algorithm,
    id: Option<String>,
}

/// How one call is authenticated.
#[derive(Debug)]
pub(crate) enum Proof {
    /// Secret in an `Authorization` header, each part form-encoded first (RFC 6749 section 2.3.1).
    Basic(Secret),
    /// Secret in the form.
    Post(Secret),
    /// A signed assertion in the form.
    Assertion(Secret),
    /// The client's id alone.
    Public,
}

#[derive(Serialize)]
struct Assertion<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: String,
    iat: i64,
    exp: i64,
}

impl Credentials {
    /// Reads the key; the error names the key of the configuration.
    pub(crate) fn new(config: &Oidc) -> Result<Self, String> {
        let key = match &config.private_key {
            Some(pem) => Some(SigningKey {
                id: config.private_key_id.clone(),
                ..read_key(pem.secret()).ok_or(
                    "oidc.private_key is not a PEM private key that can sign with ES256 (EC, curve P-256) or RS256 (RSA, 2048 bits or more)",
                )?
            }),
            None => None,
        };
        let secret = config
            .client_secret
            .as_ref()
            .map(|secret| secret.secret().clone());
        match config.client_auth {
            Some(ClientAuth::ClientSecretBasic | ClientAuth::ClientSecretPost)
                if secret.is_none() =>
            {
                return Err("oidc.client_auth needs a secret; set oidc.client_secret".to_owned());
            }
            Some(ClientAuth::PrivateKeyJwt) if key.is_none() => {
                return Err("oidc.client_auth is private_key_jwt; set oidc.private_key".to_owned());
            }
            _ => {}
        }
        Ok(Self {
            chosen: config.client_auth,
            client_id: config.client_id.clone(),
            secret,
            key,
        })
    }

    /// The proof for one call. `offered` is what the provider's metadata says; without a word of it, Basic.
    ///
    /// An assertion is addressed to the token endpoint (OpenID Connect Core section 9), the one audience that
    /// every provider takes.
    pub(crate) fn prove(
        &self,
        offered: Option<&[String]>,
        token_endpoint: &str,
        ambient: &Ambient,
    ) -> Result<Proof, jsonwebtoken::errors::Error> {
        match (self.method(offered), &self.secret, &self.key) {
            (ClientAuth::ClientSecretBasic, Some(secret), _) => Ok(Proof::Basic(secret.clone())),
            (ClientAuth::ClientSecretPost, Some(secret), _) => Ok(Proof::Post(secret.clone())),
            (ClientAuth::PrivateKeyJwt, _, Some(key)) => self
                .assert(key, token_endpoint, ambient)
                .map(Proof::Assertion),
            _ => Ok(Proof::Public),
        }
    }

    fn method(&self, offered: Option<&[String]>) -> ClientAuth {
        if let Some(chosen) = self.chosen {
            return chosen;
        }
        if self.key.is_some() {
            return ClientAuth::PrivateKeyJwt;
        }
        if self.secret.is_none() {
            return ClientAuth::None;
        }
        let offers = |name: &str| offered.is_none_or(|all| all.iter().any(|each| each == name));
        if !offers("client_secret_basic") && offers("client_secret_post") {
            return ClientAuth::ClientSecretPost;
        }
        ClientAuth::ClientSecretBasic
    }

    fn assert(
        &self,
        key: &SigningKey,
        audience: &str,
        ambient: &Ambient,
    ) -> Result<Secret, jsonwebtoken::errors::Error> {
        let now = ambient.now();
        let claims = Assertion {
            iss: &self.client_id,
            sub: &self.client_id,
            aud: audience,
            jti: URL_SAFE_NO_PAD.encode(ambient.random::<16>()),
            iat: now.as_secs(),
            exp: now.plus(ASSERTION_LIFE).as_secs(),
        };
        let mut header = Header::new(key.algorithm);
        header.kid.clone_from(&key.id);
        jsonwebtoken::encode(&header, &claims, &key.key).map(Secret::new)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl Proof {
    /// Parameters that the proof adds to the form, beside the client's id and secret.
    pub(crate) fn parameters(&self) -> Vec<(&'static str, Cow<'_, str>)> {
        match self {
            Self::Assertion(assertion) => vec![
                ("client_assertion_type", ASSERTION_TYPE.into()),
                ("client_assertion", assertion.expose_secret().into()),
            ],
            Self::Basic(_) | Self::Post(_) | Self::Public => Vec::new(),
        }
    }
}

/// Finds out what kind of key it is by signing with it once.
fn read_key(pem: &Secret) -> Option<SigningKey> {
    let pem = pem.expose_secret().as_bytes();
    let candidates = [
        (EncodingKey::from_ec_pem(pem), Algorithm::ES256),
        (EncodingKey::from_rsa_pem(pem), Algorithm::RS256),
    ];
    candidates.into_iter().find_map(|(key, algorithm)| {
        let key = key.ok()?;
        jsonwebtoken::encode(&Header::new(algorithm), &serde_json::json!({}), &key).ok()?;
        Some(SigningKey {
            key,
            algorithm,
            id: None,
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{ManualClock, SeededRandom, Timestamp};

    fn config(change: &serde_json::Value) -> Oidc {
        let mut all = serde_json::json!({"issuer": "https://idp", "client_id": "proxy"});
        all.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn ambient() -> Ambient {
        Ambient::new(
            Arc::new(ManualClock::new(Timestamp::from_secs(1000))),
            Arc::new(SeededRandom::new(1)),
        )
    }

    fn prove(change: &serde_json::Value, offered: Option<&[&str]>) -> Proof {
        let offered: Option<Vec<String>> =
            offered.map(|all| all.iter().map(|s| (*s).to_owned()).collect());
        Credentials::new(&config(change))
            .unwrap()
            .prove(offered.as_deref(), "https://idp/token", &ambient())
            .unwrap()
    }

    #[test]
    fn the_method_is_chosen_by_config_then_by_metadata() {
        let secret = || serde_json::json!({"client_secret": "s"});
        assert!(matches!(prove(&secret(), None), Proof::Basic(_)));
        assert!(matches!(
            prove(&secret(), Some(&["client_secret_post"])),
            Proof::Post(_)
        ));
        assert!(matches!(
            prove(
                &secret(),
                Some(&["client_secret_post", "client_secret_basic"])
            ),
            Proof::Basic(_)
        ));
        assert!(matches!(
            prove(&secret(), Some(&["tls_client_auth"])),
            Proof::Basic(_)
        ));
        assert!(matches!(prove(&serde_json::json!({}), None), Proof::Public));
        let post = serde_json::json!({"client_secret": "s", "client_auth": "client_secret_post"});
        assert!(matches!(
            prove(&post, Some(&["client_secret_basic"])),
            Proof::Post(_)
        ));
    }

    #[test]
    fn an_assertion_names_us_and_the_token_endpoint_and_lives_a_minute() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let change =
            serde_json::json!({"private_key": key.serialize_pem(), "private_key_id": "k1"});
        let Proof::Assertion(token) = prove(&change, None) else {
            panic!("an assertion")
        };
        let header = jsonwebtoken::decode_header(token.expose_secret()).unwrap();
        assert_eq!(
            (header.alg, header.kid.as_deref()),
            (Algorithm::ES256, Some("k1"))
        );
        let body = token.expose_secret().split('.').nth(1).unwrap();
        let claims: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap();
        assert_eq!(
            (&claims["iss"], &claims["sub"]),
            (&"proxy".into(), &"proxy".into())
        );
        assert_eq!(claims["aud"], "https://idp/token");
        assert_eq!(
            (&claims["iat"], &claims["exp"]),
            (&1000.into(), &1060.into())
        );
        assert!(claims["jti"].as_str().unwrap().len() >= 22);
    }

    #[test]
    fn what_is_missing_is_named_and_the_key_is_not_shown() {
        let error = Credentials::new(&config(
            &serde_json::json!({"client_auth": "client_secret_basic"}),
        ))
        .unwrap_err();
        assert!(error.contains("oidc.client_secret"));
        let error = Credentials::new(&config(
            &serde_json::json!({"client_auth": "private_key_jwt"}),
        ))
        .unwrap_err();
        assert!(error.contains("oidc.private_key"));
        let error =
            Credentials::new(&config(&serde_json::json!({"private_key": "hunter2"}))).unwrap_err();
        assert!(error.contains("oidc.private_key") && !error.contains("hunter2"));
    }
}
