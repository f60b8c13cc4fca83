//! Operators: the commands `reload` and `drain`, and the admin listener behind them.

use std::time::Duration;

use http::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{allow, answer, becomes, counted, run, setup, slow};
use crate::harness::client::{Ask, get, post};
use crate::harness::echo::Echo;
use crate::harness::mcp::Mcp;
use crate::harness::proxy::{Process, Setup};

const METRICS: &str = "metrics: { address: \"127.0.0.1:0\", on_traffic_listener: true }";

/// A folder for the admin socket, and the socket's address.
fn socket() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", folder.path().join("admin.sock").display());
    (folder, address)
}

fn with_admin(address: &str) -> Setup {
    setup().yaml(&format!("admin: {{ address: \"{address}\" }}"))
}

fn file(process: &Process) -> &str {
    process.file().to_str().unwrap()
}

#[tokio::test]
async fn the_command_waits_for_the_outcome_of_a_reload_and_tells_it() {
    let (folder, admin) = socket();
    let log = folder.path().join("audit.log");
    let backend = Echo::start().await;
    let first = with_admin(&admin)
        .yaml(METRICS)
        .yaml(&format!(
            "audit: {{ sink: file, file: {{ path: {} }} }}",
            log.display()
        ))
        .route("/one/*", backend.url(), allow());
    let process = first.start_process(&[]).await;

    let second = first.clone().route("/two/*", backend.url(), allow());
    process.rewrite(&second.text());
    let told = answer(&run(&["reload", "--config", file(&process)]).await);
    assert_eq!(told["files"], json!([file(&process)]));
    assert_eq!(told["needs_restart"], json!([]));
    let url = process.url("/two/x");
    assert_eq!(
        get(&url)
            .header("x-api-key", super::KEY)
            .send()
            .await
            .status,
        200,
        "in force when the command is back"
    );

    process.rewrite(&second.text().replace("backend: b1", "backend: b7"));
    let refused = run(&["reload", "--admin", &admin]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    let line = second
        .text()
        .lines()
        .position(|line| line.contains("backend: b1"));
    let place = format!("{}:{}:", file(&process), line.unwrap() + 1);
    assert!(
        said.contains(&place) && said.contains("routes[1].backend") && said.contains("b7"),
        "{place} {said}"
    );
    assert!(
        said.trim_end().ends_with("the old one stays in force."),
        "{said}"
    );
    becomes(&process, &url, super::KEY, 200).await;

    // What is no YAML has its line, too. The command reads the file itself to find the listener.
    process.rewrite("version: 1\nroutes: [\n");
    let broken = run(&["reload", "--config", file(&process)]).await;
    assert_eq!(broken.status.code(), Some(1), "{broken:?}");
    assert!(
        String::from_utf8_lossy(&broken.stderr).contains("config.yaml:"),
        "{broken:?}"
    );

    // What only a restart changes is named until it happens.
    let third = second.text().replace("audit.log", "other.log");
    process.rewrite(&third);
    for _ in 0..2 {
        let told = answer(&run(&["reload", "--admin", &admin]).await);
        assert_eq!(told["needs_restart"], json!(["audit"]));
    }
    let counted = async |result: &str| {
        let series =
            format!("mcp_proxy_config_reloads_total{{trigger=\"api\",result=\"{result}\"}}");
        counted(&process, &series).await
    };
    assert_eq!((counted("ok").await, counted("error").await), (3, 1));

    process.signal(Signal::TERM);
    let mut process = process;
    assert_eq!(process.part.ended().await, Some(0));
    let records: Vec<Value> = std::fs::read_to_string(&log)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|record: &Value| record["kind"] == "config.reloaded")
        .collect();
    let seen = records.iter().map(|record| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (
            text(&record["outcome"]),
            text(&record["reason"]),
            text(&record["who"]["credential"]),
        )
    });
    let seen: Vec<_> = seen.collect();
    let by = |outcome: &str, reason: &str| {
        (
            outcome.to_owned(),
            reason.to_owned(),
            "admin_socket".to_owned(),
        )
    };
    assert_eq!(
        seen,
        [
            by("success", "api"),
            by("error", "wrong"),
            by("success", "api"),
            by("success", "api")
        ],
        "{records:?}"
    );
}

