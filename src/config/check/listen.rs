//! `public_url`, `listen`, `limits`, `own_prefix`, `trusted_proxies`.

use std::time::Duration;

use super::files::{self, Pair};
use super::{Checker, backends};
use crate::config::Span;
use crate::config::derived::{Address, default_public_url};
use crate::urls::PublicUrl;

pub(super) fn check(checker: &mut Checker) {
    public_url(checker);
    hosts(checker);
    listeners(checker);
    limits(checker);
    prefix(checker);
}

fn public_url(checker: &mut Checker) {
    let config = checker.config;
    if let Some(text) = &config.public_url {
        if let Err(error) = PublicUrl::parse(text) {
            checker.add(
                "public_url",
                format!("{error}; write one like https://mcp.example.com"),
            );
        }
        return;
    }
    let url = default_public_url(config.listen.first());
    checker.warn(match url.strip_suffix(":0") {
        Some(host) => format!("public_url is not set; links and redirect URIs use {host} with the free port that the first listener gets"),
        None => format!("public_url is not set; links and redirect URIs use {url}"),
    });
}

fn hosts(checker: &mut Checker) {
    for (i, host) in checker.config.allowed_hosts.iter().enumerate() {
        if !backends::is_authority(host) {
            checker.add(
                format!("allowed_hosts[{i}]"),
                format!("`{host}` is not a host; write a name such as mcp.internal, or mcp.internal:8080"),
            );
        }
    }
}

fn listeners(checker: &mut Checker) {
    let config = checker.config;
    if config.listen.is_empty() && checker.is_whole("listen") {
        checker.add(
            "listen",
            "there is no listener; add one, such as { address: \"0.0.0.0:8080\" }",
        );
    }
    for (i, listener) in config.listen.iter().enumerate() {
        let at = format!("listen[{i}]");
        match Address::parse(&listener.address) {
            Err(message) => checker.add(format!("{at}.address"), message),
            Ok(address) => {
                let again = config.listen[..i]
                    .iter()
                    .position(|other| other.address == listener.address);
                let free_port = matches!(address, Address::Tcp { port: 0, .. });
                if let Some(first) = again.filter(|_| !free_port) {
                    checker.add(
                        format!("{at}.address"),
                        format!(
                            "{} is the address of listen[{first}] already; use another",
                            listener.address
                        ),
                    );
                }
                if config.is_bypass()
                    && !address.is_loopback()
                    && !config.auth.insecure_bypass_on_network
                {
                    checker.add(
                        format!("{at}.address"),
                        format!(
                            "auth.mode is bypass, and {} can be reached from the network; listen on 127.0.0.1, or, if everybody may really use everything, set auth.insecure_bypass_on_network",
                            listener.address
                        ),
                    );
                }
            }
        }
        if let Some(tls) = &listener.tls {
            let tls_at = format!("{at}.tls");
            files::pair(
                checker,
                &Pair {
                    at: &tls_at,
                    cert_file: &tls.cert_file,
                    key_file: &tls.key_file,
                },
            );
            for (n, each) in tls.certificates.iter().enumerate() {
                let at = format!("{tls_at}.certificates[{n}]");
                files::pair(
                    checker,
                    &Pair {
                        at: &at,
                        cert_file: &each.cert_file,
                        key_file: &each.key_file,
                    },
                );
            }
        }
        if listener.redirect_to_https {
            let https = config
                .public_url
                .as_deref()
                .and_then(|text| PublicUrl::parse(text).ok())
                .is_some_and(|url| url.is_https());
            if !https && checker.is_whole("public_url") {
                checker.add(
                    format!("{at}.redirect_to_https"),
                    "requests would be redirected to public_url, which is not https; set public_url to the https origin",
                );
            }
        }
    }
    let only_redirects = !config.listen.is_empty()
        && config
            .listen
            .iter()
            .all(|listener| listener.redirect_to_https);
    if only_redirects && checker.is_whole("listen") {
        checker.add(
            "listen",
            "every listener only redirects; add one that serves, for instance with `tls`",
        );
    }
}

fn limits(checker: &mut Checker) {
    let limits = &checker.config.limits;
    let spans = [
        ("handshake_timeout", limits.handshake_timeout),
        ("header_timeout", limits.header_timeout),
        ("body_timeout", limits.body_timeout),
        ("idle_timeout", limits.idle_timeout),
    ];
    let zero = [
        ("max_connections", limits.max_connections == 0),
        ("max_headers", limits.max_headers == 0),
        ("max_concurrent_streams", limits.max_concurrent_streams == 0),
    ];
    let small_head = limits.max_header_bytes.0 < 8 << 10;
    let large_head = limits.max_header_bytes.0 > 1 << 20;
    for (key, span) in spans {
        timeout(checker, &format!("limits.{key}"), span);
    }
    for (key, is_zero) in zero {
        if is_zero {
            checker.add(
                format!("limits.{key}"),
                "0 would refuse everything; write at least 1",
            );
        }
    }
    if small_head {
        checker.add(
            "limits.max_header_bytes",
            "below 8KiB ordinary requests with cookies are refused; write 8KiB or more",
        );
    }
    if large_head {
        checker.add(
            "limits.max_header_bytes",
            "above 1MiB a few connections could use up the memory; write 1MiB or less",
        );
    }
}

/// A timeout must be more than nothing and less than a week.
pub(super) fn timeout(checker: &mut Checker, at: &str, span: Span) {
    if span.0.is_zero() {
        checker.add(
            at,
            "a time of 0 would end everything at once; write one such as 10s",
        );
    } else if span.0 > Duration::from_secs(7 * 86_400) {
        checker.add(
            at,
            format!("{span} is longer than a week, as good as no limit; write a shorter time"),
        );
    }
}

fn prefix(checker: &mut Checker) {
    let prefix = checker.config.own_prefix.as_str();
    let good = prefix.len() > 1
        && prefix.starts_with('/')
        && !prefix.ends_with('/')
        && !prefix.contains("//")
        && prefix.split('/').all(|part| part != "." && part != "..")
        && prefix
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.' | b'~'));
    if !good {
        checker.add(
            "own_prefix",
            format!("`{prefix}` is not a path prefix; write one like /oauth2 (no final slash)"),
        );
    } else if matches!(prefix, "/health" | "/ready" | "/metrics")
        || prefix.starts_with("/.well-known")
    {
        checker.add(
            "own_prefix",
            format!("`{prefix}` is a path of the proxy already; use another"),
        );
    }
}
