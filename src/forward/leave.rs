//! A caller's leave to keep a stream open: it ends with what it rests on, and is looked at again now and then.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use crate::authn::Identity;
use crate::revocation::{News, Revocations, Watch};
use crate::upstream::CloseReason;

/// Looks again at who a request came from and what they may.
pub trait Judge: Send + Sync {
    /// The verdict of now.
    fn look(&self) -> BoxFuture<'_, Verdict>;
}

/// What became of a leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as good as before.
    Stays,
    /// The credential or the right is gone.
    Lost,
    /// Nobody knows: the store cannot be asked, nor what was remembered of it.
    Unknown,
}

/// The leave of one stream.
pub struct Leave {
    /// Whose it is, and what it rests on.
    pub identity: Identity,
    /// Looks again.
    pub judge: Arc<dyn Judge>,
    /// [`super::Forwarder::told`] of before the caller was found out.
    pub told: u64,
}

impl Leave {
    /// Ready when the leave is over. From now on nothing that is told is missed. `grace`: how long the stream may
    /// go on when the store is away (`sessions.outage_grace`).
    pub(super) fn over(
        self,
        revocations: &Arc<Revocations>,
        grace: Duration,
    ) -> impl Future<Output = CloseReason> + Send + use<> {
        // The watch first: what is told from here on it hears, what was told before shows in the number.
        let watch = revocations.watch(self.identity.basis());
        let missed = revocations.told() != self.told;
        over(Arc::clone(revocations), watch, self.judge, missed, grace)
    }
}

/// News may get lost, so it is looked at now and then too. Only a look while news are heard tells how it is: in an
/// outage the answer may be what was remembered, and that must not prolong the grace.
async fn over(
    news: Arc<Revocations>,
    watch: Watch,
    judge: Arc<dyn Judge>,
    missed: bool,
    grace: Duration,
) -> CloseReason {
    // Twice in the grace at least, or an outage of a second could find the last look too long ago.
    let every = (grace / 2).clamp(RETRY, EVERY);
    let mut known = Instant::now();
    let mut due = if missed { known } else { known + every };
    loop {
        tokio::select! {
            news = watch.next() => if news == News::Ended {
                return CloseReason::Revoked;
            },
            () = sleep_until(due) => {}
        }
        let (began, heard) = (Instant::now(), news.is_heard());
        let verdict = judge.look().await;
        let now = Instant::now();
        match verdict {
            Verdict::Lost => return CloseReason::Revoked,
            Verdict::Stays if heard => {
                known = began;
                due = now + every;
            }
            // A short outage ends nothing; a long one does, for a stream must not outlive every answer.
            Verdict::Unknown if now >= known + grace => return CloseReason::Error,
            Verdict::Stays | Verdict::Unknown => {
                let end = known + grace;
                due = if end > now {
                    end.min(now + RETRY)
                } else {
                    now + RETRY
                };
            }
        }
    }
}

