//! Browser sessions: a ticket in the cookie, a sealed record in the store, one login record behind it.
//!
//! The ticket holds the session's id and a key. The session record opens only with that key and the key
//! ring. Provider tokens and claims live once, in the login record, sealed by the key ring alone.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::try_join;
use metrics::Gauge;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::claims::Claims;
use crate::clock::{Ambient, Timestamp};
use crate::config::session::Sessions as SessionConfig;
use crate::keys::{KeyRing, Purpose};
use crate::revocation::{Name, News, Revocations};
use crate::seal::Sealer;
use crate::secret::Secret;
use crate::store::{Key, Replaced, Store, Stored, Unavailable, records};
use crate::telemetry::metrics::Metrics;

use self::active::Active;
use self::everybody::Cutoff;
use self::flights::Flights;
use self::lease::Leases;
use self::record::{LoginFacts, LoginRecord, SessionRecord};
use self::seen::Seen;
use self::ticket::LoginId;

mod active;
mod events;
mod everybody;
mod find;
mod flights;
mod flow;
mod granted;
mod index;
pub mod keyring;
pub mod lease;
mod record;
mod revoked;
mod seen;
mod ticket;
mod turn;

pub use self::everybody::NotEnded;
pub use self::find::Visit;
pub use self::flow::{Flow, Flows};
pub use self::granted::LoginView;
pub use self::ticket::Ticket;

/// Tokens that the provider gave at login or refresh.
#[derive(Clone, Debug)]
pub struct ProviderTokens {
    /// Access token, for userinfo and backends that exchange it.
    pub access_token: Secret,
    /// When the access token ends, if the provider said so.
    pub access_expires: Option<Timestamp>,
    /// Refresh token.
    pub refresh_token: Option<Secret>,
    /// ID token, for `id_token_hint` at logout.
    pub id_token: Option<Secret>,
    /// The provider's own session (`sid`), for back-channel logout.
    pub provider_session: Option<String>,
}

/// A finished login, about to become a session.
#[derive(Clone, Debug)]
pub struct NewLogin {
    /// Who, by the verified ID token and userinfo.
    pub claims: Claims,
    /// What the provider gave.
    pub tokens: ProviderTokens,
}

/// A living session, as requests see it.
#[derive(Clone, Debug)]
pub struct Session {
    /// The session's id, for logs as a digest only.
    pub id: Arc<str>,
    /// The login record behind it.
    pub login: Arc<str>,
    /// Who.
    pub claims: Arc<Claims>,
    /// When the person logged in.
    pub created: Timestamp,
    /// When it ends at the latest.
    pub absolute_end: Timestamp,
    /// When it ends unless it is used.
    pub idle_end: Timestamp,
    /// When the provider's tokens should be refreshed; `None` when they cannot be.
    pub refresh_due: Option<Timestamp>,
    /// What to watch while a stream rests on it.
    pub names: Arc<[Name]>,
}

/// All sessions of this installation.
pub struct Sessions(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    keys: KeyRing,
    logins: Sealer,
    ambient: Ambient,
    leases: Leases,
    idle: Duration,
    absolute: Duration,
    touch_after: Duration,
    seen: Seen,
    flights: Flights,
    active: Active,
    gauge: Gauge,
    changed: Notify,
    cutoff: Cutoff,
    revocations: Arc<Revocations>,
}

impl Sessions {
    /// Over a store, with a key ring. [`Self::background`] has to run beside it.
    pub fn new(
        store: Arc<dyn Store>,
        keys: KeyRing,
        config: &SessionConfig,
        revocations: &Arc<Revocations>,
        ambient: Ambient,
        metrics: &Arc<Metrics>,
    ) -> Arc<Self> {
        let idle = config.idle_timeout.0;
        let touch_after = (idle / 20).min(MAX_TOUCH);
        let bound = usize::try_from(config.max_sessions)
            .unwrap_or(usize::MAX)
            .clamp(1, MAX_REMEMBERED);
        let inner = Arc::new(Inner {
            logins: keys.sealer(Purpose::Login, None),
            leases: Leases::new(Arc::clone(&store), ambient.clone(), LEASE_TERM),
            // What is served from memory does not reach the record, so it must not outlast the next touch.
            seen: Seen::new(
                bound,
                config.recently_seen.0.min(touch_after),
                config.outage_grace.0,
            ),
            gauge: metrics.gauge(events::GAUGE, &[("store", store.name())]),
            absolute: config.absolute_timeout.0,
            flights: Flights::default(),
            active: Active::new(bound),
            changed: Notify::new(),
            cutoff: Cutoff::new(&keys),
            idle,
            touch_after,
            store,
            keys,
            ambient,
            revocations: Arc::clone(revocations),
        });
        let listener: Weak<Inner> = Arc::downgrade(&inner);
        revocations.listen(listener);
        Arc::new(Self(inner))
    }

