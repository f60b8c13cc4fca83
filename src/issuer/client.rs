//! Clients: registered by hand, by a metadata document, or by themselves with everything inside their id.

use std::sync::Arc;

use http::HeaderMap;

use super::error::{OAuthCode, OAuthError};
use crate::clock::Ambient;
use crate::config::issuer::GrantType;
use crate::ids::RouteName;
use crate::scope::ScopeSet;
use crate::secret::Digest;

pub(crate) use self::redirect::{Place, RedirectUri, RedirectUris};

pub(super) mod redirect;

/// Longest `client_id` that is looked at, in bytes.
pub(super) const MAX_CLIENT_ID: usize = 2048;

/// A client that we know. Made by [`Clients`] only.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its `client_id`, byte for byte.
    pub(crate) id: Arc<str>,
    /// Names it in records, tokens and logs: the first 16 bytes of the SHA-256 of its id, as hex.
    pub(crate) digest: Arc<str>,
    /// How we know it.
    pub(crate) standing: Standing,
    /// What it calls itself. Text of an attacker unless [`Standing::Configured`]; pages cut and quote it.
    pub(crate) name: Option<String>,
    /// Where people may be sent back to.
    pub(crate) redirect_uris: RedirectUris,
    /// How it proves who it is at the token endpoint.
    pub(crate) auth: ClientAuth,
    /// What it may do there.
    pub(crate) grants: Vec<GrantType>,
    /// Scopes that it may have at most; `None`: those of the route.
    pub(crate) scopes: Option<ScopeSet>,
    /// Routes that it may have tokens for; `None`: all `mcp` routes.
    pub(crate) routes: Option<Vec<RouteName>>,
    /// Groups of the client itself, when it acts for nobody.
    pub(crate) groups: Vec<String>,
}

/// How a client came to be known: what the consent page says about its trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Written in the configuration by the operator.
    Configured,
    /// Vouched for by the host that serves its document.
    Document {
        /// The host of its `client_id`.
        host: String,
    },
    /// It registered itself; nobody vouches for it.
    Registered,
}

/// Client authentication at the token endpoint (RFC 6749 section 2.3, RFC 7523 section 2.2).
#[derive(Debug)]
pub(crate) enum ClientAuth {
    /// A public client.
    None,
    /// `client_secret_basic` or `client_secret_post`; both are taken.
    Secret(Digest),
    /// `private_key_jwt` with these keys.
    Keys(ClientKeys),
}

/// Where the keys of a client are.
#[derive(Debug)]
pub(crate) enum ClientKeys {
    /// In its document or in the configuration.
    Inline(jsonwebtoken::jwk::JwkSet),
    /// At an address, fetched with the same guard as documents.
    At(url::Url),
}

impl Client {
    /// Whether it lists a grant type.
    pub(crate) fn may(&self, grant: GrantType) -> bool {
        self.grants.contains(&grant)
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// No such client. The text is for the person's error page: what is wrong and what to do, without internals.
    #[error("{0}")]
    Unknown(String),
    /// It presented no proof, or a wrong one. The text is for logs.
    #[error("client authentication failed: {0}")]
    Unproven(&'static str),
    /// It presented itself in a way that cannot be judged (two ways at once). The text is for its developer.
    #[error("{0}")]
    Malformed(&'static str),
    /// Nobody knows just now (its document or keys cannot be fetched, the replay store is away).
    #[error("{0}")]
    Unavailable(String),
}

impl From<ClientError> for OAuthError {
    /// As the token endpoint tells it: who failed or is not known is told no more than that (RFC 6749 section 5.2).
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Unknown(_) | ClientError::Unproven(_) => Self::new(
                OAuthCode::InvalidClient,
                "the client is not known here, or its authentication failed",
            ),
            ClientError::Malformed(what) => Self::invalid_request(what),
            ClientError::Unavailable(_) => {
                Self::unavailable("the client cannot be looked up or checked just now; try again")
            }
        }
    }
}

/// All clients.
pub(crate) struct Clients {
    ambient: Ambient,
}

impl Clients {
    /// The client of an id, for the authorization endpoint. Never authenticates.
    pub(crate) async fn find(&self, id: &str) -> Result<Arc<Client>, ClientError> {
        let _ = (&self.ambient, id);
        todo!()
    }

    /// The client that calls the token or revocation endpoint, authenticated as it has to be: by HTTP Basic, by the
    /// form's `client_secret`, by an assertion, or by its mere id when it is public.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        form: &super::form::Form,
    ) -> Result<Arc<Client>, ClientError> {
        let _ = (headers, form);
        todo!()
    }
}
