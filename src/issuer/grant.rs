//! Grants: what a person (or an operator) gave to a client. One record each, changed by compare-and-swap only; the
//! code and every refresh token name it, so that a replayed one can always end what was issued.

mod index;
mod living;
mod record;
mod redeem;
mod refresh;
mod seen;
mod ticket;

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use self::record::Ending;
use self::record::{Record, State};
pub(crate) use self::redeem::Redemption;
use self::seen::Seen;
use self::ticket::GrantId;
use super::client::RedirectUri;
use crate::audit::{Audit, Event, Kind, Outcome, Who};
use crate::claims::Claims;
use crate::clock::{Ambient, Timestamp};
use crate::config::issuer::AuthorizationServer;
use crate::config::session::Sessions as SessionConfig;
use crate::ids::Subject;
use crate::keys::{KeyRing, Purpose};
use crate::revocation::{Name, News, Revocations};
use crate::scope::ScopeSet;
use crate::seal::Sealer;
use crate::secret::{Digest, Secret};
use crate::session::{LoginView, Sessions};
use crate::store::{Key, Replaced, Space, Store, Unavailable, records};

/// What a grant is about; fixed when it is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct About {
    /// The client's `client_id`.
    pub(crate) client_id: String,
    /// Its digest (see [`super::client::Client::digest`]).
    pub(crate) client: String,
    /// What it called itself, for lists of grants.
    pub(crate) client_name: Option<String>,
    /// Whose access it is.
    pub(crate) subject: Subject,
    /// Where the claims are.
    pub(crate) basis: Basis,
    /// The resource (RFC 8707): `aud` of its tokens.
    pub(crate) resource: String,
    /// The scopes that were granted.
    pub(crate) scopes: ScopeSet,
    /// When it was given.
    pub(crate) created: Timestamp,
    /// When it ends at the latest.
    pub(crate) ends: Timestamp,
}

/// Where the claims of a grant are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Basis {
    /// In the login record of this id: they change with each refresh at the provider, and end with the login.
    Login(Arc<str>),
    /// Here: a client that acts for itself, or an identity assertion.
    Here(Box<Claims>),
}

/// What the approving POST of a person makes.
#[derive(Debug)]
pub(crate) struct Approval {
    /// What it is about.
    pub(crate) about: About,
    /// `code_challenge`, method S256.
    pub(crate) challenge: String,
    /// Where the code goes.
    pub(crate) redirect_uri: RedirectUri,
}

/// A living grant, as requests see it.
#[derive(Clone, Debug)]
pub struct Living {
    /// Its id: `sid` of the access tokens.
    pub id: Arc<str>,
    /// The client's `client_id`.
    pub client_id: Arc<str>,
    /// Who, by the last that the provider said.
    pub claims: Arc<Claims>,
    /// The login behind it, if there is one.
    pub login: Option<Arc<str>>,
    /// What to watch while a stream rests on it.
    pub names: Arc<[Name]>,
    /// When it ends at the latest.
    pub ends: Timestamp,
}

/// A record that was read, with what requests want of it made once.
struct Known {
    record: Record,
    id: Arc<str>,
    client_id: Arc<str>,
    names: Arc<[Name]>,
    /// Of a client that acts for itself, or an assertion.
    claims: Option<Arc<Claims>>,
}

impl Known {
    fn new(record: Record, id: Arc<str>) -> Self {
        let grant = Name::Grant(Arc::clone(&id));
        let (names, claims): (Arc<[Name]>, _) = match &record.about.basis {
            Basis::Login(login) => (Arc::from([grant, Name::Login(Arc::clone(login))]), None),
            Basis::Here(claims) => (Arc::from([grant]), Some(Arc::new((**claims).clone()))),
        };
        Self {
            client_id: record.about.client_id.as_str().into(),
            id,
            names,
            claims,
            record,
        }
    }
}

/// All grants of this installation.
pub struct Grants(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    keys: KeyRing,
    sealer: Sealer,
    sessions: Arc<Sessions>,
    revocations: Arc<Revocations>,
    audit: Audit,
    ambient: Ambient,
    idle: Duration,
    lifetime: Duration,
    /// How long an access token can outlive what it was made from.
    token_life: Duration,
    seen: Seen<Known>,
    logins: Seen<LoginView>,
}

