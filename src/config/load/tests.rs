use std::path::Path;

use proptest::prelude::*;

use super::*;

/// A file that is right; tests change one thing.
pub(super) const GOOD: &str = "\
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

pub(super) fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

pub(super) fn load_text(text: &str) -> Result<Loaded, Problems> {
    load_with(text, &[])
}

pub(super) fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let dir = Dir::new();
    let file = dir.write("config.yaml", text);
    load(&Sources {
        files: vec![file],
        env: env(variables),
        ..Sources::default()
    })
}

pub(super) fn load_env(variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    load(&Sources {
        env: env(variables),
        ..Sources::default()
    })
}

/// The problems, as lines without the folder.
pub(super) fn lines(result: Result<Loaded, Problems>) -> Vec<String> {
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

#[test]
fn all_problems_are_told_at_once_in_the_order_of_lines() {
    let text = "version: 1\nlisten:\n  - address: 1\n  - address: x\noidc: { issuer: x }\nbackends:\n  - upstream: a\nroutes:\n  - { path: /a, backend: b, allow: { any_user: maybe } }\n  - { path: /b, backend: b, colour: red }\n";
    let found = lines(load_text(text));
    let starts: Vec<&str> = found
        .iter()
        .map(|line| line.split(':').nth(1).unwrap_or_default())
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
    let routes = "  - { path: /a, backend: 5 }\n".repeat(300);
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

#[test]
fn an_authorization_server_needs_people_who_can_sign_in() {
    let without = "version: 1\nauth: { api_keys: [{ name: a, key: a-long-api-key-1234 }] }\nbackends: [{ name: b, upstream: 'http://a:1/' }]\nroutes: [{ path: /a, backend: b, allow: { any_user: true } }]\n";
    // On by default means: where it can be.
    let loaded = load_text(without).unwrap();
    assert!(loaded.config.authorization_server.enabled);
    assert!(!loaded.config.is_authorization_server());
    let wanted = format!("{without}authorization_server: {{ enabled: true }}\n");
    let variable = [("MCP_PROXY__AUTHORIZATION_SERVER__ENABLED", "true")];
    for loaded in [
        load_text(&wanted).unwrap(),
        load_with(without, &variable).unwrap(),
    ] {
        assert!(!loaded.config.is_authorization_server());
        let told = "authorization_server.enabled has no effect: there is no `oidc`";
        assert!(
            loaded.warnings.iter().any(|each| each.starts_with(told)),
            "{:#?}",
            loaded.warnings
        );
    }
    let unused = format!(
        "{without}authorization_server: {{ clients: [{{ client_id: a, redirect_uris: ['https://a.b/c'] }}] }}\n"
    );
    let warnings = load_text(&unused).unwrap().warnings;
    assert!(
        warnings.iter().any(|each| each.contains("has no effect")),
        "{warnings:#?}"
    );
    let loaded = load_text(GOOD).unwrap();
    assert!(loaded.config.is_authorization_server());
}

#[test]
fn a_whole_authorization_server_loads() {
    let text = GOOD.replacen(
        "backends:\n",
        "authorization_server:
  access_token_lifetime: 5m
  default_route: /github/mcp
  redirect_schemes: [cursor, com.example.app]
  clients:
    - client_id: desk.top_1~
      name: Desktop
      redirect_uris: ['http://127.0.0.1/cb', 'com.example.app:/cb']
      routes: [/github/mcp]
      scopes: [read]
    - client_id: nightly
      secret_sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      grant_types: [client_credentials]
      groups: [engineering]
  client_metadata_documents:
    allowed_hosts: [claude.ai, '*.example.com']
    private_networks: [10.1.0.0/16]
  registration: { redirect_hosts: [xn--e1afmkfd.example], per_hour: 10 }
backends:
",
        1,
    );
    let loaded = load_text(&text).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let client = &loaded.config.authorization_server.clients[1];
    assert_eq!(
        client.secret_digest(),
        Some(crate::secret::Digest::of("test"))
    );
}
