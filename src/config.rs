//! The configuration: its shape, section by section, and how it is loaded.
//!
//! Layers, later wins key by key: defaults, files in the order given, environment, flags.
//! Leaf types check themselves while they are read; rules across keys run once in [`load()`]. What runs
//! later gets a [`Config`] that cannot be wrong in a way that a check could have found.

pub mod audit;
pub mod authn;
pub mod backend;
mod check;
mod decode;
pub mod derived;
pub mod env;
pub mod glob;
pub mod issuer;
mod layers;
pub mod listen;
pub mod load;
mod lookup;
pub mod oidc;
pub mod pages;
pub mod path;
pub mod peek;
pub mod pointer;
pub mod problem;
pub mod remote;
pub mod route;
pub mod rules;
pub mod secret;
pub mod secrets;
pub mod service;
pub mod session;
pub mod shape;
pub mod tracing;
pub mod value;
mod yaml;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::load::{Loaded, Sources, load};
pub use self::path::{KeyPath, Origin, Origins};
pub use self::problem::{Problem, Problems};
pub use self::remote::{Remote, RemoteValues};
pub use self::secret::SecretRef;
pub use self::value::{ByteSize, Span};

/// The whole configuration file.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of this file's format. Only `1` exists.
    pub version: u32,
    /// The origin under which people and clients reach the proxy (`https://mcp.example.com`), without a
    /// path. Links, redirect URIs and metadata are built from it and never from a request's `Host`.
    /// Unset: `http://localhost:<port of the first listener>`.
    #[serde(default)]
    pub public_url: Option<String>,
    /// Listeners for traffic. The first one is the one that `PORT` sets.
    #[serde(default = "listen::default_listeners")]
    pub listen: Vec<listen::Listener>,
    /// Bounds on connections, requests and bodies, for all listeners.
    #[serde(default)]
    pub limits: listen::Limits,
    /// Further values of `Host` (`name` or `name:port`) under which requests are answered, besides the one of
    /// `public_url`: for callers that reach the proxy by a name inside a cluster. Others are 421.
    #[serde(default)]
    pub allowed_hosts: Vec<String>,
    /// Networks (CIDR) whose `X-Forwarded-*` and `Forwarded` headers are believed. Default: none.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Prefix of the proxy's own endpoints.
    #[serde(default = "service::default_prefix")]
    pub own_prefix: String,
    /// Root secrets, base64 or base64url of at least 32 random bytes each (`mcp-oidc-proxy keygen` prints
    /// one). The first seals, all open. Unset: random at start, sessions end with the process.
    #[serde(default)]
    pub secret_keys: Vec<SecretRef>,
    /// Secrets that other systems keep.
    #[serde(default)]
    pub secrets: secrets::Secrets,
    /// Vault, for secrets that it keeps.
    #[serde(default)]
    pub vault: Option<secrets::Vault>,
    /// Who may come in, and with what.
    #[serde(default)]
    pub auth: authn::Auth,
    /// The organisation's identity provider.
    #[serde(default)]
    pub oidc: Option<oidc::Oidc>,
    /// Further providers that people can sign in at, besides `oidc`. Each needs a `name`; the sign-in page shows them
    /// all.
    #[serde(default)]
    pub further_providers: Vec<oidc::Oidc>,
    /// The proxy as authorization server of its `mcp` routes.
    #[serde(default)]
    pub authorization_server: issuer::AuthorizationServer,
    /// How our pages look, and whose they are.
    #[serde(default)]
    pub pages: pages::Pages,
    /// Browser sessions and where they are kept.
    #[serde(default)]
    pub sessions: session::Sessions,
    /// The servers behind the proxy.
    #[serde(default)]
    pub backends: Vec<backend::Backend>,
    /// Which path goes to which backend, and who may use it.
    #[serde(default)]
    pub routes: Vec<route::Route>,
    /// What backends are told about the caller.
    #[serde(default)]
    pub identity_headers: backend::IdentityHeaders,
    /// The keys of signed statements about callers (`backends[].assertion`).
    #[serde(default)]
    pub assertions: backend::AssertionKeys,
    /// Behaviour on routes of kind `mcp`.
    #[serde(default)]
    pub mcp: route::Mcp,
    /// The metrics and health listener.
    #[serde(default)]
    pub metrics: service::Metrics,
    /// The admin listener, the only place that changes anything.
    #[serde(default)]
    pub admin: service::Admin,
    /// What `/health` and `/ready` say.
    #[serde(default)]
    pub health: service::Health,
    /// Logs of the process and of requests.
    #[serde(default)]
    pub logging: service::Logging,
    /// Traces over OTLP.
    #[serde(default)]
    pub tracing: tracing::Tracing,
    /// The audit log.
    #[serde(default)]
    pub audit: audit::Audit,
    /// When the configuration is loaded again by itself.
    #[serde(default)]
    pub reload: service::Reload,
    /// How the process ends.
    #[serde(default)]
    pub shutdown: service::Shutdown,
}
