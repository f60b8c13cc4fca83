//! `sessions` and `secret_keys`: times, the cookie, Redis, and secrets that survive a restart.

use super::{Checker, files, listen};
use crate::config::derived::decode_key;
use crate::config::session::{Redis, StoreKind};

/// Shortest client secret from which a key may be made (with a slow function), in bytes.
const MIN_CLIENT_SECRET: usize = 16;

pub(super) fn check(checker: &mut Checker) {
    let config = checker.config;
    for (i, key) in config.secret_keys.iter().enumerate() {
        if key
            .known()
            .is_some_and(|key| decode_key(key.expose_secret()).is_none())
        {
            checker.add(
                format!("secret_keys[{i}]"),
                "this is not base64 or base64url of at least 32 bytes; `mcp-oidc-proxy keygen` prints a good one",
            );
        } else if config.secret_keys[..i].contains(key) {
            checker.add(
                format!("secret_keys[{i}]"),
                "this key stands in the list already; remove one of them",
            );
        }
    }
    times(checker);
    cookie(checker);
    store(checker);
}

fn times(checker: &mut Checker) {
    let sessions = &checker.config.sessions;
    listen::timeout(checker, "sessions.login_timeout", sessions.login_timeout);
    for (key, span) in [
        ("idle_timeout", sessions.idle_timeout),
        ("absolute_timeout", sessions.absolute_timeout),
    ] {
        if span.0.is_zero() {
            checker.add(
                format!("sessions.{key}"),
                "a time of 0 would end each session at once; write one such as 8h",
            );
        }
    }
    if sessions.idle_timeout > sessions.absolute_timeout {
        checker.add(
            "sessions.idle_timeout",
            format!(
                "{} is longer than absolute_timeout ({}), so it would never count; make it shorter",
                sessions.idle_timeout, sessions.absolute_timeout
            ),
        );
    }
    for (key, span) in [
        ("recently_seen", sessions.recently_seen),
        ("outage_grace", sessions.outage_grace),
    ] {
        if span.0.as_secs() > 600 {
            checker.add(
                format!("sessions.{key}"),
                format!("{span} is too long: sessions that were ended elsewhere would go on for that time; write 10m or less"),
            );
        }
    }
    if sessions.max_sessions == 0 {
        checker.add(
            "sessions.max_sessions",
            "0 would refuse every login; write at least 1",
        );
    }
    if sessions.max_logins == 0 {
        checker.add(
            "sessions.max_logins",
            "0 would refuse every login; write at least 1",
        );
    }
}

/// RFC 6265 section 4.1.1: a cookie name is a token.
fn cookie(checker: &mut Checker) {
    let name = &checker.config.sessions.cookie_name;
    let token = !name.is_empty()
        && name.len() <= 64
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    if !token {
        checker.add(
            "sessions.cookie_name",
            format!("`{name}` is not a cookie name; use letters, digits, `_` and `-`"),
        );
    } else if name.starts_with("__Host-") || name.starts_with("__Secure-") {
        checker.add(
            "sessions.cookie_name",
            "leave the prefix out; `__Host-` is put before the name when public_url is https",
        );
    }
}

fn store(checker: &mut Checker) {
    let config = checker.config;
    match (config.sessions.store, &config.sessions.redis) {
        (StoreKind::Memory, redis) => {
            if redis.is_some() {
                checker.warn("sessions.redis is set but not used, because sessions.store is memory; set `store: redis` (SESSION_STORE=redis)");
            }
            if config.secret_keys.is_empty() && config.oidc.is_some() && !config.is_bypass() {
                checker.warn("sessions are kept in memory under a random key: a restart ends them all, and a second replica does not know them");
            }
        }
        (StoreKind::Redis, None) => {
            if checker.is_whole("sessions.redis") {
                checker.add("sessions.redis", "sessions.store is redis, but there is no Redis; add `redis: { url: redis://host:6379 }` (REDIS_URL)");
            }
        }
        (StoreKind::Redis, Some(redis)) => {
            redis_settings(checker, redis);
            root_secret(checker);
        }
    }
}

