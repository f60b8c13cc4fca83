//! What the environment can say, alone and over files.

use super::tests::{GOOD, load_env, load_with};

#[test]
fn the_environment_alone_is_enough() {
    let loaded = load_env(&[
        ("MCP_TARGET_HOST", "mcp-server"),
        (
            "OIDC_DISCOVERY_URL",
            "https://login.example.com/.well-known/openid-configuration",
        ),
        ("OIDC_CLIENT_ID", "12345"),
        ("OIDC_CLIENT_SECRET", "0123456789abcdef"),
        ("SESSION_STORE", "redis"),
        ("REDIS_URL", "redis://:hunter2@redis:6379"),
        ("METRICS_PORT", "9100"),
        ("PORT", "8081"),
        ("LOG_LEVEL", ""),
    ])
    .unwrap();
    let config = &loaded.config;
    assert!(loaded.files.is_empty());
    assert_eq!(
        config.backends[0].upstream.as_deref(),
        Some("http://mcp-server:3000")
    );
    assert_eq!(
        (
            config.routes[0].path.as_str(),
            config.routes[0].allow.as_ref().unwrap().any_user
        ),
        ("/*", true)
    );
    assert_eq!(config.oidc.as_ref().unwrap().client_id, "12345");
    assert_eq!(config.metrics.address, "0.0.0.0:9100");
    assert_eq!(
        config.resolved_public_url().unwrap().as_str(),
        "http://localhost:8081"
    );
    assert_eq!(config.logging.level, "info");
    assert!(
        loaded
            .warnings
            .iter()
            .any(|warning| warning.contains("sealed under one made from the client secret"))
    );
}

#[test]
fn an_api_key_alone_is_enough() {
    let loaded = load_env(&[
        ("MCP_TARGET_HOST", "h"),
        ("MCP_TARGET_PORT", "81"),
        ("MCP_API_KEY", "0123456789abcdef"),
    ])
    .unwrap();
    let key = &loaded.config.auth.api_keys[0];
    assert_eq!(key.name, "api-key");
    assert_eq!(
        key.digest(),
        Some(crate::secret::Digest::of("0123456789abcdef"))
    );
    assert_eq!(
        loaded.config.backends[0].upstream.as_deref(),
        Some("http://h:81")
    );
}

#[test]
fn nothing_at_all_says_what_to_set() {
    let error = load_env(&[]).unwrap_err().to_string();
    assert!(error.contains("MCP_TARGET_HOST"), "{error}");
    let error = load_env(&[("MCP_TARGET_HOST", "h")])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("nobody can sign in") && error.contains("OIDC_DISCOVERY_URL"),
        "{error}"
    );
}

#[test]
fn wrong_variables_are_named() {
    let base = [
        ("MCP_TARGET_HOST", "h"),
        ("MCP_API_KEY", "0123456789abcdef"),
    ];
    for (name, value, says) in [
        ("PORT", "http", "not a port"),
        ("METRICS_PORT", "99999", "not a port"),
        ("MCP_TARGET_PORT", "0", "not a port"),
        ("AUTH_MODE", "oauth", "none of oidc, bypass"),
        ("SESSION_STORE", "disk", "none of memory, redis"),
        ("ENABLE_PROMETHEUS_METRICS", "perhaps", "true or false"),
        ("MCP_ENCRYPTION_KEY", "short", "keygen"),
        ("LOG_LEVEL", "loud", "not a log level"),
        (
            "MCP_PROXY__SESIONS__STORE",
            "redis",
            "did you mean MCP_PROXY__SESSIONS?",
        ),
        ("MCP_PROXY__LISTEN__X__ADDRESS", "a:1", "no index"),
        (
            "MCP_PROXY__LISTEN__7__ADDRESS",
            "a:1",
            "the next index is 1",
        ),
        (
            "MCP_PROXY__LIMITS__MAX_HEADERS",
            "[",
            "cannot be read as YAML",
        ),
        ("MCP_PROXY__SESSIONS__MAX_LOGINS", "many", "whole number"),
        ("MCP_PROXY__", "x", "has no key"),
    ] {
        let mut variables = base.to_vec();
        variables.push((name, value));
        let error = load_env(&variables).expect_err(name).to_string();
        assert!(
            error.contains(&format!("environment {name}: ")) && error.contains(says),
            "{name}: {error}"
        );
    }
}

