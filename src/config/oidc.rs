//! `oidc`: the identity provider, and how its claims are read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretRef, Span};

/// The organisation's identity provider.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// Which product it is, for what is particular about it. `auto`: what the issuer's address tells.
    #[serde(default)]
    pub provider: Kind,
    /// The provider's name in addresses of ours (`/oauth2/start?provider=NAME`): lower-case letters, digits, `-` and
    /// `_`. Each of `further_providers` needs one; that of `oidc` is `main` unless written.
    #[serde(default)]
    pub name: Option<String>,
    /// What its button says on the sign-in page. Unset: the issuer's host.
    #[serde(default)]
    pub label: Option<String>,
    /// The issuer, or its full `/.well-known/openid-configuration` address.
    pub issuer: String,
    /// The client registered for this proxy at the provider. Its redirect URI is
    /// `<public_url>/oauth2/callback`.
    pub client_id: String,
    /// The client's secret, for `client_secret_basic` and `client_secret_post`. A public client has none.
    #[serde(default)]
    pub client_secret: Option<SecretRef>,
    /// How the proxy proves at the token endpoint that it is this client. Unset: `private_key_jwt` when a
    /// key is given, else what the provider's metadata offers, basic first.
    #[serde(default)]
    pub client_auth: Option<ClientAuth>,
    /// PEM private key (EC P-256 or RSA) for `private_key_jwt`.
    #[serde(default)]
    pub private_key: Option<SecretRef>,
    /// The `kid` that the provider knows the key by.
    #[serde(default)]
    pub private_key_id: Option<String>,
    /// Scopes asked for at login. `openid` is always among them; see also `offline_access`.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// Ask for `offline_access` where the provider offers it, to get a refresh token. Turn it off where the
    /// provider refuses the whole login to people who may not have it (Keycloak without the role of that name).
    #[serde(default = "yes")]
    pub offline_access: bool,
    /// When the userinfo endpoint is asked: `auto` (when a mapped claim is missing in the ID token),
    /// `always`, `never`.
    #[serde(default)]
    pub userinfo: Userinfo,
    /// Which claims hold what.
    #[serde(default)]
    pub claims: WrittenClaims,
    /// Audiences accepted in this provider's JWT bearer tokens on every route, besides the route's own
    /// resource. The bare client id is never accepted unless written here.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Further parameters for the authorization request (`audience`, `prompt`, `hd`, `access_type`).
    #[serde(default)]
    pub authorization_params: BTreeMap<String, String>,
    /// Address of GitHub's API, where it is not `https://api.github.com` or below the issuer as GitHub Enterprise
    /// has it. For `github` only.
    #[serde(default)]
    pub api_url: Option<String>,
    /// PEM file with the private CA of the provider's HTTPS addresses.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Time for one call to the provider.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// Where the browser goes after sign-out at the provider. Unset: a page of the proxy.
    #[serde(default)]
    pub post_logout_redirect_url: Option<String>,
}

impl Oidc {
    /// Whether the operator left the scopes as they are.
    pub fn has_default_scopes(&self) -> bool {
        self.scopes == default_scopes()
    }
}

/// Products that are known with what is particular about each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// What the issuer's address tells, else `generic`.
    #[default]
    Auto,
    /// By the book.
    Generic,
    /// Microsoft Entra ID.
    Entra,
    /// Google.
    Google,
    /// Okta.
    Okta,
    /// Auth0.
    Auth0,
    /// Keycloak.
    Keycloak,
    /// authentik.
    Authentik,
    /// Amazon Cognito.
    Cognito,
    /// Dex.
    Dex,
    /// GitHub: plain OAuth, without OpenID Connect.
    Github,
}

/// Client authentication at the token endpoint (OpenID Connect Core section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// HTTP Basic.
    ClientSecretBasic,
    /// Secret in the form body.
    ClientSecretPost,
    /// A signed assertion (RFC 7523).
    PrivateKeyJwt,
    /// A public client.
    None,
}

/// When the userinfo endpoint is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Userinfo {
    /// When a mapped claim is missing in the ID token.
    #[default]
    Auto,
    /// At each login and refresh.
    Always,
    /// Not at all.
    Never,
}

/// Where in the claims things are, as far as it is written; what is not is as the provider has it. A path is a claim
/// name, or names joined by dots for nested objects (`realm_access.roles`); a claim whose own name has dots is found
/// first.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WrittenClaims {
    /// The e-mail address. Unset: `email`.
    pub email: Option<String>,
    /// The display name. Unset: `name`.
    pub name: Option<String>,
    /// The name people log in with. Unset: `preferred_username`; `email` at Google, `cognito:username` at Cognito,
    /// `login` at GitHub.
    pub preferred_username: Option<String>,
    /// The groups: a list of texts, or one text with commas. Several paths are joined. Unset: `groups`;
    /// `cognito:groups` at Cognito, none at Google. Groups of `further_providers` count only when they are written
    /// here: two providers' `admins` are not the same people.
    pub groups: Option<Vec<String>>,
}

/// Where in the claims things are. A path is a claim name, or names joined by dots for nested objects
/// (`realm_access.roles`); a claim whose own name has dots is found first.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClaimMap {
    /// The e-mail address.
    pub email: String,
    /// The display name.
    pub name: String,
    /// The name people log in with.
    pub preferred_username: String,
    /// The groups: a list of texts, or one text with commas. Several paths are joined.
    pub groups: Vec<String>,
}

impl Default for ClaimMap {
    fn default() -> Self {
        Self {
            email: "email".to_owned(),
            name: "name".to_owned(),
            preferred_username: "preferred_username".to_owned(),
            groups: vec!["groups".to_owned()],
        }
    }
}

fn yes() -> bool {
    true
}

fn default_scopes() -> Vec<String> {
    ["openid", "email", "profile"].map(str::to_owned).to_vec()
}

fn default_timeout() -> Span {
    Span::secs(10)
}
