//! `audit verify`, `audit head` and `keygen --audit`, with the real binary.

use std::path::Path;
use std::process::{Command, Output};

use base64::Engine;
use serde_json::Value;

use super::world::{API_KEY, SEED};
use crate::harness::client::get;
use crate::harness::echo::Echo;
use crate::harness::parts::Part;
use crate::harness::proxy::{Process, proxy};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mcp-oidc-proxy"))
        .args(arguments)
        .env_clear()
        .envs(crate::harness::parts::measured())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn public() -> String {
    mcp_oidc_proxy::audit::public_key(&[7; 32]).unwrap()
}

#[test]
fn keygen_prints_a_seed_and_its_public_key() {
    let output = run(&["keygen", "--audit"]);
    assert_eq!(code(&output), 0);
    let text = stdout(&output);
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    let seed = base64::engine::general_purpose::STANDARD
        .decode(value("seed:"))
        .unwrap();
    let seed: [u8; 32] = seed.try_into().unwrap();
    assert_eq!(
        mcp_oidc_proxy::audit::public_key(&seed).unwrap(),
        value("public:")
    );
}

/// The real binary with a log, killed in the middle of its life and started anew.
async fn start(folder: &Path, backend: &Echo) -> Process {
    let audit = folder.join("audit.jsonl");
    proxy()
        .route("/mcp", backend.url(), "kind: http\nallow: { any_user: true }")
        .yaml(&format!(
            "auth: {{ api_keys: [{{ name: robot, key: {API_KEY} }}] }}\naudit: {{ sink: file, file: {{ path: \"{}\" }} }}",
            audit.display()
        ))
        .start_process(&[("AUDIT_LOG_KEY", SEED)])
        .await
}

async fn calls(process: &Process, count: usize) {
    for _ in 0..count {
        let answer = get(&process.url("/mcp"))
            .header("x-api-key", API_KEY)
            .send()
            .await;
        assert_eq!(answer.status, 200);
    }
}

/// Waits until the file has a checkpoint behind its last call.
async fn is_sealed(file: &Path) {
    for _ in 0..600 {
        let text = std::fs::read_to_string(file).unwrap();
        if text
            .lines()
            .last()
            .is_some_and(|line| line.contains("log.checkpoint"))
        {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("no checkpoint");
}

#[tokio::test]
async fn a_log_of_a_process_that_was_killed_is_proven_and_a_change_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let path = file.to_str().unwrap();
    let backend = Echo::start().await;
    let process = start(folder.path(), &backend).await;
    calls(&process, 3).await;
    is_sealed(&file).await;
    process.signal(rustix::process::Signal::KILL);
    ended(process.part).await;
    let key = public();
    let verify = |more: &[&str]| {
        let mut arguments = vec!["audit", "verify", "--key", &key, path];
        arguments.extend(more);
        run(&arguments)
    };
    let output = verify(&[]);
    assert_eq!(code(&output), 0, "{}", stdout(&output));

    let process = start(folder.path(), &backend).await;
    calls(&process, 2).await;
    process.signal(rustix::process::Signal::TERM);
    ended(process.part).await;
    let output = verify(&["--format", "json"]);
    assert_eq!(code(&output), 0, "{}", stdout(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["intact"], true);
    assert_eq!(report["chains"][0]["crashes"], 1);

    let head = stdout(&run(&["audit", "head", path])).trim().to_owned();
    assert_eq!(report["chains"][0]["head"], head.as_str());
    let kept = folder.path().join("head.txt");
    std::fs::write(&kept, format!("{head}\n")).unwrap();
    let kept = kept.to_str().unwrap();
    assert_eq!(code(&verify(&["--head", &head])), 0);
    assert_eq!(code(&verify(&["--head", kept])), 0);

    let whole = std::fs::read_to_string(&file).unwrap();
    let cut: String = whole.split_inclusive('\n').take(4).collect();
    std::fs::write(&file, &cut).unwrap();
    assert_eq!(code(&verify(&[])), 0, "only a head shows it");
    let output = verify(&["--head", kept]);
    assert_eq!(code(&output), 1);
    assert!(
        stdout(&output).contains("the end was cut off"),
        "{}",
        stdout(&output)
    );
    std::fs::write(&file, whole.replacen("robot", "nobot", 1)).unwrap();
    let output = verify(&[]);
    assert_eq!(code(&output), 1);
    assert!(
        stdout(&output).contains("was changed"),
        "{}",
        stdout(&output)
    );
}

async fn ended(mut part: Part) {
    part.ended().await;
}

#[test]
fn wrong_questions_have_codes_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = folder.path().join("nothing");
    let nothing = nothing.to_str().unwrap();
    assert_eq!(code(&run(&["audit", "verify", nothing])), 69);
    assert_eq!(code(&run(&["audit", "verify", "--key", "x", nothing])), 2);
    assert_eq!(code(&run(&["audit", "verify", "--head", "x", nothing])), 2);
    assert_eq!(code(&run(&["audit", "head", nothing])), 69);
    let other = folder.path().join("other");
    std::fs::write(&other, "hello\n").unwrap();
    assert_eq!(code(&run(&["audit", "verify", other.to_str().unwrap()])), 1);
    // An empty folder proves nothing.
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(
        code(&run(&["audit", "verify", empty.path().to_str().unwrap()])),
        1
    );
}
