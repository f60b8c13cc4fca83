//! `auth`: modes, further issuers of bearer tokens, API keys.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::oidc::{ClaimMap, ClientAuth};
use super::{SecretRef, Span};

/// Who may come in, and with what.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// `oidc` authenticates every request; `bypass` lets everybody in as one fixed user and is refused on
    /// listeners that are not loopback.
    pub mode: Mode,
    /// Allow `bypass` on listeners that the network can reach. Never do this with data that matters.
    pub insecure_bypass_on_network: bool,
    /// Tolerated difference between clocks when `exp`, `nbf` and `iat` are checked; at most 5m.
    pub clock_skew: Span,
    /// Further issuers whose JWTs are accepted as bearer tokens.
    pub issuers: Vec<TrustedIssuer>,
    /// Keys that scripts send in `X-API-Key`. Several may be live for one name, so that they can be rotated.
    pub api_keys: Vec<ApiKey>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            mode: Mode::Oidc,
            insecure_bypass_on_network: false,
            clock_skew: Span::secs(30),
            issuers: Vec::new(),
            api_keys: Vec::new(),
        }
    }
}

/// How requests are authenticated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// By the identity provider, bearer tokens and API keys.
    #[default]
    Oidc,
    /// Not at all: everybody is the same fixed user. For loopback.
    Bypass,
}

/// An issuer, other than the configured provider, whose JWTs count.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrustedIssuer {
    /// The exact `iss` of its tokens. Keys are found by its discovery document unless `jwks_uri` is set.
    pub issuer: String,
    /// Where its keys are, when it has no discovery document.
    #[serde(default)]
    pub jwks_uri: Option<String>,
    /// Audiences accepted from this issuer on every route, besides the route's own resource.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Signature algorithms to accept, for providers whose keys name none. Default: by key type.
    #[serde(default)]
    pub algorithms: Vec<String>,
    /// Which claims hold what. Groups count only when `claims.groups` is written here: two providers'
    /// `admins` are not the same people.
    #[serde(default, deserialize_with = "claims_of_a_guest")]
    pub claims: Option<ClaimMap>,
    /// Where to ask about its tokens that are no JWTs. The main provider may be listed for this, too.
    #[serde(default)]
    pub introspection: Option<Introspection>,
    /// PEM file with the private CA of this issuer's HTTPS address.
    #[serde(default)]
    pub ca_file: Option<std::path::PathBuf>,
}

/// How to ask an issuer about opaque tokens (RFC 7662).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Introspection {
    /// Address of the introspection endpoint.
    pub endpoint: String,
    /// The client that may ask.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretRef,
    /// How it authenticates: `client_secret_basic` or `client_secret_post`.
    #[serde(default = "basic")]
    pub client_auth: ClientAuth,
    /// How long an answer is good, at most 5m: as long may a revoked token still be accepted.
    #[serde(default = "answer_life")]
    pub cache: Span,
    /// Time for one question.
    #[serde(default = "question_time")]
    pub timeout: Span,
}

fn basic() -> ClientAuth {
    ClientAuth::ClientSecretBasic
}

fn answer_life() -> Span {
    Span::secs(30)
}

fn question_time() -> Span {
    Span::secs(5)
}

/// An API key and whom it stands for.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// The principal's name: the subject that logs, rules and backends see.
    pub name: String,
    /// The key, of at least 16 bytes. Only its SHA-256 is kept in memory. Give this or `sha256`.
    #[serde(default)]
    pub key: Option<SecretRef>,
    /// SHA-256 of the key in hex, for files that shall not hold the key itself.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Groups of the principal.
    #[serde(default)]
    pub groups: Vec<String>,
    /// E-mail address of the principal.
    #[serde(default)]
    pub email: Option<String>,
    /// Further claims of the principal, for rules and headers.
    #[serde(default)]
    pub claims: BTreeMap<String, serde_json::Value>,
}

/// Reads a claim map in which no groups are the default.
fn claims_of_a_guest<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ClaimMap>, D::Error> {
    #[derive(Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Written {
        email: String,
        name: String,
        preferred_username: String,
        groups: Vec<String>,
    }
    impl Default for Written {
        fn default() -> Self {
            let ClaimMap {
                email,
                name,
                preferred_username,
                groups: _,
            } = ClaimMap::default();
            Self {
                email,
                name,
                preferred_username,
                groups: Vec::new(),
            }
        }
    }
    let written = Option::<Written>::deserialize(deserializer)?;
    Ok(written.map(
        |Written {
             email,
             name,
             preferred_username,
             groups,
         }| ClaimMap {
            email,
            name,
            preferred_username,
            groups,
        },
    ))
}