/// Between two looks at most.
const EVERY: Duration = Duration::from_secs(60);
/// Between two looks while nobody knows, or only what was remembered.
const RETRY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;

    use super::*;
    use crate::clock::Ambient;
    use crate::config::session::Sessions;
    use crate::revocation::Name;
    use crate::store::memory::MemoryStore;

    struct Says {
        verdict: Mutex<Verdict>,
        looks: AtomicUsize,
    }

    impl Judge for Says {
        fn look(&self) -> BoxFuture<'_, Verdict> {
            self.looks.fetch_add(1, Ordering::Relaxed);
            std::future::ready(*self.verdict.lock().unwrap()).boxed()
        }
    }

    const GRACE: Duration = Duration::from_secs(60);

    struct World {
        news: Arc<Revocations>,
        judge: Arc<Says>,
        login: Name,
    }

    impl World {
        fn new() -> Self {
            let ambient = Ambient::system();
            let store = Arc::new(MemoryStore::new(&Sessions::default(), ambient.clone()));
            Self {
                news: Revocations::new(store, ambient),
                judge: Arc::new(Says {
                    verdict: Mutex::new(Verdict::Stays),
                    looks: AtomicUsize::new(0),
                }),
                login: Name::Login("0123456789abcdef0123456789abcdef".into()),
            }
        }

        fn leave(&self, missed: bool) -> impl Future<Output = CloseReason> + use<> {
            self.leave_with(missed, GRACE)
        }

        fn leave_with(
            &self,
            missed: bool,
            grace: Duration,
        ) -> impl Future<Output = CloseReason> + use<> {
            over(
                Arc::clone(&self.news),
                self.news.watch(std::slice::from_ref(&self.login)),
                Arc::clone(&self.judge) as Arc<dyn Judge>,
                missed,
                grace,
            )
        }

        fn say(&self, verdict: Verdict) {
            *self.judge.verdict.lock().unwrap() = verdict;
        }
    }

    async fn for_secs(
        secs: u64,
        over: &mut (impl Future<Output = CloseReason> + Unpin),
    ) -> Option<CloseReason> {
        tokio::time::timeout(Duration::from_secs(secs), over)
            .await
            .ok()
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_is_told_ends_it_at_once() {
        let world = World::new();
        let mut over = Box::pin(world.leave(false));
        assert_eq!(for_secs(300, &mut over).await, None);
        world.news.tell(world.login.clone(), News::Changed).await;
        assert_eq!(
            over.as_mut().now_or_never(),
            None,
            "the right is still there"
        );
        world.news.tell(world.login.clone(), News::Ended).await;
        assert_eq!(over.now_or_never(), Some(CloseReason::Revoked));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_takes_the_right_away_ends_it() {
        let world = World::new();
        let mut over = Box::pin(world.leave(false));
        assert_eq!(over.as_mut().now_or_never(), None);
        world.say(Verdict::Lost);
        assert_eq!(over.as_mut().now_or_never(), None, "nobody told");
        world.news.tell(world.login.clone(), News::Changed).await;
        assert_eq!(over.now_or_never(), Some(CloseReason::Revoked));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_told_is_found_by_looking() {
        let world = World::new();
        let began = Instant::now();
        let over = world.leave(false);
        world.say(Verdict::Lost);
        assert_eq!(over.await, CloseReason::Revoked);
        assert_eq!(began.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_told_before_the_watch_began_is_found_at_once() {
        let world = World::new();
        let began = Instant::now();
        world.say(Verdict::Lost);
        assert_eq!(world.leave(true).await, CloseReason::Revoked);
        assert!(began.elapsed() < Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_borne_for_a_while() {
        let world = World::new();
        let mut over = Box::pin(world.leave(false));
        assert_eq!(over.as_mut().now_or_never(), None);
        world.say(Verdict::Unknown);
        world.news.look_again();
        assert_eq!(for_secs(50, &mut over).await, None);
        world.say(Verdict::Stays);
        assert_eq!(for_secs(10, &mut over).await, None);
        world.say(Verdict::Unknown);
        assert_eq!(for_secs(200, &mut over).await, Some(CloseReason::Error));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_in_an_outage_does_not_prolong_the_grace() {
        for grace in [20, 60, 300] {
            let world = World::new();
            let began = Instant::now();
            let grace = Duration::from_secs(grace);
            let mut over = Box::pin(world.leave_with(false, grace));
            world.news.set_heard(false);
            // The cache still answers, until just before the grace is over.
            let short = grace.as_secs() - 1;
            assert_eq!(for_secs(short, &mut over).await, None);
            world.say(Verdict::Unknown);
            assert_eq!(over.await, CloseReason::Error);
            assert_eq!(began.elapsed().as_secs(), grace.as_secs());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_that_is_over_in_time_begins_the_grace_anew() {
        let world = World::new();
        let mut over = Box::pin(world.leave(false));
        world.news.set_heard(false);
        assert_eq!(for_secs(55, &mut over).await, None);
        world.news.set_heard(true);
        world.news.look_again();
        assert_eq!(for_secs(1, &mut over).await, None);
        world.news.set_heard(false);
        world.say(Verdict::Unknown);
        world.news.look_again();
        let began = Instant::now();
        assert_eq!(over.await, CloseReason::Error);
        assert_eq!(began.elapsed().as_secs(), 59);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_ends_nothing_that_does_not_rest_on_the_store() {
        let world = World::new();
        let mut over = Box::pin(world.leave(false));
        world.news.set_heard(false);
        assert_eq!(for_secs(600, &mut over).await, None);
        let looks = world.judge.looks.load(Ordering::Relaxed);
        assert!((100..=122).contains(&looks), "{looks}");
    }
}
