//! Finding the session of a ticket: from memory, or in the store.

use std::sync::Arc;

use super::flights::Found;
use super::record::Opened;
use super::{Inner, Session, Sessions, Ticket};
use crate::secret::Digest;
use crate::store::{Replaced, Unavailable, records};

/// What a session is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// A request of its person: the idle time begins anew.
    Use,
    /// Whether it is still there, for a stream that is open: nobody has used it.
    Look,
}

impl Sessions {
    /// Finds the session of a ticket for a request. See [`Self::visit`].
    ///
    /// # Errors
    /// The store cannot be asked, and the session was not read within `sessions.outage_grace`.
    pub async fn find(&self, ticket: &Ticket) -> Result<Option<Arc<Session>>, Unavailable> {
        self.visit(ticket, Visit::Use).await
    }

    /// Finds the session of a ticket: living, absent (also expired or unopenable), or unavailable. One that was
    /// just seen is not asked for again; the idle time of one in use is prolonged. While the store is away, a session
    /// that was read within `sessions.outage_grace` goes on.
    ///
    /// # Errors
    /// The store cannot be asked, and the session was not read within `sessions.outage_grace`.
    pub async fn visit(
        &self,
        ticket: &Ticket,
        visit: Visit,
    ) -> Result<Option<Arc<Session>>, Unavailable> {
        let inner = &self.0;
        let now = inner.ambient.now();
        if inner.revocations.is_trusted(now)
            && let Some(session) = inner.seen.fresh(ticket, now)
        {
            return Ok(Some(session));
        }
        let found = match visit {
            Visit::Use => {
                let read = || {
                    let (inner, ticket) = (Arc::clone(inner), ticket.clone());
                    async move { inner.read(&ticket, Visit::Use).await }
                };
                inner.flights.join(ticket, read).await
            }
            // By itself: a request that joined it would not prolong the idle time.
            Visit::Look => inner.read(ticket, Visit::Look).await,
        };
        match found {
            Err(unavailable) => match inner.seen.in_outage(ticket, now) {
                Some(session) => Ok(Some(session)),
                None => Err(unavailable),
            },
            found => found,
        }
    }
}

impl Inner {
    /// Reads session and login in one round trip, and prolongs the idle time of one in use when that is due.
    async fn read(&self, ticket: &Ticket, visit: Visit) -> Found {
        let id = ticket.login();
        let now = self.ambient.now();
        let mut mark = self.seen.mark(id);
        let (session_key, login_key) = (ticket.session_key(), id.record());
        let (session, login) = self.store.get_both(&session_key, &login_key).await?;
        let opened = session.zip(login).and_then(|(session, login)| {
            let blobs = [Digest::of(&session.blob), Digest::of(&login.blob)];
            let known = self.seen.opened(ticket);
            let opened = match known.filter(|known| known.blobs == blobs) {
                Some(known) => known,
                None => Arc::new(Opened {
                    session: self.open_session(ticket, &session_key, &session)?,
                    login: records::open(&self.logins, &login_key, &login)?,
                    blobs,
                }),
            };
            Some((session.revision, opened))
        });
        let Some((revision, opened)) = opened else {
            return Ok(None);
        };
        let (mut record, login) = (opened.session.clone(), &opened.login);
        if self.is_cut_off(record.created).await? {
            self.active.remove(id);
            return Ok(None);
        }
        if now >= record.ends || now >= login.ends || now.since(record.used) >= self.idle {
            self.active.remove(id);
            return Ok(None);
        }
        if now.since(record.used) >= self.touch_after {
            match visit {
                Visit::Use => {
                    record.used = now;
                    let blob = records::seal(&self.session_sealer(ticket), &session_key, &record);
                    let ttl = self.session_ttl(&record, now);
                    let replaced = self.store.replace_if(&session_key, revision, blob, ttl);
                    match replaced.await {
                        Ok(Replaced::Absent) => return Ok(None),
                        // Whoever changed it has prolonged it.
                        Ok(Replaced::Done(_) | Replaced::Changed) => {}
                        Err(error) => {
                            tracing::debug!(%error, "A session's idle time was not prolonged.");
                        }
                    }
                }
                // A request that is served from memory would not prolong it either.
                Visit::Look => mark = mark.for_outages_only(),
            }
            // Indexes are bounded: a login that its subject's index no longer names is found out here.
            let revoked = self.is_revoked(&login.claims.subject, record.created).await;
            if matches!(revoked, Ok(true)) {
                self.end_login(id).await?;
                return Ok(None);
            }
        }
        let session = Arc::new(self.session(ticket, &record, login));
        self.seen.remember(ticket, &session, opened, now, mark);
        self.active
            .note(id, session.idle_end.min(session.absolute_end));
        Ok(Some(session))
    }
}
