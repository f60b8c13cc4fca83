//! A primary with one replica, watched by three Sentinels; all want passwords.

use std::time::{Duration, Instant};

use deadpool_redis::redis::{Value, cmd};
use serde_json::json;

use super::Server;

pub(crate) struct Watched {
    pub(crate) primary: Server,
    pub(crate) replica: Server,
    pub(crate) sentinels: Vec<Server>,
}

pub(crate) const MASTER: &str = "mcp-primary";
pub(crate) const PASSWORD: &str = "data-password";
pub(crate) const SENTINEL_PASSWORD: &str = "sentinel-password";

impl Watched {
    pub(crate) async fn start() -> Self {
        let passwords =
            format!("requirepass {PASSWORD}\nmasterauth {PASSWORD}\nrepl-diskless-sync-delay 0\n");
        let primary = Server::start(&[], |port| format!("port {port}\n{passwords}")).await;
        let from = primary.port;
        let replica = Server::start(&[], |port| {
            format!("port {port}\n{passwords}replicaof 127.0.0.1 {from}\n")
        })
        .await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let sentinel = Server::start(&["--sentinel"], |port| {
                format!(
                    "port {port}\nrequirepass {SENTINEL_PASSWORD}\nsentinel sentinel-pass {SENTINEL_PASSWORD}\n\
                     sentinel monitor {MASTER} 127.0.0.1 {from} 2\nsentinel auth-pass {MASTER} {PASSWORD}\n\
                     sentinel down-after-milliseconds {MASTER} 500\nsentinel failover-timeout {MASTER} 3000\n"
                )
            });
            sentinels.push(sentinel.await);
        }
        let watched = Self {
            primary,
            replica,
            sentinels,
        };
        watched.ready().await;
        watched
    }

    pub(crate) fn settings(&self) -> serde_json::Value {
        let nodes: Vec<String> = self
            .sentinels
            .iter()
            .map(|each| format!("redis://127.0.0.1:{}", each.port))
            .collect();
        json!({
            "password": PASSWORD,
            "sentinel": { "nodes": nodes, "master_name": MASTER, "password": SENTINEL_PASSWORD },
        })
    }

    /// Until every Sentinel knows the replica and both others.
    async fn ready(&self) {
        let begun = Instant::now();
        for sentinel in &self.sentinels {
            let mut connection = sentinel.connection(&format!(":{SENTINEL_PASSWORD}@")).await;
            loop {
                let about: Vec<String> = cmd("SENTINEL")
                    .arg("MASTER")
                    .arg(MASTER)
                    .query_async(&mut connection)
                    .await
                    .unwrap();
                let field = |name: &str| {
                    about
                        .chunks(2)
                        .find(|pair| pair[0] == name)
                        .map(|pair| pair[1].clone())
                };
                let quorum = cmd("SENTINEL")
                    .arg("CKQUORUM")
                    .arg(MASTER)
                    .query_async::<Value>(&mut connection)
                    .await;
                if field("num-slaves").as_deref() == Some("1")
                    && field("num-other-sentinels").as_deref() == Some("2")
                    && quorum.is_ok()
                {
                    break;
                }
                assert!(
                    begun.elapsed() < Duration::from_secs(30),
                    "Sentinel did not settle:\n{}",
                    sentinel.log()
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let mut replica = self.replica.connection(&format!(":{PASSWORD}@")).await;
        loop {
            let info: String = cmd("INFO")
                .arg("replication")
                .query_async(&mut replica)
                .await
                .unwrap();
            if info.contains("master_link_status:up") {
                return;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "the replica did not sync:\n{}",
                self.replica.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
