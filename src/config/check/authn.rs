//! `auth`: modes, further issuers, API keys, and whether anybody can get in at all.

use std::collections::HashMap;
use std::time::Duration;

use super::{Checker, files};
use crate::config::authn::{ApiKey, Introspection};
use crate::config::derived::Address;
use crate::config::oidc::{ClientAuth, Oidc};
use crate::secret::Digest;

/// Algorithms of bearer tokens that can be checked with a public key (RFC 7518, RFC 8037).
const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

/// Shortest API key, in bytes.
const MIN_KEY: usize = 16;

/// Longest life of an introspection answer.
const MAX_ANSWER_LIFE: Duration = Duration::from_secs(300);

pub(super) fn check(checker: &mut Checker) {
    let auth = &checker.config.auth;
    if auth.clock_skew.0 > Duration::from_secs(300) {
        checker.add(
            "auth.clock_skew",
            format!(
                "{} is more than 5m; set the clocks right, and write 5m or less",
                auth.clock_skew
            ),
        );
    }
    if auth.insecure_bypass_on_network && !checker.config.is_bypass() {
        checker.warn(
            "auth.insecure_bypass_on_network has no effect while auth.mode is oidc; remove it",
        );
    }
    if let Some(warning) = checker.config.bypass_warning() {
        checker.warn(warning);
    }
    issuers(checker);
    api_keys(checker);
    sources(checker);
}

fn issuers(checker: &mut Checker) {
    let config = checker.config;
    checker.unique(
        "auth.issuers",
        "issuer",
        config.auth.issuers.iter().map(|each| each.issuer.as_str()),
    );
    for (i, issuer) in config.auth.issuers.iter().enumerate() {
        let at = format!("auth.issuers[{i}]");
        address(checker, &format!("{at}.issuer"), &issuer.issuer);
        if let Some(jwks_uri) = &issuer.jwks_uri {
            address(checker, &format!("{at}.jwks_uri"), jwks_uri);
        }
        for (n, algorithm) in issuer.algorithms.iter().enumerate() {
            if !ALGORITHMS.contains(&algorithm.as_str()) {
                checker.add(
                    format!("{at}.algorithms[{n}]"),
                    format!(
                        "`{algorithm}` is not accepted; use one of {}",
                        ALGORITHMS.join(", ")
                    ),
                );
            }
        }
        if let Some(file) = &issuer.ca_file {
            files::ca(checker, &format!("{at}.ca_file"), file);
        }
        if let Some(introspection) = &issuer.introspection {
            asking(checker, &format!("{at}.introspection"), introspection);
        }
        let is_provider =
            |oidc: &Oidc| oidc.issuer.trim_end_matches('/') == issuer.issuer.trim_end_matches('/');
        if issuer.introspection.is_none() && config.oidc.iter().any(is_provider) {
            checker.add(
                format!("{at}.issuer"),
                "this is the issuer of `oidc`, whose tokens are accepted anyway; remove it here",
            );
        }
    }
}

fn asking(checker: &mut Checker, at: &str, introspection: &Introspection) {
    address(checker, &format!("{at}.endpoint"), &introspection.endpoint);
    if !matches!(
        introspection.client_auth,
        ClientAuth::ClientSecretBasic | ClientAuth::ClientSecretPost
    ) {
        checker.add(
            format!("{at}.client_auth"),
            "use client_secret_basic or client_secret_post here",
        );
    }
    if introspection.cache.0 > MAX_ANSWER_LIFE {
        checker.add(
            format!("{at}.cache"),
            "answers may be kept for 5m at most, for so long a revoked token is still accepted; write less",
        );
    }
    super::listen::timeout(checker, &format!("{at}.timeout"), introspection.timeout);
}

/// An issuer, or an address of one: https, or http on this machine.
pub(super) fn address(checker: &mut Checker, at: &str, text: &str) {
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "https" | "http") && url.host_str().is_some() => {
            if !url.username().is_empty() || url.password().is_some() {
                checker.add(
                    at,
                    "the address must not hold a user or password; remove them",
                );
            } else if url.fragment().is_some() || (url.query().is_some() && !is_document(&url)) {
                checker.add(
                    at,
                    format!("`{text}` must not have a query or fragment; remove them"),
                );
            } else if url.scheme() == "http" && !is_loopback(&url) {
                checker.warn(format!("{at}: {text} is not https; anybody on the way can forge sign-ins. Use https outside of tests"));
            }
        }
        _ => checker.add(
            at,
            format!(
                "`{text}` is not an address; write one like https://login.example.com/realms/corp"
            ),
        ),
    }
}

/// The full address of a discovery document may have a query: some providers name a policy there.
fn is_document(url: &url::Url) -> bool {
    url.path().ends_with("/.well-known/openid-configuration")
}

fn is_loopback(url: &url::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    Address::parse(&format!("{host}:0")).is_ok_and(|address| address.is_loopback())
}

fn api_keys(checker: &mut Checker) {
    let mut seen: HashMap<Digest, usize> = HashMap::new();
    for (i, key) in checker.config.auth.api_keys.iter().enumerate() {
        let at = format!("auth.api_keys[{i}]");
        if key.name.trim().is_empty() || key.name.chars().any(char::is_control) {
            checker.add(
                format!("{at}.name"),
                "the principal needs a name; logs, rules and backends see it",
            );
        }
        match digest(key) {
            Ok(None) => {}
            Ok(Some(digest)) => {
                if let Some(first) = seen.insert(digest, i) {
                    checker.add(at, format!("this is the key of auth.api_keys[{first}] already; each key names one principal"));
                }
            }
            Err((key, message)) => checker.add(format!("{at}{key}"), message),
        }
    }
}

/// `None`: it is not known yet.
fn digest(key: &ApiKey) -> Result<Option<Digest>, (&'static str, String)> {
    match (&key.key, &key.sha256) {
        (Some(key), None) if key.known().is_some_and(|key| key.len() < MIN_KEY) => Err((
            ".key",
            format!("the key has {} bytes; use at least {MIN_KEY} random ones (`mcp-oidc-proxy keygen` prints some)", key.secret().len()),
        )),
        (Some(key), None) => Ok(key.known().map(|key| Digest::of(key.expose_secret()))),
        (None, Some(hex)) => key.digest().map(Some).ok_or_else(|| {
            (".sha256", format!("`{hex}` is not a SHA-256 in hex; write the 64 digits that `printf %s KEY | sha256sum` prints"))
        }),
        (Some(_), Some(_)) => Err(("", "give `key` or `sha256`, not both".to_owned())),
        (None, None) => Err(("", "the key itself is missing; add `key` or `sha256`".to_owned())),
    }
}

/// Without any source of identities, only public routes could ever be used.
fn sources(checker: &mut Checker) {
    let config = checker.config;
    let some = config.oidc.is_some()
        || config.is_bypass()
        || !config.auth.issuers.is_empty()
        || !config.auth.api_keys.is_empty();
    let whole = checker.is_whole("oidc") && checker.is_whole("auth");
    let private = config.routes.iter().position(|route| !route.public);
    if let (false, true, Some(i)) = (some, whole, private) {
        checker.add(
            format!("routes[{i}]"),
            "nobody can sign in: there is no `oidc`, no auth.issuers and no auth.api_keys; configure one of them (OIDC_DISCOVERY_URL and OIDC_CLIENT_ID in the environment), or make every route `public: true`",
        );
    }
}
