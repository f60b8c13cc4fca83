//! Silent refresh: one owner at a time for a login, in this process and across replicas.
//!
//! Trouble at the provider never ends a session: while the access token lives requests go on, afterwards they
//! get 503. Only a typed OAuth refusal ends the login.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use self::work::Work;
use super::browser::store_unavailable;
use super::provider::{Provider, unavailable};
use crate::audit::Audit;
use crate::claims::Claims;
use crate::clock::{Ambient, Timestamp};
use crate::reject::Reject;
use crate::session::Sessions;
use crate::store::Unavailable;
use crate::telemetry::metrics::{Metrics, Name};

mod work;

/// How long a request waits for a refresh when it could go on without.
const PATIENCE: Duration = Duration::from_secs(2);

/// First and longest pause after trouble.
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// Logins whose last refresh met trouble, that are remembered at once.
const MAX_PAUSES: usize = 10_000;

/// Keeps logins fresh.
pub(super) struct Refresher {
    providers: Arc<[Arc<Provider>]>,
    sessions: Arc<Sessions>,
    skew: Duration,
    ambient: Ambient,
    metrics: Arc<Metrics>,
    audit: Audit,
    tasks: TaskTracker,
    /// Refreshes under way; each removes itself at its end, so there are no more than tasks.
    flights: Mutex<HashMap<Arc<str>, watch::Receiver<Stage>>>,
    pauses: Cache<Arc<str>, Pause>,
}

/// A login whose time to be refreshed has come.
pub(super) struct Due<'a> {
    pub(super) login: &'a Arc<str>,
    pub(super) claims: &'a Arc<Claims>,
    pub(super) since: Timestamp,
}

/// How far a refresh is.
#[derive(Clone, Debug)]
enum Stage {
    /// Under way. The access token's end, once it is known.
    Working(Option<Life>),
    /// Over.
    Done(Outcome),
}

/// How long the access token that is there lives.
#[derive(Clone, Copy, Debug)]
enum Life {
    /// The provider did not say: it counts as living until the provider refuses.
    Unknown,
    /// Until then.
    Until(Timestamp),
}

/// What became of a refresh.
#[derive(Clone, Debug)]
enum Outcome {
    /// There is something new to be seen, or the login is over: look again.
    Changed,
    /// Nothing changed, and nothing is wrong.
    Kept,
    /// The provider is in trouble; the access token lives this long.
    Trouble(Life),
    /// The store is away.
    Store(Unavailable),
}

#[derive(Clone, Copy)]
struct Pause {
    failures: u32,
    until: Timestamp,
    life: Life,
}

impl Life {
    fn of(end: Option<Timestamp>) -> Self {
        end.map_or(Self::Unknown, Self::Until)
    }

    fn lives(self, now: Timestamp) -> bool {
        match self {
            Self::Unknown => true,
            Self::Until(end) => now < end,
        }
    }
}

impl Refresher {
    pub(super) fn new(
        providers: Arc<[Arc<Provider>]>,
        sessions: Arc<Sessions>,
        skew: Duration,
        ambient: Ambient,
        metrics: Arc<Metrics>,
        tasks: TaskTracker,
        audit: Audit,
    ) -> Arc<Self> {
        Arc::new(Self {
            providers,
            sessions,
            skew,
            ambient,
            metrics,
            audit,
            tasks,
            flights: Mutex::default(),
            pauses: Cache::new(MAX_PAUSES),
        })
    }

    /// Refreshes a login whose time has come. `true`: look at the session again; `false`: go on
    /// with what is there.
    pub(super) async fn refresh(self: &Arc<Self>, due: Due<'_>) -> Result<bool, Reject> {
        let now = self.ambient.now();
        if let Some(pause) = self.pauses.get(due.login)
            && now < pause.until
        {
            return go_on(pause.life, now);
        }
        let mut stage = self.join(&due);
        let patience = Instant::now() + PATIENCE;
        loop {
            let seen = stage.borrow_and_update().clone();
            let life = match seen {
                Stage::Done(outcome) => return self.judge(&outcome),
                Stage::Working(life) => life,
            };
            let lives = life.is_some_and(|life| life.lives(self.ambient.now()));
            let changed = if lives {
                match tokio::time::timeout_at(patience, stage.changed()).await {
                    Ok(changed) => changed,
                    // The refresh goes on without us.
                    Err(_) => return Ok(false),
                }
            } else {
                // Bounded by the timeouts of the calls that it makes.
                stage.changed().await
            };
            if changed.is_err() {
                return Err(unavailable().because("the refresh broke off"));
            }
        }
    }

    fn judge(&self, outcome: &Outcome) -> Result<bool, Reject> {
        match outcome {
            Outcome::Changed => Ok(true),
            Outcome::Kept => Ok(false),
            Outcome::Trouble(life) => go_on(*life, self.ambient.now()),
            Outcome::Store(error) => Err(store_unavailable(error)),
        }
    }

    /// Joins the refresh of this login, or begins it. It runs on its own, for a client that leaves must not
    /// take a rotated refresh token along.
    fn join(self: &Arc<Self>, due: &Due<'_>) -> watch::Receiver<Stage> {
        let mut flights = self.flights();
        if let Some(stage) = flights.get(due.login) {
            return stage.clone();
        }
        let (tell, stage) = watch::channel(Stage::Working(None));
        flights.insert(Arc::clone(due.login), stage.clone());
        drop(flights);
        let work = Work::new(Arc::clone(self), due, tell);
        self.tasks.spawn(work.run());
        stage
    }

    /// Remembers the end of a refresh: a pause after trouble, which doubles.
    fn note(&self, login: &Arc<str>, outcome: &Outcome) {
        if let Outcome::Trouble(life) = outcome {
            let failures = self
                .pauses
                .get(login)
                .map_or(0, |pause| pause.failures)
                .saturating_add(1);
            let (first, longest) = PAUSE;
            let pause = first
                .saturating_mul(1 << (failures - 1).min(6))
                .min(longest);
            let until = self.ambient.now().plus(pause);
            self.pauses.insert(
                Arc::clone(login),
                Pause {
                    failures,
                    until,
                    life: *life,
                },
            );
        } else {
            self.pauses.remove(login);
        }
    }

    fn count(&self, provider: &Provider, result: &str, reason: &str) {
        let labels = [
            ("provider", &**provider.label()),
            ("flow", "refresh"),
            ("result", result),
            ("reason", reason),
        ];
        self.metrics
            .counter(Name::AuthRequests, &labels)
            .increment(1);
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Arc<str>, watch::Receiver<Stage>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// With a living access token the request goes on; without one nobody knows whether it may.
fn go_on(life: Life, now: Timestamp) -> Result<bool, Reject> {
    if life.lives(now) {
        Ok(false)
    } else {
        Err(unavailable().because("the access token ended and the provider is in trouble"))
    }
}
