//! Refreshing: every use gives a successor, and the one before stays good for those who did not get it.
//!
//! Generation `g` is the newest. Who presents `g` gets `g + 1`. Who presents `g - 1` gets `g` again, for nobody has
//! presented that yet: an answer was lost, or several processes share a token. An older one is good for 60 s after its
//! successor was first presented, and gives that successor again; later it is a stolen one, and ends the grant. A
//! generation ahead of the record is one whose write a failover lost; it counts.

use std::sync::Arc;
use std::time::Duration;

use super::record::{Ending, Record, State};
use super::ticket::{self, GrantId};
use super::{ATTEMPTS, About, Basis, Grants, contended};
use crate::clock::Timestamp;
use crate::issuer::client::Client;
use crate::issuer::error::OAuthError;
use crate::secret::Secret;
use crate::store::Replaced;

/// Generations that a record remembers as presented lately: clients that refresh more often in a minute are at fault.
const MAX_SEEN: usize = 32;

/// How long a token is good after its successor was presented.
const GRACE: Duration = Duration::from_secs(60);

/// A refresh token that counts, as far as was seen.
#[derive(Debug)]
pub(crate) struct Presented {
    id: GrantId,
    generation: u64,
    /// What its grant is about.
    pub(crate) about: About,
}

/// What a refresh gives.
#[derive(Debug)]
pub(crate) struct Rotated {
    /// The grant.
    pub(crate) grant: Arc<str>,
    /// The successor of the token that was presented.
    pub(crate) refresh: Secret,
}

/// What is to be done with a presented generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The successor is new: the record moves on.
    Advance(u64),
    /// The successor is there already.
    Again(u64),
    /// Its time is over: somebody has stolen it.
    Replayed,
}

impl Presented {
    /// The login to refresh at the provider first.
    pub(crate) fn login(&self) -> Option<&Arc<str>> {
        match &self.about.basis {
            Basis::Login(login) => Some(login),
            Basis::Here(_) => None,
        }
    }
}

impl Grants {
    /// Judges a refresh token before anything is done with it. A replayed one ends its grant.
    pub(crate) async fn present(
        &self,
        token: &Secret,
        client: &Client,
    ) -> Result<Presented, OAuthError> {
        let inner = &*self.0;
        let (id, generation) =
            ticket::open_refresh(&inner.keys, token.expose_secret(), &client.digest)
                .ok_or_else(unknown)?;
        let Some((_, record)) = inner.read(id).await? else {
            return Err(unknown());
        };
        match self.step(&record, generation) {
            None => Err(unknown()),
            Some(Step::Replayed) => Err(self.replayed(id, generation).await?),
            Some(Step::Advance(_) | Step::Again(_)) => Ok(Presented {
                id,
                generation,
                about: record.about,
            }),
        }
    }

    /// Gives the successor. The last thing of a refresh: whatever fails before leaves the token as good as it was.
    pub(crate) async fn rotate(&self, presented: &Presented) -> Result<Rotated, OAuthError> {
        let inner = &*self.0;
        let Presented {
            id,
            generation,
            about,
        } = presented;
        for _ in 0..ATTEMPTS {
            let now = inner.ambient.now();
            let Some((revision, mut record)) = inner.read(*id).await? else {
                return Err(unknown());
            };
            let next = match self.step(&record, *generation) {
                None => return Err(unknown()),
                Some(Step::Replayed) => return Err(self.replayed(*id, *generation).await?),
                Some(Step::Again(next)) => next,
                Some(Step::Advance(next)) => {
                    record.state = State::Active {
                        presented: noted(&record.state, *generation, now),
                        generation: next,
                        used: now,
                    };
                    match inner.replace(*id, revision, &record, now).await? {
                        Replaced::Done(_) => next,
                        Replaced::Changed => continue,
                        Replaced::Absent => return Err(unknown()),
                    }
                }
            };
            return Ok(Rotated {
                grant: id.hex(),
                refresh: ticket::refresh(&inner.keys, *id, next, &about.client),
            });
        }
        Err(contended().into())
    }

    /// The grant that a refresh token of this client names, whatever its generation.
    pub(crate) fn named_by(&self, token: &Secret, client: &Client) -> Option<Arc<str>> {
        ticket::open_refresh(&self.0.keys, token.expose_secret(), &client.digest)
            .map(|(id, _)| id.hex())
    }

    fn step(&self, record: &Record, generation: u64) -> Option<Step> {
        let now = self.0.ambient.now();
        let State::Active {
            generation: newest,
            presented,
            ..
        } = &record.state
        else {
            return None;
        };
        record
            .lives(now, self.0.idle)
            .then(|| step(*newest, presented, generation, now))
    }

    async fn replayed(&self, id: GrantId, generation: u64) -> Result<OAuthError, OAuthError> {
        tracing::warn!(grant = %id.hex(), generation, "a refresh token was presented long after its successor; its grant is ended");
        self.0.end(id, Ending::RefreshReplayed).await?;
        Ok(unknown())
    }
}

/// The rule, apart from everything else. `seen`: generations that were first presented lately.
pub(super) fn step(newest: u64, seen: &[(u64, Timestamp)], presented: u64, now: Timestamp) -> Step {
    let next = presented.saturating_add(1);
    let lately = |generation: u64| {
        seen.iter()
            .any(|(each, at)| *each == generation && now < at.plus(GRACE))
    };
    if presented >= newest {
        Step::Advance(next)
    } else if next == newest || lately(next) {
        Step::Again(next)
    } else {
        Step::Replayed
    }
}

/// The presented generations of a record with one more, without those whose time is over.
pub(super) fn note(
    seen: &[(u64, Timestamp)],
    presented: u64,
    now: Timestamp,
) -> Vec<(u64, Timestamp)> {
    let mut kept: Vec<_> = seen
        .iter()
        .filter(|(_, at)| now < at.plus(GRACE))
        .copied()
        .collect();
    kept.push((presented, now));
    let surplus = kept.len().saturating_sub(MAX_SEEN);
    kept.drain(..surplus);
    kept
}

fn noted(state: &State, presented: u64, now: Timestamp) -> Vec<(u64, Timestamp)> {
    match state {
        State::Active {
            presented: seen, ..
        } => note(seen, presented, now),
        State::Coded { .. } | State::Ended { .. } => Vec::new(),
    }
}

fn unknown() -> OAuthError {
    OAuthError::invalid_grant("the refresh token is unknown, over, or another client's")
}
