//! `backends` and `identity_headers`: the servers behind the proxy, and what they are told.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::session::ClientTls;
use super::{SecretRef, Span};
use crate::ids::BackendName;

/// A server behind the proxy.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Name: what routes point to, and a metric label.
    pub name: BackendName,
    /// `http://host:port/path`, `https://…`, or `unix:/path/to.sock:/path`. The path is what an exact route
    /// asks for, and what a subtree's remainder is joined to. Either this or `endpoints`.
    #[serde(default)]
    pub upstream: Option<String>,
    /// Several addresses of the same server instead of `upstream`, 64 at most, all with the same path and all with TLS
    /// or none. MCP sessions stay at the endpoint that began them.
    #[serde(default)]
    pub endpoints: Vec<String>,
    /// Which of several endpoints gets a request: `least_requests` (the less busy one of two picked by chance) or
    /// `round_robin`. Endpoints that fail are left out for a while, unless none would be left.
    #[serde(default)]
    pub balance: Balance,
    /// HTTP version towards the backend: `auto` (HTTP/1.1, or what ALPN gives over TLS), `http1`, `http2`
    /// (prior knowledge, h2c, when the address is `http://`).
    #[serde(default)]
    pub protocol: Protocol,
    /// What is sent as `Host`: `backend` (its own authority), `client` (what the client sent), or a text.
    #[serde(default)]
    pub host: HostPolicy,
    /// TLS for `https://` addresses.
    #[serde(default)]
    pub tls: ClientTls,
    /// Active health checks, of each endpoint. Unset: a TCP connect decides `mcp_proxy_backend_up`.
    #[serde(default)]
    pub health: Option<HealthCheck>,
    /// Timeouts towards this backend.
    #[serde(default)]
    pub timeouts: BackendTimeouts,
    /// Connections to each endpoint at once; further requests wait `timeouts.connect`, then are 503.
    #[serde(default = "default_connections")]
    pub max_connections: u32,
    /// MCP sessions that this backend may have at once, of all callers over all replicas; a further `initialize` is
    /// 503. Unset: no limit.
    #[serde(default)]
    pub max_sessions: Option<u32>,
    /// Headers added to every request to this backend. A value may be a secret source.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretRef>,
    /// The proxy's own credential for this backend, sent with every request. What a client proved itself with never
    /// goes on.
    #[serde(default)]
    pub credentials: Option<Credentials>,
    /// Sends a signed statement about the caller, so that the backend can verify who asks. Its keys are published at
    /// `/oauth2/assertion/jwks`.
    #[serde(default)]
    pub assertion: Option<Assertion>,
    /// How denials with `hide` look: as this backend answers for names that it does not know. `error` is the
    /// specification's error, `result` a tool result with `isError`; `auto` is what was seen of it, and else `error`.
    #[serde(default)]
    pub unknown_names: UnknownNames,
    /// Let the browser's `Origin` through to the backend. The edge has judged it already.
    #[serde(default)]
    pub forward_origin: bool,
}

/// How a backend answers for names that it does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnknownNames {
    /// As was seen of it.
    #[default]
    Auto,
    /// A JSON-RPC error.
    Error,
    /// A result with `isError`, for tools.
    Result,
}

impl Backend {
    /// Names of the headers that the configuration sets on every request to it.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        let credential = self.credentials.as_ref().and_then(Credentials::header);
        let assertion = self.assertion.as_ref().map(Assertion::header);
        self.headers
            .keys()
            .map(String::as_str)
            .chain(credential)
            .chain(assertion)
    }

    /// Where it is: its one address, or its endpoints.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.upstream
            .iter()
            .chain(&self.endpoints)
            .map(String::as_str)
    }
}

/// The proxy's own credential for a backend: one of the three. Each text may be a secret source, and is read again at a
/// reload.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Credentials {
    /// `Authorization: Bearer`.
    pub bearer: Option<SecretRef>,
    /// `Authorization: Basic`.
    pub basic: Option<Basic>,
    /// A key in a header of its own.
    pub api_key: Option<KeyHeader>,
}

impl Credentials {
    /// The header that it is sent in.
    pub fn header(&self) -> Option<&str> {
        match (&self.bearer, &self.basic, &self.api_key) {
            (Some(_), _, _) | (_, Some(_), _) => Some("Authorization"),
            (None, None, Some(key)) => Some(&key.header),
            (None, None, None) => None,
        }
    }
}

/// User name and password (RFC 7617).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// User name, without a colon.
    pub username: SecretRef,
    /// Password.
    pub password: SecretRef,
}

