//! Where lines go: a few buffers, emptied by one thread.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use metrics::Counter;
use tokio::sync::oneshot;

use super::{Ending, Record, line};
use crate::config::service::LogFormat;
use crate::telemetry::metrics::{Metrics, Name};

/// A buffer of this size is handed to the writer.
const BLOCK: usize = 64 << 10;
/// Blocks that may wait for the writer; beyond them lines are dropped and counted.
const WAITING: usize = 64;
/// How long a line waits at most before it is written.
const TICK: Duration = Duration::from_millis(100);
const SHARDS: usize = 8;

/// The access log. Cheap to write to from every thread.
pub struct AccessLog {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
    writer: Mutex<Option<JoinHandle<()>>>,
    dropped: Counter,
}

enum Job {
    /// Lines to be written.
    Block(Vec<u8>),
    /// Write what there is now, then tell.
    Settle(oneshot::Sender<()>),
}

struct Shared {
    shards: [Mutex<Vec<u8>>; SHARDS],
    next: AtomicUsize,
    enabled: AtomicBool,
    text: AtomicBool,
    closing: AtomicBool,
}

impl AccessLog {
    /// Starts the writer thread. `format` and `enabled` may change later.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        sink: impl Write + Send + 'static,
        format: LogFormat,
        enabled: bool,
        metrics: &Metrics,
    ) -> std::io::Result<Arc<Self>> {
        let shared = Arc::new(Shared {
            shards: Default::default(),
            next: AtomicUsize::new(0),
            enabled: AtomicBool::new(enabled),
            text: AtomicBool::new(format == LogFormat::Text),
            closing: AtomicBool::new(false),
        });
        let (jobs, waiting) = sync_channel(WAITING);
        let writer = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || run(&shared, &waiting, sink)
            })?;
        Ok(Arc::new(Self {
            shared,
            jobs,
            writer: Mutex::new(Some(writer)),
            dropped: metrics.counter(Name::LogDropped, &[]),
        }))
    }

    /// Takes over a changed configuration.
    pub fn reconfigure(&self, format: LogFormat, enabled: bool) {
        self.shared.enabled.store(enabled, Ordering::Relaxed);
        self.shared
            .text
            .store(format == LogFormat::Text, Ordering::Relaxed);
    }

    /// Whether lines are written at all.
    pub fn enabled(&self) -> bool {
        self.shared.enabled.load(Ordering::Relaxed)
    }

    /// Writes the line of an answer without a body, which has ended.
    pub fn note(&self, record: &Record) {
        self.write(
            record,
            Ending {
                bytes_out: 0,
                took: record.to_head,
                complete: true,
            },
        );
    }

    pub(super) fn write(&self, record: &Record, ending: Ending) {
        if !self.enabled() {
            return;
        }
        let format = if self.shared.text.load(Ordering::Relaxed) {
            LogFormat::Text
        } else {
            LogFormat::Json
        };
        let shard = &self.shared.shards[shard(&self.shared.next)];
        let mut buffer = shard.lock().unwrap_or_else(PoisonError::into_inner);
        line::write(&mut buffer, format, record, ending);
        if buffer.len() >= BLOCK {
            let block = std::mem::replace(&mut *buffer, Vec::with_capacity(BLOCK + 1024));
            drop(buffer);
            if let Err(full) = self.jobs.try_send(Job::Block(block)) {
                let (TrySendError::Full(job) | TrySendError::Disconnected(job)) = full;
                let Job::Block(block) = job else { return };
                let lines = memchr::memchr_iter(b'\n', &block).count();
                self.dropped.increment(lines as u64);
            }
        }
    }

    /// Waits until the lines so far are written. Comes back at once when the sink is so slow that lines are dropped,
    /// or the writer has ended.
    pub async fn settle(&self) {
        let (tell, told) = oneshot::channel();
        if self.jobs.try_send(Job::Settle(tell)).is_ok() {
            let _ = told.await;
        }
    }

    /// Writes what is waiting and ends the writer. Lines after this are dropped.
    pub fn close(&self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccessLog")
    }
}

/// Each thread keeps to one shard, so that threads seldom meet.
fn shard(next: &AtomicUsize) -> usize {
    thread_local! {
        static MINE: std::cell::Cell<usize> = const { std::cell::Cell::new(usize::MAX) };
    }
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(next.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        mine.get()
    })
}

fn run(shared: &Shared, waiting: &Receiver<Job>, mut sink: impl Write) {
    loop {
        let closing = shared.closing.load(Ordering::SeqCst);
        let job = if closing {
            waiting.try_recv().ok()
        } else {
            match waiting.recv_timeout(TICK) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        };
        let tell = match job {
            Some(Job::Block(block)) => {
                // A sink that fails (a closed pipe) must not end the proxy; there is nowhere to tell it.
                let _ = sink.write_all(&block);
                continue;
            }
            Some(Job::Settle(tell)) => Some(tell),
            None => None,
        };
        for shard in &shared.shards {
            let block = std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
            if !block.is_empty() {
                let _ = sink.write_all(&block);
            }
        }
        let _ = sink.flush();
        if let Some(tell) = tell {
            let _ = tell.send(());
        } else if closing {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::record;
    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_was_noted_is_written_when_it_has_settled() {
        let kept = Kept::default();
        let log = AccessLog::start(kept.clone(), LogFormat::Json, true, &Metrics::new()).unwrap();
        for lines in 1..=3 {
            log.note(&record("/mcp"));
            log.settle().await;
            let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.lines().count(), lines);
        }
        log.close();
        log.settle().await;
    }

    #[test]
    fn every_line_is_written_once_at_the_latest_on_close() {
        let kept = Kept::default();
        let log = AccessLog::start(kept.clone(), LogFormat::Json, true, &Metrics::new()).unwrap();
        let ending = Ending {
            bytes_out: 0,
            took: Duration::ZERO,
            complete: true,
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50).for_each(|_| log.write(&record("/mcp"), ending)));
            }
        });
        log.close();
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 200);
        assert!(
            text.lines()
                .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
        );
    }
}
