//! What the service manager is told, over the socket that it would give (`sd_notify(3)`).

use std::time::Duration;

use rustix::process::Signal;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use super::{allow, setup};
use crate::harness::client::PATIENCE;
use crate::harness::echo::Echo;

struct Manager {
    socket: UnixDatagram,
    seen: Vec<String>,
}

impl Manager {
    /// Waits for a message that has this line, or one that begins so; gives the whole message.
    async fn told(&mut self, line: &str) -> String {
        let work = async {
            loop {
                let mut buffer = vec![0; 4096];
                let length = self.socket.recv(&mut buffer).await.unwrap();
                let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
                self.seen.push(text.clone());
                if text.lines().any(|each| each.starts_with(line)) {
                    return text;
                }
            }
        };
        timeout(PATIENCE, work)
            .await
            .unwrap_or_else(|_| panic!("no {line}"))
    }
}

fn number(message: &str, key: &str) -> u64 {
    let line = message.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap_or_else(|| panic!("no {key} in {message}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn the_service_manager_is_told_how_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let mut manager = Manager {
        socket: UnixDatagram::bind(&path).unwrap(),
        seen: Vec::new(),
    };
    let backend = Echo::start().await;
    let first = setup()
        .yaml("shutdown: { delay: 1s, timeout: 9s, stream_grace: 0s }")
        .route("/one/*", backend.url(), allow());
    let mut process = first
        .start_process(&[
            ("NOTIFY_SOCKET", path.to_str().unwrap()),
            ("WATCHDOG_USEC", "200000"),
        ])
        .await;
    manager.told("READY=1").await;
    assert!(
        manager
            .seen
            .iter()
            .any(|text| text.contains("STATUS=serving 1 routes, 1/1 backends up")),
        "{:?}",
        manager.seen
    );
    for _ in 0..3 {
        manager.told("WATCHDOG=1").await;
    }

    // A good reload and a bad one: both are over when READY comes.
    let second = first.clone().route("/two/*", backend.url(), allow()).route(
        "/three/*",
        backend.url(),
        allow(),
    );
    process.rewrite(&second.text());
    process.signal(Signal::HUP);
    let reloading = manager.told("RELOADING=1").await;
    assert!(number(&reloading, "MONOTONIC_USEC=") > 0);
    manager.told("READY=1").await;
    manager
        .told("STATUS=serving 3 routes, 3/3 backends up")
        .await;
    process.rewrite("version: 1\nroutes: 7\n");
    process.signal(Signal::HUP);
    manager.told("RELOADING=1").await;
    manager.told("READY=1").await;

    // A backend that is gone is noticed by the request that misses it.
    drop(backend);
    let url = process.url("/one/x");
    let seen = timeout(PATIENCE, async {
        loop {
            let asked = crate::harness::client::get(&url).header("x-api-key", super::KEY);
            assert!(asked.send().await.status.as_u16() >= 500);
            let look = manager.told("STATUS=serving 3 routes");
            if let Ok(status) = timeout(Duration::from_secs(5), look).await {
                return status;
            }
        }
    });
    let seen = seen.await.unwrap();
    assert!(
        seen.contains("/3 backends up") && !seen.contains("3/3"),
        "{seen}"
    );

    process.signal(Signal::TERM);
    let stopping = manager.told("STOPPING=1").await;
    // Delay and timeout, and a little for letting go.
    assert_eq!(number(&stopping, "EXTEND_TIMEOUT_USEC="), 15_000_000);
    // Somebody has to listen on: the queue of the socket is short, and whoever tells waits for room in it.
    let code = tokio::select! {
        code = process.part.ended() => code,
        _ = manager.told("what nobody says") => None,
    };
    assert_eq!(code, Some(0), "{}", process.part.log());
}
