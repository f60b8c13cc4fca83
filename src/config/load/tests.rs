use std::path::Path;

use proptest::prelude::*;

use super::*;

/// A file that is right; tests change one thing.
const GOOD: &str = "\
version: 1
public_url: https://mcp.example.com
secret_keys: [\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]
oidc:
  issuer: https://login.example.com/realms/corp
  client_id: proxy
  client_secret: a-long-client-secret
backends:
  - name: github
    upstream: http://127.0.0.1:3001/mcp
routes:
  - path: /github/mcp
    backend: github
    allow: { groups: [engineering] }
";

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn load_text(text: &str) -> Result<Loaded, Problems> {
    load_with(text, &[])
}

fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let dir = Dir::new();
    let file = dir.write("config.yaml", text);
    load(&Sources {
        files: vec![file],
        env: env(variables),
        ..Sources::default()
    })
}

fn load_env(variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    load(&Sources {
        env: env(variables),
        ..Sources::default()
    })
}

/// The problems, as lines without the folder.
fn lines(result: Result<Loaded, Problems>) -> Vec<String> {
    let problems = result.expect_err("this should not load");
    problems
        .all()
        .iter()
        .map(|problem| {
            let text = problem.to_string();
            match text.split_once("config.yaml") {
                Some((_, rest)) => format!("config.yaml{rest}"),
                None => text,
            }
        })
        .collect()
}

