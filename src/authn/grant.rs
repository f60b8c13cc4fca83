//! Our own access tokens: verified with our keys, and resting on a grant that is looked at on every request.

use std::sync::Arc;

use super::bearer::{Bearer, Failure, Verified};
use super::issuers::Issuer;
use super::jwt::{self, Unverified};
use super::refusal::Refusal;
use super::{Credential, Identity};
use crate::claims::Claims;
use crate::clock::Timestamp;
use crate::ids::Subject;
use crate::issuer::Lasting;

impl Bearer {
    /// Verifies a token that names us as its issuer. A key that is not known here may be another replica's newest, so
    /// that is no refusal.
    pub(super) async fn verify_own(
        &self,
        own: &Lasting,
        issuer: &Arc<Issuer>,
        token: &str,
        parsed: Unverified<'_>,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<Verified, Failure> {
        if !parsed.is_access_token {
            return Err(Failure::Refused(Refusal::Type));
        }
        let kid = parsed
            .kid
            .as_deref()
            .ok_or(Failure::Refused(Refusal::UnknownKey))?;
        let signature = parsed.signature().map_err(Failure::Refused)?;
        let signed = parsed.signed.as_bytes();
        match own
            .access
            .verifies(kid, parsed.algorithm, signed, &signature)
            .await
        {
            Ok(true) => {}
            Ok(false) => return Err(Failure::Refused(Refusal::BadSignature)),
            Err(_) => {
                return Err(Failure::Unavailable(
                    "the token was signed with a key of ours that is not known here yet".to_owned(),
                ));
            }
        }
        let facts = jwt::facts(&parsed.payload, expires).map_err(Failure::Refused)?;
        let grant = parsed
            .payload
            .get("sid")
            .and_then(serde_json::Value::as_str)
            .ok_or(Failure::Refused(Refusal::GrantOver))?;
        let subject = Subject {
            issuer: Arc::clone(own.access.issuer()),
            subject: facts.subject.as_str().into(),
        };
        // Claims of the person come with the grant; these only hold the place.
        let claims = Claims::read(subject, serde_json::Map::new(), &issuer.claims);
        let mut verified = self.verified_by(issuer, token, facts, claims, now);
        verified.grant = Some(grant.into());
        Ok(verified)
    }
}

/// The identity of a verified token: as it is, or that of the grant behind it, asked for on every request (from
/// memory, but for the first time in a minute and after news).
pub(super) async fn rests_on(verified: &Verified, identity: Identity) -> Result<Identity, Failure> {
    let (Some(grant), Some(own)) = (verified.grant(), verified.issuer().own()) else {
        return Ok(identity);
    };
    match own.grants.find(grant).await {
        Ok(Some(living)) => Ok(Identity {
            claims: living.claims,
            credential: Credential::AccessToken,
            client_id: Some(living.client_id),
            expires: Some(living.ends),
            basis: Some(living.names),
            scopes: identity.scopes,
        }),
        Ok(None) => Err(Failure::Refused(Refusal::GrantOver)),
        Err(error) => Err(Failure::Unavailable(error.to_string())),
    }
}
