//! `backends` and `identity_headers`.

use std::path::Path;

use super::routes::MOST_SESSIONS;
use super::{Checker, files, listen, told};
use crate::config::backend::{Backend, HostPolicy, Protocol};
use crate::headers::{IDENTITY, fold, is_governed};

pub(super) fn check(checker: &mut Checker) {
    let config = checker.config;
    checker.unique(
        "backends",
        "name",
        config.backends.iter().map(|backend| backend.name.as_str()),
    );
    for (i, backend) in config.backends.iter().enumerate() {
        one(checker, &format!("backends[{i}]"), backend);
        let used = config
            .routes
            .iter()
            .any(|route| route.backend == backend.name);
        if !used && checker.is_whole("routes") {
            checker.warn(format!(
                "backends[{i}] (`{}`) is not used by any route",
                backend.name
            ));
        }
    }
    told::check_all(checker);
    identity_headers(checker);
}

fn one(checker: &mut Checker, at: &str, backend: &Backend) {
    let name = backend.name.as_str();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 63 || !name.chars().all(plain) {
        checker.add(
            format!("{at}.name"),
            format!("`{name}` is not a name; use at most 63 letters, digits, `-`, `_` and `.`"),
        );
    }
    if let Some(false) = addresses(checker, at, backend) {
        let some_tls = backend.tls.ca_file.is_some()
            || backend.tls.cert_file.is_some()
            || backend.tls.server_name.is_some();
        if some_tls {
            checker.add(format!("{at}.tls"), "the address is not https, so this would have no effect; write https://, or remove it");
        }
    }
    if let Some(limit) = backend.max_sessions
        && (limit == 0 || limit > MOST_SESSIONS)
    {
        checker.add(
            format!("{at}.max_sessions"),
            format!("write a number from 1 to {MOST_SESSIONS}, or leave it out for no limit"),
        );
    }
    if let HostPolicy::Literal(host) = &backend.host
        && !is_authority(host)
    {
        checker.add(
            format!("{at}.host"),
            format!("`{host}` is not a host; write `backend`, `client`, or a host such as mcp.internal:8000"),
        );
    }
    if let Some(file) = &backend.tls.ca_file {
        files::ca(checker, &format!("{at}.tls.ca_file"), file);
    }
    let tls = &backend.tls;
    files::client_pair(
        checker,
        &format!("{at}.tls"),
        tls.cert_file.as_deref(),
        tls.key_file.as_deref(),
    );
    if let Some(health) = &backend.health {
        if !health.path.starts_with('/') || health.path.contains([' ', '#']) {
            checker.add(
                format!("{at}.health.path"),
                format!("`{}` is not a path; write one such as /health", health.path),
            );
        }
        listen::timeout(checker, &format!("{at}.health.interval"), health.interval);
        listen::timeout(checker, &format!("{at}.health.timeout"), health.timeout);
        if health.interval.0 < std::time::Duration::from_secs(1) && !health.interval.0.is_zero() {
            checker.add(
                format!("{at}.health.interval"),
                format!("{} is too often; write 1s or more", health.interval),
            );
        }
    }
    let times = &backend.timeouts;
    for (key, span) in [
        ("connect", times.connect),
        ("response", times.response),
        ("body_idle", times.body_idle),
        ("stream_idle", times.stream_idle),
    ] {
        listen::timeout(checker, &format!("{at}.timeouts.{key}"), span);
    }
    if backend.max_connections == 0 {
        checker.add(
            format!("{at}.max_connections"),
            "0 connections can do nothing; write at least 1",
        );
    }
    if backend.protocol == Protocol::Http2
        && backend
            .addresses()
            .any(|address| address.starts_with("http://"))
    {
        checker.warn(format!("{at}: HTTP/2 without TLS is spoken by prior knowledge; a backend that speaks HTTP/1.1 only cannot answer"));
    }
    told::check(checker, at, backend);
    for (name, value) in &backend.headers {
        let key = format!("{at}.headers[\"{name}\"]");
        header(checker, &key, name);
        if is_identity(name) {
            checker.add(
                &key,
                "this header tells who the caller is; it cannot be fixed. Use another name",
            );
        }
        // An unknown value is empty, which a header can carry.
        if http::HeaderValue::from_str(value.secret().expose_secret()).is_err() {
            checker.add(
                &key,
                "the value holds characters that a header cannot carry; use printable ASCII",
            );
        }
    }
}

/// Endpoints of one backend at most: the choice among them is made on one word of bits.
const MAX_ENDPOINTS: usize = 64;

