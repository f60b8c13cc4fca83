//! Clients: registered by hand, by a metadata document, or by themselves with everything inside their id.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use self::document::{Documents, NoDocument};
use self::fetches::{Cause, Fetches};
use self::keys::KeySets;
use self::registered::Registered;
use super::error::{OAuthCode, OAuthError};
use super::register::Registrations;
use serde_json::{Map, Value};

use crate::clock::{Ambient, Timestamp};
use crate::config::Config;
use crate::config::issuer::GrantType;
use crate::ids::RouteName;
use crate::keys::KeyRing;
use crate::paths::{Own, OwnPaths};
use crate::scope::ScopeSet;
use crate::secret::Digest;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::upstream::guarded::Guarded;
use crate::urls::PublicUrl;

pub(crate) use self::keys::ClientKeys;
pub(super) use self::metadata::Wrong;
pub(crate) use self::redirect::{Place, RedirectUri, RedirectUris};
pub(super) use self::registered::New;

mod assertion;
mod auth;
mod configured;
mod document;
mod fetches;
mod hosts;
mod keys;
mod metadata;
pub(super) mod redirect;
mod registered;
mod shelf;

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
    /// Too much is fetched for whoever asks, or from where it would be; in so many seconds it may be again.
    #[error("too many fetches; the next one is in {0} s")]
    Limited(u64),
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
            ClientError::Unavailable(_) | ClientError::Limited(_) => {
                Self::unavailable("the client cannot be looked up or checked just now; try again")
            }
        }
    }
}

/// All clients, by every way of knowing one.
pub(crate) struct Clients {
    configured: HashMap<Box<str>, Arc<Client>>,
    documents: Option<Documents>,
    registered: Option<Registered>,
    keys: KeySets,
    fetches: Arc<Fetches>,
    /// What an assertion may be addressed to.
    audiences: Box<[String]>,
    skew: Duration,
    store: Arc<dyn Store>,
    ambient: Ambient,
    registrations: Arc<Registrations>,
    /// Registrations of one source in an hour; 0 is no limit.
    per_hour: u32,
    /// How long the body of a registration may pause.
    body_idle: Duration,
}

impl Clients {
    /// The clients of a configuration. `before` are those of the configuration that this one follows: what they
    /// remember of documents and key sets, and how often a source has registered, is kept.
    ///
    /// # Errors
    /// When a file of the section cannot be used; the text names its key.
    pub(crate) fn new(
        config: &Config,
        public_url: &PublicUrl,
        keys: &KeyRing,
        store: Arc<dyn Store>,
        ambient: &Ambient,
        metrics: &Metrics,
        before: Option<&Self>,
    ) -> Result<Self, String> {
        let server = &config.authorization_server;
        let policy = &server.client_metadata_documents;
        let in_ca_file =
            |why| format!("authorization_server.client_metadata_documents.ca_file: {why}");
        let guard = Guarded::new(
            policy.ca_file.as_deref(),
            &policy.private_networks,
            is_loopback(public_url),
        )
        .map_err(in_ca_file)?;
        let fetches = before.map_or_else(
            || Fetches::new(ambient),
            |before| Arc::clone(&before.fetches),
        );
        let documents = Documents::new(
            server,
            &guard,
            &fetches,
            ambient,
            metrics,
            before.and_then(|before| before.documents.as_ref()),
        );
        let paths = OwnPaths::new(&config.own_prefix, true);
        let audiences = ["", "/", "/token"]
            .map(|path| public_url.join(path))
            .into_iter()
            .chain([Own::Token, Own::Revoke].map(|own| public_url.join(&paths.path(own))));
        Ok(Self {
            configured: configured::read(server)?,
            documents,
            registered: Registered::new(server, keys, ambient),
            keys: KeySets::new(
                &guard,
                policy.ca_file.as_deref(),
                &fetches,
                ambient,
                before.map(|before| &before.keys),
            )
            .map_err(in_ca_file)?,
            fetches,
            audiences: audiences.collect(),
            skew: config.auth.clock_skew.0,
            store,
            ambient: ambient.clone(),
            registrations: before.map_or_else(
                || Arc::new(Registrations::new(metrics)),
                |before| Arc::clone(&before.registrations),
            ),
            per_hour: server.registration.per_hour,
            body_idle: config.limits.body_timeout.0,
        })
    }

