//! `authorization_server.clients`: each can do what it is there for, and nothing is left to chance.

use super::{AT, route};
use crate::config::check::{Checker, authn};
use crate::config::issuer::{Client, GrantType};
use crate::scope::ScopeSet;
use crate::urls::redirect::judge;

/// Shortest secret, in bytes.
const MIN_SECRET: usize = 16;
/// Longest id and name, in bytes.
const MAX_ID: usize = 256;
const MAX_NAME: usize = 128;

pub(super) fn check(checker: &mut Checker) {
    let clients = &checker.config.authorization_server.clients;
    let at = format!("{AT}.clients");
    checker.unique(
        &at,
        "client_id",
        clients.iter().map(|client| client.client_id.as_str()),
    );
    for (i, client) in clients.iter().enumerate() {
        one(checker, &format!("{at}[{i}]"), client);
    }
}

fn one(checker: &mut Checker, at: &str, client: &Client) {
    names(checker, at, client);
    let proves_itself = proof(checker, at, client);
    grants(checker, at, client, proves_itself);
    let schemes = &checker.config.authorization_server.redirect_schemes;
    for (n, uri) in client.redirect_uris.iter().enumerate() {
        if let Err(why) = judge(uri, schemes) {
            checker.add(
                format!("{at}.redirect_uris[{n}]"),
                format!("`{}` is no redirect URI: {why}", uri.escape_default()),
            );
        }
    }
    for (n, scope) in client.scopes.iter().flatten().enumerate() {
        if scope.contains(' ') || ScopeSet::parse(scope).is_none_or(|set| set.is_empty()) {
            checker.add(
                format!("{at}.scopes[{n}]"),
                format!("`{scope}` is not one scope; write each as an entry of its own"),
            );
        }
    }
    for (n, name) in client.routes.iter().flatten().enumerate() {
        route(checker, &format!("{at}.routes[{n}]"), name);
    }
}

fn names(checker: &mut Checker, at: &str, client: &Client) {
    let id = &client.client_id;
    let good = !id.is_empty()
        && id.len() <= MAX_ID
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
    if !good {
        checker.add(
            format!("{at}.client_id"),
            format!("`{}` is not an id that every client can send; use letters, digits and -._~ (an https address as id needs no entry: it is read from its document)", id.escape_default()),
        );
    } else if id.starts_with("mcpd_") {
        checker.add(
            format!("{at}.client_id"),
            "ids that begin with mcpd_ are those of clients that register themselves; choose another",
        );
    }
    if client.name.as_ref().is_some_and(|name| {
        name.trim().is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control)
    }) {
        checker.add(
            format!("{at}.name"),
            format!("the name has to have 1 to {MAX_NAME} bytes and no control characters; people see it when they are asked for consent"),
        );
    }
}

/// One way to prove itself, or none; tells whether there is one.
fn proof(checker: &mut Checker, at: &str, client: &Client) -> bool {
    let ways: Vec<&str> = [
        ("secret", client.secret.is_some()),
        ("secret_sha256", client.secret_sha256.is_some()),
        ("jwks_file", client.jwks_file.is_some()),
        ("jwks_uri", client.jwks_uri.is_some()),
    ]
    .into_iter()
    .filter(|(_, set)| *set)
    .map(|(key, _)| key)
    .collect();
    if let [first, second, ..] = ways[..] {
        checker.add(
            format!("{at}.{second}"),
            format!("a client proves itself in one way; keep `{first}` or `{second}`"),
        );
    }
    if let Some(secret) = &client.secret
        && secret
            .known()
            .is_some_and(|secret| secret.len() < MIN_SECRET)
    {
        checker.add(
            format!("{at}.secret"),
            format!("the secret has {} bytes; use at least {MIN_SECRET} random ones (`mcp-oidc-proxy keygen` prints some)", secret.secret().len()),
        );
    }
    if client.secret.is_none() && client.secret_sha256.is_some() && client.secret_digest().is_none()
    {
        checker.add(
            format!("{at}.secret_sha256"),
            "this is not a SHA-256 in hex; write the 64 digits that `printf %s SECRET | sha256sum` prints",
        );
    }
    if let Some(file) = &client.jwks_file
        && let Err(why) = key_set(file)
    {
        checker.add(format!("{at}.jwks_file"), why);
    }
    if let Some(address) = &client.jwks_uri {
        authn::address(checker, &format!("{at}.jwks_uri"), address);
    }
    !ways.is_empty() || !checker.is_whole(at)
}

fn key_set(file: &std::path::Path) -> Result<(), String> {
    let shown = file.display();
    let text = std::fs::read(file).map_err(|error| {
        format!("the key set {shown} cannot be read: {error}; check the path and its permissions")
    })?;
    serde_json::from_slice::<serde_json::Value>(&text)
        .ok()
        .and_then(|set| set.get("keys")?.as_array().map(|keys| !keys.is_empty()))
        .filter(|some| *some)
        .map(drop)
        .ok_or_else(|| {
            format!("{shown} is no JWK set; it has to be a JSON object with a list `keys` of public keys")
        })
}

fn grants(checker: &mut Checker, at: &str, client: &Client, proves_itself: bool) {
    let has = |grant| client.grant_types.contains(&grant);
    let key = format!("{at}.grant_types");
    if client.grant_types.is_empty() {
        checker.add(
            &key,
            "a client without grant types can do nothing; leave the key out for authorization_code and refresh_token",
        );
        return;
    }
    let alone = has(GrantType::ClientCredentials) || has(GrantType::JwtBearer);
    if alone && !proves_itself {
        checker.add(
            &key,
            "client_credentials and jwt-bearer are for clients that prove who they are; add `secret`, `secret_sha256`, `jwks_file` or `jwks_uri`",
        );
    }
    if has(GrantType::RefreshToken) && !has(GrantType::AuthorizationCode) {
        checker.add(
            &key,
            "refresh_token goes together with authorization_code only; the other grants are simply asked for again",
        );
    }
    if has(GrantType::AuthorizationCode) && client.redirect_uris.is_empty() && checker.is_whole(at)
    {
        checker.add(
            format!("{at}.redirect_uris"),
            "authorization_code needs an address to send people back to; add one, or write `grant_types: [client_credentials]`",
        );
    }
    if !client.groups.is_empty() && !has(GrantType::ClientCredentials) {
        checker.warn(format!(
            "{at}.groups has no effect: they are those of a client that acts for nobody, and it has no client_credentials"
        ));
    }
}
