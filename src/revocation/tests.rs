use std::sync::atomic::AtomicUsize;

use super::*;
use crate::clock::{ManualClock, SeededRandom};
use crate::config::session::Sessions;
use crate::store::memory::MemoryStore;

#[derive(Default)]
struct Ears {
    heard: Mutex<Vec<(Name, News)>>,
    distrusted: AtomicUsize,
    ended: AtomicUsize,
}

impl Listener for Ears {
    fn heard(&self, name: &Name, news: News) {
        self.heard.lock().unwrap().push((name.clone(), news));
    }

    fn distrust(&self) {
        self.distrusted.fetch_add(1, Ordering::Relaxed);
    }

    fn ended_all(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

fn news() -> Arc<Revocations> {
    let ambient = Ambient::new(
        Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000))),
        Arc::new(SeededRandom::new(1)),
    );
    let store = Arc::new(MemoryStore::new(&Sessions::default(), ambient.clone()));
    Revocations::new(store, ambient)
}

#[tokio::test]
async fn who_listens_hears_and_who_is_gone_does_not() {
    let news = news();
    let (one, two) = (Arc::new(Ears::default()), Arc::new(Ears::default()));
    let weak = |ears: &Arc<Ears>| Arc::downgrade(ears) as Weak<dyn Listener>;
    news.listen(weak(&one));
    news.listen(weak(&two));
    drop(two);
    let name = Name::Grant("0123456789abcdef0123456789abcdef".into());
    news.tell(name.clone(), News::Ended).await;
    assert_eq!(*one.heard.lock().unwrap(), [(name, News::Ended)]);
    assert!(
        news.is_trusted(news.ambient.now()),
        "nobody else writes to this store"
    );
}

#[test]
fn news_of_others_are_delivered_and_ones_own_are_not_heard_twice() {
    let news = news();
    let ears = Arc::new(Ears::default());
    news.listen(Arc::downgrade(&ears) as Weak<dyn Listener>);
    let name = Name::Login("0123456789abcdef0123456789abcdef".into());
    let message = Message::News(name.clone(), News::Changed);
    news.heard(&message.write(&news.me));
    assert!(ears.heard.lock().unwrap().is_empty());
    news.heard(&message.write("another"));
    assert_eq!(*ears.heard.lock().unwrap(), [(name, News::Changed)]);
    for (from, times) in [(&*news.me, 0), ("another", 1)] {
        news.heard(&Message::AllEnded.write(from));
        assert_eq!(ears.ended.load(Ordering::Relaxed), times);
        assert_eq!(ears.distrusted.load(Ordering::Relaxed), times);
    }
}

#[test]
fn only_ones_own_heartbeat_makes_trust() {
    let news = news();
    news.heard.store(i64::MIN, Ordering::Release);
    let now = news.ambient.now();
    assert!(!news.is_trusted(now));
    news.heard(&Message::Beat.write("another"));
    assert!(!news.is_trusted(now));
    news.heard(&Message::Beat.write(&news.me));
    assert!(news.is_trusted(now));
    assert!(news.is_trusted(now.plus(Duration::from_secs(3))));
    assert!(!news.is_trusted(now.plus(Duration::from_millis(3001))));
}

#[test]
fn a_process_that_stood_still_believes_nothing_of_before() {
    let news = news();
    let ears = Arc::new(Ears::default());
    news.listen(Arc::downgrade(&ears) as Weak<dyn Listener>);
    let told = news.told();
    news.heard(&Message::Beat.write(&news.me));
    assert!(news.is_heard());
    news.stood_still();
    assert!(!news.is_heard());
    assert_eq!(ears.distrusted.load(Ordering::Relaxed), 1);
    assert_ne!(news.told(), told, "who judged before looks again");
}
