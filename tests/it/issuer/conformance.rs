//! The official suite's scenarios for authorization servers, against ours.

use serde_json::{Value, json};

use crate::harness::browser::Browser;
use crate::harness::echo::Echo;
use crate::harness::oauth::{App, Returned};
use crate::harness::parts::{self, Part};
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::{Proxy, proxy};
use crate::harness::redis::free_port;

/// Runs both scenarios; `resource` is what the client says about what it wants. The suite opens no browser: it prints
/// the address, and waits for the way back.
async fn run(proxy: &Proxy, port: u16, client_id: &str, more: &[&str]) {
    let _place = parts::heavy().await;
    let results = tempfile::tempdir().unwrap();
    let mut command =
        parts::new_node("node_modules/@modelcontextprotocol/conformance/dist/index.js");
    command
        .args([
            "authorization",
            "--url",
            proxy.url("").trim_end_matches('/'),
        ])
        .args(["--client-id", client_id, "--port", &port.to_string()])
        .arg("--output-dir")
        .arg(results.path())
        .args(more);
    let mut suite = Part::spawn("conformance", command);
    let authorize = suite
        .wait_for(|line| line.starts_with(&proxy.url("/oauth2/authorize")))
        .await;
    suite
        .wait_for(|line| line.starts_with("Waiting up to"))
        .await;

    let mut ann = Browser::default();
    let login = ann.open(&authorize).await;
    let page = ann.sign_in(login, "ann").await;
    let form = page.form_to("/oauth2/consent").fill("decision", "approve");
    let returned = Returned::of(&ann.submit(form).await);
    assert!(!returned.code().is_empty());

    assert_eq!(suite.ended().await, Some(0), "{}", suite.log());
    let mut passed = 0;
    for folder in std::fs::read_dir(results.path()).unwrap() {
        let checks = std::fs::read(folder.unwrap().path().join("checks.json")).unwrap();
        let checks: Vec<Value> = serde_json::from_slice(&checks).unwrap();
        for check in checks {
            assert_eq!(check["status"], "SUCCESS", "{check:#}");
            passed += 1;
        }
    }
    assert_eq!(
        passed,
        3,
        "metadata, its mention of client documents, the grant: {}",
        suite.log()
    );
}

async fn world() -> (RealProvider, Echo, Proxy) {
    let provider = RealProvider::start(&json!({ "registration": false })).await;
    let backend = Echo::start().await;
    let proxy = proxy()
        .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
        .route(
            "/mcp",
            &format!("{}/mcp", backend.url()),
            "allow: { any_user: true }",
        )
        .start()
        .await;
    (provider, backend, proxy)
}

#[tokio::test]
async fn the_scenarios_pass_with_a_client_that_registered_itself() {
    let (_provider, _backend, proxy) = world().await;
    let port = free_port();
    let mcp = proxy.url("/mcp");
    let app = App::discover(&mcp, &format!("http://127.0.0.1:{port}/callback")).await;
    run(&proxy, port, &app.client_id, &["--resource", &mcp]).await;
}

#[tokio::test]
async fn the_scenarios_pass_without_a_resource() {
    let (_provider, _backend, proxy) = world().await;
    let port = free_port();
    let app = App::discover(
        &proxy.url("/mcp"),
        &format!("http://127.0.0.1:{port}/callback"),
    )
    .await;
    run(&proxy, port, &app.client_id, &[]).await;
}
