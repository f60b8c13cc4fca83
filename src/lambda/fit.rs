//! What of a configuration fits a function, besides what is right in itself.

use crate::config::Config;
use crate::config::audit::SinkKind;
use crate::config::session::StoreKind;

/// What does not: key and message.
pub(super) fn problems(config: &Config) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut add = |key: &str, message: &str| found.push((key.to_owned(), message.to_owned()));
    match config.public_url.as_deref() {
        None => add(
            "public_url",
            "a function does not know its own address; set it to the function URL or to the custom domain, as in https://mcp.example.com",
        ),
        Some(url) if has_stage(url) => add(
            "public_url",
            "a stage of API Gateway cannot be part of the address, for sign-in and metadata are served from the root of a host; map a custom domain to the stage, or use the stage `$default` of an HTTP API",
        ),
        Some(_) => {}
    }
    if config.is_bypass() && !config.auth.insecure_bypass_on_network {
        add(
            "auth.mode",
            "bypass lets in whoever can invoke the function; use oidc, or set auth.insecure_bypass_on_network: true as well",
        );
    }
    if config.sessions.store == StoreKind::Memory {
        if config.oidc.is_some() || !config.further_providers.is_empty() {
            add(
                "sessions.store",
                "memory cannot work in a function: each of its instances would have sessions of its own, and the next request may come to another; set it to redis (REDIS_URL). Only where nobody signs in, with auth.api_keys and auth.issuers alone, nothing has to be kept",
            );
        } else if config.secret_keys.is_empty() {
            add(
                "secret_keys",
                "the instances of a function need a root secret that all of them have, or an MCP session would work in one of them only; print one with `mcp-oidc-proxy keygen` and set MCP_ENCRYPTION_KEY",
            );
        }
        if config
            .mcp
            .max_sessions_per_user
            .is_some_and(|most| most > 0)
        {
            add(
                "mcp.max_sessions_per_user",
                "with the memory store each instance of a function would count for itself; set sessions.store to redis, or remove this",
            );
        }
    }
    if let Some(sink @ (SinkKind::File | SinkKind::Journald)) = config.audit.sink {
        let why = if sink == SinkKind::File {
            "a file ends with the instance of the function that wrote it"
        } else {
            "a function has no journal"
        };
        add(
            "audit.sink",
            &format!("{why}; use stdout, which the platform keeps, or syslog"),
        );
    }
    found
}

/// What is there and has no effect.
pub(super) fn warnings(config: &Config) -> Vec<&'static str> {
    let mut found = Vec::new();
    if config.listen.iter().any(|each| each.tls.is_some()) {
        found.push("listen is not used: a function has no listeners");
    }
    if config.admin.address.is_some() {
        found.push("admin.address is not used: a function has no admin listener");
    }
    if config.sessions.store == StoreKind::Memory && config.mcp.sessions_per_user().is_some() {
        found.push("each instance of the function counts the MCP sessions of a person for itself, for sessions.store is memory");
    }
    found
}

/// Leaves out what has no effect, so that nothing is bound.
pub(super) fn fitted(mut config: Config) -> Config {
    config.listen.clear();
    config.metrics.enabled = false;
    config.admin.address = None;
    config
}

/// Whether this is the address of a stage.
fn has_stage(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| {
        url.host_str().is_some_and(is_of_api_gateway) && !matches!(url.path(), "" | "/")
    })
}

/// Whether a host is one that API Gateway gave, and not one of somebody's own.
pub(super) fn is_of_api_gateway(host: &str) -> bool {
    host.to_ascii_lowercase()
        .split('.')
        .nth(1)
        .is_some_and(|label| label == "execute-api")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    fn found(yaml: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        let whole = format!(
            "version: 1\nbackends: [{{ name: b, upstream: \"http://127.0.0.1:1\" }}]\nroutes: [{{ path: /mcp, backend: b, allow: {{ any_user: true }} }}]\n{yaml}"
        );
        std::fs::write(&file, whole).unwrap();
        let loaded = load(&Sources::file(file)).unwrap();
        let problems = problems(&loaded.config);
        problems.into_iter().map(|(key, _)| key).collect()
    }

    const KEY: &str = "secret_keys: [\"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\"]\n";
    const API_KEYS: &str = "public_url: https://mcp.example.com\nauth: { api_keys: [{ name: ci, sha256: \"0000000000000000000000000000000000000000000000000000000000000000\" }] }\n";
    const OIDC: &str = "public_url: https://mcp.example.com\noidc: { issuer: \"https://id.example.com\", client_id: c, client_secret: \"0123456789abcdef\" }\n";

    #[test]
    fn memory_fits_only_where_nobody_signs_in_and_all_have_the_same_key() {
        assert_eq!(found(OIDC), ["sessions.store"]);
        assert_eq!(found(&format!("{OIDC}{KEY}")), ["sessions.store"]);
        assert_eq!(found(API_KEYS), ["secret_keys"]);
        assert!(found(&format!("{API_KEYS}{KEY}")).is_empty());
        let counted = format!("{API_KEYS}{KEY}mcp: {{ max_sessions_per_user: 3 }}\n");
        assert_eq!(found(&counted), ["mcp.max_sessions_per_user"]);
        let redis = "sessions: { store: redis, redis: { url: \"redis://127.0.0.1:1\" } }\n";
        assert!(found(&format!("{OIDC}{KEY}{redis}")).is_empty());
    }

    #[test]
    fn what_an_instance_would_take_with_it_or_lets_everybody_in_does_not_fit() {
        let audit = |sink: &str| found(&format!("{API_KEYS}{KEY}audit: {{ {sink} }}\n"));
        assert_eq!(
            audit("sink: file, file: { path: /tmp/a.log }"),
            ["audit.sink"]
        );
        assert_eq!(audit("sink: journald"), ["audit.sink"]);
        assert!(audit("sink: stdout").is_empty());
        let bypass = "listen: [{ address: \"127.0.0.1:0\" }]\nauth: { mode: bypass }\n";
        assert_eq!(
            found(&format!("{bypass}{KEY}")),
            ["public_url", "auth.mode"]
        );
    }

    #[test]
    fn addresses_of_stages_are_recognised() {
        let host = "https://abc123.execute-api.eu-west-1.amazonaws.com";
        assert!(has_stage(&format!("{host}/prod")));
        assert!(!has_stage(host));
        assert!(!has_stage("https://mcp.example.com/prod"));
        assert!(!has_stage("https://execute-api.example.com/prod"));
    }
}
