//! Logins as grants see them: they live on while a grant rests on them.

use std::sync::Arc;

use super::record::LoginRecord;
use super::ticket::LoginId;
use super::{ATTEMPTS, Inner, SLACK, Sessions};
use crate::claims::Claims;
use crate::clock::Timestamp;
use crate::revocation::News;
use crate::store::{Replaced, Unavailable, records};

/// A living login, as grants see it.
#[derive(Clone, Debug)]
pub struct LoginView {
    /// Who.
    pub claims: Arc<Claims>,
    /// When the record ends at the latest.
    pub ends: Timestamp,
    /// When the provider's tokens should be refreshed; `None` when they cannot be.
    pub refresh_due: Option<Timestamp>,
}

impl Sessions {
    /// Lets a login live on for a grant, until `until` at most, and tells until when it does: one whose provider
    /// gave no refresh token is not prolonged, for nothing would ever refuse it. A login that is over ends now.
    pub async fn keep(&self, login: &str, until: Timestamp) -> Result<Timestamp, Unavailable> {
        let inner = &*self.0;
        let now = inner.ambient.now();
        let Some(id) = LoginId::parse(login) else {
            return Ok(now);
        };
        let Some((_, before)) = inner.read_login(id).await? else {
            return Ok(now);
        };
        let ends = if before.refresh_due.is_some() {
            before.ends.max(until)
        } else {
            before.ends
        };
        // Its indexes first: a login that they do not name could not be ended by its subject.
        let mut named = before;
        named.ends = ends;
        inner.add_to_indexes(&named, id).await?;
        let kept = inner
            .change_login(id, |login| {
                login.granted = true;
                login.ends = login.ends.max(ends);
                true
            })
            .await?;
        inner.tell(id, News::Changed).await;
        Ok(kept.map_or(now, |login| login.ends))
    }

    /// No grant rests on a login any more: it ends with its browser session, which may be over already.
    pub async fn release(&self, login: &str) -> Result<(), Unavailable> {
        let inner = &*self.0;
        let Some(id) = LoginId::parse(login) else {
            return Ok(());
        };
        let now = inner.ambient.now();
        let stays = inner
            .change_login(id, |login| {
                login.granted = false;
                login.ends = login.ends.min(login.session_ends);
                !login.signed_out && now < login.ends
            })
            .await?;
        if stays.is_none() {
            inner.end_login(id).await?;
        }
        Ok(())
    }

    /// The living login of an id; asks the store.
    pub async fn login(&self, login: &str) -> Result<Option<LoginView>, Unavailable> {
        let Some(id) = LoginId::parse(login) else {
            return Ok(None);
        };
        let found = self.0.read_login(id).await?;
        Ok(found.map(|(_, record)| LoginView {
            ends: record.ends,
            refresh_due: record.refresh_due,
            claims: Arc::new(record.claims),
        }))
    }
}

impl Inner {
    /// Changes a login record unless others change it all the time. `None`: it is gone, or `change` says that it
    /// should not stay; then nothing was written.
    pub(super) async fn change_login(
        &self,
        id: LoginId,
        change: impl Fn(&mut LoginRecord) -> bool,
    ) -> Result<Option<LoginRecord>, Unavailable> {
        let key = id.record();
        for _ in 0..ATTEMPTS {
            let Some((revision, mut record)) = self.read_login(id).await? else {
                return Ok(None);
            };
            if !change(&mut record) {
                return Ok(None);
            }
            let ttl = record.ends.since(self.ambient.now()) + SLACK;
            let blob = records::seal(&self.logins, &key, &record);
            match self.store.replace_if(&key, revision, blob, ttl).await? {
                Replaced::Done(_) => return Ok(Some(record)),
                Replaced::Changed => {}
                Replaced::Absent => return Ok(None),
            }
        }
        Err(Unavailable(
            "a login is being changed by others all the time".into(),
        ))
    }
}
