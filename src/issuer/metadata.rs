//! Authorization server metadata (RFC 8414) and its OpenID Connect form: built once from the configuration, served
//! from memory whatever the provider does. Members without a value are left out: clients refuse `null`.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::config::Config;
use crate::config::issuer::GrantType;
use crate::config::route::Kind;
use crate::paths::{Own, OwnPaths};
use crate::scope::ScopeSet;
use crate::urls::PublicUrl;

/// What is offered, besides what is always there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offers {
    /// Clients may register themselves.
    pub(super) registration: bool,
    /// Clients may be named by the address of their document.
    pub(super) documents: bool,
}

/// The document, ready to be sent.
pub(super) fn document(config: &Config, public_url: &PublicUrl, offers: Offers) -> Bytes {
    let server = &config.authorization_server;
    let paths = OwnPaths::new(&config.own_prefix, true);
    let at = |own| public_url.join(&paths.path(own));
    let listed = |grant| {
        server
            .clients
            .iter()
            .any(|client| client.grant_types.contains(&grant))
    };
    let assertions = !server.identity_assertions.is_empty();
    let mut grants = vec!["authorization_code", "refresh_token"];
    if listed(GrantType::ClientCredentials) {
        grants.push("client_credentials");
    }
    if assertions {
        grants.push("urn:ietf:params:oauth:grant-type:jwt-bearer");
    }
    let scopes = config
        .routes
        .iter()
        .filter(|route| route.kind == Kind::Mcp)
        .map(|route| ScopeSet::of(&route.scopes))
        .fold(ScopeSet::default(), |all, scopes| all.union(&scopes));
    let mut document = json!({
        "issuer": public_url.as_str(),
        "authorization_endpoint": at(Own::Authorize),
        "token_endpoint": at(Own::Token),
        "revocation_endpoint": at(Own::Revoke),
        "jwks_uri": at(Own::Jwks),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": grants,
        "token_endpoint_auth_methods_supported": METHODS,
        "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "revocation_endpoint_auth_methods_supported": METHODS,
        "revocation_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "client_id_metadata_document_supported": offers.documents,
        "ui_locales_supported": ["en", "ja"],
        // Of the OpenID Connect form: clients that find it without these give up. No ID tokens are given.
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    });
    if !scopes.is_empty() {
        document["scopes_supported"] = scopes.iter().collect::<Vec<_>>().into();
    }
    if offers.registration {
        document["registration_endpoint"] = Value::String(at(Own::Register));
    }
    if assertions {
        document["authorization_grant_profiles_supported"] =
            json!(["urn:ietf:params:oauth:grant-profile:id-jag"]);
    }
    document.to_string().into()
}

/// How clients may prove who they are.
const METHODS: [&str; 4] = [
    "none",
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
];

/// What assertions of clients may be signed with.
const ALGORITHMS: [&str; 9] = [
    "ES256", "ES384", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
];