    /// Whether clients may register themselves: only then is there a registration endpoint.
    pub(crate) fn can_register(&self) -> bool {
        self.registering().is_some()
    }

    fn registering(&self) -> Option<&Registered> {
        let registered = self.registered.as_ref();
        registered.filter(|registered| registered.takes_new)
    }

    /// Whether a `client_id` may be the address of a document
    /// (`client_id_metadata_document_supported` in the metadata).
    pub(crate) fn has_documents(&self) -> bool {
        self.documents.is_some()
    }

    /// Makes a client of what it says about itself.
    pub(super) fn register(&self, said: &Map<String, Value>) -> Result<New, Wrong> {
        let registered = self
            .registering()
            .ok_or_else(|| Wrong::Metadata("clients cannot register themselves here".to_owned()))?;
        // RFC 7591 section 2: a client that names no method gets a secret.
        registered.register(metadata::read(said, "client_secret_basic")?)
    }

    /// Counts a registration of a source; when there were too many, the seconds until the next one.
    pub(super) fn admit_registration(
        &self,
        source: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<(), u64> {
        self.registrations.admit(source, self.per_hour, now)
    }

    /// What counts registrations.
    pub(super) fn registrations(&self) -> &Registrations {
        &self.registrations
    }

    /// How long the body of a registration may pause.
    pub(super) fn body_idle(&self) -> Duration {
        self.body_idle
    }

    /// The client of an id, for the authorization endpoint; `cause` is who asks. Never authenticates.
    pub(crate) async fn find(&self, id: &str, cause: Cause) -> Result<Arc<Client>, ClientError> {
        self.look_up(id, cause).await.map_err(NoClient::for_people)
    }

    /// The same for the token endpoint, where a document that is not had just now is an outage: a client that is told
    /// that it is unknown forgets everything that it has.
    async fn known(&self, id: &str, cause: Cause) -> Result<Arc<Client>, ClientError> {
        self.look_up(id, cause).await.map_err(|why| match why {
            NoClient::Document(NoDocument::NotHad) => {
                ClientError::Unavailable("its metadata document cannot be read".to_owned())
            }
            why => why.for_people(),
        })
    }

    async fn look_up(&self, id: &str, cause: Cause) -> Result<Arc<Client>, NoClient> {
        if !auth::may_be_id(id) {
            return Err(NoClient::Unknown);
        }
        if let Some(client) = self.configured.get(id) {
            return Ok(Arc::clone(client));
        }
        if id.starts_with("https://") {
            let documents = self.documents.as_ref().ok_or(NoClient::Unknown)?;
            // Boxed: a fetch is rare, and its state is large.
            return Box::pin(documents.find(id, cause))
                .await
                .map_err(NoClient::Document);
        }
        self.registered
            .as_ref()
            .and_then(|registered| registered.open(id))
            .map(Arc::new)
            .ok_or(NoClient::Unknown)
    }
}

/// Why a look-up gave nothing.
enum NoClient {
    Unknown,
    Document(NoDocument),
}

impl NoClient {
    fn for_people(self) -> ClientError {
        match self {
            Self::Unknown => ClientError::Unknown(
                "no app with this client_id is known here. Remove this server from the app and add it again, so that the app registers anew"
                    .to_owned(),
            ),
            Self::Document(error) => error.into(),
        }
    }
}

/// Names a client in records, tokens and logs.
fn digest(id: &str) -> Arc<str> {
    let mut half = [0; 16];
    half.copy_from_slice(&Digest::of(id).as_bytes()[..16]);
    format!("{:032x}", u128::from_be_bytes(half)).into()
}

/// Whether we are reached on this machine only, so that everybody who can ask us is on it anyway.
fn is_loopback(public_url: &PublicUrl) -> bool {
    url::Url::parse(public_url.as_str()).is_ok_and(|url| match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    })
}

#[cfg(test)]
pub(crate) mod tests;
