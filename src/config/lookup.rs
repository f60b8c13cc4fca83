//! What secrets are looked up in while a configuration is read. serde has no way to hand a value to a derived
//! `Deserialize`, so it is set for the thread around one read.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::remote::{Given, Needed, Remote, RemoteValues};
use crate::secret::Secret;

/// The environment, what `vault.secrets` adds to it, and the values of other systems that are known.
#[derive(Default)]
pub(super) struct Lookup {
    pub(super) env: BTreeMap<String, String>,
    pub(super) given: Given,
    pub(super) values: RemoteValues,
    /// What was asked for, known or not.
    pub(super) needed: Needed,
    /// Leaves secrets of variables, files and credentials where they are.
    pub(super) leave: bool,
    /// Whether one was left.
    pub(super) left: bool,
}

/// What a configuration takes from elsewhere.
#[derive(Default)]
pub(super) struct Taken {
    /// The secrets of other systems.
    pub(super) needed: Needed,
    /// Whether a secret was left where it is.
    pub(super) left: bool,
}

/// What a variable holds.
pub(super) enum Found {
    /// A text of the environment.
    Text(String),
    /// A secret of another system.
    Remote(Remote),
}

thread_local! {
    static CURRENT: RefCell<Option<Lookup>> = const { RefCell::new(None) };
}

/// Reads with this lookup in place of the process's environment; gives what was taken too.
pub(super) fn with<T>(lookup: Lookup, read: impl FnOnce() -> T) -> (T, Taken) {
    struct Restore(Option<Lookup>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.with(|current| current.replace(self.0.take()));
        }
    }
    let _restore = Restore(CURRENT.with(|current| current.replace(Some(lookup))));
    let read = read();
    let taken = CURRENT.with(|current| {
        let mut current = current.borrow_mut();
        current.as_mut().map(|now| Taken {
            needed: std::mem::take(&mut now.needed),
            left: now.left,
        })
    });
    (read, taken.unwrap_or_default())
}

/// Whether a secret is left where it is. Notes that it was.
pub(super) fn leaves() -> bool {
    CURRENT.with(|current| {
        let mut current = current.borrow_mut();
        let Some(lookup) = current.as_mut() else {
            return false;
        };
        lookup.left |= lookup.leave;
        lookup.leave
    })
}

/// What a variable holds; `None` when it is not set.
pub(super) fn env(name: &str) -> Option<Found> {
    CURRENT.with(|current| match &*current.borrow() {
        Some(lookup) => {
            let text = lookup.env.get(name).cloned().map(Found::Text);
            text.or_else(|| lookup.given.get(name).cloned().map(Found::Remote))
        }
        None => std::env::var(name).ok().map(Found::Text),
    })
}

/// The value of another system's secret, when it is known. Notes that it is needed.
pub(super) fn remote(remote: &Remote) -> Option<Secret> {
    CURRENT.with(|current| {
        let mut current = current.borrow_mut();
        let lookup = current.as_mut()?;
        lookup.needed.insert(remote.clone());
        lookup.values.get(remote).cloned()
    })
}
