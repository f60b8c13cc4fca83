//! `metrics`, `health`, `logging`, `reload`, `shutdown`: the process as operators see it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;

/// The metrics and health listener; read-only.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Serve the listener.
    pub enabled: bool,
    /// `host:port` of the listener that serves `/metrics` and `/health/*`.
    pub address: String,
    /// Serve `/metrics` on the traffic listeners too.
    pub on_traffic_listener: bool,
    /// Whether tools are told apart: `known` by the names that the backend lists or the configuration spells out,
    /// `off` not at all.
    pub tool_names: ToolNames,
    /// Names of tools for one backend at most; further ones count as `_other`.
    pub tool_cap: u32,
}

/// Whether metrics tell tools apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolNames {
    /// All tools are `_other`.
    Off,
    /// By the names that the backend lists.
    #[default]
    Known,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            enabled: true,
            address: "127.0.0.1:9090".to_owned(),
            on_traffic_listener: false,
            tool_names: ToolNames::Known,
            tool_cap: 200,
        }
    }
}

/// The admin listener, the only place that changes anything.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// `unix:/path` (only the proxy's own user may connect), or an address of this machine alone such as
    /// `127.0.0.1:9091` (everybody on this machine may). Default: no such listener.
    pub address: Option<String>,
}

/// What `/health` and `/ready` say.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// `status` shows status, time and uptime on the traffic listener; `full` adds version and checks.
    pub public: HealthDetail,
    /// `/ready` is 503 while the session store cannot be reached. Default: degraded with 200, or all
    /// replicas would leave at once.
    pub ready_requires_store: bool,
}

/// How much `/health` on the traffic listener tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HealthDetail {
    /// Status, time and uptime.
    #[default]
    Status,
    /// Version and the single checks as well.
    Full,
}

/// Logs of the process and of requests.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Logging {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,mcp_oidc_proxy::oidc=debug`.
    pub level: String,
    /// `json` or `text`.
    pub format: LogFormat,
    /// One record for each request.
    pub access: bool,
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Json,
            access: true,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For eyes.
    Text,
}

/// When the configuration is loaded again. SIGHUP and the admin listener always do that.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Reload {
    /// Load the configuration again when one of its files changes: those of the configuration itself, and those with
    /// secrets, certificates and keys that it names.
    pub watch: bool,
    /// With `watch`: how often the files are looked at where the system does not tell of a change.
    pub interval: Span,
}

impl Default for Reload {
    fn default() -> Self {
        Self {
            watch: false,
            interval: Span::secs(60),
        }
    }
}

/// How the process ends after SIGTERM.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// How long new connections are still accepted while `/ready` says 503.
    pub delay: Span,
    /// How long requests under way may take to finish.
    pub timeout: Span,
    /// How long event streams go on before they are ended between two events.
    pub stream_grace: Span,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            delay: Span::secs(5),
            timeout: Span::secs(30),
            stream_grace: Span::secs(5),
        }
    }
}

/// Prefix of the proxy's own endpoints.
pub(crate) fn default_prefix() -> String {
    "/oauth2".to_owned()
}
