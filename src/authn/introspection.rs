//! Opaque bearer tokens: the listed issuers that can be asked are asked (RFC 7662), and what they say is judged as the
//! claims of a JWT are.

use std::sync::Arc;

use serde_json::Value;

use super::bearer::{Bearer, Failure, Verified};
use super::issuers::Issuer;
use super::jwt;
use super::refusal::Refusal;
use crate::claims::Claims;
use crate::clock::Timestamp;
use crate::ids::Subject;
use crate::oidc::introspection::{Introspector, Told};

/// How our own codes, refresh tokens and client ids begin. They are nobody else's to see.
const OURS: [&str; 3] = ["mcpc_", "mcpr_", "mcpd_"];

impl Bearer {
    /// Whether an issuer is to be asked about a token that names none.
    pub(super) fn asks_about(&self, token: &str) -> bool {
        !OURS.iter().any(|prefix| token.starts_with(prefix))
            && self.issuers.introspecting().next().is_some()
    }

    /// Asks one issuer after the other, until one knows the token. That one is in trouble is the outcome only when no
    /// other one knows it.
    pub(super) async fn introspected(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Verified, (Option<Arc<Issuer>>, Failure)> {
        let mut outcome = (None, Failure::Refused(Refusal::Inactive));
        for (issuer, introspector) in self.issuers.introspecting() {
            match introspector.ask(token).await {
                Told::Active(said) => {
                    let judged = self.active(issuer, introspector, token, &said, now);
                    return judged.map_err(|failure| (Some(Arc::clone(issuer)), failure));
                }
                Told::Inactive => {}
                Told::Unavailable(why) => {
                    outcome = (
                        Some(Arc::clone(issuer)),
                        Failure::Unavailable(why.to_string()),
                    );
                }
            }
        }
        Err(outcome)
    }

    /// `exp`, `sub` and an audience (`aud`, or `resource` as RFC 8707 issuers call it) have to be there as in a JWT, and
    /// `iss`, where it is said, has to be the issuer that was asked.
    fn active(
        &self,
        issuer: &Arc<Issuer>,
        introspector: &Introspector,
        token: &str,
        said: &serde_json::Map<String, Value>,
        now: Timestamp,
    ) -> Result<Verified, Failure> {
        let name = issuer
            .name()
            .ok_or(Failure::Refused(Refusal::WrongIssuer))?;
        let mut payload = said.clone();
        payload.remove("active");
        if payload
            .get("iss")
            .is_some_and(|named| named.as_str() != Some(&name))
        {
            return Err(Failure::Refused(Refusal::WrongIssuer));
        }
        payload.insert("iss".to_owned(), (*name).into());
        if !payload.contains_key("aud")
            && let Some(resource) = payload.get("resource").cloned()
        {
            payload.insert("aud".to_owned(), resource);
        }
        let expires = jwt::times(&payload, now, self.skew()).map_err(Failure::Refused)?;
        let facts = jwt::facts(&payload, expires).map_err(Failure::Refused)?;
        let subject = Subject {
            issuer: name,
            subject: facts.subject.as_str().into(),
        };
        let claims = Claims::read(subject, payload, &issuer.claims);
        let mut verified = self.verified_by(issuer, token, facts, claims, now);
        verified.life = introspector.life();
        Ok(verified)
    }
}
