//! What ended or changed, told to every replica within a moment: logins, grants.
//!
//! Who remembers something ([`Listener`]) forgets it; who holds a stream open ([`Watch`]) is woken. A process hears
//! its own heartbeat come back each second; while it does not, nothing that is remembered counts.

mod message;
mod watch;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

pub use self::watch::Watch;

use self::message::Message;
use self::watch::Watchers;
use crate::clock::{Ambient, Timestamp};
use crate::store::{Store, Unavailable};

/// What is spoken of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// A browser session's record (32 hex digits).
    Session(Arc<str>),
    /// A login record (32 hex digits).
    Login(Arc<str>),
    /// A grant (32 hex digits).
    Grant(Arc<str>),
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It has other claims or tokens: look again.
    Changed,
    /// It is over.
    Ended,
}

/// Somebody who remembers logins or grants.
pub trait Listener: Send + Sync {
    /// Forget this one.
    fn heard(&self, name: &Name, news: News);
    /// Messages may have been missed: forget everything.
    fn distrust(&self);
    /// Everything of everybody is over: forget also what is kept for an outage. [`Self::distrust`] of every
    /// listener came before.
    fn ended_all(&self);
}

/// The news of this installation.
pub struct Revocations {
    store: Arc<dyn Store>,
    ambient: Ambient,
    /// This process, in its messages: what comes back was done already.
    me: Box<str>,
    /// When our own heartbeat was last heard, in milliseconds; `i64::MAX` when nobody else writes to the store.
    heard: AtomicI64,
    /// One for each part that remembers something.
    listeners: Mutex<Vec<Weak<dyn Listener>>>,
    watchers: Arc<Watchers>,
    /// Grows with everything that was heard.
    told: AtomicU64,
}

impl Revocations {
    /// Over a store. [`Self::run`] has to run beside it.
    pub fn new(store: Arc<dyn Store>, ambient: Ambient) -> Arc<Self> {
        let me = u64::from_be_bytes(ambient.random());
        let heard = if store.shared() { i64::MIN } else { i64::MAX };
        Arc::new(Self {
            me: format!("{me:016x}").into(),
            heard: AtomicI64::new(heard),
            listeners: Mutex::default(),
            watchers: Arc::default(),
            told: AtomicU64::new(0),
            store,
            ambient,
        })
    }

    /// Hears what other replicas tell, and sends the heartbeat, until cancelled.
    pub async fn run(&self, until: CancellationToken) {
        if self.store.shared() {
            let work = async { tokio::join!(self.hear(), self.beat()) };
            until.run_until_cancelled(work).await;
        }
    }

    /// Tells this process first, then the others. When they cannot be told, their heartbeats fail to arrive as
    /// well, and within three seconds they believe nothing that they remember.
    pub async fn tell(&self, name: Name, news: News) {
        self.deliver(&name, news);
        if !self.store.shared() {
            return;
        }
        let message = Message::News(name, news).write(&self.me);
        if let Err(error) = self.store.publish(CHANNEL, &message).await {
            tracing::warn!(%error, "The other replicas could not be told what ended or changed.");
        }
    }

    /// The same for everything of everybody.
    ///
    /// # Errors
    /// The others could not be told. This process has heard of it.
    pub async fn tell_all_ended(&self) -> Result<(), Unavailable> {
        self.all_ended();
        if !self.store.shared() {
            return Ok(());
        }
        let message = Message::AllEnded.write(&self.me);
        self.store.publish(CHANNEL, &message).await
    }

    /// Whether what is remembered counts: the store is this process's alone, or the heartbeat was heard within 3 s.
    pub fn is_trusted(&self, now: Timestamp) -> bool {
        let heard = self.heard.load(Ordering::Acquire);
        now.as_millis().saturating_sub(heard) <= HEARTBEAT_LOST
    }

    /// [`Self::is_trusted`] of now.
    pub fn is_heard(&self) -> bool {
        self.is_trusted(self.ambient.now())
    }