/// A key in a header.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyHeader {
    /// The header, for example `X-API-Key`.
    pub header: String,
    /// The key.
    pub value: SecretRef,
}

/// A signed statement about the caller: a JWT with `iss` (`public_url`), `sub` and `idp_iss` (the person, and who
/// vouches for them), `aud`, `iat`, `exp`, `jti`, `credential` (`session`, `bearer_jwt`, `access_token`, `api_key` or
/// `bypass`) and, where there is one, `client_id`. Nobody signed in: nothing is sent.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// `aud`: what the backend calls itself. No two backends should share one.
    pub audience: String,
    /// How it is sent: `header`, or `bearer` for `Authorization: Bearer`.
    #[serde(default, rename = "as")]
    pub place: AssertionPlace,
    /// The header it is sent in.
    #[serde(default = "default_assertion_header")]
    pub header: String,
    /// Its life; from 10s to 10m. It is used again for half of it.
    #[serde(default = "default_assertion_lifetime")]
    pub lifetime: Span,
    /// Further claims: name in the assertion to claim path. `email`, `groups` and `preferred_username` as paths are
    /// what the proxy found to be those; another path is the provider's claim.
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
}

impl Assertion {
    /// The header that it is sent in.
    pub fn header(&self) -> &str {
        match self.place {
            AssertionPlace::Header => &self.header,
            AssertionPlace::Bearer => "Authorization",
        }
    }
}

/// How an assertion is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AssertionPlace {
    /// In a header of its own.
    #[default]
    Header,
    /// As `Authorization: Bearer`.
    Bearer,
}

/// The keys that sign assertions, for all backends.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AssertionKeys {
    /// PEM private keys (EC P-256 or Ed25519). The first signs, all are published. Unset: one is made, kept in the
    /// session store (sealed) and renewed by itself; with `store: memory` it ends with the process, and several
    /// replicas need keys here. Never the keys of `authorization_server.signing_keys`.
    pub signing_keys: Vec<SecretRef>,
}

/// Which of several endpoints gets a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// The less busy one of two that are picked by chance.
    #[default]
    LeastRequests,
    /// One after the other.
    RoundRobin,
}

/// HTTP version towards a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1, or what ALPN gives over TLS.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only; without TLS by prior knowledge.
    Http2,
}

/// What is sent as `Host` to a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostPolicy {
    /// The authority of the address: what MCP servers that check `Host` expect.
    #[default]
    Backend,
    /// What the client sent.
    Client,
    /// This text.
    #[serde(untagged)]
    Literal(String),
}

/// An active health check.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// Path asked for with GET. Any answer below 500 counts as up, 404 too.
    pub path: String,
    /// Time between two checks.
    #[serde(default = "default_interval")]
    pub interval: Span,
    /// Time for one check.
    #[serde(default = "default_check_timeout")]
    pub timeout: Span,
}

/// Timeouts towards a backend. There is no total: answers may stream for days.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackendTimeouts {
    /// DNS, TCP and TLS.
    pub connect: Span,
    /// From the end of the request to the head of the answer.
    pub response: Span,
    /// Longest pause inside an answer's body that is not an event stream.
    pub body_idle: Span,
    /// Longest silence of the backend on an event stream.
    pub stream_idle: Span,
    /// How long an idle connection is kept. Below the keep-alive time of the backend.
    pub keep_alive: Span,
}

impl Default for BackendTimeouts {
    fn default() -> Self {
        Self {
            connect: Span::secs(5),
            response: Span::secs(300),
            body_idle: Span::secs(60),
            stream_idle: Span::secs(3600),
            keep_alive: Span::secs(4),
        }
    }
}

/// What backends are told about the caller. Every inbound spelling of these names is removed first.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityHeaders {
    /// Send `X-Forwarded-User`, `-Email`, `-Groups`, `-Preferred-Username` and `-Issuer`.
    pub enabled: bool,
    /// Further headers: name to claim path (`X-Department: department`).
    pub claims: BTreeMap<String, String>,
}

impl Default for IdentityHeaders {
    fn default() -> Self {
        Self {
            enabled: true,
            claims: BTreeMap::new(),
        }
    }
}

fn default_assertion_header() -> String {
    "X-Identity-Assertion".to_owned()
}

fn default_assertion_lifetime() -> Span {
    Span::secs(60)
}

fn default_connections() -> u32 {
    1024
}

fn default_interval() -> Span {
    Span::secs(10)
}

fn default_check_timeout() -> Span {
    Span::secs(3)
}
