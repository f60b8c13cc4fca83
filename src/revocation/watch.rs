//! Those who hold something open while a login or a grant lives.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Name, News};

/// Who watches what. As many entries as there are watches, each removed by its own.
#[derive(Default)]
pub(super) struct Watchers(Mutex<All>);

/// `None`: those who watch no name.
type All = HashMap<Option<Name>, Vec<Arc<Bell>>>;

#[derive(Default)]
struct Bell {
    changed: AtomicBool,
    ended: AtomicBool,
    rung: Notify,
}

impl Bell {
    fn ring(&self, news: News) {
        let what = match news {
            News::Changed => &self.changed,
            News::Ended => &self.ended,
        };
        what.store(true, Ordering::Release);
        self.rung.notify_one();
    }
}

impl Watchers {
    pub(super) fn ring(&self, name: &Name, news: News) {
        for bell in self.all().get(&Some(name.clone())).into_iter().flatten() {
            bell.ring(news);
        }
    }

    /// Everything that has a name is over.
    pub(super) fn ring_all_ended(&self) {
        for (name, bells) in &*self.all() {
            if name.is_some() {
                for bell in bells {
                    bell.ring(News::Ended);
                }
            }
        }
    }

    /// News may have been missed: everybody looks again.
    pub(super) fn ring_all(&self) {
        for bell in self.all().values().flatten() {
            bell.ring(News::Changed);
        }
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A watch on some names.
pub struct Watch {
    home: Arc<Watchers>,
    names: Box<[Option<Name>]>,
    bell: Arc<Bell>,
}

impl Watch {
    pub(super) fn new(home: &Arc<Watchers>, names: &[Name]) -> Self {
        let bell = Arc::new(Bell::default());
        let names: Box<[Option<Name>]> = if names.is_empty() {
            [None].into()
        } else {
            names.iter().cloned().map(Some).collect()
        };
        let mut all = home.all();
        for name in &names {
            all.entry(name.clone()).or_default().push(Arc::clone(&bell));
        }
        drop(all);
        Self {
            home: Arc::clone(home),
            names,
            bell,
        }
    }

    /// The next news. Once something has ended it says so each time.
    pub async fn next(&self) -> News {
        loop {
            if self.bell.ended.load(Ordering::Acquire) {
                return News::Ended;
            }
            if self.bell.changed.swap(false, Ordering::AcqRel) {
                return News::Changed;
            }
            // A ring between the look and this is kept: `notify_one` leaves a permit.
            self.bell.rung.notified().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut all = self.home.all();
        for name in &self.names {
            if let Some(bells) = all.get_mut(name) {
                bells.retain(|bell| !Arc::ptr_eq(bell, &self.bell));
                if bells.is_empty() {
                    all.remove(name);
                }
            }
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_watch_is_woken_by_its_own_names_and_leaves_nothing() {
        let home: Arc<Watchers> = Arc::default();
        let (login, other) = (Name::Login("a".into()), Name::Login("b".into()));
        let watch = Watch::new(&home, &[login.clone(), Name::Grant("g".into())]);
        home.ring(&other, News::Ended);
        assert_eq!(watch.next().now_or_never(), None);
        home.ring(&login, News::Changed);
        home.ring(&login, News::Changed);
        assert_eq!(watch.next().now_or_never(), Some(News::Changed));
        assert_eq!(watch.next().now_or_never(), None);
        home.ring_all();
        assert_eq!(watch.next().now_or_never(), Some(News::Changed));
        home.ring(&Name::Grant("g".into()), News::Ended);
        assert_eq!(watch.next().await, News::Ended);
        assert_eq!(watch.next().await, News::Ended);
        drop(watch);
        assert!(home.all().is_empty());
    }
}
