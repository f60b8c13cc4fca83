//! `oidc`: the provider's address, client authentication, claims.

use super::{Checker, authn, files, listen};
use crate::config::SecretRef;
use crate::config::oidc::{ClientAuth, Kind, Oidc, WrittenClaims};
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
    let config = checker.config;
    if config.is_bypass() && config.oidc.is_some() {
        checker.warn("oidc is configured but not used while auth.mode is bypass");
    }
    if let Some(oidc) = &config.oidc {
        provider(checker, "oidc", oidc);
        if let Some(name) = &oidc.name {
            named(checker, "oidc", name);
        }
    }
    for (i, oidc) in config.further_providers.iter().enumerate() {
        let at = format!("further_providers[{i}]");
        provider(checker, &at, oidc);
        further(checker, &at, oidc, i);
    }
    if !config.further_providers.is_empty() && config.oidc.is_none() && checker.is_whole("oidc") {
        checker.add(
            "further_providers",
            "there is no `oidc`, the main provider; move one of these there",
        );
    }
}

/// What only matters where there are several: each has a name and an issuer of its own.
fn further(checker: &mut Checker, at: &str, oidc: &Oidc, i: usize) {
    let config = checker.config;
    match &oidc.name {
        Some(name) => named(checker, at, name),
        None => checker.add(
            format!("{at}.name"),
            "a further provider needs a name, which stands in addresses (`?provider=NAME`); add `name: partners`",
        ),
    }
    let before = config
        .oidc
        .iter()
        .chain(config.further_providers.iter().take(i));
    let bare = |issuer: &str| issuer.trim_end_matches('/').to_owned();
    for other in before {
        let name = |oidc: &Oidc| oidc.name.clone().unwrap_or_else(|| "main".to_owned());
        if oidc.name.is_some() && name(other) == name(oidc) {
            checker.add(
                format!("{at}.name"),
                format!(
                    "another provider has the name `{}`; choose another",
                    name(oidc)
                ),
            );
        }
        if bare(&other.issuer) == bare(&oidc.issuer) {
            checker.add(
                format!("{at}.issuer"),
                "another provider has this issuer; its people could not be told apart. Remove one",
            );
        }
    }
}

fn named(checker: &mut Checker, at: &str, name: &str) {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
    if name.is_empty() || name.len() > 32 || !name.bytes().all(fits) {
        checker.add(
            format!("{at}.name"),
            format!("`{name}` is no name; use 1 to 32 of a-z, 0-9, - and _"),
        );
    }
}

fn provider(checker: &mut Checker, at: &str, oidc: &Oidc) {
    authn::address(checker, &format!("{at}.issuer"), &oidc.issuer);
    if oidc.client_id.trim().is_empty() {
        checker.add(
            format!("{at}.client_id"),
            "the client id is empty; write the one that the provider shows for this client",
        );
    }
    client_authentication(checker, at, oidc);
    if !is_github(oidc) && !oidc.scopes.iter().any(|scope| scope == "openid") {
        checker.add(
            format!("{at}.scopes"),
            "`openid` is missing; without it the provider gives no ID token. Add it",
        );
    }
    for (i, scope) in oidc.scopes.iter().enumerate() {
        if scope.is_empty() || scope.contains(char::is_whitespace) {
            checker.add(
                format!("{at}.scopes[{i}]"),
                format!("`{scope}` is not one scope; write each as an entry of its own"),
            );
        }
    }
    for name in oidc.authorization_params.keys() {
        if OWN_PARAMETERS.contains(&name.as_str()) {
            checker.add(
                format!("{at}.authorization_params[\"{name}\"]"),
                "the proxy sets this parameter itself; remove it here",
            );
        }
    }
    if let Some(file) = &oidc.ca_file {
        files::ca(checker, &format!("{at}.ca_file"), file);
    }
    if let Some(address) = &oidc.post_logout_redirect_url {
        let good = url::Url::parse(address)
            .is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.host_str().is_some());
        if !good {
            checker.add(
                format!("{at}.post_logout_redirect_url"),
                format!("`{address}` is not an absolute http or https address"),
            );
        }
    }
    listen::timeout(checker, &format!("{at}.timeout"), oidc.timeout);
    claims(checker, &format!("{at}.claims"), &oidc.claims);
}

/// Whether it is GitHub, which has no ID tokens and so no scope `openid`.
fn is_github(oidc: &Oidc) -> bool {
    let host = url::Url::parse(&oidc.issuer).ok();
    let host = host
        .as_ref()
        .and_then(url::Url::host_str)
        .unwrap_or_default();
    match oidc.provider {
        Kind::Auto => host == "github.com" || host.ends_with(".ghe.com"),
        kind => kind == Kind::Github,
    }
}

fn client_authentication(checker: &mut Checker, at: &str, oidc: &Oidc) {
    match oidc.client_auth {
        Some(ClientAuth::PrivateKeyJwt)
            if oidc.private_key.is_none() && checker.is_whole(&format!("{at}.private_key")) =>
        {
            checker.add(format!("{at}.private_key"), "client_auth is private_key_jwt, which needs a key; add `private_key: { file: /path/to/key.pem }`");
        }
        Some(how @ (ClientAuth::ClientSecretBasic | ClientAuth::ClientSecretPost))
            if oidc.client_secret.is_none() && checker.is_whole(&format!("{at}.client_secret")) =>
        {
            let how = if how == ClientAuth::ClientSecretBasic {
                "client_secret_basic"
            } else {
                "client_secret_post"
            };
            checker.add(format!("{at}.client_secret"), format!("client_auth is {how}, which needs a secret; add `client_secret: {{ env: OIDC_CLIENT_SECRET }}`"));
        }
        _ => {}
    }
    if let Some(key) = oidc.private_key.as_ref().and_then(SecretRef::known)
        && PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes()).is_err()
    {
        checker.add(format!("{at}.private_key"), "this is no PEM private key; give one with a `-----BEGIN PRIVATE KEY-----` block (EC P-256 or RSA, not encrypted)");
    }
    if oidc.private_key_id.is_some()
        && oidc.private_key.is_none()
        && checker.is_whole(&format!("{at}.private_key"))
    {
        checker.add(
            format!("{at}.private_key_id"),
            "there is no `private_key` that this would name; add the key, or remove the id",
        );
    }
}

fn claims(checker: &mut Checker, at: &str, map: &WrittenClaims) {
    let single = [
        ("email", &map.email),
        ("name", &map.name),
        ("preferred_username", &map.preferred_username),
    ];
    for (key, path) in single {
        if path.as_ref().is_some_and(String::is_empty) {
            checker.add(
                format!("{at}.{key}"),
                format!("the claim path is empty; write one, or leave the key out for `{key}`"),
            );
        }
    }
    for (i, path) in map.groups.iter().flatten().enumerate() {
        if path.is_empty() {
            checker.add(
                format!("{at}.groups[{i}]"),
                "the claim path is empty; write one such as groups or realm_access.roles",
            );
        }
    }
}
