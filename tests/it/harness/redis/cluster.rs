//! A Cluster of three nodes without replicas.

use std::time::{Duration, Instant};

use deadpool_redis::redis::{Value, cmd};
use serde_json::json;

use super::{Server, free_port};

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
    pub(crate) ids: Vec<String>,
}

pub(crate) const PASSWORD: &str = "cluster-password";
const SLOTS: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];

impl Cluster {
    pub(crate) async fn start() -> Self {
        let mut nodes = Vec::new();
        let mut ids = Vec::new();
        for (at, (first, last)) in SLOTS.into_iter().enumerate() {
            let node = Server::start(&[], |port| {
                let bus = free_port();
                format!(
                    "port {port}\ncluster-enabled yes\ncluster-port {bus}\ncluster-config-file nodes.conf\n\
                     cluster-node-timeout 2000\nrequirepass {PASSWORD}\nmasterauth {PASSWORD}\n"
                )
            })
            .await;
            let mut connection = node.connection(&format!(":{PASSWORD}@")).await;
            cluster(&["ADDSLOTSRANGE", &first.to_string(), &last.to_string()])
                .exec_async(&mut connection)
                .await
                .unwrap();
            cluster(&["SET-CONFIG-EPOCH", &(at + 1).to_string()])
                .exec_async(&mut connection)
                .await
                .unwrap();
            ids.push(
                cluster(&["MYID"])
                    .query_async(&mut connection)
                    .await
                    .unwrap(),
            );
            nodes.push(node);
        }
        let made = Self { nodes, ids };
        made.meet().await;
        made.ready().await;
        made
    }

    pub(crate) fn settings(&self) -> serde_json::Value {
        let nodes: Vec<String> = self
            .nodes
            .iter()
            .map(|node| format!("redis://127.0.0.1:{}", node.port))
            .collect();
        json!({ "password": PASSWORD, "cluster": nodes })
    }

    /// Gives the slot of a key, which has to be empty, to another node than the one that has it now.
    pub(crate) async fn move_slot_of(&self, key: &str) {
        let mut first = self.nodes[0].connection(&format!(":{PASSWORD}@")).await;
        let slot: u16 = cluster(&["KEYSLOT", key])
            .query_async(&mut first)
            .await
            .unwrap();
        let owner = SLOTS
            .iter()
            .position(|(from, to)| (*from..=*to).contains(&slot))
            .unwrap();
        let next = &self.ids[(owner + 1) % 3];
        for node in &self.nodes {
            let mut connection = node.connection(&format!(":{PASSWORD}@")).await;
            cluster(&["SETSLOT", &slot.to_string(), "NODE", next])
                .exec_async(&mut connection)
                .await
                .unwrap();
        }
    }

    async fn meet(&self) {
        let mut connection = self.nodes[0].connection(&format!(":{PASSWORD}@")).await;
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
        for node in &self.nodes {
            let mut connection = node.connection(&format!(":{PASSWORD}@")).await;
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