#[test]
fn every_key_has_a_variable() {
    let loaded = load_with(
        GOOD,
        &[
            ("MCP_PROXY__LISTEN__0__ADDRESS", "127.0.0.1:1"),
            ("MCP_PROXY__LISTEN__1__ADDRESS", "127.0.0.1:2"),
            ("MCP_PROXY__ROUTES__0__ALLOW__GROUPS", "[a, b]"),
            ("MCP_PROXY__OIDC__CLIENT_SECRET__ENV", "ELSEWHERE"),
            ("ELSEWHERE", "another-long-secret"),
            ("MCP_PROXY__MCP__MAX_BODY", "8MiB"),
            ("MCP_PROXY__METRICS__ENABLED", "false"),
            (
                "MCP_ENCRYPTION_KEY",
                "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
            ),
        ],
    )
    .unwrap();
    let config = &loaded.config;
    assert_eq!(
        config
            .listen
            .iter()
            .map(|each| each.address.as_str())
            .collect::<Vec<_>>(),
        ["127.0.0.1:1", "127.0.0.1:2"]
    );
    assert_eq!(config.routes[0].allow.as_ref().unwrap().groups, ["a", "b"]);
    let secret = config
        .oidc
        .as_ref()
        .unwrap()
        .client_secret
        .as_ref()
        .unwrap();
    assert_eq!(secret.secret().expose_secret(), "another-long-secret");
    assert_eq!(config.mcp.max_body.0, 8 << 20);
    assert!(!config.metrics.enabled);
    assert_eq!(config.key_material(), vec![vec![1; 32], vec![0; 32]]);
}

#[test]
fn a_target_beside_routes_is_a_warning() {
    let loaded = load_with(GOOD, &[("MCP_TARGET_HOST", "h")]).unwrap();
    assert_eq!(loaded.config.routes.len(), 1);
    assert!(
        loaded
            .warnings
            .iter()
            .any(|warning| warning.starts_with("MCP_TARGET_HOST is set but not used"))
    );
}

#[test]
fn bypass_stays_on_loopback() {
    let listen = |variables: &[(&str, &str)]| {
        let mut all = vec![("AUTH_MODE", "bypass"), ("MCP_TARGET_HOST", "h")];
        all.extend(variables);
        load_env(&all).map(|loaded| loaded.config.listen[0].address.clone())
    };
    assert_eq!(listen(&[]).unwrap(), "127.0.0.1:8080");
    assert_eq!(listen(&[("PORT", "81")]).unwrap(), "127.0.0.1:81");
    assert_eq!(
        listen(&[("MCP_PROXY__LISTEN__0__ADDRESS", "unix:/x")]).unwrap(),
        "unix:/x"
    );
    let open = ("MCP_PROXY__LISTEN__0__ADDRESS", "0.0.0.0:81");
    assert!(
        listen(&[open])
            .unwrap_err()
            .to_string()
            .contains("auth.mode is bypass")
    );
    assert_eq!(
        listen(&[
            open,
            ("MCP_PROXY__AUTH__INSECURE_BYPASS_ON_NETWORK", "true")
        ])
        .unwrap(),
        "0.0.0.0:81"
    );
}

#[test]
fn redis_needs_a_secret_that_replicas_share() {
    let base = [
        ("MCP_TARGET_HOST", "h"),
        ("SESSION_STORE", "redis"),
        ("REDIS_URL", "redis://r"),
        ("OIDC_DISCOVERY_URL", "https://i.example"),
        ("OIDC_CLIENT_ID", "c"),
    ];
    for secret in [None, Some("too-short")] {
        let mut variables = base.to_vec();
        variables.extend(secret.map(|secret| ("OIDC_CLIENT_SECRET", secret)));
        let error = load_env(&variables).unwrap_err().to_string();
        assert!(
            error.starts_with("secret_keys: ") && error.contains("keygen"),
            "{error}"
        );
    }
}

#[test]
fn credentials_of_systemd_are_read_from_their_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("oidc-secret"), "0123456789abcdef\n").unwrap();
    let text = GOOD.replace("a-long-client-secret", "{ credential: oidc-secret }");
    let at = folder.path().to_str().unwrap();
    let loaded = load_with(&text, &[("CREDENTIALS_DIRECTORY", at)]).unwrap();
    let secret = loaded.config.oidc.unwrap().client_secret.unwrap();
    assert_eq!(secret.secret().expose_secret(), "0123456789abcdef");
    assert_eq!(
        serde_json::to_value(&secret).unwrap(),
        serde_json::json!({ "credential": "oidc-secret" })
    );
    let missing = GOOD.replace("a-long-client-secret", "{ credential: other }");
    let problems = load_with(&missing, &[("CREDENTIALS_DIRECTORY", at)]).unwrap_err();
    let named = format!("cannot read the credential {at}/other");
    assert!(problems.to_string().contains(&named), "{problems}");
}

#[test]
fn a_reference_in_a_variable_is_no_secret() {
    let load = |name: &str, text: &str| load_with(GOOD, &[(name, text)]);
    for text in [
        "{ aws_secret: { id: mcp/oidc } }",
        "{file: /run/secrets/x}",
        "{ \"vault\": { path: a, key: b } }",
    ] {
        let problems = load("MCP_PROXY__OIDC__CLIENT_SECRET", text).unwrap_err();
        let said = problems.to_string();
        assert!(
            said.contains("oidc.client_secret") && said.contains("__"),
            "{said}"
        );
    }
    for text in ["{file-cabinet}", "{ other: x }", "{}{:", "file: x"] {
        let loaded = load("MCP_PROXY__OIDC__CLIENT_SECRET", text).unwrap();
        let secret = loaded.config.oidc.unwrap().client_secret.unwrap();
        assert_eq!(secret.secret().expose_secret(), text);
    }
}
