//! The thread that writes: chains, signs, rotates, and tries again what could not be written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};

use super::chain::{Chain, NONE, Signer, hex};
use super::event::{Event, Kind, Log};
use super::queue::{Audit, Inner, Job, Room, Shared};
use super::redact::Redactor;
use super::resume::{self, ResumeError, Tail};
use super::sink::file::{self, FileSink};
use super::sink::{Pending, Sink};
use crate::clock::Ambient;
use crate::config::audit::{Audit as Config, AuditFile, SinkKind};
use crate::telemetry::metrics::Metrics;

/// Time between two checkpoints, unless a test needs to know how many there are.
const SEAL: Duration = Duration::from_secs(1);
/// Records that are put together before they are written.
const BATCH: usize = 512;
/// Pause before what could not be written is tried again.
const AGAIN: Duration = Duration::from_millis(200);
/// How long the end waits for a sink that takes nothing.
const LAST: Duration = Duration::from_secs(4);

/// Why there is no audit log.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The log that is there cannot go on.
    #[error("audit: {0}")]
    Resume(#[from] ResumeError),
    /// The sink cannot be opened.
    #[error("audit: the {sink} cannot be opened: {error}", sink = .0, error = .1)]
    Sink(String, io::Error),
}

impl Audit {
    /// Opens the log that the configuration asks for, and goes on where it ended; a handle that does nothing when it
    /// asks for none.
    ///
    /// # Errors
    /// When the sink cannot be opened, or what is in the file is no log that could go on.
    pub fn start(
        config: &Config,
        ambient: &Ambient,
        metrics: &Metrics,
    ) -> Result<Self, AuditError> {
        Self::start_sealing(config, ambient, metrics, SEAL)
    }

    /// The same with another time between two checkpoints.
    pub(super) fn start_sealing(
        config: &Config,
        ambient: &Ambient,
        metrics: &Metrics,
        seal: Duration,
    ) -> Result<Self, AuditError> {
        let Some(kind) = config.sink else {
            return Ok(Self::default());
        };
        let signer = config.seed().and_then(|seed| Signer::new(&seed));
        let opened = if let (Some(file), SinkKind::File) = (&config.file, kind) {
            open_file(file, config, signer, ambient)?
        } else {
            let sink = Sink::other(config, kind)
                .map_err(|error| AuditError::Sink(format!("{kind:?}").to_lowercase(), error))?;
            Opened::anew(sink, config, signer, ambient)
        };
        Self::launch(config, opened, ambient, metrics, seal)
    }

    #[cfg(test)]
    pub(super) fn start_on(
        config: &Config,
        stream: Box<dyn io::Write + Send>,
        ambient: &Ambient,
        metrics: &Metrics,
    ) -> Self {
        let signer = config.seed().and_then(|seed| Signer::new(&seed));
        let opened = Opened::anew(Sink::Stream(stream), config, signer, ambient);
        Self::launch(config, opened, ambient, metrics, SEAL).unwrap()
    }

    fn launch(
        config: &Config,
        opened: Opened,
        ambient: &Ambient,
        metrics: &Metrics,
        seal: Duration,
    ) -> Result<Self, AuditError> {
        let shared = Shared::new(ambient.clone(), metrics, opened.sink.name());
        // Not bounded by itself: each record that is sent holds room, see `queue`.
        let (jobs, waiting) = channel();
        let mut writer = Writer {
            sink: opened.sink,
            chain: opened.chain,
            pending: Pending::default(),
            unsealed: 0,
            seal,
            sealed_at: Instant::now(),
            rooms: Vec::new(),
            told: Vec::new(),
            shared: Arc::clone(&shared),
            failing: false,
            give_up: None,
        };
        let begins = opened.begins;
        let thread = std::thread::Builder::new()
            .name("audit-log".to_owned())
            .spawn(move || {
                for event in begins {
                    writer.add(&event);
                }
                writer.run(&waiting);
            })
            .map_err(|error| AuditError::Sink("thread".to_owned(), error))?;
        let queue = usize::try_from(config.queue).unwrap_or(usize::MAX);
        Ok(Self::of(Inner {
            shared,
            room: Arc::new(Semaphore::new(queue)),
            jobs,
            redactor: Redactor::new(&config.arguments),
            identity: config.identity.clone(),
            when_full: config.when_full,
            max_wait: config.max_wait.0,
            queue,
            writer: Mutex::new(Some(thread)),
        }))
    }
}

/// A sink with the chain that goes on in it, and the records that begin it.
struct Opened {
    sink: Sink,
    chain: Chain,
    begins: Vec<Event>,
}

