//! What ended or changed, told to every replica within a moment: logins, grants.
//!
//! Who remembers something ([`Listener`]) forgets it; who holds a stream open ([`Watch`]) is woken. A process hears
//! its own heartbeat come back each second; while it does not, nothing that is remembered counts.

use std::sync::{Arc, Weak};

use tokio_util::sync::CancellationToken;

use crate::clock::{Ambient, Timestamp};
use crate::store::Store;

/// What is spoken of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Name {
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
}

/// The news of this installation.
pub struct Revocations {
    store: Arc<dyn Store>,
    ambient: Ambient,
}

impl Revocations {
    /// Over a store. [`Self::run`] has to run beside it.
    pub fn new(store: Arc<dyn Store>, ambient: Ambient) -> Arc<Self> {
        Arc::new(Self { store, ambient })
    }

    /// Hears what other replicas tell, and sends the heartbeat, until cancelled.
    pub async fn run(&self, until: CancellationToken) {
        let _ = (&self.store, until);
        todo!()
    }

    /// Tells this process first, then the others. When they cannot be told, their heartbeats fail to arrive as
    /// well, and within three seconds they believe nothing that they remember.
    pub async fn tell(&self, name: Name, news: News) {
        let _ = (name, news);
        todo!()
    }

    /// Whether what is remembered counts: the store is this process's alone, or the heartbeat was heard within 3 s.
    pub fn is_trusted(&self, now: Timestamp) -> bool {
        let _ = (&self.ambient, now);
        todo!()
    }

    /// Adds a listener; it leaves by being dropped.
    pub fn listen(&self, listener: Weak<dyn Listener>) {
        let _ = listener;
        todo!()
    }
}
