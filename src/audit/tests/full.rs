use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::*;
use crate::config::Span;
use crate::config::audit::WhenFull;

/// A sink that takes nothing until it is told to.
struct Gate {
    open: Receiver<()>,
    is_open: bool,
    kept: Arc<Mutex<Vec<u8>>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if !self.is_open {
            let _ = self.open.recv();
            self.is_open = true;
        }
        self.kept.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct World {
    audit: Audit,
    open: Sender<()>,
    kept: Arc<Mutex<Vec<u8>>>,
    metrics: Arc<Metrics>,
}

fn world(when_full: WhenFull) -> World {
    patient(when_full, Duration::from_millis(50))
}

fn patient(when_full: WhenFull, max_wait: Duration) -> World {
    let (open, opened) = channel();
    let kept = Arc::<Mutex<Vec<u8>>>::default();
    let gate = Gate {
        open: opened,
        is_open: false,
        kept: Arc::clone(&kept),
    };
    let metrics = metrics();
    let config = Config {
        sink: Some(SinkKind::Stdout),
        when_full,
        queue: 4,
        max_wait: Span(max_wait),
        ..Config::default()
    };
    let audit = Audit::start_on(&config, Box::new(gate), &Ambient::system(), &metrics);
    World {
        audit,
        open,
        kept,
        metrics,
    }
}

impl World {
    /// Requests that reserve one record each and write it; gives how many were admitted.
    async fn fill(&self, requests: usize) -> Vec<Result<Admitted, Full>> {
        let mut all = Vec::new();
        for n in 0..requests {
            all.push(match self.audit.reserve(1).await {
                Ok(slot) => slot.decide(vec![some(n)]).await,
                Err(full) => Err(full),
            });
        }
        all
    }

    fn dropped(&self) -> String {
        let text = self.metrics.render();
        let line = text
            .lines()
            .find(|line| line.starts_with("mcp_proxy_audit_dropped_total{"));
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    }

    fn open_and_close(&self) -> (Vec<serde_json::Value>, Report) {
        self.open.send(()).unwrap();
        self.audit.close();
        let bytes = self.kept.lock().unwrap().clone();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        std::fs::write(&path, &bytes).unwrap();
        let report = verify(&[path], &Options::default()).unwrap();
        let lines = String::from_utf8(bytes).unwrap();
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        (lines.collect(), report)
    }
}

fn of_kind(lines: &[serde_json::Value], kind: &str) -> usize {
    lines.iter().filter(|line| line["kind"] == kind).count()
}

#[tokio::test]
async fn block_waits_a_bounded_time_and_then_refuses() {
    let world = world(WhenFull::Block);
    let all = world.fill(6).await;
    assert_eq!(all.iter().filter(|each| each.is_ok()).count(), 4);
    assert!(all[4].is_err() && all[5].is_err());
    assert!(world.audit.ready().await.is_err());
    // Outcomes of those that were admitted have room of their own.
    for admitted in all.into_iter().flatten() {
        admitted.result(Event::ok(Kind::Result));
    }
    assert_eq!(world.dropped(), "0");
    let (lines, report) = world.open_and_close();
    assert_eq!(of_kind(&lines, "access.decided"), 4);
    assert_eq!(of_kind(&lines, "access.result"), 4);
    assert!(report.is_intact(), "{}", report.text());
}

#[tokio::test]
async fn block_goes_on_when_there_is_room_again() {
    let world = patient(WhenFull::Block, Duration::from_secs(60));
    let full = world.fill(4).await;
    assert!(full.iter().all(Result::is_ok));
    world.open.send(()).unwrap();
    world.audit.settled().await.unwrap();
    assert!(world.fill(4).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn drop_lets_through_counts_and_says_so_in_the_log() {
    let world = world(WhenFull::Drop);
    let all = world.fill(10).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(all.iter().flatten().filter(|each| each.is_on()).count(), 4);
    assert_eq!(world.dropped(), "6");
    assert!(world.audit.ready().await.is_ok());
    let (lines, report) = world.open_and_close();
    assert_eq!(of_kind(&lines, "access.decided"), 4);
    let lost: u64 = lines
        .iter()
        .filter(|line| line["kind"] == "log.dropped")
        .map(|line| line["log"]["count"].as_u64().unwrap())
        .sum();
    assert_eq!(lost, 6);
    assert!(report.is_intact(), "{}", report.text());
    assert_eq!(report.chains[0].dropped, 6);
}

#[tokio::test]
async fn fail_closed_lets_nothing_through_that_is_not_written() {
    let world = world(WhenFull::FailClosed);
    // There is room, but the sink takes nothing.
    assert!(world.fill(1).await[0].is_err());
    assert!(world.audit.ready().await.is_err());
    // And when there is no room it does not even wait.
    let _ = world.fill(3).await;
    assert_eq!(world.audit.reserve(1).await.err(), Some(Full));
    world.open.send(()).unwrap();
    world.audit.settled().await.unwrap();
    // A busy machine may take longer than requests wait.
    while world.fill(1).await[0].is_err() {}
    while world.audit.ready().await.is_err() {}
    // What came back is written, not on its way.
    let kept = String::from_utf8(world.kept.lock().unwrap().clone()).unwrap();
    assert!(
        kept.ends_with('\n') && kept.matches("access.decided").count() >= 5,
        "{kept}"
    );
}

#[tokio::test]
async fn own_endpoints_have_a_bound_too() {
    let world = world(WhenFull::Block);
    for n in 0..20 {
        world.audit.note(some(n));
    }
    assert_eq!(world.dropped(), "12");
    let (lines, report) = world.open_and_close();
    assert_eq!(of_kind(&lines, "access.decided"), 8);
    assert!(report.is_intact(), "{}", report.text());
}

/// A real pipe that nobody reads: the writer is stuck in the system, and the end does not hang.
#[tokio::test]
async fn a_full_pipe_stops_neither_the_proxy_nor_its_end() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let metrics = metrics();
    let config = Config {
        sink: Some(SinkKind::Stdout),
        when_full: WhenFull::Drop,
        queue: 1024,
        ..Config::default()
    };
    let audit = Audit::start_on(&config, Box::new(writer), &Ambient::system(), &metrics);
    for n in 0..5000 {
        audit.note(some(n));
    }
    let text = metrics.render();
    let dropped = text
        .lines()
        .find(|line| line.starts_with("mcp_proxy_audit_dropped_total{"))
        .and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .unwrap();
    assert!(dropped > 0, "{dropped}");
    // Once somebody reads, all that was taken comes, whole.
    let read = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    });
    audit.close();
    drop(audit);
    let bytes = read.join().unwrap().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    std::fs::write(&path, &bytes).unwrap();
    let report = verify(&[path], &Options::default()).unwrap();
    assert!(report.is_intact(), "{}", report.text());
    assert_eq!(report.chains[0].dropped, dropped);
}
