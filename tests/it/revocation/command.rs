//! The admin listener answers programs of this machine only, and the command asks it.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::admin;
use crate::harness::client::{Ask, get, post};
use crate::harness::echo::Echo;
use crate::harness::proxy::{Proxy, proxy};
use http::Method;

const ISSUER: &str = "https://idp.example";

async fn started(address: &str) -> Proxy {
    let backend = Echo::start().await;
    proxy()
        .oidc_yaml(&format!(
            "issuer: {ISSUER}\nclient_id: a\nclient_secret: b\n"
        ))
        .route(
            "/app/*",
            backend.url(),
            "kind: http\nallow: { any_user: true }",
        )
        .yaml(&format!("admin: {{ address: \"{address}\" }}"))
        .try_start()
        .await
        .unwrap()
}

pub(super) async fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-oidc-proxy"));
    command.args(args);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn no_browser_and_no_other_name_is_answered() {
    let proxy = started("127.0.0.1:0").await;
    let address = proxy.admin();
    let whom = json!({ "issuer": ISSUER, "subject": "nobody" });
    let url = format!("http://{address}/sessions/revoke");
    for (name, value) in [
        ("origin", "http://127.0.0.1"),
        ("sec-fetch-site", "none"),
        ("sec-fetch-mode", "navigate"),
    ] {
        let answer = post(&url).header(name, value).json(&whom).send().await;
        assert_eq!(answer.status, 403, "{name}");
    }
    let port = address.rsplit(':').next().unwrap();
    let there = format!("http://localhost:{port}/sessions/revoke");
    assert_eq!(post(&there).json(&whom).send().await.status, 200);
    let rebound = Ask::bare(Method::POST, &there).header("host", "evil.example");
    assert_eq!(rebound.json(&whom).send().await.status, 403);
    let plain = post(&url).body(whom.to_string()).send().await;
    assert_eq!(plain.status, 415, "a form could send this");
    assert_eq!(
        admin(&proxy, &json!({ "issuer": ISSUER })).await.status,
        400
    );
    assert_eq!(
        admin(&proxy, &json!({ "issuer": "", "subject": "x" }))
            .await
            .status,
        400
    );
    let long = json!({ "issuer": ISSUER, "subject": "x".repeat(20_000) });
    assert_eq!(admin(&proxy, &long).await.status, 413);
    assert_eq!(get(&url).send().await.status, 405);
    assert_eq!(
        get(&format!("http://{address}/metrics"))
            .send()
            .await
            .status,
        404
    );
    assert_eq!(
        get(&format!("http://{address}/sessions?issuer=a"))
            .send()
            .await
            .status,
        400
    );
    let none = admin(&proxy, &whom).await;
    assert_eq!(none.json(), json!({ "logins": 0, "grants": 0 }));
}

#[tokio::test]
async fn the_command_asks_a_socket_that_is_the_proxys_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let admin = format!("unix:{}", path.display());
    let proxy = started(&admin).await;
    assert_eq!(proxy.admin(), admin);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");

    let file = proxy.file().to_str().unwrap();
    let list = run(&["sessions", "list", "--subject", "ann", "--config", file]).await;
    assert!(list.status.success(), "{list:?}");
    let answer: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(answer, json!({ "logins": [], "grants": 0 }));
    let named = ["--issuer", ISSUER, "--admin", &admin];
    let revoke = run(&[&["sessions", "revoke", "--subject", "ann"], &named[..]].concat()).await;
    assert!(revoke.status.success(), "{revoke:?}");
    let answer: Value = serde_json::from_slice(&revoke.stdout).unwrap();
    assert_eq!(answer, json!({ "logins": 0, "grants": 0 }));

    // In an emergency the file may be the emergency.
    let broken = folder.path().join("broken.yaml");
    std::fs::write(
        &broken,
        format!("admin: {{ address: \"{admin}\" }}\nroutes: [{{ path: 7 }}]\noh: no\n"),
    )
    .unwrap();
    let everything = [
        "sessions",
        "revoke",
        "--all",
        "--yes",
        "--config",
        broken.to_str().unwrap(),
    ];
    let everything = run(&everything).await;
    assert!(everything.status.success(), "{everything:?}");
    let answer: Value = serde_json::from_slice(&everything.stdout).unwrap();
    assert_eq!(answer["ended"], "everything");

    let direct = run(&[
        "sessions",
        "revoke",
        "--subject",
        "ann",
        "--direct",
        "--config",
        file,
    ])
    .await;
    assert_eq!(
        direct.status.code(),
        Some(2),
        "sessions are in memory: {direct:?}"
    );
    proxy.stop().await;
    assert!(!path.exists());
    let gone = run(&[&["sessions", "list", "--subject", "ann"], &named[..]].concat()).await;
    assert_eq!(gone.status.code(), Some(69), "{gone:?}");
    assert!(String::from_utf8_lossy(&gone.stderr).contains("is the proxy running"));
}
