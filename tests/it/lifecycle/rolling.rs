//! A rolling restart behind a balancer that asks `/ready`: nobody notices.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::{KEY, allow, setup, slow};
use crate::harness::client::{PATIENCE, get};
use crate::harness::mcp::Mcp;
use crate::harness::proxy::{Process, Setup};

/// Callers at once.
const CALLERS: usize = 6;
/// Calls that have to go well between two steps.
const BETWEEN_STEPS: usize = 40;

/// A balancer: it asks every replica whether it is ready, and gives requests to those that are.
struct Balancer {
    replicas: Mutex<Vec<(u16, bool)>>,
    turn: AtomicUsize,
}

impl Balancer {
    fn start(ports: &[u16]) -> (Arc<Self>, JoinHandle<()>) {
        let this = Arc::new(Self {
            replicas: Mutex::new(ports.iter().map(|port| (*port, true)).collect()),
            turn: AtomicUsize::new(0),
        });
        let asking = tokio::spawn({
            let this = Arc::clone(&this);
            async move {
                loop {
                    let ports: Vec<u16> = {
                        let replicas = this.replicas.lock().unwrap();
                        replicas.iter().map(|(port, _)| *port).collect()
                    };
                    for port in ports {
                        // One that is gone does not answer, which fails the task that asks.
                        let url = format!("http://localhost:{port}/ready");
                        let asked = tokio::spawn(async move { get(&url).send().await.status });
                        let ready = asked.await.is_ok_and(|status| status == 200);
                        let mut replicas = this.replicas.lock().unwrap();
                        for (at, is_ready) in replicas.iter_mut() {
                            if *at == port {
                                *is_ready = ready;
                            }
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        });
        (this, asking)
    }

    /// The next replica that is ready.
    fn next(&self) -> u16 {
        let replicas = self.replicas.lock().unwrap();
        let ready: Vec<u16> = replicas
            .iter()
            .filter(|(_, ready)| *ready)
            .map(|(port, _)| *port)
            .collect();
        assert!(!ready.is_empty(), "no replica is ready");
        ready[self.turn.fetch_add(1, Ordering::SeqCst) % ready.len()]
    }

    fn replace(&self, old: u16, new: u16) {
        let mut replicas = self.replicas.lock().unwrap();
        replicas.retain(|(port, _)| *port != old);
        replicas.push((new, true));
    }
}

async fn call(balancer: &Balancer) {
    let port = balancer.next();
    let answer = slow(&format!("http://localhost:{port}/mcp"), 100)
        .send()
        .await;
    assert_eq!(
        answer.rpc()["result"]["content"][0]["text"],
        "done",
        "{}",
        answer.text()
    );
}

async fn start(setup: &Setup) -> Process {
    setup.start_process(&[]).await
}

#[tokio::test]
async fn a_rolling_restart_fails_no_call() {
    let backend = Mcp::start().await;
    let setup = setup()
        // The balancer is to notice within the delay, also on a machine that is busy.
        .yaml("shutdown: { delay: 3s, timeout: 20s, stream_grace: 0s }")
        .route("/mcp", backend.url(), "allow: { any_user: true }");
    let mut replicas = [start(&setup).await, start(&setup).await];
    let ports: Vec<u16> = replicas.iter().map(Process::port).collect();
    let (balancer, asking) = Balancer::start(&ports);
    let (go, done) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (balancer, go, done) = (Arc::clone(&balancer), Arc::clone(&go), Arc::clone(&done));
        callers.spawn(async move {
            while go.load(Ordering::SeqCst) {
                call(&balancer).await;
                done.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let more = async |callers: &mut JoinSet<()>| {
        let wanted = done.load(Ordering::SeqCst) + BETWEEN_STEPS;
        let work = async {
            while done.load(Ordering::SeqCst) < wanted {
                if let Some(ended) = callers.try_join_next() {
                    ended.expect("a call failed");
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, work).await.unwrap();
    };
    more(&mut callers).await;
    for old in &mut replicas {
        old.signal(Signal::TERM);
        more(&mut callers).await;
        assert_eq!(old.part.ended().await, Some(0), "{}", old.part.log());
        let new = start(&setup).await;
        balancer.replace(old.port(), new.port());
        *old = new;
        more(&mut callers).await;
    }
    go.store(false, Ordering::SeqCst);
    while let Some(ended) = callers.join_next().await {
        ended.expect("a call failed");
    }
    asking.abort();
}

/// A backend whose events come in pieces, without end.
async fn in_pieces(listener: TcpListener) {
    loop {
        let (mut socket, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await?);
            }
            let answer =
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
            socket.write_all(answer.as_bytes()).await?;
            for number in 0.. {
                for piece in ["event: tick\nda", "ta: ", &number.to_string(), "\n", "\n"] {
                    socket.write_all(piece.as_bytes()).await?;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            std::io::Result::Ok(())
        });
    }
}

#[tokio::test]
async fn a_stream_ends_between_two_events() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let backend = tokio::spawn(in_pieces(listener));
    let mut process = setup()
        .yaml("shutdown: { delay: 0s, timeout: 30s, stream_grace: 0s }")
        .route("/x/*", &url, allow())
        .start_process(&[])
        .await;
    let events = get(&process.url("/x/events")).header("x-api-key", KEY);
    let mut stream = events.header("accept", "text/event-stream").stream().await;
    let mut text = stream.read_until("data: 5\n\n").await;
    process.signal(Signal::TERM);
    while let Some(piece) = stream.piece().await {
        text.push_str(&piece);
    }
    assert!(text.ends_with("\n\n"), "{text:?}");
    let events = text.split("\n\n").filter(|event| !event.is_empty());
    for (number, event) in events.filter(|event| !event.starts_with(':')).enumerate() {
        assert_eq!(event, format!("event: tick\ndata: {number}"));
    }
    assert_eq!(
        process.part.ended().await,
        Some(0),
        "{}",
        process.part.log()
    );
    backend.abort();
}
