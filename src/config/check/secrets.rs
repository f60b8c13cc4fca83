//! `vault`, `secrets`: the address, one way to log in, and nothing that would need itself.

use super::{Checker, files, listen};
use crate::config::Span;
use crate::config::secret::{SecretRef, SecretSource};
use crate::config::secrets::{AuthMethod, Vault};

/// Secrets of other systems in one configuration.
const MAX_REMOTE: usize = 128;

/// A look at all of them each few seconds is nobody's wish.
const SHORTEST_REFRESH: Span = Span::secs(10);

const LONGEST_REFRESH: Span = Span::secs(24 * 3600);

pub(super) fn check(checker: &mut Checker) {
    let config = checker.config;
    let refresh = config.secrets.refresh;
    if refresh != Span::secs(0) && !(SHORTEST_REFRESH..=LONGEST_REFRESH).contains(&refresh) {
        checker.add(
            "secrets.refresh",
            format!("the time is from {SHORTEST_REFRESH} to {LONGEST_REFRESH}, or 0s to look only at a reload"),
        );
    }
    listen::timeout(
        checker,
        "secrets.start_timeout",
        config.secrets.start_timeout,
    );
    if let Some(vault) = config.vault.as_ref().filter(|vault| vault.enabled) {
        self::vault(checker, vault);
    }
    let remote = checker.remote;
    let aws = remote.iter().find(|each| each.keeper() != "vault");
    if let Some(aws) = aws.filter(|_| !cfg!(feature = "aws")) {
        checker.add(
            "secrets",
            format!("{aws} cannot be read: this program was built without the feature `aws`; use a build that has it, or take the secret from elsewhere"),
        );
    }
    if remote.len() > MAX_REMOTE {
        checker.add(
            "secrets",
            format!(
                "{} secrets are kept by other systems; {MAX_REMOTE} at most",
                remote.len()
            ),
        );
    }
    let asks_vault = remote.iter().any(|each| each.keeper() == "vault");
    if asks_vault && config.vault.is_none() && checker.is_whole("vault") {
        checker.add(
            "vault",
            "secrets are taken from Vault, but nothing says where it is; add `vault: { address: https://…, auth_method: …, role: … }`",
        );
    }
    if asks_vault && config.vault.as_ref().is_some_and(|vault| !vault.enabled) {
        checker.add(
            "vault.enabled",
            "secrets are taken from Vault, which is switched off; remove `enabled: false`, or take them from elsewhere",
        );
    }
}

fn vault(checker: &mut Checker, vault: &Vault) {
    address(checker, vault);
    listen::timeout(checker, "vault.timeout", vault.timeout);
    if let Some(file) = &vault.ca_file {
        files::ca(checker, "vault.ca_file", file);
    }
    let mounted = vault.auth_path.iter().map(|path| ("auth_path", path));
    let namespace = vault.namespace.iter().map(|path| ("namespace", path));
    for (key, path) in mounted.chain(namespace) {
        let plain = |segment: &str| {
            !segment.is_empty()
                && segment != ".."
                && segment
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        if !path.trim_end_matches('/').split('/').all(plain) {
            checker.add(
                format!("vault.{key}"),
                format!("`{path}` is no path; write its segments without a slash at the front, as in team/kubernetes"),
            );
        }
    }
    let own = [
        ("role_id", &vault.role_id),
        ("secret_id", &vault.secret_id),
        ("token", &vault.token),
    ];
    for (key, secret) in own {
        if let Some(SecretSource::Remote(remote)) = secret.as_ref().map(SecretRef::source) {
            checker.add(
                format!("vault.{key}"),
                format!("this is what the proxy logs in with, and cannot be kept elsewhere ({remote}); use {{ file: PATH }}, {{ env: NAME }} or {{ credential: NAME }}"),
            );
        }
    }
    let missing: &[(&str, bool)] = match vault.auth_method {
        AuthMethod::Kubernetes => &[("role", vault.role.is_none())],
        AuthMethod::Approle => &[
            ("role_id", vault.role_id.is_none()),
            ("secret_id", vault.secret_id.is_none()),
        ],
        AuthMethod::Token => &[("token", vault.token.is_none())],
    };
    for (key, missing) in missing {
        let at = format!("vault.{key}");
        if *missing && checker.is_whole(&at) {
            let method = vault.auth_method.as_str();
            checker.add(
                at,
                format!(
                    "auth_method is {method}, which needs `{key}`; add it, or choose another method"
                ),
            );
        }
    }
    for (i, each) in vault.secrets.iter().enumerate() {
        let taken = checker.remote.iter().any(|remote| {
            matches!(remote, crate::config::Remote::Vault(key) if key.path == each.path && key.key == each.key)
        });
        if !taken {
            checker.warn(format!(
                "vault.secrets[{i}] is read by nothing: no secret is taken from the variable {}",
                each.env
            ));
        }
    }
}

fn address(checker: &mut Checker, vault: &Vault) {
    let wrong = match url::Url::parse(&vault.address) {
        Err(_) => Some("is no address"),
        Ok(url) if !matches!(url.scheme(), "https" | "http") || url.host().is_none() => {
            Some("is no address of a server")
        }
        Ok(url) if url.path() != "/" || url.query().is_some() || url.fragment().is_some() => {
            Some("has more than host and port")
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Some("has a user or password")
        }
        Ok(url) if url.scheme() == "http" && !vault.allow_http && !is_loopback(&url) => {
            checker.add(
                "vault.address",
                "over http:// the token and every secret cross the network in the clear; write https://, or set allow_http: true where another layer encrypts",
            );
            None
        }
        Ok(_) => None,
    };
    if let Some(wrong) = wrong {
        checker.add(
            "vault.address",
            format!("the address {wrong}; write one such as https://vault.example.com:8200"),
        );
    }
}

fn is_loopback(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.to_canonical().is_loopback(),
        None => false,
    }
}
