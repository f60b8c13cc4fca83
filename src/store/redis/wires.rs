//! The connections in use: a few long-lived ones for plain commands, and a pool for scripts.
//!
//! A plain command shares a connection with all others. A script keeps the server busy for longer, and who writes
//! waits for its own turn; the pool bounds how many run at once, and keeps them from standing before reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use deadpool::Runtime;
use deadpool::managed::{
    Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult, TimeoutType,
};
use deadpool_redis::redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::dial::SharedDialer;
use super::error::describe;
use super::link::{Link, is_demoted};
use crate::store::{Outcome, Unavailable};

pub(super) struct Wires {
    dialer: SharedDialer,
    lanes: [Lane; LANES],
    next: AtomicUsize,
    pool: Pool<Dials>,
    budget: Duration,
}

impl Wires {
    pub(super) fn new(dialer: SharedDialer) -> Result<Self, Unavailable> {
        let settings = &dialer.settings;
        let budget = settings.connect_timeout + settings.command_timeout;
        let pool = Pool::builder(Dials(Arc::clone(&dialer)))
            .max_size(settings.pool_size)
            .wait_timeout(Some(settings.command_timeout))
            .create_timeout(Some(settings.connect_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| Unavailable(error.to_string().into()))?;
        Ok(Self {
            lanes: std::array::from_fn(|_| Lane::new()),
            next: AtomicUsize::new(0),
            budget,
            pool,
            dialer,
        })
    }

    /// Sends a command that may be sent again: if the connection broke under it, one more try on a new one.
    pub(super) async fn read<T: FromRedisValue>(&self, command: &Cmd) -> Outcome<T> {
        self.again_if_broken(|mut link: Link| async move {
            let answer = link.ask(command).await;
            (link, answer)
        })
        .await
    }

    /// The same with two commands in one round trip.
    pub(super) async fn read_both<T: FromRedisValue>(&self, both: &[Cmd; 2]) -> Outcome<[T; 2]> {
        self.again_if_broken(|mut link: Link| async move {
            let answer = link.ask_both(both).await;
            (link, answer)
        })
        .await
    }

    /// Sends a command once.
    pub(super) async fn write<T: FromRedisValue>(&self, command: &Cmd) -> Outcome<T> {
        self.within_budget(async {
            let ask = |mut link: Link| async move {
                let answer = link.ask(command).await;
                (link, answer)
            };
            self.on_lane(self.lane(), ask).await?.map_err(unavailable)
        })
        .await
    }

    /// Runs a script once, on a connection of the pool.
    pub(super) async fn script<T: FromRedisValue>(&self, command: &Cmd) -> Outcome<T> {
        self.within_budget(async {
            let mut link = self.pool.get().await.map_err(no_turn)?;
            match link.ask(command).await {
                Ok(answer) => Ok(answer),
                Err(error) => {
                    if link.is_spoilt_by(&error) {
                        drop(Object::take(link));
                    }
                    self.note(&error);
                    Err(unavailable(error))
                }
            }
        })
        .await
    }

    fn lane(&self) -> &Lane {
        &self.lanes[self.next.fetch_add(1, Ordering::Relaxed) % LANES]
    }

    async fn again_if_broken<T, F>(&self, ask: impl Fn(Link) -> F) -> Outcome<T>
    where
        F: Future<Output = (Link, RedisResult<T>)>,
    {
        self.within_budget(async {
            let lane = self.lane();
            match self.on_lane(lane, &ask).await? {
                Ok(answer) => Ok(answer),
                Err(error) if is_broken(&error) => {
                    self.on_lane(lane, &ask).await?.map_err(unavailable)
                }
                Err(error) => Err(unavailable(error)),
            }
        })
        .await
    }

    async fn on_lane<T, F>(&self, lane: &Lane, ask: impl Fn(Link) -> F) -> Outcome<RedisResult<T>>
    where
        F: Future<Output = (Link, RedisResult<T>)>,
    {
        let (link, answer) = ask(lane.link(&self.dialer).await?).await;
        if let Err(error) = &answer {
            if link.is_spoilt_by(error) {
                lane.give_up(&link);
            }
            self.note(error);
        }
        Ok(answer)
    }

    fn note(&self, error: &RedisError) {
        if is_demoted(error) {
            self.dialer.demoted();
        }
    }

    async fn within_budget<T>(&self, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        timeout(self.budget, work)
            .await
            .unwrap_or_else(|_| Err(Unavailable("Redis did not answer in time".into())))
    }
}

/// A place for one long-lived connection, made when it is first needed and again when it broke.
struct Lane {
    link: ArcSwapOption<Link>,
    turn: Semaphore,
}

impl Lane {
    fn new() -> Self {
        Self {
            link: ArcSwapOption::empty(),
            turn: Semaphore::new(1),
        }
    }

    async fn link(&self, dialer: &SharedDialer) -> Outcome<Link> {
        if let Some(link) = self.usable(dialer) {
            return Ok(link);
        }
        // One connects, the others wait for it.
        let _turn = self
            .turn
            .acquire()
            .await
            .map_err(|_| Unavailable("the store is shutting down".into()))?;
        if let Some(link) = self.usable(dialer) {
            return Ok(link);
        }
        let link = dialer.dial().await?;
        self.link.store(Some(Arc::new(link.clone())));
        Ok(link)
    }

    fn usable(&self, dialer: &SharedDialer) -> Option<Link> {
        let link = self.link.load();
        link.as_deref()
            .filter(|link| link.is_usable(dialer.epoch()))
            .cloned()
    }

    fn give_up(&self, link: &Link) {
        self.link
            .rcu(|there| there.clone().filter(|there| !there.is_same(link)));
    }
}

/// Makes connections for the pool. None is asked whether it lives when it is handed out: that would cost a round
/// trip each time, and one that was closed is known by its driver.
struct Dials(SharedDialer);

impl Manager for Dials {
    type Type = Link;
    type Error = Unavailable;

    async fn create(&self) -> Result<Link, Unavailable> {
        self.0.dial().await
    }

    async fn recycle(&self, link: &mut Link, _: &Metrics) -> RecycleResult<Unavailable> {
        if link.is_usable(self.0.epoch()) {
            Ok(())
        } else {
            Err(RecycleError::message("the connection was closed"))
        }
    }
}

fn no_turn(error: PoolError<Unavailable>) -> Unavailable {
    match error {
        PoolError::Backend(unavailable) => unavailable,
        PoolError::Timeout(TimeoutType::Wait) => {
            Unavailable("all connections of sessions.redis.pool_size are busy".into())
        }
        other => Unavailable(other.to_string().into()),
    }
}

/// The command found no connection, or the connection ended under it.
fn is_broken(error: &RedisError) -> bool {
    error.is_connection_dropped() || error.kind() == ErrorKind::ClusterConnectionNotFound
}

#[expect(clippy::needless_pass_by_value, reason = "fits map_err")]
fn unavailable(error: RedisError) -> Unavailable {
    Unavailable(describe(&error).into())
}

const LANES: usize = 2;