/// Checks the addresses; tells whether they are https, when they are right.
fn addresses(checker: &mut Checker, at: &str, backend: &Backend) -> Option<bool> {
    match (&backend.upstream, backend.endpoints.len()) {
        // A value that was dropped has been named already.
        (None, 0) => {
            if checker.is_whole(&format!("{at}.upstream"))
                && checker.is_whole(&format!("{at}.endpoints"))
            {
                checker.add(
                    format!("{at}.upstream"),
                    "the backend has no address; write `upstream`, or `endpoints` for several",
                );
            }
            return None;
        }
        (Some(_), 1..) => {
            checker.add(
                format!("{at}.endpoints"),
                "the backend has `upstream` too; write all addresses here and remove `upstream`",
            );
            return None;
        }
        (None, count) if count > MAX_ENDPOINTS => checker.add(
            format!("{at}.endpoints"),
            format!("{count} endpoints are too many; write {MAX_ENDPOINTS} at most, or a name behind which a balancer stands"),
        ),
        _ => {}
    }
    let mut first: Option<(bool, &str)> = None;
    let mut seen = std::collections::HashSet::new();
    for (i, address) in backend.addresses().enumerate() {
        let key = if backend.upstream.is_some() {
            format!("{at}.upstream")
        } else {
            format!("{at}.endpoints[{i}]")
        };
        if !seen.insert(address) {
            checker.add(&key, format!("`{address}` stands here twice; remove one"));
            continue;
        }
        match upstream(address) {
            Err(message) => checker.add(key, message),
            Ok(https) => {
                let path = path_of(address);
                let (https_of_first, path_of_first) = *first.get_or_insert((https, path));
                if https != https_of_first {
                    checker.add(
                        &key,
                        "one endpoint is https and another is not; they must all be the same kind",
                    );
                }
                if path != path_of_first {
                    checker.add(
                        &key,
                        format!("the path `{path}` differs from `{path_of_first}` of the first endpoint; requests go to one path, whichever endpoint they reach"),
                    );
                }
            }
        }
    }
    first.map(|(https, _)| https)
}

/// The path of an address that was found to be one.
fn path_of(address: &str) -> &str {
    let found = match address.strip_prefix("unix:") {
        Some(rest) => rest.split_once(':').map(|(_, path)| path),
        None => address
            .split_once("://")
            .and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])),
    };
    found.filter(|path| !path.is_empty()).unwrap_or("/")
}

/// Whether a header name is one, and not one of those that the proxy governs. `_` counts as `-`, as in backends.
fn header(checker: &mut Checker, at: &str, name: &str) {
    if http::HeaderName::try_from(name).is_err() {
        checker.add(
            at,
            format!("`{name}` is not a header name; use letters, digits and `-`"),
        );
    } else if is_governed(&fold(&name.to_ascii_lowercase())) {
        checker.add(
            at,
            format!("`{name}` is governed by the proxy; use another name"),
        );
    }
}

fn is_identity(name: &str) -> bool {
    IDENTITY.contains(&&*fold(&name.to_ascii_lowercase()))
}

fn identity_headers(checker: &mut Checker) {
    for (name, claim) in &checker.config.identity_headers.claims {
        let at = format!("identity_headers.claims[\"{name}\"]");
        header(checker, &at, name);
        if is_identity(name) && checker.config.identity_headers.enabled {
            checker.add(&at, "this header is sent already; use another name, or set identity_headers.enabled: false");
        }
        if claim.is_empty() {
            checker.add(&at, "the claim path is empty; write one such as department");
        }
    }
}

/// Checks an upstream address; tells whether it is https.
fn upstream(text: &str) -> Result<bool, String> {
    let wrong = |why: &str| {
        format!(
            "`{text}` {why}; write http://host:port/path, https://host/path or unix:/path/to.sock:/path"
        )
    };
    if let Some(rest) = text.strip_prefix("unix:") {
        let (socket, path) = rest.split_once(':').unwrap_or((rest, "/"));
        if !Path::new(socket).is_absolute() {
            return Err(wrong("does not name a socket by an absolute path"));
        }
        return if path.starts_with('/') {
            Ok(false)
        } else {
            Err(wrong("has a path that does not begin with a slash"))
        };
    }
    let url = url::Url::parse(text).map_err(|_| wrong("is not an address"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("is not an http or https address"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "the address must not hold a user or password; send them with `headers`".to_owned(),
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has a query or fragment"));
    }
    Ok(url.scheme() == "https")
}

pub(super) fn is_authority(text: &str) -> bool {
    http::uri::Authority::try_from(text).is_ok_and(|authority| !authority.as_str().contains('@'))
}
