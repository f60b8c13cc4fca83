//! The handle, and the room that records wait in.
//!
//! Two bounds: requests reserve their room in `queue` before they are let through; the records of what our own
//! endpoints did may go up to twice of it, for they are the last to be lost. The record of an outcome needs no room
//! there: it comes with the request that was admitted, so there are never more of them than requests.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use metrics::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::event::{Class, Event, Kind, MAX_LIST, Outcome, Who, clip};
use super::flood::Flood;
use super::redact::{Redacted, Redactor};
use crate::claims::Claims;
use crate::clock::{Ambient, Timestamp};
use crate::config::audit::{AuditIdentity, WhenFull};
use crate::telemetry::metrics::{Metrics, Name};

/// The audit log, or none. Cheap to clone.
#[derive(Clone, Default)]
pub struct Audit(Option<Arc<Inner>>);

pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    pub(super) room: Arc<Semaphore>,
    pub(super) jobs: Sender<Job>,
    pub(super) redactor: Redactor,
    pub(super) identity: AuditIdentity,
    pub(super) when_full: WhenFull,
    pub(super) max_wait: Duration,
    pub(super) queue: usize,
    pub(super) writer: Mutex<Option<JoinHandle<()>>>,
}

/// What handle and writer share.
pub(super) struct Shared {
    pub(super) ambient: Ambient,
    /// Records of our own endpoints that wait.
    pub(super) noted: AtomicUsize,
    /// Records that were lost since the last record about it.
    pub(super) lost: AtomicU64,
    pub(super) flood: Mutex<Flood>,
    meters: Meters,
}

/// What the writer gets.
pub(super) enum Job {
    /// A record, and the room that it takes until it is written.
    Record(Box<Event>, Room),
    /// Who wants to know when all before it is written.
    Tell(oneshot::Sender<()>),
    /// The end.
    Close,
}

/// The room of a record.
pub(super) enum Room {
    /// In the queue; shared by the records of one request.
    Queue(#[expect(dead_code, reason = "given back when it is dropped")] Arc<OwnedSemaphorePermit>),
    /// Beside it.
    Noted,
    /// It came with an admitted request.
    Own,
}

struct Meters {
    events: Vec<[Counter; 4]>,
    dropped: Counter,
}

/// The record could not be taken: the request must not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit log takes no record just now")]
pub struct Full;

/// Room for the records of one request.
#[must_use]
pub struct Slot {
    inner: Option<Arc<Inner>>,
    permit: Option<Arc<OwnedSemaphorePermit>>,
}

/// A request whose decision was recorded, with room for what becomes of it.
#[derive(Clone, Default)]
pub struct Admitted {
    inner: Option<Arc<Inner>>,
}

impl Audit {
    pub(super) fn of(inner: Inner) -> Self {
        Self(Some(Arc::new(inner)))
    }

    /// Whether there is an audit log. Where there is none, nothing has to be put together for it.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Records something that our own endpoints, operators or background tasks did. Never waits; beyond the bound it
    /// is lost and counted.
    pub fn note(&self, event: Event) {
        let Some(inner) = &self.0 else {
            return;
        };
        let Some(event) = inner.shared.pass(event) else {
            return;
        };
        let bound = match inner.when_full {
            WhenFull::Drop => inner.queue,
            WhenFull::Block | WhenFull::FailClosed => 2 * inner.queue,
        };
        if inner.shared.noted.fetch_add(1, Ordering::AcqRel) >= bound {
            inner.shared.noted.fetch_sub(1, Ordering::AcqRel);
            inner.shared.lose(1);
            return;
        }
        inner.send(event, Room::Noted);
    }

    /// The same, put together only when there is an audit log.
    pub fn note_with(&self, event: impl FnOnce(&Self) -> Event) {
        if self.is_on() {
            self.note(event(self));
        }
    }

