//! Against a stand-in for Vault: every way to log in, every state of the server, rotation.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mcp_oidc_proxy::app::Secrets;
use mcp_oidc_proxy::clock::Ambient;
use mcp_oidc_proxy::config::{Config, Sources};
use mcp_oidc_proxy::telemetry::metrics::Metrics;
use rustix::process::Signal;
use serde_json::json;

use crate::harness::client::{PATIENCE, get};
use crate::harness::echo::Echo;
use crate::harness::mcp::Mcp;
use crate::harness::parts::{Part, run};
use crate::harness::proxy::{Process, Setup, proxy};
use crate::harness::vault::Vault;

const FIRST: &str = "canary-first-api-key-of-the-vault";
const SECOND: &str = "canary-second-api-key-of-the-vault";

/// A proxy whose API key, and a header for its backend, are in Vault.
fn setup(backend: &str, vault: &str) -> Setup {
    proxy()
        .yaml_backend(
            "/x",
            &format!("upstream: \"{backend}\"\nheaders: {{ X-Token: {{ vault: {{ path: kv/mcp, key: token }} }} }}"),
            "allow: { any_user: true }",
        )
        .yaml("auth:\n  api_keys:\n    - name: script\n      key: { vault: { path: secret/data/mcp, key: api_key } }\n")
        .yaml(vault)
}

/// The `vault:` block for a login with the pod's service account.
fn kubernetes(vault: &Vault, folder: &tempfile::TempDir) -> String {
    let jwt = folder.path().join("jwt");
    std::fs::write(&jwt, "jwt-of-the-pod\n").unwrap();
    format!(
        "vault: {{ address: \"{}\", auth_method: kubernetes, role: mcp-proxy, jwt_file: {} }}\n",
        vault.url(),
        jwt.display()
    )
}

fn filled(vault: &Vault) {
    vault.put(
        "mcp",
        json!({ "api_key": FIRST, "other": "canary-other-value" }),
    );
    vault.put_plain("mcp", json!({ "token": "canary-token-for-the-backend" }));
}

async fn status(url: &str, key: &str) -> u16 {
    get(url)
        .header("x-api-key", key)
        .send()
        .await
        .status
        .as_u16()
}

async fn becomes(process: &Process, key: &str, wanted: u16) {
    let url = process.url("/x");
    let work = async {
        while status(&url, key).await != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| panic!("{key} does not become {wanted}\n{}", process.part.log()));
}

/// Runs a command of the binary over a configuration; gives exit code and everything that it printed.
async fn command(setup: &Setup, words: &[&str]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, setup.text()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-oidc-proxy"));
    command
        .env_clear()
        .envs(crate::harness::parts::measured())
        .arg("--config")
        .arg(&file)
        .args(words);
    let output = run(command).await;
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(text).unwrap(),
    )
}

#[tokio::test]
async fn a_new_version_is_in_force_after_a_reload_and_nothing_is_dropped() {
    let (vault, folder) = (Vault::start().await, tempfile::tempdir().unwrap());
    filled(&vault);
    let backend = Mcp::start().await;
    let setup = setup(backend.url(), &kubernetes(&vault, &folder));
    let mut process = setup.start_process(&[]).await;
    becomes(&process, SECOND, 401).await;
    let slow = {
        let url = process.url("/x");
        let call = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
            "name": "slow", "arguments": { "millis": 3000 }, "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
                "io.modelcontextprotocol/clientCapabilities": {} } } });
        let ask = crate::harness::client::post(&url)
            .header("x-api-key", FIRST)
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "slow")
            .rpc(&call);
        tokio::spawn(ask.send())
    };
    while backend.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    vault.put("mcp", json!({ "api_key": SECOND }));
    process.signal(Signal::HUP);
    let url = process.url("/x");
    while status(&url, SECOND).await == 401 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(status(&url, FIRST).await, 401);
    // What began with the old key goes on to its end.
    let answer = slow.await.unwrap();
    assert_eq!(
        answer.rpc()["result"]["content"][0]["text"],
        "done",
        "{}",
        answer.text()
    );
    assert_eq!(vault.living(), 1, "one login serves all readings");

    process.signal(Signal::TERM);
    assert_eq!(process.part.ended().await, Some(0));
    assert_eq!(vault.living(), 0, "the login was given back");
    let log = process.part.log();
    assert!(
        !log.contains("canary") && !log.contains("jwt-of-the-pod"),
        "{log}"
    );
}