impl Opened {
    fn anew(sink: Sink, config: &Config, signer: Option<Signer>, ambient: &Ambient) -> Self {
        let id: [u8; 16] = ambient.random();
        let chain = Chain::new(&hex(&id), 0, NONE, signer, config.format);
        let begins = vec![opened(&chain, &sink, None)];
        Self {
            sink,
            chain,
            begins,
        }
    }
}

fn open_file(
    file: &AuditFile,
    config: &Config,
    signer: Option<Signer>,
    ambient: &Ambient,
) -> Result<Opened, AuditError> {
    let failed = |error| AuditError::Sink(format!("file {}", file.path.display()), error);
    let found = resume::find(&file.path)?;
    let number = match &found {
        None => 1,
        Some((tail, true)) => tail.number,
        Some((tail, false)) => tail.number + 1,
    };
    let sink = FileSink::open(file, number).map_err(failed)?;
    let Some((tail, same)) = found else {
        return Ok(Opened::anew(Sink::File(sink), config, signer, ambient));
    };
    let chain = Chain::new(&tail.chain, tail.seq, tail.hash, signer, config.format);
    let sink = Sink::File(sink);
    let mut begins = Vec::new();
    if same {
        tail.close_line(&file.path).map_err(failed)?;
    } else {
        let before = file::numbered_files(&file.path).pop();
        let before = before.map(|(_, path)| file::name(&path));
        begins.push(opened(&chain, &sink, before));
    }
    begins.extend(tail.recovered());
    Ok(Opened {
        sink,
        chain,
        begins,
    })
}

/// The first record of a file.
fn opened(chain: &Chain, sink: &Sink, previous_file: Option<String>) -> Event {
    let mut event = Event::ok(Kind::LogOpened);
    let (name, number) = match sink {
        Sink::File(file) => (Some(file.name().into()), file.number()),
        _ => (None, 1),
    };
    let goes_on = chain.seq() > 0;
    event.log = Some(Box::new(Log {
        file: name,
        number: Some(number),
        version: Some(crate::build::VERSION),
        key: chain.public_key().map(Into::into),
        previous_file: previous_file.map(Into::into),
        last_seq: goes_on.then(|| chain.seq()),
        last_hash: goes_on.then(|| chain.hash().into()),
        ..Log::default()
    }));
    event
}

struct Writer {
    sink: Sink,
    chain: Chain,
    pending: Pending,
    /// Records since the last checkpoint.
    unsealed: u64,
    /// Time between two checkpoints, while records are written.
    seal: Duration,
    sealed_at: Instant,
    rooms: Vec<Room>,
    told: Vec<oneshot::Sender<()>>,
    shared: Arc<Shared>,
    failing: bool,
    /// Since the end was asked for: when to leave what cannot be written.
    give_up: Option<Instant>,
}