impl Grants {
    /// Over a store, with the logins that grants point to.
    #[expect(clippy::too_many_arguments, reason = "a composition, called once")]
    pub fn new(
        store: Arc<dyn Store>,
        keys: &KeyRing,
        sessions: Arc<Sessions>,
        revocations: Arc<Revocations>,
        config: &AuthorizationServer,
        session_config: &SessionConfig,
        ambient: Ambient,
        audit: Audit,
    ) -> Arc<Self> {
        let bound = usize::try_from(session_config.max_sessions)
            .unwrap_or(usize::MAX)
            .clamp(1, MAX_REMEMBERED);
        let grace = session_config.outage_grace.0;
        let inner = Arc::new(Inner {
            sealer: keys.sealer(Purpose::Grant, None),
            keys: keys.clone(),
            sessions,
            idle: config.grant_idle_timeout.0,
            lifetime: config.grant_lifetime.0,
            token_life: config.access_token_lifetime.0,
            seen: Seen::new(bound, REMEMBER, grace),
            logins: Seen::new(bound, REMEMBER, grace),
            revocations,
            audit,
            ambient,
            store,
        });
        let listener: Weak<Inner> = Arc::downgrade(&inner);
        inner.revocations.listen(listener);
        Arc::new(Self(inner))
    }

    /// When a grant that begins now ends at the latest.
    pub(crate) fn end_of_new(&self, now: Timestamp) -> Timestamp {
        now.plus(self.0.lifetime)
    }

    /// Makes a grant that waits for its code to be redeemed, and the code: 60 s, single use. The login behind it
    /// lives on as long as the grant; one whose provider gave no refresh token ends with the session, and the grant
    /// with it, for nothing would ever refuse it.
    pub(crate) async fn approve(&self, approval: Approval) -> Result<Secret, Unavailable> {
        let inner = &*self.0;
        let now = inner.ambient.now();
        let Approval {
            mut about,
            challenge,
            redirect_uri,
        } = approval;
        if let Basis::Login(login) = &about.basis {
            let kept = inner.sessions.keep(login, about.ends).await?;
            about.ends = about.ends.min(kept);
        }
        let id = GrantId::generate(&inner.ambient);
        let secret: [u8; 32] = inner.ambient.random();
        let record = Record {
            about,
            code: Some(*Digest::of(secret).as_bytes()),
            state: State::Coded {
                challenge,
                redirect_uri: redirect_uri.as_str().to_owned(),
                expires: now.plus(CODE_LIFE),
            },
        };
        inner.add_to_index(&record.about, id).await?;
        inner.put_new(id, &record, now).await?;
        Ok(ticket::code(id, &secret))
    }

    /// Makes a grant without a code, for a client that acts for itself or shows an identity assertion. It has no
    /// refresh token; `life` is that of its one access token.
    pub(crate) async fn start(&self, about: About) -> Result<Arc<str>, Unavailable> {
        let inner = &*self.0;
        let now = inner.ambient.now();
        let id = GrantId::generate(&inner.ambient);
        let record = Record {
            about,
            code: None,
            state: State::Active {
                generation: 0,
                presented: Vec::new(),
                used: now,
            },
        };
        inner.add_to_index(&record.about, id).await?;
        inner.put_new(id, &record, now).await?;
        Ok(id.hex())
    }

    /// Ends a grant on every replica. `false`: it was not there, or over.
    pub(crate) async fn end(&self, id: &str, why: Ending) -> Result<bool, Unavailable> {
        match GrantId::parse(id) {
            Some(id) => self.0.end(id, why).await,
            None => Ok(false),
        }
    }

    /// Ends every grant of a subject; tells how many.
    pub async fn end_of(&self, subject: &Subject) -> Result<usize, Unavailable> {
        let mut ended = 0;
        for id in self.0.of_subject(subject).await? {
            ended += usize::from(self.0.end(id, Ending::Operator).await?);
        }
        Ok(ended)
    }

    /// How many living grants a subject has.
    pub async fn count_of(&self, subject: &Subject) -> Result<usize, Unavailable> {
        let now = self.0.ambient.now();
        let mut living = 0;
        for id in self.0.of_subject(subject).await? {
            let found = self.0.read(id).await?;
            living += usize::from(found.is_some_and(|(_, record)| record.lives(now, self.0.idle)));
        }
        Ok(living)
    }
}

