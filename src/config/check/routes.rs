//! `routes` and `mcp`: backends that exist, and a rule on each. Paths and collisions are judged by the route table.

use super::Checker;
use crate::config::problem::nearest;
use crate::config::route::{Allow, Kind, Route};

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
    for (i, origin) in config.mcp.allowed_origins.iter().enumerate() {
        if let Err(error) = crate::urls::PublicUrl::parse(origin) {
            checker.add(
                format!("mcp.allowed_origins[{i}]"),
                format!("{error}; write one such as https://app.example.com"),
            );
        }
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
        (Some(allow), false) => rule(checker, &format!("{at}.allow"), allow),
        (None, true) => {}
    }
    if route.kind == Kind::Mcp && route.trust_content {
        checker.add(
            format!("{at}.trust_content"),
            "this is for routes of kind http only; remove it",
        );
    }
    for (i, scope) in route.scopes.iter().enumerate() {
        // RFC 6749 section 3.3: scope-token.
        if scope.is_empty()
            || !scope
                .bytes()
                .all(|b| (0x21..=0x7e).contains(&b) && b != b'"' && b != b'\\')
        {
            checker.add(
                format!("{at}.scopes[{i}]"),
                format!("`{scope}` is not a scope; write each as an entry of its own"),
            );
        }
    }
}

fn rule(checker: &mut Checker, at: &str, allow: &Allow) {
    let others =
        !allow.groups.is_empty() || !allow.email_domains.is_empty() || !allow.claims.is_empty();
    if allow.any_user && others {
        checker.add(at, "`any_user` excludes the other keys; remove it, or them");
    }
    if !allow.any_user && !others && checker.is_whole(at) {
        checker.add(at, "the rule is empty, so nobody may use this route; write `any_user: true`, `groups`, `email_domains` or `claims`");
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
}
