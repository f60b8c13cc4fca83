//! The store's contract against real Redis in all its modes, and what happens when Redis goes away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use mcp_oidc_proxy::clock::Ambient;
use mcp_oidc_proxy::store::redis::{ConnectError, RedisStore, probe};
use mcp_oidc_proxy::store::{Key, MAX_MEMBERS, Replaced, Space, Store};
use serde_json::json;

use self::contract::{MINUTE, blob, fresh, until};
use crate::harness::redis::cluster::Cluster;
use crate::harness::redis::sentinel::Watched;
use crate::harness::redis::tls::{Files, NAME, TlsServer};
use crate::harness::redis::{Server, config, keys_without_end};

#[path = "../../src/store/contract.rs"]
mod contract;
mod sessions;

async fn open(settings: serde_json::Value) -> Arc<dyn Store> {
    let store = RedisStore::connect(&config(settings), Ambient::system()).await;
    Arc::new(store.unwrap_or_else(|error| panic!("{error}")))
}

/// The permissions that the error message for a missing one lists.
const ACL: &str = "user default off\nuser proxy on >hunter2hunter2 ~mcp:* &mcp:* +get +set +getdel +del +eval +pexpire \
                   +zadd +zrem +zrangebyscore +zremrangebyscore +zremrangebyrank +zrange +getrange +publish +subscribe \
                   +ping\nuser admin on >admin ~* &* +@all\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_for_one_server_with_an_acl_user() {
    let server = Server::start(&[], |port| format!("port {port}\n{ACL}")).await;
    let settings = json!({
        "url": format!("redis://127.0.0.1:{}/0", server.port), "username": "proxy", "password": "hunter2hunter2",
    });
    probe(&config(settings.clone())).await.unwrap();
    contract::holds(open(settings).await).await;
    let mut admin = server.connection("admin:admin@").await;
    assert_eq!(keys_without_end(&mut admin).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_over_tls_with_a_client_certificate() {
    let tls = TlsServer::start().await;
    let settings = json!({
        "url": format!("rediss://127.0.0.1:{}/1", tls.server.port), "key_prefix": "elsewhere:",
        "tls": { "ca_file": tls.files.ca, "cert_file": tls.files.cert, "key_file": tls.files.key, "server_name": NAME },
    });
    probe(&config(settings.clone())).await.unwrap();
    contract::holds(open(settings).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_in_a_cluster() {
    let cluster = Cluster::start().await;
    probe(&config(cluster.settings())).await.unwrap();
    let store = open(cluster.settings()).await;
    contract::holds(Arc::clone(&store)).await;
    for node in 0..cluster.nodes.len() {
        let mut connection = cluster.connection(node).await;
        assert_eq!(
            keys_without_end(&mut connection).await,
            Vec::<String>::new()
        );
    }
    // A slot that moved is followed.
    let key = fresh(Space::Session);
    cluster
        .move_slot_of(&format!("mcp:session:{}", key.id))
        .await;
    let revision = store.put(&key, blob("moved"), MINUTE).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap().unwrap().revision, revision);
    assert_eq!(store.take(&key).await.unwrap().unwrap().blob, blob("moved"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_in_a_cluster_over_tls() {
    let cluster = Cluster::start_with_tls().await;
    probe(&config(cluster.settings())).await.unwrap();
    contract::holds(open(cluster.settings()).await).await;
    let mut settings = cluster.settings();
    settings["tls"]["ca_file"] = json!(Files::new(&[NAME]).ca);
    let (error, text) = complaint(settings).await;
    assert!(
        matches!(error, ConnectError::BadSetting { .. }),
        "the file is gone: {text}"
    );
    let other = Files::new(&[NAME]);
    let mut settings = cluster.settings();
    settings["tls"]["ca_file"] = json!(other.ca);
    let (error, text) = complaint(settings).await;
    assert!(matches!(error, ConnectError::UnknownCa { .. }), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_under_sentinel_and_after_a_failover() {
    survives_a_failover(Watched::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_under_sentinel_over_tls_and_after_a_failover() {
    survives_a_failover(Watched::start_with_tls().await).await;
}

async fn survives_a_failover(mut watched: Watched) {
    probe(&config(watched.settings())).await.unwrap();
    let store = open(watched.settings()).await;
    contract::holds(Arc::clone(&store)).await;
    let mut events = store.subscribe("failover").await.unwrap();
    let kept = fresh(Space::Session);
    store.put(&kept, blob("kept"), MINUTE * 10).await.unwrap();
    let replica = watched.connection(&watched.replica).await;
    until(|| {
        let mut replica = replica.clone();
        let name = format!("mcp:session:{}", kept.id);
        async move {
            deadpool_redis::redis::cmd("EXISTS")
                .arg(name)
                .query_async::<i64>(&mut replica)
                .await
                .unwrap()
                == 1
        }
    })
    .await;

    watched.primary.kill();
    let begun = Instant::now();
    let mut outage = false;
    loop {
        match store.put(&fresh(Space::Session), blob("x"), MINUTE).await {
            Ok(_) => break,
            Err(_) => outage = true,
        }
        assert!(
            begun.elapsed() < Duration::from_secs(40),
            "no new primary:\n{}",
            watched.sentinels[0].log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        outage,
        "the primary was gone for a while, and that showed as unavailable"
    );
    assert_eq!(store.get(&kept).await.unwrap().unwrap().blob, blob("kept"));
    contract::holds(Arc::clone(&store)).await;
    let mut promoted = watched.connection(&watched.replica).await;
    assert_eq!(keys_without_end(&mut promoted).await, Vec::<String>::new());
    // The subscription says that it was lost, and hears again on the new primary.
    hears_again(&*store, &mut events, "failover").await;
}

async fn hears_again(
    store: &dyn Store,
    events: &mut (impl futures_util::Stream<Item = Option<String>> + Unpin),
    channel: &str,
) {
    let begun = Instant::now();
    let mut lost = false;
    loop {
        let _ = store.publish(channel, "again").await;
        match tokio::time::timeout(Duration::from_millis(200), events.next()).await {
            Ok(Some(None)) => lost = true,
            Ok(Some(Some(message))) if message == "again" => break,
            Ok(other) => panic!("{other:?}"),
            Err(_) => {}
        }
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "the subscription did not come back"
        );
    }
    assert!(lost, "a listener is told that it may have missed something");
}

/// No operation may say "absent" while nobody knows.
async fn everything_is_unavailable(store: &dyn Store, key: &Key) {
    let now = Ambient::system().now();
    let index = Key::new(Space::Index, Arc::clone(&key.id));
    assert!(store.get(key).await.is_err(), "get");
    assert!(store.put(key, blob("x"), MINUTE).await.is_err(), "put");
    assert!(
        store.put_new(key, blob("x"), MINUTE).await.is_err(),
        "put_new"
    );
    assert!(store.take(key).await.is_err(), "take");
    assert!(
        store.replace_if(key, 1, blob("x"), MINUTE).await.is_err(),
        "replace_if"
    );
    assert!(store.remove_if(key, 1).await.is_err(), "remove_if");
    assert!(store.expire(key, MINUTE).await.is_err(), "expire");
    assert!(
        store
            .index_add(&index, "m", now.plus(MINUTE))
            .await
            .is_err(),
        "index_add"
    );
    assert!(store.index_list(&index, now).await.is_err(), "index_list");
    assert!(
        store.index_remove(&index, "m").await.is_err(),
        "index_remove"
    );
    assert!(store.publish("c", "m").await.is_err(), "publish");
    assert!(store.subscribe("c").await.is_err(), "subscribe");
    assert!(store.ping().await.is_err(), "ping");
}

#[tokio::test]
async fn a_server_that_died_is_unavailable_and_comes_back() {
    let mut server = Server::plain().await;
    let store = open(json!({ "url": format!("redis://127.0.0.1:{}", server.port) })).await;
    let mut events = store.subscribe("outage").await.unwrap();
    let key = fresh(Space::Session);
    store.put(&key, blob("x"), MINUTE).await.unwrap();
    server.kill();
    everything_is_unavailable(&*store, &key).await;
    server.restart().await;
    until(|| async { store.ping().await.is_ok() }).await;
    assert_eq!(
        store.get(&key).await.unwrap(),
        None,
        "it came back empty, and that is absence"
    );
    contract::holds(Arc::clone(&store)).await;
    hears_again(&*store, &mut events, "outage").await;
}

#[tokio::test]
async fn the_first_request_after_a_restart_works() {
    let mut server = Server::plain().await;
    let store = open(json!({ "url": format!("redis://127.0.0.1:{}", server.port) })).await;
    let key = fresh(Space::Session);
    store.put(&key, blob("x"), MINUTE).await.unwrap();
    store.get(&key).await.unwrap().unwrap();
    server.restart().await;
    // Every connection of ours was closed; none is used again.
    for _ in 0..4 {
        assert_eq!(store.get(&key).await.unwrap(), None);
    }
    store.put(&key, blob("x"), MINUTE).await.unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_is_unavailable_within_the_budget() {
    let server = Server::plain().await;
    let store = open(json!({
        "url": format!("redis://127.0.0.1:{}", server.port), "connect_timeout": "300ms", "command_timeout": "300ms",
    }))
    .await;
    let key = fresh(Space::Session);
    store.put(&key, blob("x"), MINUTE).await.unwrap();
    server.freeze(true);
    let begun = Instant::now();
    assert!(store.get(&key).await.is_err());
    assert!(store.put(&key, blob("y"), MINUTE).await.is_err());
    // Two operations of at most 600 ms each; the rest is for a busy machine.
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    server.freeze(false);
    until(|| async { store.get(&key).await.is_ok() }).await;
    assert!(matches!(store.get(&key).await, Ok(Some(_))));
}

#[tokio::test]
async fn a_store_opens_while_redis_is_away_and_works_once_it_is_there() {
    let mut server = Server::plain().await;
    server.kill();
    let store = open(json!({ "url": format!("redis://127.0.0.1:{}", server.port) })).await;
    everything_is_unavailable(&*store, &fresh(Space::Session)).await;
    server.restart().await;
    until(|| async { store.ping().await.is_ok() }).await;
    assert_eq!(store.get(&fresh(Space::Session)).await.unwrap(), None);
}

#[tokio::test]
async fn a_cluster_that_died_is_unavailable_and_comes_back() {
    let mut cluster = Cluster::start().await;
    let store = open(cluster.settings()).await;
    let key = fresh(Space::Session);
    store.put(&key, blob("x"), MINUTE).await.unwrap();
    for node in &mut cluster.nodes {
        node.kill();
    }
    assert!(store.get(&key).await.is_err());
    assert!(store.put(&key, blob("x"), MINUTE).await.is_err());
    for node in &mut cluster.nodes {
        node.restart().await;
    }
    cluster.ready().await;
    until(|| async { store.put(&key, blob("y"), MINUTE).await.is_ok() }).await;
    assert_eq!(store.get(&key).await.unwrap().unwrap().blob, blob("y"));
}

/// What `probe` says; never with a password in it.
async fn complaint(settings: serde_json::Value) -> (ConnectError, String) {
    let error = probe(&config(settings))
        .await
        .expect_err("there is something to complain about");
    let text = error.to_string();
    assert!(!format!("{text} {error:?}").contains("hunter2"), "{text}");
    (error, text)
}

#[tokio::test]
async fn what_is_wrong_is_said_clearly() {
    let server = Server::start(&[], |port| {
        format!("port {port}\n{ACL}user limited on >limited ~mcp:* &mcp:* +@all -eval\n")
    })
    .await;
    let at = format!("127.0.0.1:{}", server.port);
    let url = format!("redis://{at}");

    for (settings, answer) in [
        (json!({ "url": url }), "NOAUTH"),
        (json!({ "url": url, "password": "hunter2" }), "WRONGPASS"),
        (
            json!({ "url": format!("redis://proxy:hunter2@{at}") }),
            "WRONGPASS",
        ),
    ] {
        let (error, text) = complaint(settings).await;
        assert!(matches!(error, ConnectError::Credentials { .. }), "{text}");
        assert!(
            error.is_permanent()
                && text.contains(answer)
                && text.contains("sessions.redis.password"),
            "{text}"
        );
    }
    let (error, text) =
        complaint(json!({ "url": url, "username": "limited", "password": "limited" })).await;
    assert!(
        matches!(error, ConnectError::Permission { .. }) && text.contains("+eval"),
        "{text}"
    );
    let elsewhere = json!({ "url": url, "username": "proxy", "password": "hunter2hunter2", "key_prefix": "other:" });
    let error = probe(&config(elsewhere))
        .await
        .expect_err("the user may not touch those keys");
    assert!(matches!(error, ConnectError::Permission { .. }), "{error}");

    let mut gone = Server::plain().await;
    gone.kill();
    let (error, text) =
        complaint(json!({ "url": format!("redis://:hunter2@127.0.0.1:{}", gone.port) })).await;
    assert!(
        matches!(error, ConnectError::Unreachable { .. }) && text.contains(&gone.port.to_string()),
        "{text}"
    );
    assert!(!error.is_permanent());
    for url in [
        "http://:hunter2@x",
        "redis://:hunter2@",
        "redis://:hunter2@host:port",
        "redis://:hunter2@x/zero",
        "hunter2",
    ] {
        let (error, text) = complaint(json!({ "url": url })).await;
        assert!(
            matches!(error, ConnectError::BadAddress { .. }) && text.contains("sessions.redis.url"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn trouble_with_tls_is_said_clearly() {
    let tls = TlsServer::start().await;
    let url = format!("rediss://127.0.0.1:{}", tls.server.port);
    let client =
        json!({ "cert_file": tls.files.cert, "key_file": tls.files.key, "server_name": NAME });
    let with = |more: serde_json::Value| {
        let mut all = client.clone();
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({ "url": url, "tls": all })
    };
    let (error, text) = complaint(with(json!({ "ca_file": tls.files.other_ca }))).await;
    assert!(
        matches!(error, ConnectError::UnknownCa { .. }) && text.contains("tls.ca_file"),
        "{text}"
    );
    let (error, text) = complaint(with(
        json!({ "ca_file": tls.files.ca, "server_name": "another.test" }),
    ))
    .await;
    assert!(
        matches!(error, ConnectError::Tls { .. }) && text.contains("another.test"),
        "{text}"
    );
    let (error, text) = complaint(with(json!({ "ca_file": "/nowhere/ca.pem" }))).await;
    assert!(
        matches!(error, ConnectError::BadSetting { .. }) && text.contains("/nowhere/ca.pem"),
        "{text}"
    );
    // Without the client certificate the server ends the handshake; without TLS it makes nothing of what we say.
    let (_, text) =
        complaint(json!({ "url": url, "tls": { "ca_file": tls.files.ca, "server_name": NAME } }))
            .await;
    assert!(text.contains("127.0.0.1"), "{text}");
    let plain = Server::plain().await;
    let (error, text) =
        complaint(json!({ "url": format!("rediss://127.0.0.1:{}", plain.port) })).await;
    assert!(
        matches!(error, ConnectError::Unreachable { .. }) && text.contains("TLS handshake"),
        "{text}"
    );
}

#[tokio::test]
async fn trouble_with_sentinel_is_said_clearly() {
    let watched = Watched::start().await;
    let mut settings = watched.settings();
    settings["sentinel"]["master_name"] = json!("nobody");
    let (error, text) = complaint(settings).await;
    assert!(
        matches!(error, ConnectError::UnknownMaster { .. }) && text.contains("`nobody`"),
        "{text}"
    );
    let mut settings = watched.settings();
    settings["sentinel"]["password"] = json!("hunter2");
    let (error, text) = complaint(settings).await;
    assert!(matches!(error, ConnectError::Credentials { .. }), "{text}");
    let mut settings = watched.settings();
    settings["password"] = json!("hunter2");
    let (error, text) = complaint(settings).await;
    assert!(matches!(error, ConnectError::Credentials { .. }), "{text}");
}

#[tokio::test]
async fn a_cluster_refuses_a_wrong_password_clearly() {
    let cluster = Cluster::start().await;
    let mut settings = cluster.settings();
    settings["password"] = json!("hunter2");
    let (error, text) = complaint(settings).await;
    assert!(matches!(error, ConnectError::Credentials { .. }), "{text}");
}