impl Writer {
    fn run(mut self, waiting: &Receiver<Job>) {
        self.flush();
        loop {
            let mut end = false;
            match waiting.recv_timeout(self.until_seal()) {
                Ok(job) => {
                    end |= self.take(job);
                    for job in waiting.try_iter().take(BATCH) {
                        end |= self.take(job);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => end = true,
            }
            if end {
                self.give_up = Some(Instant::now() + LAST);
                while let Ok(job) = waiting.try_recv() {
                    self.take(job);
                }
            }
            for event in self.shared.due(self.shared.ambient.now(), end) {
                self.add(&event);
            }
            if let Some(loss) = self.shared.loss() {
                self.add(&loss);
            }
            self.flush();
            if end {
                self.seal(true);
                self.flush();
                return;
            }
            if self.unsealed > 0 && self.sealed_at.elapsed() >= self.seal {
                self.seal(false);
                self.flush();
                self.settle();
                self.look_after_file();
            }
        }
    }

    fn until_seal(&self) -> Duration {
        if self.unsealed > 0 {
            self.seal.saturating_sub(self.sealed_at.elapsed())
        } else {
            self.seal
        }
    }

    /// Whether this is the end.
    fn take(&mut self, job: Job) -> bool {
        match job {
            Job::Record(event, room) => {
                self.add(&event);
                self.rooms.push(room);
                false
            }
            Job::Tell(tell) => {
                self.told.push(tell);
                false
            }
            Job::Close => true,
        }
    }

    /// Puts a record at the end of the chain.
    fn add(&mut self, event: &Event) {
        self.append(event);
        let is_full = match &self.sink {
            Sink::File(file) => file.is_full(self.pending.rest().len()),
            _ => false,
        };
        if is_full {
            self.turn();
        }
    }

    fn append(&mut self, event: &Event) {
        let at = event.at.unwrap_or_else(|| self.shared.ambient.now());
        if self.unsealed == 0 {
            self.sealed_at = Instant::now();
        }
        self.chain.append(self.pending.out(), event, at);
        self.unsealed += 1;
    }

    /// A checkpoint over all that was added.
    fn seal(&mut self, end: bool) {
        let mut event = Event::ok(Kind::LogCheckpoint);
        event.log = Some(Box::new(Log {
            records: Some(self.unsealed),
            end,
            ..Log::default()
        }));
        self.append(&event);
        self.unsealed = 0;
        self.sealed_at = Instant::now();
    }

    /// Ends the full file and begins the next.
    fn turn(&mut self) {
        self.seal(true);
        if !self.flush() {
            return;
        }
        self.settle();
        let Sink::File(file) = &mut self.sink else {
            return;
        };
        match file.turn() {
            Ok(full) => self.begun(full),
            Err(error) => {
                tracing::error!(%error, file = file.name(), "the audit log could not be rotated; it goes on in the same file");
            }
        }
    }

    /// The next file has begun; `before` is the name of the one before.
    fn begun(&mut self, before: String) {
        tracing::info!(chain = self.chain.id(), seq = self.chain.seq(), hash = self.chain.hash(), file = %before, "a file of the audit log is full; this is its head");
        let first = opened(&self.chain, &self.sink, Some(before));
        self.append(&first);
        let Sink::File(file) = &self.sink else {
            return;
        };
        for path in file.surplus() {
            self.remove(&path);
        }
    }

    /// Removes a full file, which is recorded before.
    fn remove(&mut self, path: &Path) {
        let tail = match Tail::read(path) {
            Ok(Some(tail)) => tail,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "an old file of the audit log cannot be read, and is not removed");
                return;
            }
        };
        let mut event = Event::ok(Kind::LogRemoved);
        event.log = Some(Box::new(Log {
            file: Some(file::name(path).into()),
            number: Some(tail.number),
            last_seq: Some(tail.seq),
            last_hash: Some(hex(&tail.hash).into()),
            ..Log::default()
        }));
        self.append(&event);
        if self.flush()
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::error!(%error, file = %path.display(), "an old file of the audit log cannot be removed");
        }
    }

    /// Writes until nothing is left, however long it takes; only the end gives up.
    fn flush(&mut self) -> bool {
        loop {
            match self.sink.write(&mut self.pending) {
                Ok(()) => break,
                Err(error) => {
                    if !self.failing {
                        self.failing = true;
                        tracing::error!(%error, sink = self.sink.name(), "the audit log cannot be written; it is tried again");
                    }
                    if self.give_up.is_some_and(|at| Instant::now() >= at) {
                        return false;
                    }
                    std::thread::sleep(AGAIN);
                }
            }
        }
        if std::mem::take(&mut self.failing) {
            tracing::info!(sink = self.sink.name(), "the audit log is written again");
        }
        let noted = self.rooms.iter().filter(|room| matches!(room, Room::Noted));
        self.shared.noted.fetch_sub(noted.count(), Ordering::AcqRel);
        self.rooms.clear();
        for tell in self.told.drain(..) {
            let _ = tell.send(());
        }
        true
    }

    fn settle(&mut self) {
        if let Err(error) = self.sink.settle() {
            tracing::error!(%error, sink = self.sink.name(), "the audit log could not be made last");
        }
    }

    /// When somebody moved the file away, the chain goes on in a new one.
    fn look_after_file(&mut self) {
        let Sink::File(file) = &mut self.sink else {
            return;
        };
        if !file.is_gone() {
            return;
        }
        tracing::error!(
            file = file.name(),
            "the file of the audit log was moved or removed; the chain goes on in a new one"
        );
        let before = file.name();
        match file.begin() {
            Ok(()) => self.begun(before),
            Err(error) => {
                tracing::error!(%error, "a new file of the audit log cannot be begun");
            }
        }
    }
}

/// The end of the log in a file, to be kept elsewhere: `chain/seq/hash`.
///
/// # Errors
/// When the file is no audit log.
pub fn head(path: &Path) -> Result<String, ResumeError> {
    match resume::find(path)? {
        Some((tail, _)) => Ok(format!("{}/{}/{}", tail.chain, tail.seq, hex(&tail.hash))),
        None => Err(ResumeError::NoLog(PathBuf::from(path))),
    }
}

/// The file that is written to and the full ones beside it, as far as they are there.
pub fn files_of(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = file::numbered_files(path)
        .into_iter()
        .map(|(_, path)| path)
        .collect();
    if path.exists() || files.is_empty() {
        files.push(path.to_owned());
    }
    files
}

/// The public key of a seed, base64url.
pub fn public_key(seed: &[u8; 32]) -> Option<String> {
    Signer::new(seed).map(|signer| signer.public())
}
