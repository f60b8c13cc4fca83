//! `authorization_server`: the proxy as OAuth 2.1 authorization server for the MCP clients of its routes.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretRef, Span};
use crate::ids::RouteName;

/// The proxy as OAuth 2.1 authorization server for the MCP clients of its routes.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthorizationServer {
    /// Whether the proxy is the authorization server of its `mcp` routes. It needs `oidc`, where it signs
    /// people in. When off, clients are pointed to the identity provider itself, which then has to know them.
    pub enabled: bool,
    /// PEM private keys (EC P-256 or Ed25519) that sign access tokens. The first signs, all are published and
    /// verify. Unset: one is made, kept in the session store (sealed) and renewed by itself.
    pub signing_keys: Vec<SecretRef>,
    /// Life of an access token; at least 1m.
    pub access_token_lifetime: Span,
    /// A grant that was not used for this long ends, and its refresh token with it.
    pub grant_idle_timeout: Span,
    /// A grant ends after this time, used or not.
    pub grant_lifetime: Span,
    /// The route whose resource is meant when a client does not say (`resource` of RFC 8707). Unset: the only
    /// `mcp` route, and with several of them a client has to say.
    pub default_route: Option<RouteName>,
    /// Clients that are registered here, by hand.
    pub clients: Vec<Client>,
    /// Clients that are named by the https address of a document about them.
    pub client_metadata_documents: ClientDocuments,
    /// Clients that register themselves (RFC 7591).
    pub registration: Registration,
    /// Private-use schemes that redirect URIs may have, for apps without an https or loopback address.
    pub redirect_schemes: Vec<String>,
    /// How consent is asked for.
    pub consent: Consent,
    /// Issuers of identity assertions (ID-JAG) that clients may exchange for access tokens.
    pub identity_assertions: Vec<AssertionIssuer>,
}

impl Default for AuthorizationServer {
    fn default() -> Self {
        Self {
            enabled: true,
            signing_keys: Vec::new(),
            access_token_lifetime: Span::secs(600),
            grant_idle_timeout: Span::secs(30 * DAY),
            grant_lifetime: Span::secs(180 * DAY),
            default_route: None,
            clients: Vec::new(),
            client_metadata_documents: ClientDocuments::default(),
            registration: Registration::default(),
            redirect_schemes: ["cursor", "vscode", "vscode-insiders"]
                .map(str::to_owned)
                .to_vec(),
            consent: Consent::default(),
            identity_assertions: Vec::new(),
        }
    }
}

/// A client that is registered by hand.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Its `client_id`: letters, digits and `-._~`.
    pub client_id: String,
    /// The name that people see.
    #[serde(default)]
    pub name: Option<String>,
    /// Its secret, for `client_secret_basic` and `client_secret_post`. Only its SHA-256 is kept in memory.
    #[serde(default)]
    pub secret: Option<SecretRef>,
    /// SHA-256 of the secret in hex, for files that shall not hold the secret itself.
    #[serde(default)]
    pub secret_sha256: Option<String>,
    /// File with the client's public keys as a JWK set, for `private_key_jwt`.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// Address of the client's public keys, for `private_key_jwt`.
    #[serde(default)]
    pub jwks_uri: Option<String>,
    /// Where people are sent back to. Compared exactly; the port of a loopback address floats.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// What it may do at the token endpoint. Default: `authorization_code` and `refresh_token`.
    #[serde(default = "default_grants")]
    pub grant_types: Vec<GrantType>,
    /// Scopes that it may have at most. Unset: those of the route.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// Routes that it may have tokens for. Unset: all `mcp` routes.
    #[serde(default)]
    pub routes: Option<Vec<RouteName>>,
    /// Groups of the client itself, for rules, when it acts for nobody (`client_credentials`).
    #[serde(default)]
    pub groups: Vec<String>,
}

/// A grant type of the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum GrantType {
    /// RFC 6749 section 4.1.
    #[serde(rename = "authorization_code")]
    AuthorizationCode,
    /// RFC 6749 section 6.
    #[serde(rename = "refresh_token")]
    RefreshToken,
    /// RFC 6749 section 4.4.
    #[serde(rename = "client_credentials")]
    ClientCredentials,
    /// RFC 7523 section 2.1, with identity assertions (ID-JAG).
    #[serde(rename = "urn:ietf:params:oauth:grant-type:jwt-bearer")]
    JwtBearer,
}

/// Clients that are named by the https address of a document about them (Client ID Metadata Documents).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientDocuments {
    /// Whether such clients are let in.
    pub enabled: bool,
    /// Hosts whose clients are let in (`claude.ai`; `*.example.com` for every host below). Empty: all.
    pub allowed_hosts: Vec<String>,
    /// Hosts whose clients are not let in.
    pub denied_hosts: Vec<String>,
    /// PEM file with a private CA for fetching the documents.
    pub ca_file: Option<PathBuf>,
    /// Networks (CIMD documents inside the organisation) that may be fetched from though they are not public.
    /// Everything else that is private, loopback or special is refused.
    #[schemars(with = "Vec<String>")]
    pub private_networks: Vec<ipnet::IpNet>,
}

impl Default for ClientDocuments {
    fn default() -> Self {
        Self {
            enabled: true,
            allowed_hosts: Vec::new(),
            denied_hosts: Vec::new(),
            ca_file: None,
            private_networks: Vec::new(),
        }
    }
}

/// Clients that register themselves (RFC 7591).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Registration {
    /// Whether clients may register themselves.
    pub enabled: bool,
    /// Whether clients that registered earlier are let in on while `enabled` is false. Set it to false to shut them
    /// out too; they are let in again when it is true again.
    pub accept_existing: bool,
    /// Hosts that redirect URIs of such clients may have, besides loopback. Empty: all.
    pub redirect_hosts: Vec<String>,
    /// Registrations that one source address may make in an hour; `0` is no limit.
    pub per_hour: u32,
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            enabled: true,
            accept_existing: true,
            redirect_hosts: Vec::new(),
            per_hour: 600,
        }
    }
}

/// How consent is asked for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Consent {
    /// How long a person's consent to a client, its redirect host, its scopes and its resource is remembered.
    /// Unset: it is asked for each time. It never serves a request that another site started.
    pub remember: Option<Span>,
}

/// An issuer of identity assertions (`oauth-id-jag+jwt`, enterprise-managed authorization).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssertionIssuer {
    /// The exact `iss` of its assertions. The main provider's assertions count when its issuer is written here.
    pub issuer: String,
    /// Where its keys are, when it has no discovery document.
    #[serde(default)]
    pub jwks_uri: Option<String>,
    /// PEM file with the private CA of its HTTPS addresses.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Claim path of the groups; unset: its assertions carry none that count.
    #[serde(default)]
    pub groups_claim: Option<String>,
    /// Whether an assertion may be used once only. Otherwise the same client may use it again until it ends.
    #[serde(default)]
    pub single_use: bool,
}

const DAY: u64 = 24 * 3600;

fn default_grants() -> Vec<GrantType> {
    vec![GrantType::AuthorizationCode, GrantType::RefreshToken]
}
