//! What operators meet: free ports, redirecting listeners, running out of descriptors.

use std::process::Command;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::harness::client::{PATIENCE, get};
use crate::harness::parts::Part;

const REST: &str = "metrics: { enabled: false }\nbackends: [{ name: b, upstream: \"http://127.0.0.1:9/\" }]\nauth:\n  api_keys: [{ name: ci, key: hunter2hunter2hunter2 }]\nroutes: [{ path: /b, backend: b, allow: { any_user: true } }]\nshutdown: { delay: 0s, timeout: 1s, stream_grace: 0s }\n";

/// The real binary with a configuration, through a shell with `limits`.
struct Program {
    part: Part,
    /// Of the listeners, in their order.
    ports: Vec<u16>,
    _folder: tempfile::TempDir,
}

async fn program(listen: &str, limits: &str) -> Program {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, format!("version: 1\nlisten: {listen}\n{REST}")).unwrap();
    let mut command = Command::new("/bin/sh");
    command
        .env_clear()
        .envs(crate::harness::parts::measured())
        .arg("-c")
        .arg(format!("{limits} exec \"$0\" --config \"$1\""))
        .arg(env!("CARGO_BIN_EXE_mcp-oidc-proxy"))
        .arg(&file);
    let mut part = Part::spawn("mcp-oidc-proxy", command);
    let line = part.wait_for(|line| line.contains("\"listening\"")).await;
    let ports = line
        .split("127.0.0.1:")
        .skip(1)
        .map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().unwrap()
        })
        .collect();
    Program {
        part,
        ports,
        _folder: folder,
    }
}

#[tokio::test]
async fn a_free_port_is_named_as_it_was_bound() {
    let program = program("[{ address: \"127.0.0.1:0\" }]", "").await;
    let port = program.ports[0];
    let log = program.part.log();
    assert!(
        log.contains(&format!("redirect URIs use http://localhost:{port}")),
        "{log}"
    );
    assert!(!log.contains("localhost:0"), "{log}");
}

#[tokio::test]
async fn answers_of_a_redirecting_listener_have_an_access_record() {
    let mut program = program(
        "[{ address: \"127.0.0.1:0\" }, { address: \"localhost:0\", redirect_to_https: true }]\npublic_url: https://mcp.example.com",
        "",
    )
    .await;
    let answer = get(&format!(
        "http://127.0.0.1:{}/some/path?secret=x",
        program.ports[1]
    ))
    .header("user-agent", "a-browser")
    .send()
    .await;
    assert_eq!(answer.status, 301);
    let line = program
        .part
        .wait_for(|line| line.contains("/some/path"))
        .await;
    let record: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(record["event"], "request");
    assert_eq!(record["http.status"], 301);
    assert_eq!(record["http.method"], "GET");
    assert_eq!(record["client.address"], "127.0.0.1");
    assert_eq!(record["user_agent"], "a-browser");
    assert!(!line.contains("secret"), "{line}");
}

/// Without descriptors nothing can be accepted: the listener pauses instead of spinning, says so, and goes on once
/// some are free.
#[tokio::test]
async fn running_out_of_descriptors_ends_nothing_and_burns_nothing() {
    let mut program = program("[{ address: \"127.0.0.1:0\" }]", "ulimit -n 64;").await;
    let address = format!("127.0.0.1:{}", program.ports[0]);
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(TcpStream::connect(&address).await.unwrap());
    }
    let mut said = Vec::new();
    for _ in 0..6 {
        let line = program
            .part
            .wait_for(|line| line.contains("cannot be accepted"))
            .await;
        said.push(time_of(&line));
    }
    // The shortest pause is 50 ms, by the process's own clock; a loop that spins says all six at once.
    for pair in said.windows(2) {
        let pause = pair[1].saturating_sub(pair[0]);
        assert!(pause >= Duration::from_millis(50), "{said:?}");
    }
    drop(held);
    let answered = async {
        loop {
            if let Ok(mut stream) = TcpStream::connect(&address).await {
                let asked = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
                if tokio::io::AsyncWriteExt::write_all(&mut stream, asked)
                    .await
                    .is_ok()
                {
                    let mut text = String::new();
                    let _ = stream.read_to_string(&mut text).await;
                    if text.starts_with("HTTP/1.1 200") {
                        return;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, answered)
        .await
        .expect("it accepts again");
}

/// When a line was logged, since the epoch.
fn time_of(line: &str) -> Duration {
    let record: serde_json::Value = serde_json::from_str(line).unwrap();
    let text = record["timestamp"].as_str().expect("the time of the line");
    let at = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339);
    Duration::try_from(at.unwrap() - time::OffsetDateTime::UNIX_EPOCH).unwrap()
}
