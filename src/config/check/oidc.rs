//! `oidc`: the provider's address, client authentication, claims.

use super::{Checker, authn, files, listen};
use crate::config::oidc::{ClaimMap, ClientAuth, Oidc};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

/// Parameters of the authorization request that the proxy sets itself (RFC 6749, RFC 7636, OpenID Connect Core).
const OWN_PARAMETERS: [&str; 9] = [
    "client_id",
    "response_type",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "response_mode",
];

pub(super) fn check(checker: &mut Checker) {
    let Some(oidc) = &checker.config.oidc else {
        return;
    };
    if checker.config.is_bypass() {
        checker.warn("oidc is configured but not used while auth.mode is bypass");
    }
    authn::address(checker, "oidc.issuer", &oidc.issuer);
    if oidc.client_id.trim().is_empty() {
        checker.add(
            "oidc.client_id",
            "the client id is empty; write the one that the provider shows for this client",
        );
    }
    client_authentication(checker, oidc);
    if !oidc.scopes.iter().any(|scope| scope == "openid") {
        checker.add(
            "oidc.scopes",
            "`openid` is missing; without it the provider gives no ID token. Add it",
        );
    }
    for (i, scope) in oidc.scopes.iter().enumerate() {
        if scope.is_empty() || scope.contains(char::is_whitespace) {
            checker.add(
                format!("oidc.scopes[{i}]"),
                format!("`{scope}` is not one scope; write each as an entry of its own"),
            );
        }
    }
    for name in oidc.authorization_params.keys() {
        if OWN_PARAMETERS.contains(&name.as_str()) {
            checker.add(
                format!("oidc.authorization_params[\"{name}\"]"),
                "the proxy sets this parameter itself; remove it here",
            );
        }
    }
    if let Some(file) = &oidc.ca_file {
        files::ca(checker, "oidc.ca_file", file);
    }
    if let Some(address) = &oidc.post_logout_redirect_url {
        let good = url::Url::parse(address)
            .is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.host_str().is_some());
        if !good {
            checker.add(
                "oidc.post_logout_redirect_url",
                format!("`{address}` is not an absolute http or https address"),
            );
        }
    }
    listen::timeout(checker, "oidc.timeout", oidc.timeout);
    claims(checker, "oidc.claims", &oidc.claims);
}

fn client_authentication(checker: &mut Checker, oidc: &Oidc) {
    match oidc.client_auth {
        Some(ClientAuth::PrivateKeyJwt)
            if oidc.private_key.is_none() && checker.is_whole("oidc.private_key") =>
        {
            checker.add("oidc.private_key", "client_auth is private_key_jwt, which needs a key; add `private_key: { file: /path/to/key.pem }`");
        }
        Some(how @ (ClientAuth::ClientSecretBasic | ClientAuth::ClientSecretPost))
            if oidc.client_secret.is_none() && checker.is_whole("oidc.client_secret") =>
        {
            let how = if how == ClientAuth::ClientSecretBasic {
                "client_secret_basic"
            } else {
                "client_secret_post"
            };
            checker.add("oidc.client_secret", format!("client_auth is {how}, which needs a secret; add `client_secret: {{ env: OIDC_CLIENT_SECRET }}`"));
        }
        _ => {}
    }
    if let Some(key) = &oidc.private_key
        && PrivateKeyDer::from_pem_slice(key.secret().expose_secret().as_bytes()).is_err()
    {
        checker.add("oidc.private_key", "this is no PEM private key; give one with a `-----BEGIN PRIVATE KEY-----` block (EC P-256 or RSA, not encrypted)");
    }
    if oidc.private_key_id.is_some()
        && oidc.private_key.is_none()
        && checker.is_whole("oidc.private_key")
    {
        checker.add(
            "oidc.private_key_id",
            "there is no `private_key` that this would name; add the key, or remove the id",
        );
    }
}

fn claims(checker: &mut Checker, at: &str, map: &ClaimMap) {
    let single = [
        ("email", &map.email),
        ("name", &map.name),
        ("preferred_username", &map.preferred_username),
    ];
    for (key, path) in single {
        if path.is_empty() {
            checker.add(
                format!("{at}.{key}"),
                format!("the claim path is empty; write one, or leave the key out for `{key}`"),
            );
        }
    }
    for (i, path) in map.groups.iter().enumerate() {
        if path.is_empty() {
            checker.add(
                format!("{at}.groups[{i}]"),
                "the claim path is empty; write one such as groups or realm_access.roles",
            );
        }
    }
}