#[tokio::test]
async fn a_new_version_is_in_force_without_a_signal() {
    let (vault, folder) = (Vault::start().await, tempfile::tempdir().unwrap());
    filled(&vault);
    let backend = Echo::start().await;
    let setup = setup(backend.url(), &kubernetes(&vault, &folder))
        .yaml("secrets: { refresh: 10s }\nmetrics: { address: \"127.0.0.1:0\" }\n");
    let process = setup.start_process(&[]).await;
    becomes(&process, FIRST, 200).await;
    assert_eq!(
        backend.seen()[0].headers["x-token"],
        "canary-token-for-the-backend"
    );
    vault.put("mcp", json!({ "api_key": SECOND }));
    becomes(&process, SECOND, 200).await;
    assert_eq!(status(&process.url("/x"), FIRST).await, 401);
    assert!(process.part.log().contains("a secret changed"));
}

#[tokio::test]
async fn an_outage_later_changes_nothing_and_a_lease_that_ran_out_is_made_anew() {
    let (vault, folder) = (Vault::start().await, tempfile::tempdir().unwrap());
    filled(&vault);
    let backend = Echo::start().await;
    let mut process = setup(backend.url(), &kubernetes(&vault, &folder))
        .start_process(&[])
        .await;
    vault.seal(true);
    process.signal(Signal::HUP);
    process
        .part
        .wait_for(|line| line.contains("is sealed") && line.contains("the value in force stays"))
        .await;
    process
        .part
        .wait_for(|line| line.contains("is in force"))
        .await;
    becomes(&process, FIRST, 200).await;

    vault.seal(false);
    vault.expire();
    vault.put("mcp", json!({ "api_key": SECOND }));
    process.signal(Signal::HUP);
    becomes(&process, SECOND, 200).await;
    assert_eq!(vault.count("auth/kubernetes/login"), 2);

    // A policy that was taken away is named, and the value stays.
    vault.deny();
    process.signal(Signal::HUP);
    let line = process
        .part
        .wait_for(|line| {
            line.contains("the value in force stays")
                && line.contains("capabilities")
                && line.contains("secret/data/mcp")
        })
        .await;
    assert!(
        line.contains("read-mcp") && line.contains("secret/data/mcp"),
        "{line}"
    );
    becomes(&process, SECOND, 200).await;
}

#[tokio::test]
async fn the_start_waits_for_a_server_that_comes_back() {
    let (vault, folder) = (Vault::start().await, tempfile::tempdir().unwrap());
    filled(&vault);
    vault.fail(Some(500));
    let backend = Echo::start().await;
    let setup = setup(backend.url(), &kubernetes(&vault, &folder));
    let start = setup.start_process(&[]);
    let mend = async {
        while vault.count("auth/kubernetes/login") < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        vault.fail(None);
    };
    let (process, ()) = tokio::join!(start, mend);
    becomes(&process, FIRST, 200).await;
}

