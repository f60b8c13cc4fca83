//! Secrets that other systems keep: named in the file, read in a second pass.

use super::tests::{GOOD, env, lines, load_text};
use super::*;
use crate::config::remote::VaultKey;
use crate::secret::Secret;

const VAULT: &str = "vault: { address: \"https://vault.example.com:8200\", role: mcp-proxy }\n";

fn key(path: &str, key: &str) -> Remote {
    Remote::Vault(VaultKey {
        path: path.to_owned(),
        key: key.to_owned(),
    })
}

/// Loads a text with values that were fetched.
fn with(
    text: &str,
    values: &[(Remote, &str)],
    variables: &[(&str, &str)],
) -> Result<Loaded, Problems> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    std::fs::write(&file, text).unwrap();
    let values = values
        .iter()
        .map(|(remote, text)| (remote.clone(), Secret::new(*text)));
    load(&Sources {
        files: vec![file],
        env: env(variables),
        remote: Arc::new(values.collect()),
        ..Sources::default()
    })
}

fn client_secret(loaded: &Loaded) -> &str {
    let oidc = loaded.config.oidc.as_ref().unwrap();
    oidc.client_secret
        .as_ref()
        .unwrap()
        .secret()
        .expose_secret()
}

#[test]
fn the_first_pass_says_what_is_needed_and_the_second_has_it() {
    let text = GOOD.replace(
        "a-long-client-secret",
        "{ vault: { path: secret/data/mcp, key: client_secret } }",
    ) + VAULT;
    let wanted = key("secret/data/mcp", "client_secret");
    let first = with(&text, &[], &[]).unwrap();
    assert!(first.remote.contains(&wanted) && first.unread.contains(&wanted));
    let second = with(&text, &[(wanted.clone(), "from-the-vault")], &[]).unwrap();
    assert!(second.remote.contains(&wanted) && second.unread.is_empty());
    assert_eq!(client_secret(&second), "from-the-vault");
    // What is shown is the place, never the value.
    let shown = serde_yaml::to_string(&second.config).unwrap();
    assert!(
        shown.contains("path: secret/data/mcp") && !shown.contains("from-the-vault"),
        "{shown}"
    );
    assert!(!format!("{second:?}").contains("from-the-vault"));
}

#[test]
fn rules_about_a_secret_wait_until_it_is_known() {
    let text = GOOD.replace(
        "secret_keys: [\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]",
        "secret_keys: [{ vault: { path: kv/mcp, key: root } }]\nauth: { api_keys: [{ name: ci, key: { vault: { path: kv/mcp, key: ci } } }, { name: cd, key: { vault: { path: kv/mcp, key: cd } } }] }",
    ) + VAULT;
    assert_eq!(with(&text, &[], &[]).unwrap().unread.len(), 3);
    let short = [
        (key("kv/mcp", "root"), "short"),
        (key("kv/mcp", "ci"), "0123456789abcdef0123"),
        (key("kv/mcp", "cd"), "tiny"),
    ];
    let found = lines(with(&text, &short, &[]));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].contains("secret_keys[0]") && found[0].contains("keygen"),
        "{found:#?}"
    );
    assert!(found[1].contains("auth.api_keys[1].key"), "{found:#?}");
}

const GUIDES: &str = "\
vault:
  enabled: true
  address: https://vault.example.com
  auth_method: kubernetes
  role: mcp-proxy
  secrets:
    - path: secret/data/mcp-proxy/oidc
      key: client_secret
      env: OIDC_CLIENT_SECRET
";

#[test]
fn the_block_fills_variables_as_if_they_stood_in_the_environment() {
    let wanted = key("secret/data/mcp-proxy/oidc", "client_secret");
    let values = [(wanted.clone(), "from-the-vault")];
    for written in [
        // Nowhere, as a variable, and as a placeholder.
        GOOD.replace("  client_secret: a-long-client-secret\n", ""),
        GOOD.replace("a-long-client-secret", "{ env: OIDC_CLIENT_SECRET }"),
        GOOD.replace("a-long-client-secret", "${OIDC_CLIENT_SECRET}"),
        GOOD.to_owned(),
    ] {
        let text = written + GUIDES;
        let loaded = with(&text, &values, &[]).unwrap();
        assert_eq!(client_secret(&loaded), "from-the-vault", "{text}");
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    }
    // What the process has wins, and Vault is not asked.
    let text = GOOD.to_owned() + GUIDES;
    let loaded = with(&text, &[], &[("OIDC_CLIENT_SECRET", "of-the-environment")]).unwrap();
    assert_eq!(client_secret(&loaded), "of-the-environment");
    assert!(loaded.remote.is_empty());
    assert!(
        loaded
            .warnings
            .iter()
            .any(|each| each.contains("vault.secrets[0] is not used"))
    );
    // Switched off, it gives nothing.
    let off = text.replace("enabled: true", "enabled: false");
    assert_eq!(
        client_secret(&with(&off, &[], &[]).unwrap()),
        "a-long-client-secret"
    );
    let off = [("MCP_PROXY__VAULT__ENABLED", "false")];
    assert_eq!(
        client_secret(&with(&text, &[], &off).unwrap()),
        "a-long-client-secret"
    );
}

