//! What backends are told: `backends[].credentials`, `backends[].assertion`, `assertions`.

use std::time::Duration;

use super::Checker;
use crate::config::backend::{Assertion, AssertionPlace, Backend, Credentials};
use crate::headers::{IDENTITY, fold, is_governed};

/// Claims of every assertion, which cannot be configured.
const OURS: [&str; 9] = [
    "iss",
    "sub",
    "idp_iss",
    "aud",
    "iat",
    "exp",
    "nbf",
    "jti",
    "credential",
];

const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);

pub(super) fn check(checker: &mut Checker, at: &str, backend: &Backend) {
    if let Some(credentials) = &backend.credentials {
        self::credentials(checker, &format!("{at}.credentials"), credentials);
    }
    if let Some(assertion) = &backend.assertion {
        self::assertion(checker, &format!("{at}.assertion"), assertion);
    }
    twice(checker, at, backend);
}

/// Rules across backends.
pub(super) fn check_all(checker: &mut Checker) {
    let config = checker.config;
    for (i, key) in config.assertions.signing_keys.iter().enumerate() {
        let at = format!("assertions.signing_keys[{i}]");
        let tokens = &config.authorization_server.signing_keys;
        if tokens
            .iter()
            .any(|other| other == key || other.known().is_some() && other.known() == key.known())
        {
            checker.add(
                at,
                "this key also signs access tokens (authorization_server.signing_keys); what backends are told needs a key of its own",
            );
        }
    }
    let wanted: Vec<(usize, &Assertion)> = config
        .backends
        .iter()
        .enumerate()
        .filter_map(|(i, backend)| Some((i, backend.assertion.as_ref()?)))
        .collect();
    for (n, (i, assertion)) in wanted.iter().enumerate() {
        let first = wanted[..n]
            .iter()
            .find(|(_, other)| other.audience == assertion.audience);
        if let Some((first, _)) = first {
            checker.warn(format!(
                "backends[{i}].assertion.audience is that of backends[{first}] too: either of them can show the other what it was told"
            ));
        }
    }
    if wanted.is_empty() && !config.assertions.signing_keys.is_empty() {
        checker
            .warn("assertions.signing_keys sign nothing: no backend has an `assertion`".to_owned());
    }
}

fn credentials(checker: &mut Checker, at: &str, credentials: &Credentials) {
    let kinds = [
        credentials.bearer.is_some(),
        credentials.basic.is_some(),
        credentials.api_key.is_some(),
    ];
    if kinds.iter().filter(|kind| **kind).count() != 1 {
        checker.add(at, "write exactly one of `bearer`, `basic` and `api_key`");
    }
    let mut texts = Vec::new();
    if let Some(token) = &credentials.bearer {
        texts.push((format!("{at}.bearer"), token));
    }
    if let Some(basic) = &credentials.basic {
        let wrong = |c: char| c == ':' || c.is_control();
        if let Some(user) = basic.username.known()
            && user.expose_secret().contains(wrong)
        {
            checker.add(
                format!("{at}.basic.username"),
                "a user name is not empty and has no colon and no control characters",
            );
        }
        if basic
            .password
            .secret()
            .expose_secret()
            .contains(char::is_control)
        {
            checker.add(
                format!("{at}.basic.password"),
                "a password has no control characters; a line break at the end of a file is one",
            );
        }
    }
    if let Some(key) = &credentials.api_key {
        texts.push((format!("{at}.api_key.value"), &key.value));
        header(checker, &format!("{at}.api_key.header"), &key.header);
    }
    for (at, secret) in texts {
        let fits = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        if let Some(secret) = secret.known()
            && !secret.expose_secret().bytes().all(fits)
        {
            checker.add(
                at,
                "the value is empty, or holds what a header cannot carry; use printable ASCII",
            );
        }
    }
}

fn assertion(checker: &mut Checker, at: &str, assertion: &Assertion) {
    if assertion.audience.trim().is_empty() {
        checker.add(
            format!("{at}.audience"),
            "the audience is empty; write what the backend calls itself, such as its URL",
        );
    }
    if assertion.place == AssertionPlace::Header {
        header(checker, &format!("{at}.header"), &assertion.header);
    }
    let life = assertion.lifetime.0;
    if !(SHORTEST..=LONGEST).contains(&life) {
        checker.add(
            format!("{at}.lifetime"),
            format!("{} is not from 10s to 10m", assertion.lifetime),
        );
    }
    for (name, path) in &assertion.claims {
        let at = format!("{at}.claims[\"{name}\"]");
        if OURS.contains(&&**name) || name == "client_id" {
            checker.add(&at, "this claim is the proxy's own; use another name");
        }
        if name.is_empty() || path.is_empty() {
            checker.add(
                &at,
                "the name or the claim path is empty; write one such as `department: department`",
            );
        }
    }
}

/// A header that carries a credential or an assertion: no header of the message, and none that means something else.
/// `Authorization` and `X-API-Key` are what backends expect, and what clients send in them ends here.
fn header(checker: &mut Checker, at: &str, name: &str) {
    let folded = fold(&name.to_ascii_lowercase()).into_owned();
    let usual = matches!(&*folded, "authorization" | "x-api-key");
    if http::HeaderName::try_from(name).is_err() {
        checker.add(
            at,
            format!("`{name}` is not a header name; use letters, digits and `-`"),
        );
    } else if (is_governed(&folded) || folded == "accept-encoding") && !usual {
        checker.add(
            at,
            format!("`{name}` is governed by the proxy; use another name"),
        );
    } else if IDENTITY.contains(&&*folded) {
        checker.add(at, "this header tells who the caller is; use another name");
    }
}

/// No header can be set by two keys: one of them would silently win.
fn twice(checker: &mut Checker, at: &str, backend: &Backend) {
    let same = |one: &str, other: &str| {
        fold(&one.to_ascii_lowercase()) == fold(&other.to_ascii_lowercase())
    };
    let claims = &checker.config.identity_headers.claims;
    let fixed: Vec<&str> = backend.headers.keys().map(String::as_str).collect();
    let credential = backend.credentials.as_ref().and_then(Credentials::header);
    let assertion = backend.assertion.as_ref().map(Assertion::header);
    let mut found = Vec::new();
    for (key, name) in [("credentials", credential), ("assertion", assertion)] {
        let Some(name) = name else { continue };
        let taken = if fixed.iter().any(|other| same(other, name)) {
            "headers"
        } else if claims.keys().any(|other| same(other, name)) {
            "identity_headers.claims"
        } else if key == "assertion" && credential.is_some_and(|other| same(other, name)) {
            "credentials"
        } else {
            continue;
        };
        found.push((
            format!("{at}.{key}"),
            format!("`{name}` is set by `{taken}` too; a request can carry one of them"),
        ));
    }
    for (at, message) in found {
        checker.add(at, message);
    }
}