#[test]
fn a_good_file_loads() {
    let loaded = load_text(GOOD).unwrap();
    assert_eq!(loaded.config.backends[0].name.as_str(), "github");
    assert_eq!(
        loaded.config.resolved_public_url().unwrap().as_str(),
        "https://mcp.example.com"
    );
    assert_eq!(loaded.config.key_material(), vec![vec![0; 32]]);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

/// Each: what to replace, by what, and how the one problem begins and what it says.
#[test]
fn every_mistake_is_named_with_its_place() {
    let cases: &[(&str, &str, &str, &str)] = &[
        (
            "version: 1\n",
            "version: 2\n",
            "config.yaml:1:1: version: ",
            "reads version 1",
        ),
        (
            "version: 1\n",
            "",
            "config.yaml:1:1: ",
            "`version` is missing",
        ),
        (
            "public_url",
            "pubic_url",
            "config.yaml:2:1: pubic_url: ",
            "did you mean `public_url`?",
        ),
        (
            "https://mcp.example.com\n",
            "https://mcp.example.com/prod\n",
            "config.yaml:2:1: public_url: ",
            "map the gateway",
        ),
        (
            "https://mcp.example.com\n",
            "mcp.example.com\n",
            "config.yaml:2:1: public_url: ",
            "https://mcp.example.com",
        ),
        (
            "\"AAAA",
            "\"",
            "config.yaml:3:15: secret_keys[0]: ",
            "keygen",
        ),
        (
            "client_id: proxy\n",
            "client_id: 5\n",
            "config.yaml:6:3: oidc.client_id: ",
            "must be a text",
        ),
        (
            "  client_id: proxy\n",
            "",
            "config.yaml:4:1: oidc: ",
            "`client_id` is missing",
        ),
        (
            "client_id: proxy\n",
            "client_id: \" \"\n",
            "config.yaml:6:3: oidc.client_id: ",
            "empty",
        ),
        (
            "https://login.example.com/realms/corp",
            "login.example.com",
            "config.yaml:5:3: oidc.issuer: ",
            "not an address",
        ),
        (
            "a-long-client-secret",
            "{ env: NO_SUCH_NAME }",
            "config.yaml:7:3: oidc.client_secret: ",
            "NO_SUCH_NAME is not set",
        ),
        (
            "a-long-client-secret",
            "{ file: /no/such/file }",
            "config.yaml:7:3: oidc.client_secret: ",
            "/no/such/file",
        ),
        (
            "a-long-client-secret",
            "[1]",
            "config.yaml:7:3: oidc.client_secret: ",
            "{ env: NAME }",
        ),
        (
            "a-long-client-secret",
            "${NO_SUCH_NAME}",
            "config.yaml:7:3: oidc.client_secret: ",
            "NO_SUCH_NAME is not set",
        ),
        (
            "a-long-client-secret",
            "x${HOME}",
            "config.yaml:7:3: oidc.client_secret: ",
            "only be a whole value",
        ),
        (
            "  client_id: proxy\n",
            "  client_id: proxy\n  client_id: p\n",
            "config.yaml:7:3: oidc.client_id: ",
            "written twice",
        ),
        (
            "  client_id: proxy\n",
            "  client_id: proxy\n  client_auth: private_key_jwt\n",
            "config.yaml:4:1: oidc.private_key: ",
            "needs a key",
        ),
        (
            "  client_id: proxy\n",
            "  client_id: proxy\n  client_auth: privat_key_jwt\n",
            "config.yaml:7:3: oidc.client_auth: ",
            "did you mean `private_key_jwt`?",
        ),
        (
            "  client_id: proxy\n",
            "  client_id: proxy\n  private_key: nonsense\n",
            "config.yaml:7:3: oidc.private_key: ",
            "no PEM private key",
        ),
        (
            "  client_id: proxy\n",
            "  client_id: proxy\n  scopes: [email]\n",
            "config.yaml:7:3: oidc.scopes: ",
            "`openid` is missing",
        ),
        (
            "  client_id: proxy\n",
            "  client_id: proxy\n  timeout: 10\n",
            "config.yaml:7:3: oidc.timeout: ",
            "must be",
        ),
        (
            "  client_id: proxy\n",
            "  client_id: proxy\n  timeout: 10x\n",
            "config.yaml:7:3: oidc.timeout: ",
            "no unit",
        ),
        (
            "  client_id: proxy\n",
            "  client_id: proxy\n  timeout: 0s\n",
            "config.yaml:7:3: oidc.timeout: ",
            "0 would end",
        ),
        (
            "  client_id: proxy\n",
            "  client_id: proxy\n  ca_file: /no/ca.pem\n",
            "config.yaml:7:3: oidc.ca_file: ",
            "cannot be read",
        ),
        (
            "  client_id: proxy\n",
            "  client_id: proxy\n  authorization_params: { state: x }\n",
            "config.yaml:7:27: oidc.authorization_params.state: ",
            "sets this parameter itself",
        ),
        (
            "http://127.0.0.1:3001/mcp",
            "127.0.0.1:3001",
            "config.yaml:10:5: backends[0].upstream: ",
            "http://host:port/path",
        ),
        (
            "http://127.0.0.1:3001/mcp",
            "http://u:p@h/",
            "config.yaml:10:5: backends[0].upstream: ",
            "user or password",
        ),
        (
            "http://127.0.0.1:3001/mcp",
            "unix:x.sock",
            "config.yaml:10:5: backends[0].upstream: ",
            "absolute path",
        ),
        (
            "name: github\n",
            "name: github\n    headers: { X-Forwarded-For: x }\n",
            "config.yaml:10:16: backends[0].headers.X-Forwarded-For: ",
            "governed by the proxy",
        ),
        (
            "name: github\n",
            "name: github\n    headers: { \"a b\": x }\n",
            "config.yaml:10:16: backends[0].headers[\"a b\"]: ",
            "not a header name",
        ),
        (
            "name: github\n",
            "name: github\n    tls: { server_name: x }\n",
            "config.yaml:10:5: backends[0].tls: ",
            "not https",
        ),
        (
            "    upstream: http://127.0.0.1:3001/mcp\n",
            "",
            "config.yaml:9:5: backends[0]: ",
            "`upstream` is missing",
        ),
        (
            "backend: github\n",
            "backend: githup\n",
            "config.yaml:13:5: routes[0].backend: ",
            "did you mean `github`?",
        ),
        (
            "    allow: { groups: [engineering] }\n",
            "",
            "config.yaml:12:5: routes[0]: ",
            "nobody may use this route",
        ),
        (
            "{ groups: [engineering] }",
            "{}",
            "config.yaml:14:5: routes[0].allow: ",
            "the rule is empty",
        ),
        (
            "{ groups: [engineering] }",
            "{ any_user: true, groups: [a] }",
            "config.yaml:14:5: routes[0].allow: ",
            "excludes",
        ),
        (
            "{ groups: [engineering] }",
            "{ group: [engineering] }",
            "config.yaml:14:14: routes[0].allow.group: ",
            "did you mean `groups`?",
        ),
        (
            "{ groups: [engineering] }",
            "{ groups: engineering }",
            "config.yaml:14:14: routes[0].allow.groups: ",
            "as in [a, b]",
        ),
        (
            "{ groups: [engineering] }",
            "{ email_domains: [\"@x.y\"] }",
            "config.yaml:14:30: routes[0].allow.email_domains[0]: ",
            "not a domain",
        ),
        (
            "{ groups: [engineering] }",
            "{ groups: [a] }\n    public: true",
            "config.yaml:15:5: routes[0].public: ",
            "exclude each other",
        ),
        (
            "{ groups: [engineering] }",
            "{ groups: [a] }\n    tools: []",
            "config.yaml:15:5: routes[0].tools: ",
            "not available in this version",
        ),
        (
            "{ groups: [engineering] }",
            "{ groups: [a] }\n    kind: mpc",
            "config.yaml:15:5: routes[0].kind: ",
            "none of mcp, http",
        ),
        (
            "backends:\n",
            "admin: { address: x }\nbackends:\n",
            "config.yaml:8:1: admin: ",
            "not available in this version",
        ),
        (
            "backends:\n",
            "sessions: { store: redis }\nbackends:\n",
            "config.yaml:8:1: sessions.redis: ",
            "REDIS_URL",
        ),
        (
            "backends:\n",
            "sessions: { store: redis, redis: { url: 'http://:pw@x' } }\nbackends:\n",
            "config.yaml:8:36: sessions.redis.url: ",
            "not a Redis address",
        ),
        (
            "backends:\n",
            "sessions: { idle_timeout: 30d }\nbackends:\n",
            "config.yaml:8:13: sessions.idle_timeout: ",
            "longer than absolute_timeout",
        ),
        (
            "backends:\n",
            "sessions: { cookie_name: 'a b' }\nbackends:\n",
            "config.yaml:8:13: sessions.cookie_name: ",
            "not a cookie name",
        ),
        (
            "backends:\n",
            "sessions: { cookie_name: __Host-x }\nbackends:\n",
            "config.yaml:8:13: sessions.cookie_name: ",
            "leave the prefix out",
        ),
        (
            "backends:\n",
            "auth: { clock_skew: 10m }\nbackends:\n",
            "config.yaml:8:9: auth.clock_skew: ",
            "5m or less",
        ),
        (
            "backends:\n",
            "auth: { mode: bypass }\nlisten: [{ address: '0.0.0.0:1' }]\nbackends:\n",
            "config.yaml:9:12: listen[0].address: ",
            "insecure_bypass_on_network",
        ),
        (
            "backends:\n",
            "auth: { api_keys: [{ name: a, key: short }] }\nbackends:\n",
            "config.yaml:8:31: auth.api_keys[0].key: ",
            "at least 16",
        ),
        (
            "backends:\n",
            "auth: { api_keys: [{ name: a }] }\nbackends:\n",
            "config.yaml:8:20: auth.api_keys[0]: ",
            "add `key` or `sha256`",
        ),
        (
            "backends:\n",
            "auth: { api_keys: [{ name: a, sha256: zz }] }\nbackends:\n",
            "config.yaml:8:31: auth.api_keys[0].sha256: ",
            "64 digits",
        ),
        (
            "backends:\n",
            "auth: { issuers: [{ issuer: x }] }\nbackends:\n",
            "config.yaml:8:21: auth.issuers[0].issuer: ",
            "not an address",
        ),
        (
            "backends:\n",
            "auth: { issuers: [{ issuer: 'https://a.b', algorithms: [HS256] }] }\nbackends:\n",
            "config.yaml:8:57: auth.issuers[0].algorithms[0]: ",
            "not accepted",
        ),
        (
            "backends:\n",
            "listen: []\nbackends:\n",
            "config.yaml:8:1: listen: ",
            "there is no listener",
        ),
        (
            "backends:\n",
            "listen: [{ address: nonsense }]\nbackends:\n",
            "config.yaml:8:12: listen[0].address: ",
            "host:port",
        ),
        (
            "backends:\n",
            "listen: [{ address: '::1:80' }]\nbackends:\n",
            "config.yaml:8:12: listen[0].address: ",
            "brackets",
        ),
        (
            "backends:\n",
            "listen: [{ address: 'a:1' }, { address: 'a:1' }]\nbackends:\n",
            "config.yaml:8:32: listen[1].address: ",
            "listen[0] already",
        ),
        (
            "backends:\n",
            "metrics: { address: '127.0.0.1:8080' }\nbackends:\n",
            "config.yaml:8:12: metrics.address: ",
            "taken by listen[0]",
        ),
        (
            "backends:\n",
            "logging: { level: inof }\nbackends:\n",
            "config.yaml:8:12: logging.level: ",
            "not a log level",
        ),
        (
            "backends:\n",
            "logging: { format: xml }\nbackends:\n",
            "config.yaml:8:12: logging.format: ",
            "none of json, text",
        ),
        (
            "backends:\n",
            "own_prefix: oauth2\nbackends:\n",
            "config.yaml:8:1: own_prefix: ",
            "not a path prefix",
        ),
        (
            "backends:\n",
            "trusted_proxies: [10.0.0.0/99]\nbackends:\n",
            "config.yaml:8:19: trusted_proxies[0]: ",
            "IP",
        ),
        (
            "backends:\n",
            "limits: { max_headers: -1 }\nbackends:\n",
            "config.yaml:8:11: limits.max_headers: ",
            "whole number",
        ),
        (
            "backends:\n",
            "limits: { max_body: 4MB }\nbackends:\n",
            "config.yaml:8:11: limits.max_body: ",
            "4MiB",
        ),
        (
            "backends:\n",
            "limits: 5\nbackends:\n",
            "config.yaml:8:1: limits: ",
            "a section of keys",
        ),
        (
            "backends:\n",
            "mcp: { allowed_origins: ['*'] }\nbackends:\n",
            "config.yaml:8:26: mcp.allowed_origins[0]: ",
            "https://app.example.com",
        ),
        (
            "backends:\n",
            "identity_headers: { claims: { Host: x } }\nbackends:\n",
            "config.yaml:8:31: identity_headers.claims.Host: ",
            "governed",
        ),
        (
            "backends:\n",
            "5: x\nbackends:\n",
            "config.yaml:1:1: ",
            "`5` is not a text",
        ),
        (
            "backends:\n",
            "logging: !x { level: info }\nbackends:\n",
            "config.yaml:8:1: logging: ",
            "tags",
        ),
        (
            "backends:\n",
            "backends: [\n",
            "config.yaml:",
            "the YAML cannot be read",
        ),
    ];
    let mut wrong = Vec::new();
    for (from, to, start, says) in cases {
        assert!(GOOD.contains(from), "the case is stale: {from}");
        let found = lines(load_text(&GOOD.replacen(from, to, 1)));
        if found.len() != 1 || !found[0].starts_with(start) || !found[0].contains(says) {
            wrong.push(format!("{to}: {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_lines() {
    let text = "version: 1\nlisten:\n  - address: 1\n  - address: x\noidc: { issuer: x }\nbackends:\n  - upstream: a\nroutes:\n  - { path: /a, backend: b, allow: { any_user: maybe } }\n  - { path: /b, backend: b, colour: red }\n";
    let found = lines(load_text(text));
    let starts: Vec<&str> = found
        .iter()
        .map(|line| line.splitn(4, ':').nth(1).unwrap_or_default())
        .collect();
    assert_eq!(starts, ["3", "4", "5", "7", "9", "10", "10"], "{found:#?}");
    // The dropped backend and listener are not complained about twice.
    assert!(
        !found
            .iter()
            .any(|line| line.contains("there is no backend")),
        "{found:#?}"
    );
}

#[test]
fn no_more_than_a_hundred_problems() {
    let routes: String = (0..300)
        .map(|i| format!("  - {{ path: /{i}, backend: 5 }}\n"))
        .collect();
    let found = load_text(&format!("version: 1\nroutes:\n{routes}")).unwrap_err();
    assert_eq!(found.all().len(), 100);
}

#[test]
fn a_missing_or_unreadable_file_is_named() {
    let error = load(&Sources::file("/no/such/config.yaml"))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("/no/such/config.yaml: the file cannot be read:"),
        "{error}"
    );
    let dir = Dir::new();
    let error = load(&Sources::file(dir.path())).unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
}

#[test]
fn without_a_named_file_the_first_usual_place_counts() {
    let dir = Dir::new();
    let second = dir.write("second.yaml", GOOD);
    let sources = Sources {
        default_files: vec![dir.path().join("no.yaml"), second.clone()],
        ..Sources::default()
    };
    assert_eq!(load(&sources).unwrap().files, [second]);
}

#[test]
fn layers_win_in_order_and_origins_tell_who() {
    let dir = Dir::new();
    let base = dir.write("base.yaml", GOOD);
    let over = dir.write(
        "over.yaml",
        "logging: { level: debug }\nsessions: { idle_timeout: 1h }\noidc: { client_id: other }\n",
    );
    let sources = Sources {
        files: vec![base, over],
        env: env(&[
            ("LOG_LEVEL", "warn"),
            ("MCP_DEBUG_LEVEL", "trace"),
            ("MCP_PROXY__SESSIONS__IDLE_TIMEOUT", "2h"),
            ("PORT", "9999"),
        ]),
        flags: vec![("logging.level".to_owned(), "error".to_owned())],
        ..Sources::default()
    };
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.config.logging.level, "error");
    assert_eq!(
        loaded.config.sessions.idle_timeout,
        super::super::Span::secs(7200)
    );
    assert_eq!(loaded.config.oidc.as_ref().unwrap().client_id, "other");
    assert_eq!(loaded.config.listen[0].address, "0.0.0.0:9999");
    let origin = |path: &str| {
        loaded
            .origins
            .of(&KeyPath::parse(path).unwrap())
            .to_string()
    };
    assert_eq!(origin("logging.level"), "flag --set logging.level");
    assert_eq!(
        origin("sessions.idle_timeout"),
        "environment MCP_PROXY__SESSIONS__IDLE_TIMEOUT"
    );
    assert_eq!(origin("listen[0].address"), "environment PORT");
    assert!(origin("oidc.client_id").ends_with("over.yaml:3:9"));
    assert!(origin("oidc.issuer").ends_with("base.yaml:5:3"));
    assert_eq!(origin("sessions.absolute_timeout"), "default");
}

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
    assert_eq!(config.backends[0].upstream, "http://mcp-server:3000");
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
    assert_eq!(loaded.config.backends[0].upstream, "http://h:81");
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
fn a_placeholder_is_a_whole_value_of_the_type_that_is_needed() {
    let text = GOOD.replace("client_id: proxy", "client_id: ${ID}")
        + "sessions: { max_logins: \"${N}\" }\n";
    let loaded = load_with(&text, &[("ID", "007"), ("N", "12")]).unwrap();
    assert_eq!(loaded.config.oidc.unwrap().client_id, "007");
    assert_eq!(loaded.config.sessions.max_logins, 12);
}

#[test]
fn an_empty_key_means_its_default() {
    let loaded = load_text(&format!("{GOOD}sessions:\nlogging:\n  level:\n")).unwrap();
    assert_eq!(loaded.config.logging.level, "info");
}

#[test]
fn certificates_and_keys_are_looked_at() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let dir = Dir::new();
    let make = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    };
    let (cert, key) = make("a.example");
    let cert = dir.write("a.crt", &cert);
    let key = dir.write("a.key", &key);
    let other = dir.write("b.key", &make("b.example").1);
    let garbage = dir.write("garbage", "no PEM here\n");
    let none = dir.path().join("none");
    let problem = |cert: &Path, key: &Path| {
        let listen = format!(
            "listen: [{{ address: 'a:1', tls: {{ cert_file: {}, key_file: {} }} }}]\n",
            cert.display(),
            key.display()
        );
        load_text(&format!("{GOOD}{listen}"))
            .map(drop)
            .map_err(|problems| problems.to_string())
    };
    assert_eq!(problem(&cert, &key), Ok(()));
    for (cert, key, at, says) in [
        (&none, &key, "tls.cert_file: ", "the certificate file"),
        (&cert, &none, "tls.key_file: ", "the private key file"),
        (
            &garbage,
            &key,
            "tls.cert_file: ",
            "holds no PEM certificate",
        ),
        (
            &cert,
            &garbage,
            "tls.key_file: ",
            "holds no PEM private key",
        ),
        (
            &cert,
            &other,
            "tls.key_file: ",
            "does not belong to the certificate",
        ),
    ] {
        let error = problem(cert, key).unwrap_err();
        assert!(
            error.contains(":15:") && error.contains(at) && error.contains(says),
            "{error}"
        );
    }
    let ca = format!(
        "{GOOD}sessions: {{ store: redis, redis: {{ url: 'rediss://r', tls: {{ ca_file: {} }} }} }}\n",
        garbage.display()
    );
    assert!(
        load_text(&ca)
            .unwrap_err()
            .to_string()
            .contains("the CA file")
    );
    let half = format!(
        "{GOOD}sessions: {{ store: redis, redis: {{ url: 'rediss://r', tls: {{ cert_file: {} }} }} }}\n",
        cert.display()
    );
    assert!(
        load_text(&half)
            .unwrap_err()
            .to_string()
            .contains("add `key_file`")
    );
}

#[test]
fn checks_of_other_modules_join_in() {
    let dir = Dir::new();
    let file = dir.write("config.yaml", GOOD);
    let sources = Sources {
        checks: vec![|_| vec![("routes[0].path".to_owned(), "collides".to_owned())]],
        ..Sources::file(file)
    };
    assert_eq!(
        lines(load(&sources)),
        ["config.yaml:12:5: routes[0].path: collides"]
    );
}

#[test]
fn no_secret_is_ever_shown() {
    let secret = "hunter2hunter2hunter2";
    let text = GOOD.replace("a-long-client-secret", secret)
        + &format!(
            "sessions: {{ redis: {{ url: 'redis://:{secret}@r', password: {secret} }} }}\nauth: {{ api_keys: [{{ name: a, key: {secret} }}] }}\n"
        );
    let loaded = load_text(&text).unwrap();
    assert!(!format!("{loaded:?}").contains("hunter2"));
    assert!(
        !serde_yaml::to_string(&loaded.config)
            .unwrap()
            .contains("hunter2")
    );
    let sources = Sources {
        env: env(&[("X", secret)]),
        flags: vec![("a".to_owned(), secret.to_owned())],
        ..Sources::default()
    };
    assert!(!format!("{sources:?}").contains("hunter2"));
    let wrong = text
        .replace("redis://", "http://")
        .replace("store", "stores");
    let wrong = wrong.replace("sessions: {", "sessions: { store: redis,");
    let error = load_text(&wrong).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_makes_it_panic(text in "(version: 1\n)?(\\PC|\n| |:|-){0,120}") {
        let _ = load_text(&text);
    }

    #[test]
    fn nor_do_right_keys_with_wrong_values(
        key in "(listen|oidc|routes|backends|sessions|auth|secret_keys|mcp|metrics|trusted_proxies)",
        value in "(5|x|\\[\\]|\\{\\}|\\[5\\]|\\[\\{a: b\\}\\]|~|true|!t 5|\\[~\\]|\\{env: X\\}|&a \\[\\*a\\])",
    ) {
        let _ = load_text(&format!("version: 1\n{key}: {value}\n"));
    }

    #[test]
    fn nor_do_variables(name in "MCP_PROXY__[A-Z0-9_]{0,30}", value in "\\PC{0,20}") {
        let _ = load_env(&[(&name, &value)]);
    }
}
