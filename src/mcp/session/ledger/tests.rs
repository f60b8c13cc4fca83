use super::*;
use crate::clock::{ManualClock, SystemRandom};
use crate::config::session::Sessions as StoreConfig;
use crate::store::Space;
use crate::store::memory::MemoryStore;
use crate::telemetry::metrics::Metrics;

impl Ledger {
    /// Does what waits to be done.
    pub(in crate::mcp::session) async fn settle(&self) -> usize {
        let mut waiting = self.waiting.lock().unwrap().take().unwrap();
        let mut done = 0;
        while let Ok(order) = waiting.try_recv() {
            self.carry_out(order).await;
            done += 1;
        }
        *self.waiting.lock().unwrap() = Some(waiting);
        done
    }
}

const TIMEOUT: Duration = Duration::from_secs(600);
const SLOT_1: Slot = [1; SLOT];

struct World {
    clock: Arc<ManualClock>,
    store: Arc<MemoryStore>,
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    account: Arc<Account>,
    set: Key,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        let ambient = Ambient::new(Arc::clone(&clock) as _, Arc::new(SystemRandom));
        let store = Arc::new(MemoryStore::new(&StoreConfig::default(), ambient.clone()));
        let metrics = Metrics::new();
        let set = Key::new(Space::McpSession, "ann");
        let account = Account {
            sets: Box::new([Set {
                of: Of::Person,
                key: set.clone(),
                limit: 2,
            }]),
            timeout: TIMEOUT,
            meters: Meters::new(&metrics, "b"),
        };
        Self {
            ledger: Ledger::new(Arc::clone(&store) as _, ambient),
            account: Arc::new(account),
            clock,
            store,
            metrics,
            set,
        }
    }

    async fn counted(&self) -> usize {
        use crate::clock::Clock;
        let now = self.clock.now();
        self.store.index_list(&self.set, now).await.unwrap().len()
    }

    fn active(&self) -> bool {
        let line = "mcp_proxy_mcp_sessions_active{backend=\"b\"} 1";
        self.metrics.render().contains(line)
    }

    fn used(&self) {
        self.ledger.used(SLOT_1, || Arc::clone(&self.account));
    }

    async fn place(&self, slot: Slot) -> Option<Place> {
        let mut place = Place::new(Arc::clone(&self.ledger), slot, Arc::clone(&self.account));
        place.take(0).await.unwrap().then_some(place)
    }
}

#[tokio::test]
async fn the_store_hears_of_a_use_once_a_minute() {
    let world = World::new();
    for _ in 0..100 {
        world.used();
    }
    assert_eq!((world.ledger.settle().await, world.counted().await), (1, 1));
    world.clock.advance(Duration::from_secs(59));
    world.used();
    assert_eq!(world.ledger.settle().await, 0);
    world.clock.advance(Duration::from_secs(1));
    world.used();
    assert_eq!(world.ledger.settle().await, 1);
    // What it heard last holds for the timeout at least, since the next word may come a minute late.
    world.clock.advance(TIMEOUT);
    assert_eq!(world.counted().await, 1);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.counted().await, 0);
}

#[tokio::test]
async fn what_is_idle_is_not_followed_and_what_streams_is_not_idle() {
    let world = World::new();
    assert!(world.ledger.stream(SLOT_1).is_none());
    world.used();
    world.ledger.settle().await;
    let stream = world.ledger.stream(SLOT_1).unwrap();
    assert!(world.active());
    for _ in 0..3 {
        world.clock.advance(TIMEOUT);
        world.ledger.sweep();
        assert!(world.active());
        assert_eq!((world.ledger.settle().await, world.counted().await), (1, 1));
    }
    drop(stream);
    world.clock.advance(Duration::from_secs(599));
    world.ledger.sweep();
    assert!(world.active());
    world.clock.advance(Duration::from_secs(1));
    world.ledger.sweep();
    assert!(!world.active());
    // It works again when it is used again, and counts again.
    world.used();
    assert!(world.active());
    assert_eq!((world.ledger.settle().await, world.counted().await), (1, 1));
}

#[tokio::test]
async fn places_are_held_kept_and_given_back() {
    let world = World::new();
    let (one, two) = (
        world.place([1; SLOT]).await.unwrap(),
        world.place([2; SLOT]).await,
    );
    assert!(two.is_some());
    assert!(world.place([3; SLOT]).await.is_none(), "both are taken");
    one.keep();
    drop((one, two));
    // One for the place that was not kept, one for the third, which had none.
    assert_eq!(world.ledger.settle().await, 2);
    assert_eq!(world.counted().await, 1);
    assert!(world.active());
    world.ledger.ended([1; SLOT], || unreachable!());
    assert!(!world.active());
    world.ledger.settle().await;
    assert_eq!(world.counted().await, 0);
    // One that another replica opened.
    world.ledger.ended([9; SLOT], || Arc::clone(&world.account));
    assert_eq!(world.ledger.settle().await, 1);
}

#[tokio::test]
async fn more_than_can_be_followed_is_let_be() {
    let world = World::new();
    for n in 0..MAX_FOLLOWED + 10 {
        let slot = u64::try_from(n).unwrap().to_be_bytes();
        world.ledger.used(slot, || Arc::clone(&world.account));
    }
    assert_eq!(world.ledger.lock().len(), MAX_FOLLOWED);
    assert_eq!(
        world.ledger.orders.capacity(),
        0,
        "what waits has a bound too"
    );
}

#[tokio::test(start_paused = true)]
async fn the_task_does_it_all_until_it_is_ended() {
    let world = World::new();
    let end = CancellationToken::new();
    let task = tokio::spawn(Arc::clone(&world.ledger).run(end.clone()));
    world.used();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(world.counted().await, 1);
    world.clock.advance(TIMEOUT);
    tokio::time::sleep(SWEEP).await;
    assert!(!world.active());
    end.cancel();
    task.await.unwrap();
}
