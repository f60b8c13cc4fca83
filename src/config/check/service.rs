//! `metrics`, `logging`, `reload`, `shutdown`.

use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::{Checker, listen};
use crate::config::derived::Address;

pub(super) fn check(checker: &mut Checker) {
    metrics(checker);
    admin(checker);
    let level = &checker.config.logging.level;
    if level.trim().is_empty() {
        checker.add(
            "logging.level",
            "the level is empty; write error, warn, info, debug or trace",
        );
    } else if let Err(error) = level_filter(level) {
        checker.add(
            "logging.level",
            format!("`{level}` is not a log level: {error}; write error, warn, info, debug, trace, or a filter such as info,mcp_oidc_proxy::oidc=debug"),
        );
    }
    let interval = checker.config.reload.interval;
    if !(Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&interval.0) {
        checker.add(
            "reload.interval",
            format!("{interval} is no time to look at files after; write one from 1s to 1d"),
        );
    }
    let shutdown = &checker.config.shutdown;
    for (key, span) in [
        ("delay", shutdown.delay),
        ("timeout", shutdown.timeout),
        ("stream_grace", shutdown.stream_grace),
    ] {
        if span.0 > Duration::from_secs(3600) {
            checker.add(
                format!("shutdown.{key}"),
                format!("{span} is too long to wait for an end; write 1h or less"),
            );
        }
    }
    listen::timeout(checker, "shutdown.timeout", checker.config.shutdown.timeout);
}

/// A word alone is a level; the filter's own parser would take a misspelt level for the name of a target.
fn level_filter(text: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for part in text.split(',').map(str::trim) {
        if !part.contains(['=', ':', '[']) && !LEVELS.contains(&part.to_ascii_lowercase().as_str())
        {
            return Err(format!("`{part}` is unknown"));
        }
    }
    EnvFilter::builder()
        .parse(text)
        .map(drop)
        .map_err(|error| error.to_string())
}

fn metrics(checker: &mut Checker) {
    let config = checker.config;
    if !config.metrics.enabled {
        return;
    }
    match Address::parse(&config.metrics.address) {
        Err(message) => checker.add("metrics.address", message),
        Ok(Address::Tcp { port: 0, .. }) => {}
        Ok(address) => {
            let clash = config.listen.iter().position(|listener| {
                Address::parse(&listener.address).is_ok_and(|other| collide(&address, &other))
            });
            if let Some(i) = clash {
                checker.add(
                    "metrics.address",
                    format!(
                        "{} is taken by listen[{i}]; the metrics listener needs a port of its own",
                        config.metrics.address
                    ),
                );
            }
        }
    }
}

/// Whoever reaches it may end sessions, so it is for this machine only, and never shares an address.
fn admin(checker: &mut Checker) {
    let config = checker.config;
    let Some(text) = &config.admin.address else {
        return;
    };
    let address = match Address::parse(text) {
        Err(message) => return checker.add("admin.address", message),
        Ok(address) => address,
    };
    if !is_of_this_machine(&address) {
        return checker.add(
            "admin.address",
            format!("{text} can be reached from other machines; use unix:/path or 127.0.0.1:9091"),
        );
    }
    if matches!(address, Address::Tcp { port: 0, .. }) {
        return;
    }
    let others = config
        .listen
        .iter()
        .enumerate()
        .map(|(i, listener)| (format!("listen[{i}]"), &listener.address))
        .chain(
            config
                .metrics
                .enabled
                .then(|| ("metrics.address".to_owned(), &config.metrics.address)),
        );
    let taken = others
        .filter(|(_, other)| Address::parse(other).is_ok_and(|other| collide(&address, &other)))
        .map(|(name, _)| name)
        .next();
    if let Some(name) = taken {
        checker.add(
            "admin.address",
            format!("{text} is taken by {name}; the admin listener needs an address of its own"),
        );
    }
}

/// A unix socket, or a literal loopback address: a name may come to mean another machine.
fn is_of_this_machine(address: &Address) -> bool {
    match address {
        Address::Unix(_) => true,
        Address::Tcp { host, .. } => host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback()),
    }
}

fn collide(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Tcp { host: a, port: p }, Address::Tcp { host: b, port: q }) => {
            let all = |host: &str| host == "0.0.0.0" || host == "::";
            p == q && (a == b || all(a) || all(b))
        }
        (one, other) => one == other,
    }
}
