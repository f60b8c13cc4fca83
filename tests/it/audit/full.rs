//! What happens to requests when the log cannot be written: a sink that takes nothing, and one that comes back.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use serde_json::{Value, json};

use super::world::API_KEY;
use crate::harness::client::{Answer, get, post};
use crate::harness::echo::Echo;
use crate::harness::proxy::{Proxy, proxy};

/// A syslog socket of this machine, which takes a few datagrams and then lets senders wait.
struct World {
    syslog: UnixDatagram,
    backend: Echo,
    proxy: Proxy,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new(when_full: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let syslog = UnixDatagram::bind(&path).unwrap();
        syslog.set_nonblocking(true).unwrap();
        let backend = Echo::start().await;
        let proxy = proxy()
            .route("/mcp", backend.url(), "name: sample\nallow: { any_user: true }")
            .yaml(&format!(
                "auth: {{ api_keys: [{{ name: robot, key: {API_KEY} }}] }}\nmetrics: {{ address: \"127.0.0.1:0\" }}\naudit:\n  sink: syslog\n  syslog: {{ address: \"unix:{}\", facility: local3 }}\n  when_full: {when_full}\n  queue: 16\n  max_wait: 300ms\n",
                path.display()
            ))
            .start()
            .await;
        Self {
            syslog,
            backend,
            proxy,
            _folder: folder,
        }
    }

    async fn ping(&self) -> Answer {
        post(&self.proxy.url("/mcp"))
            .header("x-api-key", API_KEY)
            .json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }))
            .send()
            .await
    }

    /// Requests until one is refused; at most so many.
    async fn until_refused(&self, most: usize) -> Option<Answer> {
        for _ in 0..most {
            let answer = self.ping().await;
            if answer.status != 200 {
                return Some(answer);
            }
        }
        None
    }

    /// Records that are there to be read.
    fn read(&self) -> Vec<Value> {
        let mut all = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length) = self.syslog.recv(&mut buffer) {
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            assert!(text.starts_with("<157>1 - "), "{text}");
            let start = text.find('{').unwrap();
            all.push(serde_json::from_str(&text[start..]).unwrap());
        }
        all
    }

    async fn dropped(&self) -> u64 {
        let text = get(&self.proxy.metrics()).send().await.text();
        let line = text
            .lines()
            .find(|line| line.starts_with("mcp_proxy_audit_dropped_total{"));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Reads until requests are let through again.
    async fn comes_back(&self) {
        for _ in 0..200 {
            self.read();
            if self.ping().await.status == 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it does not come back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fail_closed_forwards_nothing_that_is_not_on_record() {
    let world = World::new("fail_closed").await;
    let refused = world.until_refused(2000).await.expect("one is refused");
    assert_eq!(refused.status, 503);
    assert_eq!(
        refused.json()["error"]["data"]["code"],
        "audit_log_unavailable",
        "{}",
        refused.text()
    );
    assert!(!refused.header("retry-after").is_empty());
    let forwarded = world
        .backend
        .seen()
        .iter()
        .filter(|asked| asked.target == "/mcp")
        .count();
    // Whatever reached the backend is on record.
    let mut decided = 0;
    for _ in 0..200 {
        let records = world.read();
        decided += records
            .iter()
            .filter(|record| record["kind"] == "access.decided")
            .count();
        if decided >= forwarded {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(decided >= forwarded, "{decided} of {forwarded}");
    world.comes_back().await;
    assert_eq!(world.dropped().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn block_waits_and_then_refuses() {
    let world = World::new("block").await;
    let refused = world.until_refused(2000).await.expect("one is refused");
    assert_eq!(refused.status, 503);
    world.comes_back().await;
    assert_eq!(world.dropped().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drop_lets_all_through_and_counts() {
    let world = World::new("drop").await;
    assert!(world.until_refused(400).await.is_none());
    assert!(world.dropped().await > 0);
}