/// Replicas must agree on a root secret, or each would end the others' sessions.
fn root_secret(checker: &mut Checker) {
    let config = checker.config;
    if !config.secret_keys.is_empty()
        || !checker.is_whole("secret_keys")
        || !checker.is_whole("oidc")
    {
        return;
    }
    let secret = config
        .oidc
        .as_ref()
        .and_then(|oidc| oidc.client_secret.as_ref());
    if secret.is_some_and(|secret| {
        secret
            .known()
            .is_none_or(|secret| secret.len() >= MIN_CLIENT_SECRET)
    }) {
        checker.warn(
            "secret_keys is not set: a random key is kept in Redis, sealed under one made from the client secret; changing that secret ends all sessions. Set secret_keys (`mcp-oidc-proxy keygen`)",
        );
    } else {
        checker.add(
            "secret_keys",
            "sessions in Redis need a root secret that every replica has; print one with `mcp-oidc-proxy keygen` and set it as secret_keys: [{ env: MCP_ENCRYPTION_KEY }]",
        );
    }
}

fn redis_settings(checker: &mut Checker, redis: &Redis) {
    let at = "sessions.redis";
    match &redis.url {
        None if redis.sentinel.is_none() && redis.cluster.is_empty() && checker.is_whole(at) => {
            checker.add(
                at,
                "there is no address; add `url`, `sentinel` or `cluster`",
            );
        }
        None => {}
        Some(address) => {
            if let Some(address) = address.known()
                && let Err(message) = redis_url(address.expose_secret())
            {
                checker.add(format!("{at}.url"), message);
            }
        }
    }
    if redis.sentinel.is_some() && !redis.cluster.is_empty() {
        checker.add(at, "`sentinel` and `cluster` exclude each other; keep one");
    }
    if let Some(sentinel) = &redis.sentinel {
        if sentinel.nodes.is_empty() && checker.is_whole("sessions.redis.sentinel.nodes") {
            checker.add(
                format!("{at}.sentinel.nodes"),
                "there is no Sentinel; add at least one address such as redis://host:26379",
            );
        }
        if sentinel.master_name.is_empty() {
            checker.add(
                format!("{at}.sentinel.master_name"),
                "the name is empty; write the one of `sentinel monitor`, often mymaster",
            );
        }
        for (i, node) in sentinel.nodes.iter().enumerate() {
            if let Err(message) = node_url(node) {
                checker.add(format!("{at}.sentinel.nodes[{i}]"), message);
            }
        }
    }
    for (i, node) in redis.cluster.iter().enumerate() {
        if let Err(message) = node_url(node) {
            checker.add(format!("{at}.cluster[{i}]"), message);
        }
    }
    if let Some(tls) = &redis.tls {
        if let Some(file) = &tls.ca_file {
            files::ca(checker, &format!("{at}.tls.ca_file"), file);
        }
        files::client_pair(
            checker,
            &format!("{at}.tls"),
            tls.cert_file.as_deref(),
            tls.key_file.as_deref(),
        );
    }
    listen::timeout(
        checker,
        &format!("{at}.connect_timeout"),
        redis.connect_timeout,
    );
    listen::timeout(
        checker,
        &format!("{at}.command_timeout"),
        redis.command_timeout,
    );
    if redis.pool_size == 0 {
        checker.add(
            format!("{at}.pool_size"),
            "0 connections can do nothing; write at least 1",
        );
    }
    if redis.key_prefix.contains(['{', '}', '*']) || redis.key_prefix.contains(char::is_whitespace)
    {
        checker.add(
            format!("{at}.key_prefix"),
            "the prefix must not hold braces, stars or spaces; write one such as `mcp:`",
        );
    }
}

/// A node's address is no secret, so it must not hold one: it is shown by `print-config`.
fn node_url(text: &str) -> Result<(), String> {
    redis_url(text)?;
    match url::Url::parse(text) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => Err(
            "the address must not hold a user or password; use the keys `username` and `password`"
                .to_owned(),
        ),
        _ => Ok(()),
    }
}

/// The message never shows the address: it may hold a password.
fn redis_url(text: &str) -> Result<(), String> {
    let wrong = || {
        "this is not a Redis address; write redis://host:6379/0, or rediss:// for TLS".to_owned()
    };
    let url = url::Url::parse(text).map_err(|_| wrong())?;
    let good = matches!(url.scheme(), "redis" | "rediss")
        && url.host_str().is_some_and(|host| !host.is_empty());
    if good { Ok(()) } else { Err(wrong()) }
}