impl Inner {
    async fn read(&self, id: GrantId) -> Result<Option<(u64, Record)>, Unavailable> {
        let key = id.key();
        let Some(stored) = self.store.get(&key).await? else {
            return Ok(None);
        };
        let record: Option<Record> = records::open(&self.sealer, &key, &stored);
        match record {
            Some(record) if !self.sessions.is_cut_off(record.about.created).await? => {
                Ok(Some((stored.revision, record)))
            }
            _ => Ok(None),
        }
    }

    async fn put_new(
        &self,
        id: GrantId,
        record: &Record,
        now: Timestamp,
    ) -> Result<(), Unavailable> {
        let key = id.key();
        let blob = records::seal(&self.sealer, &key, record);
        // The id is random: nobody has it yet.
        self.store
            .put(&key, blob, self.ttl(record, now))
            .await
            .map(drop)
    }

    async fn replace(
        &self,
        id: GrantId,
        revision: u64,
        record: &Record,
        now: Timestamp,
    ) -> Result<Replaced, Unavailable> {
        let key = id.key();
        let blob = records::seal(&self.sealer, &key, record);
        let replaced = self
            .store
            .replace_if(&key, revision, blob, self.ttl(record, now))
            .await;
        // Also when nobody knows whether it was written.
        self.seen.forget(&id.hex());
        replaced
    }

    /// Ends a grant: the record stays until the last access token is over, so that nothing brings it back.
    async fn end(&self, id: GrantId, why: Ending) -> Result<bool, Unavailable> {
        for _ in 0..ATTEMPTS {
            let now = self.ambient.now();
            let Some((revision, mut record)) = self.read(id).await? else {
                return Ok(false);
            };
            if matches!(record.state, State::Ended { .. }) {
                return Ok(false);
            }
            let living = record.lives(now, self.idle);
            record.state = State::Ended {
                why,
                until: now.plus(self.token_life + SLACK),
            };
            match self.replace(id, revision, &record, now).await? {
                Replaced::Done(_) => {
                    tracing::info!(
                        grant = %id.hex(),
                        client = %record.about.client,
                        subject = %record.about.subject.subject,
                        why = why.as_str(),
                        "a grant was ended"
                    );
                    self.audit.note_with(|_| {
                        let outcome = if why.is_misuse() {
                            Outcome::Failure
                        } else {
                            Outcome::Success
                        };
                        let about = &record.about;
                        let who = Who::subject(&about.subject)
                            .with_client(Some(&about.client_id))
                            .with_grant(&id.hex());
                        Event::new(Kind::GrantEnded, outcome)
                            .because(why.as_str())
                            .by(who)
                    });
                    self.revocations
                        .tell(Name::Grant(id.hex()), News::Ended)
                        .await;
                    self.leave_login(&record.about, id).await;
                    return Ok(living);
                }
                Replaced::Changed => {}
                Replaced::Absent => return Ok(false),
            }
        }
        Err(contended())
    }

    fn ttl(&self, record: &Record, now: Timestamp) -> Duration {
        record.end(self.idle).since(now) + SLACK
    }
}

impl crate::revocation::Listener for Inner {
    fn heard(&self, name: &Name, _: News) {
        match name {
            Name::Grant(id) => self.seen.forget(id),
            Name::Login(id) => self.logins.forget(id),
            Name::Session(_) => {}
        }
    }

    fn distrust(&self) {
        self.seen.distrust_all();
        self.logins.distrust_all();
    }

    fn ended_all(&self) {
        self.seen.forget_all();
        self.logins.forget_all();
    }
}

impl std::fmt::Debug for Grants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Grants")
    }
}

fn contended() -> Unavailable {
    Unavailable("a grant is being changed by others all the time".into())
}

impl GrantId {
    fn key(self) -> Key {
        Key::new(Space::Grant, self.hex())
    }
}

/// How long a code is good.
pub(crate) const CODE_LIFE: Duration = Duration::from_secs(60);
/// How long a grant that was read is remembered.
const REMEMBER: Duration = Duration::from_secs(60);
/// Grants that one process remembers.
const MAX_REMEMBERED: usize = 100_000;
/// Records stay this much longer than they are valid, so that a replica whose clock is a little behind finds them.
const SLACK: Duration = Duration::from_secs(60);
/// Tries to change a record that others change at the same time.
const ATTEMPTS: usize = 16;

#[cfg(test)]
mod tests;