    /// Adds a listener; it leaves by being dropped.
    pub fn listen(&self, listener: Weak<dyn Listener>) {
        let mut listeners = self.listeners();
        listeners.retain(|each| each.strong_count() > 0);
        listeners.push(listener);
    }

    /// Watches names for as long as the value lives. News from before are not told. Without names it is woken only
    /// when everybody is.
    pub fn watch(&self, names: &[Name]) -> Watch {
        Watch::new(&self.watchers, names)
    }

    /// A number that changes with everything that is heard: who judged before and watches after compares the two.
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::Acquire)
    }

    /// Wakes every watch of this process to look again, for what is in force has changed.
    pub fn look_again(&self) {
        self.told.fetch_add(1, Ordering::AcqRel);
        self.watchers.ring_all();
    }

    /// The process stood still, or may have: what was told meanwhile is lost, or still on its way here behind a
    /// heartbeat of before. Nothing that was remembered until now counts.
    pub fn stood_still(&self) {
        self.distrust();
    }

    fn deliver(&self, name: &Name, news: News) {
        for listener in self.living() {
            listener.heard(name, news);
        }
        self.told.fetch_add(1, Ordering::AcqRel);
        // After those who remember: who is woken and looks again must not find what was forgotten.
        self.watchers.ring(name, news);
    }

    fn all_ended(&self) {
        let listeners = self.living();
        // Each believes nothing before any forgets: what is read from then on is read by what is so now.
        for listener in &listeners {
            listener.distrust();
        }
        for listener in &listeners {
            listener.ended_all();
        }
        self.told.fetch_add(1, Ordering::AcqRel);
        self.watchers.ring_all_ended();
    }

    /// Messages may have been missed. Until the heartbeat is heard again nothing that is remembered counts.
    fn distrust(&self) {
        self.heard.store(i64::MIN, Ordering::Release);
        for listener in self.living() {
            listener.distrust();
        }
        self.look_again();
    }

    async fn hear(&self) {
        loop {
            match self.store.subscribe(CHANNEL).await {
                Ok(mut messages) => {
                    self.distrust();
                    while let Some(message) = messages.next().await {
                        match message {
                            Some(message) => self.heard(&message),
                            None => self.distrust(),
                        }
                    }
                    self.distrust();
                }
                // Whoever watches was woken when the news ended; nothing has changed since.
                Err(error) => {
                    tracing::debug!(%error, "The news of other replicas cannot be heard.");
                }
            }
            sleep(HEARTBEAT).await;
        }
    }

    fn heard(&self, message: &str) {
        match Message::read(message) {
            Some((from, Message::Beat)) if from == &*self.me => {
                let now = self.ambient.now().as_millis();
                self.heard.store(now, Ordering::Release);
            }
            Some((from, Message::News(name, news))) if from != &*self.me => {
                self.deliver(&name, news);
            }
            Some((from, Message::AllEnded)) if from != &*self.me => self.all_ended(),
            // Beats of others, our own news, and what a later version says.
            _ => {}
        }
    }

    async fn beat(&self) {
        let message = Message::Beat.write(&self.me);
        let mut due = interval(HEARTBEAT);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            if let Err(error) = self.store.publish(CHANNEL, &message).await {
                tracing::debug!(%error, "The heartbeat of the news was not sent.");
            }
        }
    }

    /// Lets the news be heard or not, for tests of what rests on them.
    #[cfg(test)]
    pub(crate) fn set_heard(&self, heard: bool) {
        let heard = if heard { i64::MAX } else { i64::MIN };
        self.heard.store(heard, Ordering::Release);
    }

    fn living(&self) -> Vec<Arc<dyn Listener>> {
        self.listeners().iter().filter_map(Weak::upgrade).collect()
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Weak<dyn Listener>>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Revocations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Revocations")
    }
}

const CHANNEL: &str = "events";
const HEARTBEAT: Duration = Duration::from_secs(1);
const HEARTBEAT_LOST: i64 = 3_000;

#[cfg(test)]
mod tests;
