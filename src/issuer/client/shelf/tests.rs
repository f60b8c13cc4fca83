use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use http::HeaderValue;

use super::*;
use crate::clock::{ManualClock, SystemRandom};

struct Bench {
    clock: Arc<ManualClock>,
    shelf: Shelf<usize>,
    fetches: AtomicUsize,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_000_000)));
        let ambient = Ambient::new(clock.clone(), Arc::new(SystemRandom));
        Self {
            clock,
            shelf: Shelf::new(10, ambient),
            fetches: AtomicUsize::new(0),
        }
    }

    /// Asks; a fetch gives the number of the fetch, or fails.
    async fn ask(&self, fails: Option<Miss>) -> Option<(usize, Source)> {
        self.ask_newer(Duration::MAX, fails).await
    }

    async fn ask_newer(&self, max_age: Duration, fails: Option<Miss>) -> Option<(usize, Source)> {
        let fetch = || async {
            let number = self.fetches.fetch_add(1, Ordering::SeqCst) + 1;
            // Lets others queue up behind this one.
            tokio::task::yield_now().await;
            match fails {
                Some(miss) => Err(miss),
                None => Ok(Fetched {
                    value: number,
                    fresh_for: Duration::from_secs(600),
                }),
            }
        };
        self.shelf
            .get("https://a.example/c", max_age, fetch, |_| {})
            .await
            .ok()
            .map(|(value, source)| (*value, source))
    }

    fn step(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }
}

fn silent() -> Miss {
    Miss::Silent("down".to_owned())
}

#[tokio::test]
async fn many_who_ask_at_once_share_one_fetch() {
    let bench = Bench::new();
    let found = join_all((0..50).map(|_| bench.ask(None))).await;
    assert!(found.iter().all(|each| each.unwrap().0 == 1));
    assert!(bench.shelf.flights().is_empty());
    bench.step(599);
    assert_eq!(bench.ask(None).await, Some((1, Source::Memory)));
    bench.step(1);
    assert_eq!(bench.ask(None).await, Some((2, Source::Fetch)));
}

#[tokio::test]
async fn a_failure_stands_for_those_who_waited_and_no_longer() {
    let bench = Bench::new();
    let found = join_all((0..50).map(|_| bench.ask(Some(silent())))).await;
    assert!(found.iter().all(Option::is_none));
    assert_eq!(bench.fetches.load(Ordering::SeqCst), 1);
    assert!(bench.shelf.flights().is_empty());
    assert_eq!(bench.ask(None).await, Some((2, Source::Fetch)));
}

#[tokio::test]
async fn an_outage_of_its_server_is_outlived_for_a_day() {
    let bench = Bench::new();
    bench.ask(None).await.unwrap();
    bench.step(3600);
    assert_eq!(bench.ask(Some(silent())).await, Some((1, Source::Stale)));
    assert_eq!(bench.ask(Some(silent())).await, Some((1, Source::Stale)));
    assert_eq!(bench.fetches.load(Ordering::SeqCst), 2);
    bench.step(22 * 3600);
    assert_eq!(bench.ask(Some(silent())).await, Some((1, Source::Stale)));
    bench.step(3600);
    assert_eq!(bench.ask(Some(silent())).await, None);
}

/// S17: what was changed into something that does not hold is over at once.
#[tokio::test]
async fn attack_s17_a_wrong_answer_ends_what_was_there() {
    let bench = Bench::new();
    bench.ask(None).await.unwrap();
    bench.step(601);
    let wrong = Some(Miss::Wrong("another client_id".to_owned()));
    assert_eq!(bench.ask(wrong).await, None);
    assert_eq!(
        bench.ask(Some(silent())).await,
        None,
        "nothing to go on with"
    );
    assert_eq!(bench.ask(None).await, Some((4, Source::Fetch)));
}

#[tokio::test]
async fn something_newer_is_fetched_when_what_is_there_is_older() {
    let bench = Bench::new();
    let newer = Duration::from_secs(10);
    bench.ask(None).await.unwrap();
    assert_eq!(
        bench.ask_newer(newer, None).await,
        Some((1, Source::Memory))
    );
    bench.step(10);
    assert_eq!(bench.ask_newer(newer, None).await, Some((2, Source::Fetch)));
    bench.step(10);
    assert_eq!(
        bench.ask_newer(newer, Some(silent())).await,
        Some((2, Source::Stale))
    );
}

/// Who may not cause a fetch neither fails others nor ends what is there.
#[tokio::test]
async fn a_limit_is_for_who_reached_it() {
    let bench = Bench::new();
    let (limited, other) = tokio::join!(bench.ask(Some(Miss::Limited(7))), bench.ask(None));
    assert_eq!((limited, other), (None, Some((2, Source::Fetch))));
    bench.step(3600);
    let old = bench.ask(Some(Miss::Limited(7))).await;
    assert_eq!(old, Some((2, Source::Stale)));
    assert_eq!(bench.ask(None).await, Some((4, Source::Fetch)));
}

#[tokio::test]
async fn a_request_that_goes_away_leaves_no_queue() {
    let bench = Bench::new();
    {
        let fetch = || std::future::pending::<Result<Fetched<usize>, Miss>>();
        let waiting = bench
            .shelf
            .get("https://a.example/c", Duration::MAX, fetch, |_| {});
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert_eq!(bench.shelf.flights().len(), 1);
    }
    assert!(bench.shelf.flights().is_empty());
    assert_eq!(bench.ask(None).await, Some((1, Source::Fetch)));
}

#[tokio::test]
async fn what_is_remembered_is_bounded() {
    let bench = Bench::new();
    for n in 0..1000 {
        let fetch = || async move {
            Ok(Fetched {
                value: n,
                fresh_for: Duration::from_secs(600),
            })
        };
        let _ = bench
            .shelf
            .get(
                &format!("https://a.example/{n}"),
                Duration::MAX,
                fetch,
                |_| {},
            )
            .await;
    }
    assert!(bench.shelf.entries.len() <= 10);
}

#[test]
fn servers_say_how_long_within_bounds() {
    let age = |lines: &[(&'static str, &'static str)]| {
        let headers = lines
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        fresh_for(&headers).as_secs()
    };
    assert_eq!(age(&[]), 3600);
    assert_eq!(age(&[("cache-control", "public, max-age=7200")]), 7200);
    assert_eq!(
        age(&[("cache-control", "Max-Age=\"7200\""), ("age", "200")]),
        7000
    );
    assert_eq!(age(&[("cache-control", "max-age=1")]), 300);
    assert_eq!(age(&[("cache-control", "max-age=7200, no-cache")]), 300);
    assert_eq!(age(&[("cache-control", "no-store")]), 300);
    assert_eq!(age(&[("cache-control", "max-age=99999999")]), 86_400);
    assert_eq!(age(&[("cache-control", "max-age=x")]), 3600);
    assert_eq!(
        age(&[
            ("date", "Sat, 21 Nov 2026 08:00:00 GMT"),
            ("expires", "Sat, 21 Nov 2026 10:00:00 GMT"),
        ]),
        7200
    );
    assert_eq!(age(&[("expires", "0")]), 300);
}