#[tokio::test]
async fn the_start_fails_with_what_to_do() {
    let (vault, folder) = (Vault::start().await, tempfile::tempdir().unwrap());
    filled(&vault);
    let quick = "secrets: { start_timeout: 1s }\n";
    let good = kubernetes(&vault, &folder);
    let fails = async |block: &str, says: &str| {
        let (code, text) = command(&setup("http://127.0.0.1:9/", block).yaml(quick), &[]).await;
        assert!(code == 69 && text.contains(says), "{says}: {code}\n{text}");
        assert!(!text.contains("canary"), "{text}");
    };
    vault.seal(true);
    fails(&good, "is sealed").await;
    vault.seal(false);
    vault.fail(Some(502));
    fails(&good, "answers 502: internal error; gave up after 1 s").await;
    vault.fail(None);
    let other = Vault::start().await;
    let (port, away) = (
        other.url().to_owned(),
        good.replace(vault.url(), other.url()),
    );
    drop(other);
    while tokio::net::TcpStream::connect(port.trim_start_matches("http://"))
        .await
        .is_ok()
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fails(&away, "cannot be reached").await;
    fails(
        &good.replace("role: mcp-proxy", "role: nobody"),
        "invalid role name \"nobody\"",
    )
    .await;
    fails(
        &good.replace("/jwt", "/none"),
        "token of the service account",
    )
    .await;
    std::fs::write(folder.path().join("other"), "jwt-of-another-pod").unwrap();
    fails(
        &good.replace("/jwt", "/other"),
        "refuses the login at auth/kubernetes: permission denied",
    )
    .await;

    vault.put("mcp", json!({ "other": "canary-other-value" }));
    fails(&good, "secret/data/mcp in Vault has no key `api_key`").await;
    vault.delete("mcp");
    fails(&good, "its current version was deleted").await;
    vault.deny();
    fails(
        &good,
        "a policy needs path \"secret/data/mcp\" { capabilities = [\"read\"] }",
    )
    .await;
    vault.stand_by_for("http://127.0.0.1:9");
    fails(&good, "cannot be reached").await;
}

#[tokio::test]
async fn every_way_to_log_in_works() {
    let (vault, folder) = (Vault::start().await, tempfile::tempdir().unwrap());
    filled(&vault);
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (secret_id, token) = (
        file("secret-id", "secret-id-of-the-proxy\n"),
        file("token", "hvs.canary-given\n"),
    );
    vault.token(
        "hvs.canary-given",
        Duration::from_secs(3600),
        &["default", "read-mcp"],
    );
    vault.token("hvs.canary-bare", Duration::from_secs(3600), &["read-mcp"]);
    let blocks = [
        format!("auth_method: approle, role_id: role-id, secret_id: {{ file: {secret_id} }}"),
        format!("auth_method: token, token: {{ file: {token} }}, namespace: team/mcp"),
        // Without the policy `default` it may not even look at itself.
        "auth_method: token, token: hvs.canary-bare".to_owned(),
    ];
    for block in blocks {
        let block = format!("vault: {{ address: \"{}\", {block} }}\n", vault.url());
        let setup = setup("http://127.0.0.1:9/", &block);
        let (code, text) = command(&setup, &["check-config", "--online"]).await;
        let read = text.contains("vault secret/data/mcp, key api_key: ok")
            && text.contains("vault kv/mcp, key token: ok");
        assert!(code == 69 && read, "{block}: {code} {text}");
        assert!(!text.contains("canary"), "{text}");
    }
    assert_eq!(
        vault.living(),
        2,
        "given tokens are left alone, the login is given back"
    );
    let spaced = vault
        .seen()
        .into_iter()
        .filter(|asked| asked.headers.contains_key("x-vault-namespace"));
    assert!(
        spaced.clone().count() >= 3
            && spaced
                .into_iter()
                .all(|asked| asked.headers["x-vault-namespace"] == "team/mcp")
    );
}

#[tokio::test]
async fn a_standby_sends_to_the_active_node() {
    let (active, standby) = (Vault::start().await, Vault::start().await);
    let folder = tempfile::tempdir().unwrap();
    filled(&active);
    standby.stand_by_for(active.url());
    let setup = setup("http://127.0.0.1:9/", &kubernetes(&standby, &folder));
    let (_, text) = command(&setup, &["check-config", "--online"]).await;
    assert!(
        text.contains("vault secret/data/mcp, key api_key: ok"),
        "{text}"
    );
    assert!(active.count("secret/data/mcp") == 1 && standby.count("secret/data/mcp") == 1);
}

