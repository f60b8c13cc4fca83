//! A Cluster of three nodes without replicas.

use std::time::{Duration, Instant};

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{Value, cmd};
use serde_json::json;

use super::tls::Files;
use super::{Server, free_port};

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
    ids: Vec<String>,
    tls: Option<Files>,
}

pub(crate) const PASSWORD: &str = "cluster-password";
const SLOTS: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::form(None).await
    }

    /// One that speaks TLS only, with certificates for the address of the nodes.
    pub(crate) async fn start_with_tls() -> Self {
        Self::form(Some(Files::new(&["127.0.0.1"]))).await
    }

    async fn form(tls: Option<Files>) -> Self {
        let mut nodes = Vec::new();
        for _ in SLOTS {
            let node = Server::start(&[], |port| {
                let bus = free_port();
                let listen = match &tls {
                    Some(files) => format!("{}tls-cluster yes\n", files.lines(port)),
                    None => format!("port {port}\n"),
                };
                format!(
                    "{listen}cluster-enabled yes\ncluster-port {bus}\ncluster-config-file nodes.conf\n\
                     cluster-node-timeout 2000\nrequirepass {PASSWORD}\nmasterauth {PASSWORD}\n"
                )
            });
            nodes.push(node.await);
        }
        let mut made = Self {
            nodes,
            ids: Vec::new(),
            tls,
        };
        for (at, (first, last)) in SLOTS.into_iter().enumerate() {
            let mut connection = made.connection(at).await;
            let slots = ["ADDSLOTSRANGE", &first.to_string(), &last.to_string()];
            cluster(&slots).exec_async(&mut connection).await.unwrap();
            let epoch = ["SET-CONFIG-EPOCH", &(at + 1).to_string()];
            cluster(&epoch).exec_async(&mut connection).await.unwrap();
            made.ids.push(
                cluster(&["MYID"])
                    .query_async(&mut connection)
                    .await
                    .unwrap(),
            );
        }
        made.meet().await;
        made.ready().await;
        made
    }

    pub(crate) fn settings(&self) -> serde_json::Value {
        let scheme = if self.tls.is_some() {
            "rediss"
        } else {
            "redis"
        };
        let nodes: Vec<String> = self
            .nodes
            .iter()
            .map(|node| format!("{scheme}://127.0.0.1:{}", node.port))
            .collect();
        let tls = self.tls.as_ref().map(
            |files| json!({ "ca_file": files.ca, "cert_file": files.cert, "key_file": files.key }),
        );
        json!({ "password": PASSWORD, "cluster": nodes, "tls": tls })
    }

    /// A connection of the test's own to one node.
    pub(crate) async fn connection(&self, node: usize) -> MultiplexedConnection {
        let tls = self.tls.as_ref().map(Files::client);
        self.nodes[node]
            .connection_over(&format!(":{PASSWORD}@"), tls)
            .await
    }

    /// Gives the slot of a key, which has to be empty, to another node than the one that has it now.
    pub(crate) async fn move_slot_of(&self, key: &str) {
        let mut first = self.connection(0).await;
        let slot: u16 = cluster(&["KEYSLOT", key])
            .query_async(&mut first)
            .await
            .unwrap();
        let owner = SLOTS
            .iter()
            .position(|(from, to)| (*from..=*to).contains(&slot))
            .unwrap();
        let next = &self.ids[(owner + 1) % 3];
        for at in 0..self.nodes.len() {
            let mut connection = self.connection(at).await;
            cluster(&["SETSLOT", &slot.to_string(), "NODE", next])
                .exec_async(&mut connection)
                .await
                .unwrap();
        }
    }

    async fn meet(&self) {
        let mut connection = self.connection(0).await;
        for node in &self.nodes[1..] {
            let conf = std::fs::read_to_string(node.path().join("redis.conf")).unwrap();
            let bus = conf
                .lines()
                .find_map(|line| line.strip_prefix("cluster-port "))
                .unwrap();
            let meet = cluster(&["MEET", "127.0.0.1", &node.port.to_string(), bus]);
            meet.exec_async(&mut connection).await.unwrap();
        }
    }

    /// Until every node says that all slots are served, and knows all three.
    pub(crate) async fn ready(&self) {
        let begun = Instant::now();
        for (at, node) in self.nodes.iter().enumerate() {
            let mut connection = self.connection(at).await;
            loop {
                let info: String = cluster(&["INFO"])
                    .query_async(&mut connection)
                    .await
                    .unwrap();
                let slots: Vec<Value> = cluster(&["SLOTS"])
                    .query_async(&mut connection)
                    .await
                    .unwrap();
                if info.contains("cluster_state:ok") && slots.len() >= 3 {
                    break;
                }
                assert!(
                    begun.elapsed() < Duration::from_secs(30),
                    "the Cluster did not form: {info}\n{}",
                    node.log()
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn cluster(arguments: &[&str]) -> deadpool_redis::redis::Cmd {
    let mut command = cmd("CLUSTER");
    for argument in arguments {
        command.arg(*argument);
    }
    command
}