    /// Clears away what has aged, until cancelled.
    pub async fn background(&self, until: CancellationToken) {
        until.run_until_cancelled(self.0.sweep()).await;
    }

    /// Makes a session for a finished login, with a new id, whatever cookie the browser had.
    pub async fn create(&self, login: NewLogin) -> Result<(Session, Ticket), Unavailable> {
        let now = self.0.ambient.now();
        self.create_since(login, now).await
    }

    /// The same for a login that was begun at `began`. When its subject's logins were ended since then, the
    /// session is over before it begins: whoever holds the ticket has to log in again.
    pub async fn create_since(
        &self,
        login: NewLogin,
        began: Timestamp,
    ) -> Result<(Session, Ticket), Unavailable> {
        let inner = &*self.0;
        let now = inner.ambient.now();
        let ticket = Ticket::generate(&inner.ambient);
        let id = ticket.login();
        let ends = now.plus(inner.absolute);
        let login = LoginRecord::new(login.claims, &login.tokens, ends, now);
        let record = SessionRecord {
            login: id.hex().to_string(),
            created: now,
            ends,
            used: now,
        };

        inner.add_to_indexes(&login, id).await?;
        let login_key = id.record();
        let session_key = ticket.session_key();
        let login_blob = records::seal(&inner.logins, &login_key, &login);
        let session_blob = records::seal(&inner.session_sealer(&ticket), &session_key, &record);
        try_join(
            inner
                .store
                .put(&login_key, login_blob, ends.since(now) + SLACK),
            inner
                .store
                .put(&session_key, session_blob, inner.session_ttl(&record, now)),
        )
        .await?;

        let login = login.into_facts();
        let session = inner.session(&ticket, &record, &login);
        // After the writing: either this sees the mark, or who set the mark finds what was written.
        if inner.is_revoked(&login.claims.subject, began).await? {
            inner.store.take(&session_key).await?;
            inner.end_login(id).await?;
            return Ok((session, ticket));
        }
        inner
            .active
            .note(id, session.idle_end.min(session.absolute_end));
        inner.count_active().await;
        Ok((session, ticket))
    }

    /// Ends a session and forgets it on every replica; gives its tokens for RP-initiated logout. `Ok(None)`:
    /// there was none. The login behind it goes too, unless a grant rests on it.
    pub async fn end(&self, ticket: &Ticket) -> Result<Option<ProviderTokens>, Unavailable> {
        let inner = &*self.0;
        let key = ticket.session_key();
        let Some(stored) = inner.store.get(&key).await? else {
            return Ok(None);
        };
        // Who does not hold the whole ticket ends nothing.
        if inner.open_session(ticket, &key, &stored).is_none() {
            return Ok(None);
        }
        inner.store.take(&key).await?;
        inner
            .revocations
            .tell(Name::Session(Arc::clone(&key.id)), News::Ended)
            .await;
        let id = ticket.login();
        let stays = inner
            .change_login(id, |login| {
                login.signed_out = true;
                login.granted
            })
            .await?;
        let ended = match stays {
            Some(login) => {
                inner.active.remove(id);
                inner.tell(id, News::Changed).await;
                Ok(Some(login.into_tokens()))
            }
            None => inner.end_login(id).await,
        };
        inner.count_active().await;
        ended
    }

    /// The tokens of a login record, with its revision.
    pub async fn tokens(&self, login: &str) -> Result<Option<(u64, ProviderTokens)>, Unavailable> {
        let Some(id) = LoginId::parse(login) else {
            return Ok(None);
        };
        let found = self.0.read_login(id).await?;
        Ok(found.map(|(revision, record)| (revision, record.into_tokens())))
    }

