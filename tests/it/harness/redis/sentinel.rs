//! A primary with one replica, watched by three Sentinels; all want passwords.

use std::time::{Duration, Instant};

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{Value, cmd};
use serde_json::json;

use super::Server;
use super::tls::Files;

pub(crate) struct Watched {
    pub(crate) primary: Server,
    pub(crate) replica: Server,
    pub(crate) sentinels: Vec<Server>,
    tls: Option<Files>,
}

pub(crate) const MASTER: &str = "mcp-primary";
pub(crate) const PASSWORD: &str = "data-password";
pub(crate) const SENTINEL_PASSWORD: &str = "sentinel-password";

impl Watched {
    pub(crate) async fn start() -> Self {
        Self::form(None).await
    }

    /// All of them speak TLS only, to each other as well, and want client certificates.
    pub(crate) async fn start_with_tls() -> Self {
        Self::form(Some(Files::new(&["127.0.0.1"]))).await
    }

    async fn form(tls: Option<Files>) -> Self {
        let listen = |port| match &tls {
            Some(files) => files.lines(port),
            None => format!("port {port}\n"),
        };
        let passwords =
            format!("requirepass {PASSWORD}\nmasterauth {PASSWORD}\nrepl-diskless-sync-delay 0\n");
        let primary = Server::start(&[], |port| format!("{}{passwords}", listen(port))).await;
        let from = primary.port;
        let replica = Server::start(&[], |port| {
            format!("{}{passwords}replicaof 127.0.0.1 {from}\n", listen(port))
        })
        .await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let sentinel = Server::start(&["--sentinel"], |port| {
                format!(
                    "{}requirepass {SENTINEL_PASSWORD}\nsentinel sentinel-pass {SENTINEL_PASSWORD}\n\
                     sentinel monitor {MASTER} 127.0.0.1 {from} 2\nsentinel auth-pass {MASTER} {PASSWORD}\n\
                     sentinel down-after-milliseconds {MASTER} 500\nsentinel failover-timeout {MASTER} 3000\n",
                    listen(port)
                )
            });
            sentinels.push(sentinel.await);
        }
        let watched = Self {
            primary,
            replica,
            sentinels,
            tls,
        };
        watched.ready().await;
        watched
    }

    pub(crate) fn settings(&self) -> serde_json::Value {
        let nodes: Vec<String> = self
            .sentinels
            .iter()
            .map(|each| {
                let scheme = if self.tls.is_some() {
                    "rediss"
                } else {
                    "redis"
                };
                format!("{scheme}://127.0.0.1:{}", each.port)
            })
            .collect();
        let mut settings = json!({
            "password": PASSWORD,
            "sentinel": { "nodes": nodes, "master_name": MASTER, "password": SENTINEL_PASSWORD },
        });
        if let Some(files) = &self.tls {
            // The scheme says that the primary speaks TLS too; where it is, Sentinel says.
            settings["url"] = json!("rediss://127.0.0.1/0");
            settings["tls"] =
                json!({ "ca_file": files.ca, "cert_file": files.cert, "key_file": files.key });
        }
        settings
    }

    /// A connection of the test's own to one of the servers.
    pub(crate) async fn connection(&self, server: &Server) -> MultiplexedConnection {
        let tls = self.tls.as_ref().map(Files::client);
        server.connection_over(&format!(":{PASSWORD}@"), tls).await
    }

    /// Until every Sentinel knows the replica and both others.
    async fn ready(&self) {
        let begun = Instant::now();
        for sentinel in &self.sentinels {
            let tls = self.tls.as_ref().map(Files::client);
            let mut connection = sentinel
                .connection_over(&format!(":{SENTINEL_PASSWORD}@"), tls)
                .await;
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
        let mut replica = self.connection(&self.replica).await;
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