#[tokio::test]
async fn drain_tells_the_times_at_once_and_can_be_waited_for() {
    let (_folder, admin) = socket();
    let backend = Echo::start().await;
    let mut process = with_admin(&admin)
        .yaml("shutdown: { delay: 3s, timeout: 5s, stream_grace: 1s }")
        .route("/x/*", backend.url(), allow())
        .start_process(&[])
        .await;
    becomes(&process, &process.url("/ready"), super::KEY, 200).await;
    let times = json!({ "draining": true, "delay": "3s", "stream_grace": "1s", "timeout": "5s" });
    assert_eq!(answer(&run(&["drain", "--admin", &admin]).await), times);
    assert_eq!(get(&process.url("/ready")).send().await.status, 503);
    assert_eq!(
        get(&process.url("/x/"))
            .header("x-api-key", super::KEY)
            .send()
            .await
            .status,
        200,
        "still serving while load balancers notice"
    );
    // Once more, which changes nothing, and waiting for the end.
    assert_eq!(
        answer(&run(&["drain", "--wait", "--admin", &admin]).await),
        times
    );
    assert_eq!(
        process.part.ended().await,
        Some(0),
        "{}",
        process.part.log()
    );
    let gone = run(&["drain", "--admin", &admin]).await;
    assert_eq!(gone.status.code(), Some(69), "{gone:?}");
}

#[tokio::test]
async fn drain_now_skips_the_delay_also_of_a_drain_that_was_begun() {
    let (_folder, admin) = socket();
    let mut process = with_admin(&admin)
        .yaml("shutdown: { delay: 10m, timeout: 10m }")
        .route("/x/*", Echo::start().await.url(), allow())
        .start_process(&[])
        .await;
    assert!(run(&["drain", "--admin", &admin]).await.status.success());
    assert_eq!(get(&process.url("/ready")).send().await.status, 503);
    let now = run(&["drain", "--now", "--wait", "--config", file(&process)]).await;
    assert!(now.status.success(), "{now:?}");
    assert_eq!(
        process.part.ended().await,
        Some(0),
        "{}",
        process.part.log()
    );
}

/// Kubernetes runs a hook that drains, and then sends its signal.
#[tokio::test]
async fn the_signal_after_an_order_to_end_cuts_nothing() {
    let (_folder, admin) = socket();
    let backend = Mcp::start().await;
    let mut process = with_admin(&admin)
        .yaml("shutdown: { delay: 1s, timeout: 30s, stream_grace: 0s }")
        .route("/mcp", backend.url(), "allow: { any_user: true }")
        .start_process(&[])
        .await;
    let before = backend.seen().len();
    let slow = tokio::spawn(slow(&process.url("/mcp"), 3000).send());
    while backend.seen().len() == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    answer(&run(&["drain", "--admin", &admin]).await);
    process.signal(Signal::TERM);
    let done = slow.await.unwrap().rpc();
    assert_eq!(done["result"]["content"][0]["text"], "done", "{done}");
    assert_eq!(
        process.part.ended().await,
        Some(0),
        "{}",
        process.part.log()
    );
}

#[tokio::test]
async fn without_an_admin_listener_the_commands_say_how_to_get_one() {
    let process = setup()
        .route("/x/*", Echo::start().await.url(), allow())
        .start_process(&[])
        .await;
    for (command, signal) in [("reload", "SIGHUP"), ("drain", "SIGTERM")] {
        let off = run(&[command, "--config", file(&process)]).await;
        assert_eq!(off.status.code(), Some(2), "{off:?}");
        let said = String::from_utf8_lossy(&off.stderr);
        assert!(
            said.contains("set admin.address") && said.contains(signal),
            "{said}"
        );
        let nobody = run(&[command, "--admin", "unix:/nonexistent/admin.sock"]).await;
        assert_eq!(nobody.status.code(), Some(69), "{nobody:?}");
    }
}

#[tokio::test]
async fn orders_are_protected_as_everything_else_here_is() {
    let proxy = with_admin("127.0.0.1:0")
        .route("/x/*", Echo::start().await.url(), allow())
        .start()
        .await;
    let at = |path: &str| format!("http://{}{path}", proxy.admin());
    for path in ["/-/reload", "/-/drain", "/-/quit"] {
        let url = at(path);
        let foreign = post(&url)
            .header("origin", "https://evil.example")
            .send()
            .await;
        assert_eq!(foreign.status, 403, "{path}");
        let rebound = Ask::bare(Method::POST, &url).header("host", "evil.example");
        assert_eq!(rebound.send().await.status, 403, "{path}");
        // A form of a page, from a browser that says nothing about itself.
        let form = post(&url).form(&[("a".to_owned(), "b".to_owned())]);
        assert_eq!(form.send().await.status, 415, "{path}");
        let looked = get(&url).send().await;
        assert_eq!(
            (looked.status.as_u16(), looked.header("allow")),
            (405, "POST")
        );
        // Who embeds the proxy carries out no orders.
        assert_eq!(post(&url).send().await.status, 503, "{path}");
    }
    assert_eq!(get(&at("/-/drained")).send().await.status, 409);
    let status = get(&at("/-/status")).send().await.json();
    assert_eq!(status["draining"], false);
    assert_eq!(status["config"]["routes"], 1);
    assert!(status["checks"]["backend:b0"].is_string(), "{status}");
    assert!(
        status["started"].as_str().unwrap().ends_with('Z'),
        "{status}"
    );
}
