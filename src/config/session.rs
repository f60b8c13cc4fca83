//! `sessions`: times, bounds, and the store.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretRef, Span};

/// Browser sessions and where they are kept.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sessions {
    /// `memory` (one process, ends with it) or `redis`.
    pub store: StoreKind,
    /// A session ends when it was not used for this long.
    pub idle_timeout: Span,
    /// A session ends this long after its login, used or not.
    pub absolute_timeout: Span,
    /// Time to finish a login at the provider.
    pub login_timeout: Span,
    /// Sessions kept at once by the memory store; beyond it the longest unused ends.
    pub max_sessions: u32,
    /// Login flows under way at once; beyond it the oldest ends. They never push out sessions.
    pub max_logins: u32,
    /// How long a session that was just seen is trusted without asking the store again.
    pub recently_seen: Span,
    /// How long a session that was seen goes on when the store cannot be reached; then 503.
    pub outage_grace: Span,
    /// Name of the session cookie, without the `__Host-` that is put before it when `public_url` is https.
    pub cookie_name: String,
    /// The Redis to use when `store` is `redis`.
    pub redis: Option<Redis>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            store: StoreKind::Memory,
            idle_timeout: Span::secs(8 * 3600),
            absolute_timeout: Span::secs(24 * 3600),
            login_timeout: Span::secs(600),
            max_sessions: 100_000,
            max_logins: 10_000,
            recently_seen: Span::secs(10),
            outage_grace: Span::secs(60),
            cookie_name: "mcp_session".to_owned(),
            redis: None,
        }
    }
}

/// Where sessions are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// In this process.
    #[default]
    Memory,
    /// In Redis, shared by all replicas.
    Redis,
}

/// A Redis server, a Sentinel-watched one, or a Cluster.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// `redis://host:6379/0` or `rediss://…` for TLS. With Sentinel it gives database and scheme only.
    #[serde(default)]
    pub url: Option<SecretRef>,
    /// ACL user; wins over the one in `url`.
    #[serde(default)]
    pub username: Option<String>,
    /// Password; wins over the one in `url`.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// Sentinel addresses and the name of the watched primary.
    #[serde(default)]
    pub sentinel: Option<Sentinel>,
    /// Addresses of some nodes of a Cluster (`redis://host:port` each).
    #[serde(default)]
    pub cluster: Vec<String>,
    /// TLS towards Redis, for `rediss://`.
    #[serde(default)]
    pub tls: Option<ClientTls>,
    /// Prefix of every key. The default gives `mcp:session:<id>`.
    #[serde(default = "default_key_prefix")]
    pub key_prefix: String,
    /// Time to connect.
    #[serde(default = "default_redis_timeout")]
    pub connect_timeout: Span,
    /// Time for one command.
    #[serde(default = "default_redis_timeout")]
    pub command_timeout: Span,
    /// Connections of the pool that runs scripts.
    #[serde(default = "default_pool_size")]
    pub pool_size: u32,
}

/// Redis Sentinel.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sentinel {
    /// Sentinel nodes, `redis://host:26379` each.
    pub nodes: Vec<String>,
    /// Name of the watched primary.
    pub master_name: String,
    /// Password of the Sentinels themselves.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// ACL user of the Sentinels themselves.
    #[serde(default)]
    pub username: Option<String>,
}

/// TLS as a client: whom to trust, and what to show.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTls {
    /// PEM file with the CA to trust, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM client certificate chain.
    pub cert_file: Option<PathBuf>,
    /// PEM private key of the client certificate.
    pub key_file: Option<PathBuf>,
    /// Name to expect in the server's certificate, when it is not the host of the address.
    pub server_name: Option<String>,
}

fn default_key_prefix() -> String {
    "mcp:".to_owned()
}

fn default_redis_timeout() -> Span {
    Span::secs(3)
}

fn default_pool_size() -> u32 {
    8
}
