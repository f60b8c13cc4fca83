//! Sockets that the service manager opened: they are there before us and after us.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinHandle;

use super::{KEY, allow, answer, run, setup};
use crate::harness::client::{PATIENCE, get};
use crate::harness::echo::Echo;
use crate::harness::parts::Part;
use crate::harness::proxy::signal;

/// The binary with a socket as descriptor 3, as `sd_listen_fds(3)` has it.
fn started_over(socket: OwnedFd, name: &str, config: &Path) -> Part {
    let mut command = Command::new("/bin/sh");
    command
        .env_clear()
        .envs(crate::harness::parts::measured())
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", name)
        .arg("-c")
        // The shell's own number is that of what it becomes.
        .arg("exec 3<&0 </dev/null; LISTEN_PID=$$; export LISTEN_PID; exec \"$0\" --config \"$1\"")
        .arg(env!("CARGO_BIN_EXE_mcp-oidc-proxy"))
        .arg(config);
    Part::spawn_over("mcp-oidc-proxy", command, Stdio::from(socket))
}

fn tcp() -> (TcpListener, u16) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

async fn listening(part: &mut Part) -> String {
    part.wait_for(|line| line.contains("\"listening\"")).await
}

#[tokio::test]
async fn a_restart_refuses_nobody() {
    let backend = Echo::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    std::fs::write(
        &config,
        setup()
            .yaml("shutdown: { delay: 0s, timeout: 20s, stream_grace: 0s }")
            .route("/x/*", backend.url(), allow())
            .text(),
    )
    .unwrap();
    let (socket, port) = tcp();
    let over = || OwnedFd::from(socket.try_clone().unwrap());
    let mut first = started_over(over(), "http", &config);
    let line = listening(&mut first).await;
    assert!(line.contains(&format!("127.0.0.1:{port}")), "{line}");

    let (go, done) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicUsize::new(0)),
    );
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (go, done) = (Arc::clone(&go), Arc::clone(&done));
            tokio::spawn(async move {
                while go.load(Ordering::SeqCst) {
                    // A connection for each; one that is refused or cut fails the test.
                    let url = format!("http://localhost:{port}/x/y");
                    let answer = get(&url).header("x-api-key", KEY).send().await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let more = async || {
        let wanted = done.load(Ordering::SeqCst) + 20;
        let work = async {
            while done.load(Ordering::SeqCst) < wanted
                && !callers.iter().any(JoinHandle::is_finished)
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, work).await.unwrap();
    };
    more().await;
    signal(&first, Signal::TERM);
    assert_eq!(first.ended().await, Some(0), "{}", first.log());
    let mut second = started_over(over(), "http", &config);
    listening(&mut second).await;
    more().await;

    // A reload keeps the socket, whatever address is written for it.
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("127.0.0.1:0", "127.0.0.1:1");
    std::fs::write(&config, text.replace("/x/*", "/*")).unwrap();
    signal(&second, Signal::HUP);
    second.wait_for(|line| line.contains("is in force")).await;
    more().await;
    let url = format!("http://localhost:{port}/other");
    assert_eq!(get(&url).header("x-api-key", KEY).send().await.status, 200);

    go.store(false, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
}

#[tokio::test]
async fn a_socket_that_fits_nothing_is_an_error_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    let text = setup().route("/x/*", "http://127.0.0.1:9", allow()).text();
    std::fs::write(&config, text).unwrap();
    for (name, says) in [
        (
            "mcp-oidc-proxy.socket",
            "name it http, https, metrics or admin",
        ),
        ("https", "0 listeners with TLS"),
        ("metrics", "set metrics.enabled"),
        ("admin", "set admin.address"),
    ] {
        let mut part = started_over(OwnedFd::from(tcp().0), name, &config);
        assert_eq!(part.ended().await, Some(78), "{}", part.log());
        part.wait_for(|line| line.contains(says)).await;
    }
}

#[tokio::test]
async fn an_admin_socket_for_everybody_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let config = folder.path().join("config.yaml");
    let admin = format!("unix:{}", path.display());
    let text = setup()
        .yaml(&format!("admin: {{ address: \"{admin}\" }}"))
        .route("/x/*", "http://127.0.0.1:9", allow())
        .text();
    std::fs::write(&config, text).unwrap();
    let over = || OwnedFd::from(socket.try_clone().unwrap());
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
    mode(0o666).unwrap();
    let mut open = started_over(over(), "admin", &config);
    assert_eq!(open.ended().await, Some(69), "{}", open.log());
    open.wait_for(|line| line.contains("set SocketMode=0600"))
        .await;

    mode(0o600).unwrap();
    let mut part = started_over(over(), "admin", &config);
    listening(&mut part).await;
    let status = run(&["reload", "--admin", &admin]).await;
    assert_eq!(answer(&status)["needs_restart"], serde_json::json!([]));
    signal(&part, Signal::TERM);
    assert_eq!(part.ended().await, Some(0), "{}", part.log());
    assert!(path.exists(), "who made the file removes it");
}

/// The real thing: the program that systemd has for trying this out.
#[tokio::test]
async fn systemd_passes_sockets_by_name() {
    const TOOL: &str = "/usr/bin/systemd-socket-activate";
    if !Path::new(TOOL).exists() {
        eprintln!("skipped: {TOOL} is not here; the package `systemd` has it");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    let socket = folder.path().join("admin.sock");
    let admin = format!("unix:{}", socket.display());
    let text = setup()
        .yaml(&format!(
            "admin: {{ address: \"{admin}\" }}\nmetrics: {{ address: \"127.0.0.1:1\" }}"
        ))
        .route("/x/*", "http://127.0.0.1:9", allow())
        .text();
    std::fs::write(&config, text).unwrap();
    // Free a moment ago; another test may take one of them, which the program says.
    let [traffic, metrics] = [tcp().1, tcp().1];
    let mut command = Command::new(TOOL);
    command
        .args(["-l", &format!("127.0.0.1:{traffic}")])
        .args(["-l", &format!("127.0.0.1:{metrics}")])
        .args(["-l", socket.to_str().unwrap()])
        .arg("--fdname=http:metrics:admin")
        .arg(env!("CARGO_BIN_EXE_mcp-oidc-proxy"))
        .arg("--config")
        .arg(&config);
    let mut part = Part::spawn("systemd-socket-activate", command);
    part.wait_for(|line| line.contains("Listening on") && line.contains("admin.sock"))
        .await;
    // The first connection starts the program, and waits for it.
    let ready = get(&format!("http://localhost:{traffic}/ready"))
        .send()
        .await;
    assert_eq!(ready.status, 200, "{}", part.log());
    let shown = get(&format!("http://localhost:{metrics}/metrics"))
        .send()
        .await;
    assert!(
        shown.text().contains("mcp_proxy_build_info"),
        "{}",
        shown.text()
    );
    let ended = run(&[
        "drain",
        "--now",
        "--wait",
        "--config",
        config.to_str().unwrap(),
    ])
    .await;
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(part.ended().await, Some(0), "{}", part.log());
}