    /// Stores refreshed tokens and claims if nobody was faster (`revision` is still the record's); sessions see
    /// them at their next request, here and on other replicas. Claims of another subject are refused: a
    /// refresh never changes who a session belongs to.
    pub async fn update_login(
        &self,
        login: &str,
        revision: u64,
        tokens: ProviderTokens,
        claims: Claims,
    ) -> Result<bool, Unavailable> {
        let inner = &*self.0;
        let Some(id) = LoginId::parse(login) else {
            return Ok(false);
        };
        let Some((current, before)) = inner.read_login(id).await? else {
            return Ok(false);
        };
        if current != revision {
            return Ok(false);
        }
        if before.claims.subject != claims.subject {
            tracing::error!("A refresh named another subject than the login; it is not stored.");
            return Ok(false);
        }
        let now = inner.ambient.now();
        let mut record = LoginRecord::new(claims, &tokens, before.ends, now);
        record.created = before.created;
        record.granted = before.granted;
        record.signed_out = before.signed_out;
        record.session_ends = before.session_ends;
        if record.provider_session() != before.provider_session() {
            inner.add_to_indexes(&record, id).await?;
        }
        let key = id.record();
        let blob = records::seal(&inner.logins, &key, &record);
        let replaced = inner
            .store
            .replace_if(&key, revision, blob, record.ends.since(now) + SLACK)
            .await?;
        inner.tell(id, News::Changed).await;
        Ok(matches!(replaced, Replaced::Done(_)))
    }

    /// Ends a login, and so every session on it (a conclusive refusal by the provider).
    pub async fn end_login(&self, login: &str) -> Result<(), Unavailable> {
        if let Some(id) = LoginId::parse(login) {
            self.0.end_login(id).await?;
            self.0.count_active().await;
        }
        Ok(())
    }
}

impl Inner {
    async fn read_login(&self, id: LoginId) -> Result<Option<(u64, LoginRecord)>, Unavailable> {
        let key = id.record();
        let Some(stored) = self.store.get(&key).await? else {
            return Ok(None);
        };
        let record: Option<LoginRecord> = records::open(&self.logins, &key, &stored);
        let living = record.filter(|record| self.ambient.now() < record.ends);
        match living {
            Some(record) if !self.is_cut_off(record.created).await? => {
                Ok(Some((stored.revision, record)))
            }
            _ => Ok(None),
        }
    }

    async fn end_login(&self, id: LoginId) -> Result<Option<ProviderTokens>, Unavailable> {
        let key = id.record();
        let taken = self.store.take(&key).await;
        // Also when nobody knows whether it was removed: what is remembered must be asked for again.
        self.active.remove(id);
        self.tell(id, News::Ended).await;
        let Some(stored) = taken? else {
            return Ok(None);
        };
        let Some(record) = records::open::<LoginRecord>(&self.logins, &key, &stored) else {
            return Ok(None);
        };
        self.remove_from_indexes(&record, id).await;
        Ok(Some(record.into_tokens()))
    }

    fn session_sealer(&self, ticket: &Ticket) -> Sealer {
        self.keys.sealer(Purpose::Session, Some(ticket.key()))
    }

    fn open_session(&self, ticket: &Ticket, key: &Key, stored: &Stored) -> Option<SessionRecord> {
        let record: SessionRecord = records::open(&self.session_sealer(ticket), key, stored)?;
        // The ticket's login id is outside the seal; the record's is inside.
        (*record.login == *ticket.login().hex()).then_some(record)
    }

    fn session(&self, ticket: &Ticket, record: &SessionRecord, login: &LoginFacts) -> Session {
        let (id, login_id) = (ticket.session_key().id, ticket.login().hex());
        Session {
            names: Arc::from([
                Name::Session(Arc::clone(&id)),
                Name::Login(Arc::clone(&login_id)),
            ]),
            id,
            login: login_id,
            created: record.created,
            absolute_end: record.ends.min(login.ends),
            idle_end: record.used.plus(self.idle),
            refresh_due: login.refresh_due,
            claims: Arc::clone(&login.claims),
        }
    }

    fn session_ttl(&self, record: &SessionRecord, now: Timestamp) -> Duration {
        record.used.plus(self.idle).min(record.ends).since(now) + SLACK
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions")
    }
}

/// Records stay this much longer than they are valid, so that a replica whose clock is a little behind finds them.
const SLACK: Duration = Duration::from_secs(60);
/// A session in use is written at most this often.
const MAX_TOUCH: Duration = Duration::from_secs(60);
/// Sessions that one process remembers.
const MAX_REMEMBERED: usize = 100_000;
const LEASE_TERM: Duration = Duration::from_secs(15);
/// Tries to change a record that others change at the same time.
const ATTEMPTS: usize = 16;

#[cfg(test)]
mod tests;
