//! `vault`, `aws`, `secrets`: systems that keep secrets, and how often they are asked.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretRef, Span};

/// Vault (or `OpenBao`), for secrets written as `{ vault: { path, key } }` and for those listed here.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vault {
    /// `false`: the block counts as not written, and nothing may refer to it.
    #[serde(default = "on")]
    pub enabled: bool,
    /// `https://host:port`, without a path.
    pub address: String,
    /// How the proxy logs in: `kubernetes`, `approle`, or with a `token` that somebody else renews or that can renew
    /// itself.
    #[serde(default)]
    pub auth_method: AuthMethod,
    /// Where that method is mounted. Default: under its own name.
    #[serde(default)]
    pub auth_path: Option<String>,
    /// The role, for `kubernetes`.
    #[serde(default)]
    pub role: Option<String>,
    /// The service account's token, for `kubernetes`; read again at each login.
    #[serde(default = "service_account")]
    pub jwt_file: PathBuf,
    /// The role's id, for `approle`.
    #[serde(default)]
    pub role_id: Option<SecretRef>,
    /// The role's secret id, for `approle`; a file is read again at each login.
    #[serde(default)]
    pub secret_id: Option<SecretRef>,
    /// The token, for `token`; a file is read again when the token ends.
    #[serde(default)]
    pub token: Option<SecretRef>,
    /// Namespace, where the server has them.
    #[serde(default)]
    pub namespace: Option<String>,
    /// PEM file of CAs that are believed for this server, instead of the usual ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Time for one request.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
    /// Allow `http://` to another machine. Tokens and secrets then cross the network in the clear.
    #[serde(default)]
    pub allow_http: bool,
    /// Variables that are filled from Vault, as if they stood in the environment. A variable that the process has
    /// wins. Only variables that hold secrets.
    #[serde(default)]
    pub secrets: Vec<VaultVariable>,
}

/// A variable and where its value is.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultVariable {
    /// Path of Vault's HTTP API below `/v1/`: `secret/data/mcp-proxy/oidc`.
    pub path: String,
    /// The key in that secret.
    pub key: String,
    /// The variable: a short name such as `OIDC_CLIENT_SECRET`, or one that `{ env: NAME }` names.
    pub env: String,
}

/// How the proxy logs in at Vault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuthMethod {
    /// With the pod's service account.
    #[default]
    Kubernetes,
    /// With a role id and a secret id.
    Approle,
    /// With a token that is there.
    Token,
}

impl AuthMethod {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Approle => "approle",
            Self::Token => "token",
        }
    }
}

/// Secrets that other systems keep.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Secrets {
    /// Time between two looks at them; a value that changed is taken over by a reload. At least 10s; `0s`: only at a
    /// reload.
    pub refresh: Span,
    /// How long the start keeps trying while a system that keeps them does not answer.
    pub start_timeout: Span,
}

impl Default for Secrets {
    fn default() -> Self {
        Self {
            refresh: Span::secs(300),
            start_timeout: Span::secs(30),
        }
    }
}

fn on() -> bool {
    true
}

fn service_account() -> PathBuf {
    PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount/token")
}

fn ten_seconds() -> Span {
    Span::secs(10)
}
