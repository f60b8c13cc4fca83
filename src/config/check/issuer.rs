//! `authorization_server`: lifetimes, hosts, schemes, and whether it can be one at all.

mod clients;

use std::time::Duration;

use super::{Checker, authn, files};
use crate::config::Span;
use crate::config::route::{Kind, Route};
use crate::ids::RouteName;
use crate::urls::redirect::{is_dangerous, is_scheme};

/// Key of the section.
const AT: &str = "authorization_server";

/// Shortest and longest life of an access token: clients refresh when 30 s are left, and a day is long to wait for
/// a revocation that a backend's own check would need.
const ACCESS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(24 * 3600));

pub(super) fn check(checker: &mut Checker) {
    able(checker);
    lifetimes(checker);
    default_route(checker);
    clients::check(checker);
    hosts(checker);
    schemes(checker);
    registration(checker);
    assertions(checker);
    listed_issuers(checker);
}

/// On by default where it can be; wanted in so many words where it cannot be, it is worth a word.
fn able(checker: &mut Checker) {
    let config = checker.config;
    if config.is_authorization_server() || !checker.is_whole("oidc") {
        return;
    }
    let server = &config.authorization_server;
    if server.enabled && config.oidc.is_none() && checker.is_set(&format!("{AT}.enabled")) {
        checker.warn(format!(
            "{AT}.enabled has no effect: there is no `oidc`, where people would sign in"
        ));
    } else if !server.clients.is_empty() || server.default_route.is_some() {
        let why = if !server.enabled {
            "authorization_server.enabled is false"
        } else if config.is_bypass() {
            "auth.mode is bypass"
        } else {
            "there is no `oidc`"
        };
        checker.warn(format!(
            "authorization_server is configured but has no effect, because {why}"
        ));
    }
}

fn lifetimes(checker: &mut Checker) {
    let server = &checker.config.authorization_server;
    let (access, idle, whole) = (
        server.access_token_lifetime,
        server.grant_idle_timeout,
        server.grant_lifetime,
    );
    if access.0 < ACCESS.0 || access.0 > ACCESS.1 {
        checker.add(
            format!("{AT}.access_token_lifetime"),
            format!("{access} is not from 1m to 24h; write one such as 10m (clients renew tokens by themselves)"),
        );
    }
    for (key, span) in [("grant_idle_timeout", idle), ("grant_lifetime", whole)] {
        if span < access {
            checker.add(
                format!("{AT}.{key}"),
                format!("{span} is shorter than access_token_lifetime ({access}), so nobody could renew a token; make it longer"),
            );
        }
    }
    if idle > whole {
        checker.add(
            format!("{AT}.grant_idle_timeout"),
            format!("{idle} is longer than grant_lifetime ({whole}), so it would never count; make it shorter"),
        );
    }
    if server
        .consent
        .remember
        .is_some_and(|span| span == Span::secs(0))
    {
        checker.add(
            format!("{AT}.consent.remember"),
            "a time of 0 remembers nothing; remove the key to ask each time, or write one such as 30d",
        );
    }
}

fn default_route(checker: &mut Checker) {
    if let Some(name) = &checker.config.authorization_server.default_route {
        route(checker, &format!("{AT}.default_route"), name);
    }
}

/// A route that tokens can be for.
fn route(checker: &mut Checker, at: &str, name: &RouteName) {
    if !checker.is_whole("routes") {
        return;
    }
    let routes = &checker.config.routes;
    let named = |route: &&Route| {
        let its = route.name.as_ref().map_or(&*route.path, RouteName::as_str);
        its == name.as_str()
    };
    match routes.iter().find(named) {
        Some(route) if route.kind == Kind::Mcp => {}
        Some(_) => checker.add(
            at,
            format!("the route `{name}` is not of kind mcp; name one that MCP clients use"),
        ),
        None => {
            let known: Vec<&str> = routes
                .iter()
                .filter(|route| route.kind == Kind::Mcp)
                .map(|route| route.name.as_ref().map_or(&*route.path, RouteName::as_str))
                .collect();
            checker.add(
                at,
                format!(
                    "there is no route `{name}`; name one of: {}",
                    known.join(", ")
                ),
            );
        }
    }
}

