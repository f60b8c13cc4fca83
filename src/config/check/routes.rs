//! `routes` and `mcp`: backends that exist, and a rule on each. Paths and collisions are judged by the route table.

use std::time::Duration;

use super::{Checker, rules};
use crate::config::problem::nearest;
use crate::config::route::{Allow, Kind, Route};

/// Members of a set of sessions in the store.
pub(super) const MOST_SESSIONS: u32 = 10_000;

const SHORTEST_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn check(checker: &mut Checker) {
    let config = checker.config;
    if config.routes.is_empty() && checker.is_whole("routes") {
        checker.add(
            "routes",
            "there is no route, so nothing would be served; add `backends` and `routes`, or set MCP_TARGET_HOST in the environment",
        );
    }
    names(checker);
    for (i, route) in config.routes.iter().enumerate() {
        one(checker, &format!("routes[{i}]"), route);
    }
    if config.mcp.max_body.0 == 0 {
        checker.add(
            "mcp.max_body",
            "0 would refuse every call; write a size such as 4MiB",
        );
    }
    if config.mcp.max_stream_age.0.is_zero() {
        checker.add(
            "mcp.max_stream_age",
            "a time of 0 would end every stream at once; write one such as 1h",
        );
    }
    sessions(checker);
    for (i, origin) in config.mcp.allowed_origins.iter().enumerate() {
        if let Err(error) = crate::urls::PublicUrl::parse(origin) {
            checker.add(
                format!("mcp.allowed_origins[{i}]"),
                format!("{error}; write one such as https://app.example.com"),
            );
        }
    }
}

fn sessions(checker: &mut Checker) {
    let mcp = &checker.config.mcp;
    let (timeout, lifetime) = (mcp.idle_session_counts().0, mcp.session_lifetime.0);
    if mcp
        .max_sessions_per_user
        .is_some_and(|limit| limit > MOST_SESSIONS)
    {
        checker.add(
            "mcp.max_sessions_per_user",
            format!("more than {MOST_SESSIONS} are not counted; write a smaller number, or 0 for no limit"),
        );
    }
    if timeout < SHORTEST_TIMEOUT {
        checker.add(
            "mcp.session_timeout",
            "less than a minute is too short to count by; write a time such as 10m",
        );
    }
    if lifetime < timeout {
        checker.add(
            "mcp.session_lifetime",
            "a session would end before it can be idle; write a time of at least mcp.session_timeout, such as 24h",
        );
    }
}

fn names(checker: &mut Checker) {
    let config = checker.config;
    let mut seen = std::collections::HashMap::new();
    for (i, route) in config.routes.iter().enumerate() {
        let Some(name) = &route.name else { continue };
        if name.as_str().is_empty()
            || name.as_str().len() > 128
            || name.as_str().chars().any(char::is_control)
        {
            checker.add(
                format!("routes[{i}].name"),
                "the name must have 1 to 128 characters; leave it out to use the path",
            );
        }
        if let Some(first) = seen.insert(name.as_str(), i) {
            checker.add(
                format!("routes[{i}].name"),
                format!("`{name}` is the name of routes[{first}] already; use another"),
            );
        }
    }
}

fn one(checker: &mut Checker, at: &str, route: &Route) {
    let config = checker.config;
    let exists = config
        .backends
        .iter()
        .any(|backend| backend.name == route.backend);
    if !exists && checker.is_whole("backends") {
        let known: Vec<&str> = config
            .backends
            .iter()
            .map(|backend| backend.name.as_str())
            .collect();
        let hint = match nearest(route.backend.as_str(), known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "add it under `backends`".to_owned(),
            None => format!(
                "add it under `backends`, or use one of: {}",
                known.join(", ")
            ),
        };
        checker.add(
            format!("{at}.backend"),
            format!("there is no backend `{}`; {hint}", route.backend),
        );
    }
    match (&route.allow, route.public) {
        (None, false) => {
            if checker.is_whole(&format!("{at}.allow")) {
                checker.add(
                    at,
                    "nobody may use this route; say who, with `allow: { groups: [engineering] }` or `allow: { any_user: true }`, or let everybody in with `public: true`",
                );
            }
        }
        (Some(_), true) => checker.add(
            format!("{at}.public"),
            "`public` and `allow` exclude each other; keep one",
        ),
        (Some(who), false) => allow(
            checker,
            &format!("{at}.allow"),
            who,
            "nobody may use this route",
        ),
        (None, true) => {}
    }
    rules::check(checker, at, route);
    if route.kind == Kind::Mcp && route.trust_content {
        checker.add(
            format!("{at}.trust_content"),
            "this is for routes of kind http only; remove it",
        );
    }
    for (i, scope) in route.scopes.iter().enumerate() {
        if !is_scope(scope) {
            checker.add(
                format!("{at}.scopes[{i}]"),
                format!("`{scope}` is not a scope; write each as an entry of its own"),
            );
        }
    }
}

