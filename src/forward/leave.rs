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
    /// Ready when the leave is over. From now on nothing that is told is missed.
    pub(super) fn over(
        self,
        revocations: &Revocations,
    ) -> impl Future<Output = CloseReason> + Send + use<> {
        // The watch first: what is told from here on it hears, what was told before shows in the number.
        let watch = revocations.watch(self.identity.basis());
        let missed = revocations.told() != self.told;
        over(watch, self.judge, missed)
    }
}

/// News may get lost, so it is looked at every minute too.
async fn over(watch: Watch, judge: Arc<dyn Judge>, missed: bool) -> CloseReason {
    let mut known = Instant::now();
    let mut due = if missed { known } else { known + EVERY };
    loop {
        tokio::select! {
            news = watch.next() => if news == News::Ended {
                return CloseReason::Revoked;
            },
            () = sleep_until(due) => {}
        }
        match judge.look().await {
            Verdict::Stays => {
                known = Instant::now();
                due = known + EVERY;
            }
            Verdict::Lost => return CloseReason::Revoked,
            // A short outage ends nothing; a long one does, for a stream must not outlive every answer.
            Verdict::Unknown if known.elapsed() >= PATIENCE => return CloseReason::Error,
            Verdict::Unknown => due = Instant::now() + RETRY,
        }
    }
}

/// Between two looks when nothing is heard.
const EVERY: Duration = Duration::from_secs(60);
/// Between two looks while nobody knows.
const RETRY: Duration = Duration::from_secs(5);
/// How long nobody may know.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::FutureExt;

    use super::*;
    use crate::clock::Ambient;
    use crate::config::session::Sessions;
    use crate::revocation::Name;
    use crate::store::memory::MemoryStore;

    struct Says(Mutex<Verdict>);

    impl Judge for Says {
        fn look(&self) -> BoxFuture<'_, Verdict> {
            std::future::ready(*self.0.lock().unwrap()).boxed()
        }
    }

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
                judge: Arc::new(Says(Mutex::new(Verdict::Stays))),
                login: Name::Login("0123456789abcdef0123456789abcdef".into()),
            }
        }

        fn leave(&self, missed: bool) -> impl Future<Output = CloseReason> + use<> {
            over(
                self.news.watch(std::slice::from_ref(&self.login)),
                Arc::clone(&self.judge) as Arc<dyn Judge>,
                missed,
            )
        }

        fn say(&self, verdict: Verdict) {
            *self.judge.0.lock().unwrap() = verdict;
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
    async fn what_was_not_told_is_found_within_a_minute() {
        let world = World::new();
        let began = Instant::now();
        let over = world.leave(false);
        world.say(Verdict::Lost);
        assert_eq!(over.await, CloseReason::Revoked);
        assert_eq!(began.elapsed().as_secs(), 60);
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
}
