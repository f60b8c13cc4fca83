//! `routes` and `mcp`: which path goes where, who may use it, and how MCP traffic is treated.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules::{Otherwise, Rule};
use super::{ByteSize, Span};
use crate::ids::{BackendName, RouteName};

/// A path, the backend it leads to, and who may use it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a key of the file, and each says something else"
)]
pub struct Route {
    /// `/x` is exactly this path (with or without a final slash); `/x/*` is the subtree; `/*` the whole site.
    pub path: String,
    /// Name in logs and metrics. Default: the path.
    #[serde(default)]
    pub name: Option<RouteName>,
    /// The backend's name.
    pub backend: BackendName,
    /// `mcp` (never redirects, answers as MCP clients expect) or `http` (pages and plain APIs).
    #[serde(default)]
    pub kind: Kind,
    /// Who may use it. Without `allow` and `public` nobody may.
    #[serde(default)]
    pub allow: Option<Allow>,
    /// Let everybody in without authentication.
    #[serde(default)]
    pub public: bool,
    /// Which tools its callers may call, and see in lists. What no rule matches is denied, unless `default` says
    /// otherwise; without a list all are permitted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Rule>,
    /// The same for prompts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<Rule>,
    /// The same for resources, by URI.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Rule>,
    /// The same for JSON-RPC methods. The handshake is never denied; housekeeping (`ping`, `notifications/*`, lists,
    /// `logging/setLevel`, `roots/list`) only by a rule that matches it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<Rule>,
    /// What holds where no rule matches: `allow` or `deny`. `deny` also closes what has no list. Unset: `deny` where
    /// there is a list, `allow` elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Otherwise>,
    /// Answer denials as the backend answers for names that it does not know, so that nobody learns what exists.
    /// Rules may say otherwise.
    #[serde(default)]
    pub hide: bool,
    /// Audiences accepted in bearer tokens here, besides the route's own URL.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Scopes named in challenges and in the resource metadata, the least that a client needs.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// On `http` routes: do not add `Content-Security-Policy: sandbox` to the backend's pages. They then
    /// share the proxy's origin with its sign-in pages.
    #[serde(default)]
    pub trust_content: bool,
    /// On `http` routes: let WebSocket upgrades through.
    #[serde(default = "yes")]
    pub websocket: bool,
}

/// How a route is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An MCP endpoint.
    #[default]
    Mcp,
    /// Pages, plain APIs, `WebSocket` upgrades.
    Http,
}

/// A rule on who may use a route. Keys are AND, lists are OR.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Allow {
    /// Everybody who is signed in. Excludes the other keys.
    pub any_user: bool,
    /// Members of any of these groups.
    pub groups: Vec<String>,
    /// People whose e-mail address is in one of these domains (exactly; no subdomains).
    pub email_domains: Vec<String>,
    /// Claim path to the values that it may have. A list claim fits if one of its values does.
    pub claims: BTreeMap<String, Vec<serde_json::Value>>,
    /// Tokens that were granted any of these scopes; an entry with spaces stands for all of its scopes. Clients whose
    /// token has too few are told which to ask for. Browser sessions and API keys have no scopes.
    pub scopes: Vec<String>,
    /// Tokens of any of these clients, by their exact `client_id`.
    pub clients: Vec<String>,
    /// Callers with an API key of any of these names.
    pub api_keys: Vec<String>,
}

/// Behaviour on routes of kind `mcp`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Mcp {
    /// Bytes of a request body; more is 413.
    pub max_body: ByteSize,
    /// Bytes of a list (of tools, prompts, resources) that is filtered for its reader, and of an event that may be one;
    /// a longer list is 502.
    pub max_list: ByteSize,
    /// A comment is sent on an event stream that was quiet for this long. `0s` turns it off.
    pub keep_alive: Span,
    /// Longest life of a stream that was opened with a foreign token or an API key.
    pub max_stream_age: Span,
    /// How many sessions a person may have and how long idle ones count, in one word: `low` for few callers (20
    /// sessions, 10 min), `default` (15, 10 min), or `high` for many (12, 5 min). The keys below win over it.
    pub preset: Preset,
    /// Sessions of the revisions up to 2025-11-25 that one person or API key may have at once, over all routes and
    /// replicas; a further `initialize` is 503. `0` is no limit. Unset: by `preset`.
    pub max_sessions_per_user: Option<u32>,
    /// A session that was idle for this long stops counting; its id goes on working. Unset: by `preset`.
    pub session_timeout: Option<Span>,
    /// How long a session id works after it was given out.
    pub session_lifetime: Span,
    /// Browser origins, besides `public_url` and loopback, that may call MCP routes.
    pub allowed_origins: Vec<String>,
}

impl Default for Mcp {
    fn default() -> Self {
        Self {
            max_body: ByteSize(4 << 20),
            max_list: ByteSize(8 << 20),
            keep_alive: Span::secs(15),
            max_stream_age: Span::secs(3600),
            preset: Preset::Default,
            max_sessions_per_user: None,
            session_timeout: None,
            session_lifetime: Span::secs(24 * 3600),
            allowed_origins: Vec::new(),
        }
    }
}

impl Mcp {
    /// Sessions that a person may have at once; `None`: as many as they like.
    pub fn sessions_per_user(&self) -> Option<u32> {
        let limit = self.max_sessions_per_user.unwrap_or(match self.preset {
            Preset::Low => 20,
            Preset::Default => 15,
            Preset::High => 12,
        });
        (limit > 0).then_some(limit)
    }

    /// How long an idle session counts.
    pub fn idle_session_counts(&self) -> Span {
        self.session_timeout.unwrap_or(match self.preset {
            Preset::Low | Preset::Default => Span::secs(600),
            Preset::High => Span::secs(300),
        })
    }
}

/// Limits on sessions that go together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// For few callers: 20 sessions each, which count for 10 min.
    Low,
    /// 15 sessions each, which count for 10 min.
    #[default]
    Default,
    /// For many callers: 12 sessions each, which count for 5 min.
    High,
}

fn yes() -> bool {
    true
}