fn hosts(checker: &mut Checker) {
    let server = &checker.config.authorization_server;
    let documents = &server.client_metadata_documents;
    let lists = [
        (
            "client_metadata_documents.allowed_hosts",
            &documents.allowed_hosts,
        ),
        (
            "client_metadata_documents.denied_hosts",
            &documents.denied_hosts,
        ),
        (
            "registration.redirect_hosts",
            &server.registration.redirect_hosts,
        ),
    ];
    for (key, list) in lists {
        for (i, pattern) in list.iter().enumerate() {
            if !is_host_pattern(pattern) {
                checker.add(
                    format!("{AT}.{key}[{i}]"),
                    format!("`{pattern}` is not a host; write one such as claude.ai, or *.example.com for every host below (names of other scripts in their xn-- form, no scheme, no port)"),
                );
            }
        }
    }
    if let Some(file) = &documents.ca_file {
        files::ca(
            checker,
            &format!("{AT}.client_metadata_documents.ca_file"),
            file,
        );
    }
}

/// A host as the URL parser writes it, or every host below one.
fn is_host_pattern(pattern: &str) -> bool {
    let host = pattern.strip_prefix("*.").unwrap_or(pattern);
    !host.contains('*')
        && url::Host::parse(host).is_ok_and(|parsed| parsed.to_string().eq_ignore_ascii_case(host))
}

fn schemes(checker: &mut Checker) {
    let schemes = &checker.config.authorization_server.redirect_schemes;
    for (i, scheme) in schemes.iter().enumerate() {
        let message = if is_dangerous(scheme) {
            format!(
                "`{scheme}` is never redirected to: what has it is run or read by the browser or the system; remove it"
            )
        } else if matches!(scheme.as_str(), "http" | "https") {
            format!(
                "`{scheme}` is not a private-use scheme; https and loopback addresses need no entry"
            )
        } else if !is_scheme(scheme) {
            format!(
                "`{scheme}` is not a scheme; write it in lower case and without the colon, as in cursor"
            )
        } else {
            continue;
        };
        checker.add(format!("{AT}.redirect_schemes[{i}]"), message);
    }
}

fn registration(checker: &mut Checker) {
    let policy = &checker.config.authorization_server.registration;
    if policy.enabled && !policy.accept_existing {
        checker.warn(format!(
            "{AT}.registration.accept_existing has no effect while {AT}.registration.enabled is true"
        ));
    }
}

fn assertions(checker: &mut Checker) {
    let list = &checker.config.authorization_server.identity_assertions;
    let at = format!("{AT}.identity_assertions");
    checker.unique(&at, "issuer", list.iter().map(|each| each.issuer.as_str()));
    for (i, issuer) in list.iter().enumerate() {
        authn::address(checker, &format!("{at}[{i}].issuer"), &issuer.issuer);
        if let Some(jwks_uri) = &issuer.jwks_uri {
            authn::address(checker, &format!("{at}[{i}].jwks_uri"), jwks_uri);
        }
        if let Some(file) = &issuer.ca_file {
            files::ca(checker, &format!("{at}[{i}].ca_file"), file);
        }
        if is_us(checker, &issuer.issuer) {
            checker.add(format!("{at}[{i}].issuer"), OURSELVES);
        }
    }
}

/// Tokens of ours and of others must not be taken for each other.
fn listed_issuers(checker: &mut Checker) {
    if !checker.config.is_authorization_server() {
        return;
    }
    for (i, issuer) in checker.config.auth.issuers.iter().enumerate() {
        if is_us(checker, &issuer.issuer) {
            checker.add(format!("auth.issuers[{i}].issuer"), OURSELVES);
        }
    }
}

const OURSELVES: &str = "this is public_url, the issuer of the proxy's own tokens, which are accepted anyway; remove it";

fn is_us(checker: &Checker, issuer: &str) -> bool {
    checker
        .config
        .resolved_public_url()
        .is_ok_and(|public| issuer.trim_end_matches('/') == public.as_str())
}
