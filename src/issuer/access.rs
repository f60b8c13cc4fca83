//! Access tokens: `at+jwt` (RFC 9068), signed by us, for one resource. What a token says about a person is its subject
//! only; claims are looked up with the grant that `sid` names.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::clock::{Ambient, Timestamp};
use crate::scope::ScopeSet;
use crate::secret::Secret;
use crate::signing::{SigningKeys, UnknownKey};

/// The `typ` of our tokens (RFC 9068 section 2.1).
pub const TYPE: &str = "at+jwt";

/// Tokens shorter than this are not given out: clients would refresh them all the time.
pub(crate) const SHORTEST: Duration = Duration::from_secs(60);

/// Makes access tokens, and tells whether one is ours.
pub struct AccessTokens {
    keys: Arc<SigningKeys>,
    issuer: Arc<str>,
    life: Duration,
    ambient: Ambient,
}

/// What goes into a token.
pub(crate) struct Content<'a> {
    /// The person, or the client that acts for itself.
    pub(crate) subject: &'a str,
    /// The resource (RFC 8707).
    pub(crate) audience: &'a str,
    /// The digest of the client's id.
    pub(crate) client: &'a str,
    /// What was granted.
    pub(crate) scopes: &'a ScopeSet,
    /// The grant.
    pub(crate) grant: &'a str,
    /// When the grant ends.
    pub(crate) ends: Timestamp,
}

/// A token that was just made.
pub(crate) struct Minted {
    pub(crate) token: Secret,
    /// `expires_in`.
    pub(crate) life: Duration,
}

/// Why no token was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotMinted {
    /// The grant has less than a minute left.
    Over,
    /// There is no key to sign with just now.
    NoKey,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    kid: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    client_id: &'a str,
    scope: String,
    sid: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
}

impl AccessTokens {
    /// Tokens of the given issuer that live for `life`.
    pub fn new(
        keys: Arc<SigningKeys>,
        issuer: Arc<str>,
        life: Duration,
        ambient: Ambient,
    ) -> Arc<Self> {
        Arc::new(Self {
            keys,
            issuer,
            life,
            ambient,
        })
    }

    /// Our `iss`.
    pub fn issuer(&self) -> &Arc<str> {
        &self.issuer
    }

    /// How long a token lives at most.
    pub(crate) fn life(&self) -> Duration {
        self.life
    }

    /// The keys.
    pub(crate) fn keys(&self) -> &Arc<SigningKeys> {
        &self.keys
    }

    /// Makes a token that ends with its grant at the latest.
    pub(crate) fn mint(&self, content: &Content<'_>) -> Result<Minted, NotMinted> {
        let now = self.ambient.now();
        let life = self.life.min(content.ends.since(now));
        // Whole seconds, as `exp` and `expires_in` have them.
        let life = Duration::from_secs(life.as_secs());
        if life < SHORTEST {
            return Err(NotMinted::Over);
        }
        let set = self.keys.current().ok_or(NotMinted::NoKey)?;
        let pair = set.signing(now).ok_or(NotMinted::NoKey)?;
        let header = Header {
            alg: pair.algorithm_name(),
            typ: TYPE,
            kid: pair.kid(),
        };
        let claims = Claims {
            iss: &self.issuer,
            sub: content.subject,
            aud: content.audience,
            client_id: content.client,
            scope: content.scopes.to_string(),
            sid: content.grant,
            iat: now.as_secs(),
            exp: now.as_secs() + i64::try_from(life.as_secs()).unwrap_or(0),
            jti: URL_SAFE_NO_PAD.encode(self.ambient.random::<16>()),
        };
        let mut token = part(&header);
        token.push('.');
        token.push_str(&part(&claims));
        let signature = pair.sign(token.as_bytes()).ok_or(NotMinted::NoKey)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(Minted {
            token: Secret::new(token),
            life,
        })
    }

    /// The grant that one of our tokens names, living or not, if it was made for this client.
    pub(crate) async fn grant_of(&self, token: &str, client: &str) -> Option<Arc<str>> {
        #[derive(Deserialize)]
        struct Named {
            alg: String,
            kid: String,
        }
        #[derive(Deserialize)]
        struct Said {
            iss: String,
            client_id: String,
            sid: String,
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let header: Named = serde_json::from_slice(&decode(header)?).ok()?;
        let said: Said = serde_json::from_slice(&decode(payload)?).ok()?;
        let algorithm = crate::oidc::jwks::algorithm(&header.alg)?;
        let ours = self
            .verifies(
                &header.kid,
                algorithm,
                signed.as_bytes(),
                &decode(signature)?,
            )
            .await;
        (ours.is_ok_and(|ours| ours) && *said.iss == *self.issuer && said.client_id == client)
            .then(|| said.sid.into())
    }

    /// Whether one of our keys made the signature over `signed`, with its own algorithm. `Err`: the key is not known
    /// here yet.
    ///
    /// # Errors
    /// Another replica may have made the key a moment ago, so this is no refusal of the token.
    pub(crate) async fn verifies(
        &self,
        kid: &str,
        algorithm: jsonwebtoken::Algorithm,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<bool, UnknownKey> {
        let set = self.keys.find(kid).await?;
        let pair = set.pair(kid).ok_or(UnknownKey)?;
        Ok(pair.algorithm() == algorithm && pair.verifies(signed, signature))
    }
}

impl std::fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccessTokens({})", self.issuer)
    }
}

fn part(value: &impl Serialize) -> String {
    // Structs of texts and numbers serialize.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).unwrap_or_default())
}
