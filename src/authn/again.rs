//! Who it is by now: callers whose streams are open are looked at again.

use http::HeaderMap;

use super::apikey::X_API_KEY;
use super::session::Navigations;
use super::{Authn, Basis, Credential, Identity};
use crate::reject::{Code, Fault, Reject};
use crate::route::Target;
use crate::session::Visit;

impl Authn {
    /// Who it is by now whose credential was accepted before, for what lasts longer than a request. `headers` are
    /// those of the request; `None`: the credential counts no more. A token of another issuer says nothing of its
    /// end, so it is what it was.
    ///
    /// # Errors
    /// 503 when that cannot be found out.
    pub async fn again(
        &self,
        before: &Identity,
        target: &Target,
        headers: &HeaderMap,
    ) -> Result<Option<Identity>, Reject> {
        let now = match before.credential {
            Credential::Session => {
                let navigations = Navigations::of(target.route().kind);
                // A stream that is open is no use of the session.
                self.session(headers, navigations, Visit::Look).await?
            }
            Credential::ApiKey => headers
                .get(X_API_KEY)
                .and_then(|key| self.keys.find(key.as_bytes())),
            Credential::AccessToken => self.by_grant(before).await?,
            Credential::Bypass => self.bypass.clone(),
            Credential::Bearer => Some(before.clone()),
        };
        Ok(now.filter(|now| now.claims.subject == before.claims.subject))
    }

    /// By the grant alone: the token itself ends within minutes, and is renewed without a word to open streams.
    async fn by_grant(&self, before: &Identity) -> Result<Option<Identity>, Reject> {
        let grant = before.basis().iter().find_map(|name| match name {
            Basis::Grant(id) => Some(id),
            _ => None,
        });
        let (Some(grants), Some(grant)) = (&self.grants, grant) else {
            return Ok(None);
        };
        match grants.find(grant).await {
            Ok(found) => Ok(found.map(|living| Identity {
                claims: living.claims,
                expires: Some(living.ends),
                basis: Some(living.names),
                ..before.clone()
            })),
            Err(error) => Err(Reject::unavailable(
                Code::StoreUnavailable,
                Fault::Proxy,
                "Grants cannot be looked up just now.",
            )
            .because(error.to_string())),
        }
    }
}
