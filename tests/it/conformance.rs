//! The official conformance suite shows through the proxy what it shows without it.
//!
//! The suite flakes by itself, so each way is tried several times and the best of each scenario counts. It
//! cannot send a token; a forwarder in front of the proxy adds one.

use std::collections::BTreeMap;

use serde_json::json;

use crate::harness::everything::Everything;
use crate::harness::forwarder::Forwarder;
use crate::harness::mcp::Mcp;
use crate::harness::parts;
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::proxy;

/// Runs of each way, at most.
const RUNS: usize = 4;

/// Rules of every kind that permit what the suite does, so that calls are judged and lists are filtered.
const RULES: &str = r#"allow: { any_user: true }
tools: [{ match: "never_*", deny: true }, { match: "*", allow: { any_user: true } }]
prompts: [{ match: "never_*", deny: true }, { match: "*", allow: { any_user: true } }]
resources: [{ match: "never:*", deny: true }, { match: "*", allow: { any_user: true } }]
methods: [{ match: "never/*", deny: true }, { match: "*", allow: { any_user: true } }]"#;

/// Scenario to its checks: passed and failed.
type Results = BTreeMap<String, (u32, u32)>;

/// Scenario to its checks in the one and in the other.
type Differences = BTreeMap<String, ((u32, u32), (u32, u32))>;

/// What the proxy judges itself, better than a backend that does not look: `Host` and `Origin`.
const OURS: &str = "dns-rebinding-protection";

async fn compare(backend: &str, revision: &str) {
    let provider = RealProvider::start(&json!({ "access_token_ttl": 3600 })).await;
    let proxy = proxy()
        .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
        .route("/mcp", backend, RULES)
        // The suite opens one session after the other, and ends none.
        .yaml("mcp: { max_sessions_per_user: 0 }")
        .start()
        .await;
    let token = provider
        .mint(&json!({ "claims": { "aud": proxy.url("/mcp"), "exp": 32_503_680_000_i64 } }))
        .await;
    let forwarder = Forwarder::start(proxy.base(), &token).await;
    let url = forwarder.url("/mcp");

    let mut direct = run(backend, revision).await;
    let mut through = run(&url, revision).await;
    for _ in 1..RUNS {
        if worse(&direct, &through).is_empty() && worse(&through, &direct).is_empty() {
            break;
        }
        best(&mut direct, run(backend, revision).await);
        best(&mut through, run(&url, revision).await);
    }
    assert!(
        direct.values().map(|(passed, _)| passed).sum::<u32>() > 10,
        "the suite found next to nothing: {direct:?}"
    );
    let lost = worse(&direct, &through);
    assert!(
        lost.is_empty(),
        "the proxy costs these (direct, through): {lost:#?}"
    );
    let won = worse(&through, &direct);
    assert!(
        won.keys().all(|scenario| scenario == OURS),
        "the proxy hides these (through, direct): {won:#?}"
    );
}

/// Scenarios that pass fewer checks in the second than in the first.
fn worse(first: &Results, second: &Results) -> Differences {
    first
        .iter()
        .map(|(scenario, one)| {
            (
                scenario,
                *one,
                second.get(scenario).copied().unwrap_or_default(),
            )
        })
        .filter(|(_, one, two)| one.0 > two.0 || (one.0 == two.0 && one.1 < two.1))
        .map(|(scenario, one, two)| (scenario.clone(), (one, two)))
        .collect()
}

/// Keeps the better result of each scenario.
fn best(known: &mut Results, more: Results) {
    for (scenario, new) in more {
        let old = known.entry(scenario).or_insert(new);
        if new.0 > old.0 || (new.0 == old.0 && new.1 < old.1) {
            *old = new;
        }
    }
}

async fn run(url: &str, revision: &str) -> Results {
    let _place = parts::heavy().await;
    let mut command =
        parts::new_node("node_modules/@modelcontextprotocol/conformance/dist/index.js");
    command.args(["server", "--url", url, "--requirements", revision]);
    let output = parts::run(command).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let results: Results = text.lines().filter_map(line).collect();
    assert!(!results.is_empty(), "the suite said nothing:\n{text}");
    results
}

/// Reads `✓ ping: 2 passed, 0 failed`.
fn line(line: &str) -> Option<(String, (u32, u32))> {
    let rest = line
        .strip_prefix("✓ ")
        .or_else(|| line.strip_prefix("✗ "))?;
    let (scenario, counts) = rest.split_once(": ")?;
    let (passed, failed) = counts.split_once(" passed, ")?;
    let failed = failed.split(' ').next()?;
    Some((
        scenario.to_owned(),
        (passed.parse().ok()?, failed.parse().ok()?),
    ))
}

#[tokio::test]
async fn server_everything_2025_11_25() {
    let backend = Everything::start("streamableHttp").await;
    compare(&backend.url("/mcp"), "2025-11-25").await;
}

#[tokio::test]
async fn rmcp_2025_11_25() {
    let backend = Mcp::start().await;
    compare(backend.url(), "2025-11-25").await;
}

#[tokio::test]
async fn rmcp_2026_07_28() {
    let backend = Mcp::start().await;
    compare(backend.url(), "2026-07-28").await;
}

#[tokio::test]
async fn typescript_2026_07_28() {
    let backend = Everything::modern().await;
    compare(&backend.url("/mcp"), "2026-07-28").await;
}