#[test]
fn keys_and_names_of_ones_own_are_filled_too() {
    let more = "    - { path: kv/a, key: api, env: MCP_API_KEY }
    - { path: kv/a, key: root, env: MCP_ENCRYPTION_KEY }
    - { path: kv/a, key: token, env: MY_TOKEN }
    - { path: kv/a, key: redis, env: MCP_PROXY__SESSIONS__REDIS__PASSWORD }
    - { path: kv/a, key: none, env: NOBODY }
";
    let text = GOOD.replace(
        "name: github\n",
        "name: github\n    headers: { X-Token: { env: MY_TOKEN } }\n",
    ) + GUIDES
        + more;
    let loaded = with(&text, &[], &[]).unwrap();
    let wanted: Vec<String> = loaded.unread.iter().map(ToString::to_string).collect();
    assert_eq!(wanted.len(), 5, "{wanted:?}");
    assert_eq!(loaded.config.auth.api_keys[0].name, "api-key");
    assert_eq!(loaded.config.secret_keys.len(), 2);
    assert!(
        loaded
            .warnings
            .iter()
            .any(|each| each.contains("vault.secrets[5] is read by nothing")),
        "{:?}",
        loaded.warnings
    );
}

#[test]
fn mistakes_are_named() {
    let secret = |source: &str| GOOD.replace("a-long-client-secret", source);
    let one = "{ vault: { path: secret/data/mcp, key: k } }";
    for (text, says) in [
        (secret(one), "nothing says where it is"),
        (
            secret(one) + "vault: { address: \"https://v\", role: r, enabled: false }\n",
            "switched off",
        ),
        (
            secret("{ vault: { path: /secret/x, key: k } }") + VAULT,
            "not a path of Vault's API",
        ),
        (
            secret("{ vault: { path: secret/x } }") + VAULT,
            "{ vault: { path, key } }",
        ),
        (
            secret("{ vault: { path: a, key: k }, env: X }") + VAULT,
            "{ vault: { path, key } }",
        ),
        (
            secret(one) + "vault: { address: vault, role: r }\n",
            "such as https://vault.example.com:8200",
        ),
        (
            secret(one) + "vault: { address: \"https://v/v1\", role: r }\n",
            "more than host and port",
        ),
        (
            secret(one) + "vault: { address: \"http://vault:8200\", role: r }\n",
            "in the clear",
        ),
        (
            secret(one) + "vault: { address: \"https://v\" }\n",
            "needs `role`",
        ),
        (
            secret(one) + "vault: { address: \"https://v\", auth_method: approle, role_id: r }\n",
            "needs `secret_id`",
        ),
        (
            secret(one) + "vault: { address: \"https://v\", auth_method: token }\n",
            "needs `token`",
        ),
        (
            secret(one)
                + "vault: { address: \"https://v\", auth_method: token, token: { vault: { path: a, key: b } } }\n",
            "cannot be kept elsewhere",
        ),
        (
            secret(one) + "vault: { address: \"https://v\", role: r, auth_path: ../sys }\n",
            "is no path",
        ),
        (
            GOOD.to_owned() + "secrets: { refresh: 1s }\n",
            "from 10s to 1d",
        ),
        (
            GOOD.to_owned() + &GUIDES.replace("OIDC_CLIENT_SECRET", "OIDC_CLIENT_ID"),
            "holds no secret",
        ),
        (
            GOOD.to_owned() + GUIDES + "    - { path: a, key: b, env: OIDC_CLIENT_SECRET }\n",
            "given twice",
        ),
    ] {
        let found = lines(load_text(&text));
        assert!(
            found.len() == 1 && found[0].contains(says),
            "{says}: {found:#?}\n{text}"
        );
    }
    let allowed = secret(one) + "vault: { address: \"http://127.0.0.1:8200\", role: r }\n";
    assert!(load_text(&allowed).is_ok());
    let allowed =
        secret(one) + "vault: { address: \"http://vault:8200\", role: r, allow_http: true }\n";
    assert!(load_text(&allowed).is_ok());
}
