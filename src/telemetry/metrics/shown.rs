//! Gauges of what can go away with a reload: a backend, a provider, a certificate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use metrics::{Gauge, Key};

/// A gauge that is shown as long as somebody holds it, so that no alert goes on about what is no longer configured.
/// All who ask for the same labels hold the same one.
#[derive(Clone)]
pub struct Shown(Arc<Held>);

struct Held {
    key: Key,
    gauge: Gauge,
    all: Arc<Registry>,
}

/// Those that are held. No longer than what is configured.
#[derive(Default)]
pub(super) struct Registry(Mutex<HashMap<Key, Weak<Held>>>);

impl Shown {
    /// Shows this value from now on.
    pub fn set(&self, value: f64) {
        self.0.gauge.set(value);
    }

    pub(super) fn new(all: &Arc<Registry>, key: Key, gauge: Gauge) -> Self {
        let mut held = all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = held.get(&key).and_then(Weak::upgrade) {
            return Self(known);
        }
        let this = Arc::new(Held {
            key: key.clone(),
            gauge,
            all: Arc::clone(all),
        });
        held.insert(key, Arc::downgrade(&this));
        Self(this)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may hold another one of these labels by now, whose value is not ours to take away.
        let ours = held
            .get(&self.key)
            .is_some_and(|known| std::ptr::eq(known.as_ptr(), self));
        if ours {
            held.remove(&self.key);
            self.gauge.set(f64::NAN);
        }
    }
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shown({})", self.0.key.name())
    }
}