    /// Waits until something that is going to be recorded can be, as `when_full` says: before an endpoint of our own
    /// does what has to be on record.
    ///
    /// # Errors
    /// When it cannot; the request has to be refused.
    pub async fn ready(&self) -> Result<(), Full> {
        let Some(inner) = &self.0 else {
            return Ok(());
        };
        match inner.when_full {
            WhenFull::Drop => Ok(()),
            WhenFull::Block => inner.acquire(1).await.map(drop),
            WhenFull::FailClosed => {
                let _room = inner.acquire(1).await?;
                inner.settled().await
            }
        }
    }

    /// Reserves room for the decisions on `calls` calls of one request, before it is forwarded.
    ///
    /// # Errors
    /// When there is none, and records must not be lost.
    pub async fn reserve(&self, calls: usize) -> Result<Slot, Full> {
        let Some(inner) = &self.0 else {
            return Ok(Slot {
                inner: None,
                permit: None,
            });
        };
        let permit = match inner.acquire(calls).await {
            Ok(permit) => Some(Arc::new(permit)),
            Err(Full) if inner.when_full == WhenFull::Drop => None,
            Err(Full) => return Err(Full),
        };
        Ok(Slot {
            inner: Some(Arc::clone(inner)),
            permit,
        })
    }

    /// Waits until all that was recorded so far is written.
    ///
    /// # Errors
    /// When that takes longer than `max_wait`.
    pub async fn settled(&self) -> Result<(), Full> {
        match &self.0 {
            None => Ok(()),
            Some(inner) => inner.settled().await,
        }
    }

    /// Who somebody is, as far as it shall be written.
    pub fn who(&self, claims: &Claims) -> Who {
        let Some(inner) = &self.0 else {
            return Who::default();
        };
        Who {
            email: claims
                .email
                .as_deref()
                .filter(|_| inner.identity.email)
                .map(clip),
            groups: if inner.identity.groups {
                let groups = claims.groups.iter().take(MAX_LIST);
                groups.map(|group| clip(group)).collect()
            } else {
                Vec::new()
            },
            ..Who::subject(&claims.subject)
        }
    }

    /// The arguments of a call as they are written; `None` when they are not written at all.
    pub fn arguments(&self, json: &[u8]) -> Option<Redacted> {
        self.0.as_ref()?.redactor.arguments(json)
    }

    /// A text that a stranger chose, such as a resource's URI, without what looks like a secret or personal data.
    pub fn text(&self, text: &str) -> Box<str> {
        match &self.0 {
            None => clip(text),
            Some(inner) => clip(&inner.redactor.text(&clip(text))),
        }
    }

    /// Writes what is waiting and ends the log. Blocks, a few seconds at most.
    pub fn close(&self) {
        if let Some(inner) = &self.0 {
            inner.close();
        }
    }
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_on() { "Audit" } else { "Audit(off)" })
    }
}

impl Slot {
    /// Writes the decisions on a request. With `fail_closed` it comes back once they are written.
    ///
    /// # Errors
    /// When they were not written in time; the request must not be forwarded.
    pub async fn decide(self, decisions: Vec<Event>) -> Result<Admitted, Full> {
        let Some(inner) = self.inner else {
            return Ok(Admitted::default());
        };
        let Some(permit) = self.permit else {
            inner.shared.lose(decisions.len() as u64);
            return Ok(Admitted::default());
        };
        let mut taken_back = Vec::new();
        for mut event in decisions {
            if inner.when_full == WhenFull::FailClosed && event.outcome == Outcome::Success {
                taken_back.push(Event::taken_back(&event));
            }
            event.at.get_or_insert_with(|| inner.shared.ambient.now());
            inner.shared.count(&event);
            inner.send(event, Room::Queue(Arc::clone(&permit)));
        }
        drop(permit);
        let admitted = Admitted {
            inner: Some(Arc::clone(&inner)),
        };
        if inner.when_full == WhenFull::FailClosed && inner.settled().await.is_err() {
            // It is going to be written all the same, and must not look as if something had been done.
            for event in taken_back {
                admitted.result(event);
            }
            return Err(Full);
        }
        Ok(admitted)
    }
}

