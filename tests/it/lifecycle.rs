//! The process and who looks after it: operators, changed files, the service manager, load balancers.

mod control;
mod notify;
mod rolling;
mod sockets;
mod watching;

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::client::{Ask, PATIENCE, get, post};
use crate::harness::proxy::{Process, Setup, proxy};

const KEY: &str = "a-key-of-a-script-for-tests";

/// A proxy that lets a script in.
fn setup() -> Setup {
    proxy().yaml(&format!(
        "auth:\n  api_keys:\n    - {{ name: script, key: {KEY}, groups: [engineering] }}\n"
    ))
}

/// The rest of a route to a plain server that every caller may use.
fn allow() -> &'static str {
    "kind: http\nallow: { any_user: true }"
}

/// A call that takes so many milliseconds.
fn slow(url: &str, millis: u32) -> Ask {
    post(url)
        .header("x-api-key", KEY)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "slow")
        .rpc(
            &json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
            "name": "slow", "arguments": { "millis": millis }, "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
                "io.modelcontextprotocol/clientCapabilities": {},
            } } }),
        )
}

/// Runs a command of the binary.
async fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-oidc-proxy"));
    command
        .env_clear()
        .envs(crate::harness::parts::measured())
        .args(args);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// What a command printed as its answer.
fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits until a URL answers a key with a status.
async fn becomes(process: &Process, url: &str, key: &str, wanted: u16) {
    let work = async {
        while get(url).header("x-api-key", key).send().await.status != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| panic!("{url} does not become {wanted}\n{}", process.part.log()));
}

/// The value of a counter with its labels, as the metrics show it; 0 when they do not.
async fn counted(process: &Process, series: &str) -> u64 {
    let text = get(&process.url("/metrics")).send().await.text();
    text.lines()
        .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
        .unwrap_or(0)
}