/// RFC 6749 section 3.3: scope-token.
fn is_scope(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| (0x21..=0x7e).contains(&b) && b != b'"' && b != b'\\')
}

/// What an `allow` may say; `empty` is what it means when it says nothing.
pub(super) fn allow(checker: &mut Checker, at: &str, allow: &Allow, empty: &str) {
    let others = [
        &allow.groups,
        &allow.email_domains,
        &allow.scopes,
        &allow.clients,
        &allow.api_keys,
    ];
    let others = others.iter().any(|list| !list.is_empty()) || !allow.claims.is_empty();
    if allow.any_user && others {
        checker.add(at, "`any_user` excludes the other keys; remove it, or them");
    }
    if !allow.any_user && !others && checker.is_whole(at) {
        checker.add(at, format!("the rule is empty, so {empty}; write `any_user: true`, `groups`, `email_domains`, `claims`, `scopes`, `clients` or `api_keys`"));
    }
    for (i, group) in allow.groups.iter().enumerate() {
        if group.is_empty() {
            checker.add(
                format!("{at}.groups[{i}]"),
                "the group is empty; write its name",
            );
        }
    }
    for (i, domain) in allow.email_domains.iter().enumerate() {
        let good = !domain.is_empty()
            && domain
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
        if !good {
            checker.add(
                format!("{at}.email_domains[{i}]"),
                format!("`{domain}` is not a domain; write the part after the @, such as example.com (no wildcards)"),
            );
        }
    }
    for (claim, values) in &allow.claims {
        if values.is_empty() {
            checker.add(
                format!("{at}.claims[\"{claim}\"]"),
                "the list of values is empty, so nobody fits; write the values",
            );
        }
    }
    credentials(checker, at, allow);
}

fn credentials(checker: &mut Checker, at: &str, allow: &Allow) {
    for (i, entry) in allow.scopes.iter().enumerate() {
        let place = format!("{at}.scopes[{i}]");
        if entry.split(' ').any(|scope| !is_scope(scope)) {
            checker.add(
                place,
                format!("`{entry}` is no scope; write one, or several that are all needed with single spaces between"),
            );
        } else if entry.split(' ').any(|scope| scope == "offline_access") {
            checker.add(
                place,
                "`offline_access` is between client and authorization server and says nothing about rights; remove it",
            );
        }
    }
    for (i, client) in allow.clients.iter().enumerate() {
        if client.is_empty() || client.chars().any(|c| c.is_control() || c.is_whitespace()) {
            checker.add(
                format!("{at}.clients[{i}]"),
                format!("`{client}` is no client_id; write it as the client sends it"),
            );
        }
    }
    let config = checker.config;
    let known = || config.auth.api_keys.iter().map(|key| key.name.as_str());
    for (i, name) in allow.api_keys.iter().enumerate() {
        if known().any(|each| each == name) || !checker.is_whole("auth.api_keys") {
            continue;
        }
        let hint = match nearest(name, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "add it under `auth.api_keys`, or remove it here".to_owned(),
        };
        checker.add(
            format!("{at}.api_keys[{i}]"),
            format!("there is no API key of the name `{name}`; {hint}"),
        );
    }
}