impl Admitted {
    /// Whether there is anything to be recorded.
    pub fn is_on(&self) -> bool {
        self.inner.is_some()
    }

    /// Records what became of a call.
    pub fn result(&self, mut event: Event) {
        if let Some(inner) = &self.inner {
            event.at.get_or_insert_with(|| inner.shared.ambient.now());
            inner.shared.count(&event);
            inner.send(event, Room::Own);
        }
    }
}

impl std::fmt::Debug for Admitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Admitted")
    }
}

impl Inner {
    async fn acquire(&self, records: usize) -> Result<OwnedSemaphorePermit, Full> {
        let records = u32::try_from(records.clamp(1, self.queue)).unwrap_or(u32::MAX);
        let room = || Arc::clone(&self.room);
        if let Ok(permit) = room().try_acquire_many_owned(records) {
            return Ok(permit);
        }
        if self.when_full != WhenFull::Block {
            return Err(Full);
        }
        match tokio::time::timeout(self.max_wait, room().acquire_many_owned(records)).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Full),
        }
    }

    async fn settled(&self) -> Result<(), Full> {
        let (tell, told) = oneshot::channel();
        self.jobs.send(Job::Tell(tell)).map_err(|_| Full)?;
        match tokio::time::timeout(self.max_wait, told).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Full),
        }
    }

    fn send(&self, event: Event, room: Room) {
        if self.jobs.send(Job::Record(Box::new(event), room)).is_err() {
            // The writer has ended, and nothing is written any more.
            self.shared.lose(1);
        }
    }

    fn close(&self) {
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(writer) = writer else {
            return;
        };
        let _ = self.jobs.send(Job::Close);
        // The writer bounds its own end, except where the system does not let it go on: then it is left behind.
        for _ in 0..500 {
            if writer.is_finished() {
                let _ = writer.join();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        tracing::error!("the audit log could not be ended in time; records may be lost");
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    pub(super) fn new(ambient: Ambient, metrics: &Metrics, sink: &'static str) -> Arc<Self> {
        let events = Class::ALL.iter().map(|class| {
            Outcome::ALL.map(|outcome| {
                let labels = [("class", class.as_str()), ("outcome", outcome.as_str())];
                metrics.counter(Name::AuditEvents, &labels)
            })
        });
        let dropped = metrics.counter(Name::AuditDropped, &[("sink", sink)]);
        dropped.absolute(0);
        Arc::new(Self {
            ambient,
            noted: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            flood: Mutex::default(),
            meters: Meters {
                events: events.collect(),
                dropped,
            },
        })
    }

    /// Stamps and counts an event; `None` when it was only counted.
    fn pass(&self, mut event: Event) -> Option<Event> {
        let now = self.ambient.now();
        event.at.get_or_insert(now);
        self.count(&event);
        self.flood
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pass(event, now)
    }

    /// What was counted and is to be written now.
    pub(super) fn due(&self, now: Timestamp, end: bool) -> Vec<Event> {
        self.flood
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .due(now, end)
    }

    pub(super) fn count(&self, event: &Event) {
        let class = Class::ALL
            .iter()
            .position(|class| *class == event.kind.class());
        let outcome = Outcome::ALL
            .iter()
            .position(|outcome| *outcome == event.outcome);
        if let (Some(class), Some(outcome)) = (class, outcome)
            && let Some(counter) = self
                .meters
                .events
                .get(class)
                .and_then(|row| row.get(outcome))
        {
            counter.increment(1);
        }
    }

    pub(super) fn lose(&self, records: u64) {
        self.lost.fetch_add(records, Ordering::AcqRel);
        self.meters.dropped.increment(records);
    }

    /// The record about what was lost since the last one.
    pub(super) fn loss(&self) -> Option<Event> {
        let count = self.lost.swap(0, Ordering::AcqRel);
        (count > 0).then(|| {
            let mut event = Event::new(Kind::LogDropped, Outcome::Error).because("full");
            event.log = Some(Box::new(super::event::Log {
                count: Some(count),
                ..super::event::Log::default()
            }));
            event
        })
    }
}
