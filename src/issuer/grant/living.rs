//! The grant of a request: from memory, or read at first sight.

use std::sync::Arc;

use super::ticket::GrantId;
use super::{Basis, Grants, Inner, Known, Living};
use crate::session::LoginView;
use crate::store::Unavailable;

impl Grants {
    /// The living grant of an access token's `sid`, remembered for at most 60 s. `Ok(None)`: it is over, or its login
    /// is. While the store is away, one that was read within `sessions.outage_grace` goes on.
    pub async fn find(&self, sid: &str) -> Result<Option<Living>, Unavailable> {
        let inner = &*self.0;
        let Some(id) = GrantId::parse(sid) else {
            return Ok(None);
        };
        let now = inner.ambient.now();
        let Some(known) = inner.known(id).await? else {
            return Ok(None);
        };
        let about = &known.record.about;
        if !known.record.lives(now, inner.idle) {
            return Ok(None);
        }
        let (claims, login, ends) = match (&known.claims, &about.basis) {
            (Some(claims), _) => (Arc::clone(claims), None, about.ends),
            (None, Basis::Here(claims)) => (Arc::new((**claims).clone()), None, about.ends),
            (None, Basis::Login(login)) => {
                let Some(view) = inner.login(login).await? else {
                    return Ok(None);
                };
                // A login that came to belong to somebody else would be a fault of ours; never let it through.
                if now >= view.ends || view.claims.subject != about.subject {
                    return Ok(None);
                }
                let ends = about.ends.min(view.ends);
                (Arc::clone(&view.claims), Some(Arc::clone(login)), ends)
            }
        };
        Ok(Some(Living {
            id: Arc::clone(&known.id),
            client_id: Arc::clone(&known.client_id),
            names: Arc::clone(&known.names),
            claims,
            login,
            ends,
        }))
    }
}

impl Inner {
    async fn known(&self, id: GrantId) -> Result<Option<Arc<Known>>, Unavailable> {
        let now = self.ambient.now();
        let name = id.hex();
        if self.revocations.is_trusted(now)
            && let Some(known) = self.seen.fresh(&name, now)
        {
            return Ok(Some(known));
        }
        let mark = self.seen.mark(&name, now);
        match self.read(id).await {
            Ok(Some((_, record))) => {
                let known = Arc::new(Known::new(record, Arc::clone(&name)));
                self.seen.remember(&name, &known, mark);
                Ok(Some(known))
            }
            Ok(None) => {
                self.seen.forget(&name);
                Ok(None)
            }
            Err(error) => self.seen.in_outage(&name, now).map(Some).ok_or(error),
        }
    }

    pub(super) async fn login(
        &self,
        login: &Arc<str>,
    ) -> Result<Option<Arc<LoginView>>, Unavailable> {
        let now = self.ambient.now();
        if self.revocations.is_trusted(now)
            && let Some(view) = self.logins.fresh(login, now)
        {
            return Ok(Some(view));
        }
        let mark = self.logins.mark(login, now);
        match self.sessions.login(login).await {
            Ok(Some(view)) => {
                let view = Arc::new(view);
                self.logins.remember(login, &view, mark);
                Ok(Some(view))
            }
            Ok(None) => {
                self.logins.forget(login);
                Ok(None)
            }
            Err(error) => self.logins.in_outage(login, now).map(Some).ok_or(error),
        }
    }
}