#[tokio::test]
async fn looking_at_the_configuration_asks_nobody_and_shows_no_value() {
    let (vault, folder) = (Vault::start().await, tempfile::tempdir().unwrap());
    filled(&vault);
    let setup = setup("http://127.0.0.1:9/", &kubernetes(&vault, &folder));
    let (code, text) = command(&setup, &["check-config"]).await;
    assert_eq!(code, 0, "{text}");
    let (code, text) = command(&setup, &["print-config"]).await;
    assert!(
        code == 0 && text.contains("path: secret/data/mcp") && text.contains("key: api_key"),
        "{text}"
    );
    assert_eq!(vault.seen().len(), 0, "{:?}", vault.seen());

    // Online, a secret that breaks a rule is a mistake of the configuration.
    vault.put("mcp", json!({ "api_key": "tiny" }));
    let (code, text) = command(&setup, &["check-config", "--online"]).await;
    assert!(
        code == 78 && text.contains("auth.api_keys[0].key") && !text.contains("tiny"),
        "{code} {text}"
    );
}

/// Renewal in time, and a login anew at the longest time, by the loop that the process runs.
#[tokio::test]
async fn logins_are_renewed_before_they_end() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (vault, folder) = (Vault::start().await, tempfile::tempdir().unwrap());
    filled(&vault);
    vault.role(Duration::from_secs(20), Duration::from_secs(36), true);
    let file = folder.path().join("config.yaml");
    let text = setup("http://127.0.0.1:9/", &kubernetes(&vault, &folder)).text();
    std::fs::write(&file, &text).unwrap();
    let secrets = Secrets::new(Ambient::system());
    let metrics = Metrics::new();
    let (loaded, values) = secrets.load(&Sources::file(&file)).await.unwrap();
    secrets.took(&values, &metrics);
    let shown = metrics.render();
    assert!(
        shown.contains("mcp_proxy_secret_last_refresh_timestamp_seconds{source=\"vault\"} 1"),
        "{shown}"
    );
    let mut config: Config = loaded.config;
    config.secrets.refresh = mcp_oidc_proxy::config::Span(Duration::from_millis(300));
    let (config, reloads) = (Arc::new(config), AtomicUsize::new(0));
    let follow = secrets.follow(
        &metrics,
        || Arc::clone(&config),
        async || {
            reloads.fetch_add(1, Ordering::SeqCst);
        },
    );
    let watch = async {
        while vault.count("auth/token/renew-self") < 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(vault.count("auth/kubernetes/login"), 1);
        // After the renewal it holds for less than half of the time: near its longest time it is replaced.
        while vault.count("auth/kubernetes/login") < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(vault.living() >= 1);
        assert_eq!(reloads.load(Ordering::SeqCst), 0, "nothing changed");
        assert!(vault.count("secret/data/mcp") > 5, "looked at each time");
        vault.put("mcp", json!({ "api_key": SECOND }));
        while reloads.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, async {
        tokio::select! {
            () = follow => {}
            () = watch => {}
        }
    })
    .await
    .unwrap();
    secrets.finish().await;
    assert_eq!(vault.living(), 0);
}

/// A part that ends by itself shows its code.
#[tokio::test]
async fn a_wrong_secret_at_the_start_is_a_mistake_of_the_configuration() {
    let (vault, folder) = (Vault::start().await, tempfile::tempdir().unwrap());
    filled(&vault);
    vault.put("mcp", json!({ "api_key": "canary" }));
    let setup = setup("http://127.0.0.1:9/", &kubernetes(&vault, &folder));
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, setup.text()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-oidc-proxy"));
    command
        .env_clear()
        .envs(crate::harness::parts::measured())
        .arg("--config")
        .arg(&file);
    let mut part = Part::spawn("mcp-oidc-proxy", command);
    assert_eq!(part.ended().await, Some(78), "{}", part.log());
    let log = part.log();
    assert!(
        log.contains("auth.api_keys[0].key")
            && log.contains("has 6 bytes")
            && !log.contains("canary"),
        "{log}"
    );
}
