//! What is kept of a session and of a login, before it is sealed.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ProviderTokens;
use crate::claims::Claims;
use crate::clock::Timestamp;
use crate::secret::{Digest, Secret};

/// A browser session: sealed under the key ring and the ticket's key.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SessionRecord {
    /// The login record behind it.
    pub(super) login: String,
    /// When the person logged in.
    pub(super) created: Timestamp,
    /// When it ends at the latest.
    pub(super) ends: Timestamp,
    /// When it was last known to be used.
    pub(super) used: Timestamp,
}

/// A login: sealed under the key ring alone, for the background has no ticket.
#[derive(Serialize, Deserialize)]
pub(super) struct LoginRecord {
    pub(super) claims: Claims,
    tokens: StoredTokens,
    /// When the person logged in. A record that does not say is older than any other.
    #[serde(default = "long_ago")]
    pub(super) created: Timestamp,
    /// When the record ends at the latest.
    pub(super) ends: Timestamp,
    /// When the provider's tokens should be refreshed.
    pub(super) refresh_due: Option<Timestamp>,
    /// When the browser session ends at the latest; grants may let the record live longer.
    pub(super) session_ends: Timestamp,
    /// A grant rests on it.
    #[serde(default)]
    pub(super) granted: bool,
    /// The browser session was ended by its person.
    #[serde(default)]
    pub(super) signed_out: bool,
}

/// What requests need of a [`LoginRecord`]: all but the tokens, which are passed over.
#[derive(Deserialize)]
pub(super) struct LoginFacts {
    pub(super) claims: Arc<Claims>,
    pub(super) ends: Timestamp,
    pub(super) refresh_due: Option<Timestamp>,
}

/// What was read from the store for a ticket: both records opened, recognised by the digests of their blobs. The
/// same blobs hold the same records, so they need not be opened again.
pub(super) struct Opened {
    pub(super) blobs: [Digest; 2],
    pub(super) session: SessionRecord,
    pub(super) login: LoginFacts,
}

/// Provider tokens as they are written; only ever inside a sealed record.
#[derive(Serialize, Deserialize)]
struct StoredTokens {
    access_token: String,
    access_expires: Option<Timestamp>,
    refresh_token: Option<String>,
    id_token: Option<String>,
    provider_session: Option<String>,
}

impl LoginRecord {
    pub(super) fn new(
        claims: Claims,
        tokens: &ProviderTokens,
        ends: Timestamp,
        now: Timestamp,
    ) -> Self {
        let text = |secret: &Secret| secret.expose_secret().to_owned();
        Self {
            claims,
            refresh_due: refresh_due(tokens, now),
            tokens: StoredTokens {
                access_token: text(&tokens.access_token),
                access_expires: tokens.access_expires,
                refresh_token: tokens.refresh_token.as_ref().map(text),
                id_token: tokens.id_token.as_ref().map(text),
                provider_session: tokens.provider_session.clone(),
            },
            created: now,
            ends,
            session_ends: ends,
            granted: false,
            signed_out: false,
        }
    }

    /// The provider's own session, by which its back-channel logout names the login.
    pub(super) fn provider_session(&self) -> Option<&str> {
        self.tokens.provider_session.as_deref()
    }

    pub(super) fn into_facts(self) -> LoginFacts {
        LoginFacts {
            claims: Arc::new(self.claims),
            ends: self.ends,
            refresh_due: self.refresh_due,
        }
    }

    pub(super) fn into_tokens(mut self) -> ProviderTokens {
        let tokens = &mut self.tokens;
        ProviderTokens {
            access_token: Secret::new(std::mem::take(&mut tokens.access_token)),
            access_expires: tokens.access_expires,
            refresh_token: tokens.refresh_token.take().map(Secret::new),
            id_token: tokens.id_token.take().map(Secret::new),
            provider_session: tokens.provider_session.take(),
        }
    }
}

impl Drop for StoredTokens {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.access_token.zeroize();
        self.refresh_token.zeroize();
        self.id_token.zeroize();
    }
}

fn long_ago() -> Timestamp {
    Timestamp::from_millis(i64::MIN)
}

/// A minute before the access token ends, or a fifth of its life if that is shorter. A provider that does not
/// say when it ends (`expires_in` is only recommended, RFC 6749 section 5.1) is asked every ten minutes.
fn refresh_due(tokens: &ProviderTokens, now: Timestamp) -> Option<Timestamp> {
    tokens.refresh_token.as_ref()?;
    Some(match tokens.access_expires {
        Some(end) => end.minus((end.since(now) / 5).min(Duration::from_secs(60))),
        None => now.plus(Duration::from_secs(600)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(expires: Option<i64>, refresh: bool) -> ProviderTokens {
        ProviderTokens {
            access_token: Secret::new("a"),
            access_expires: expires.map(Timestamp::from_secs),
            refresh_token: refresh.then(|| Secret::new("r")),
            id_token: None,
            provider_session: None,
        }
    }

    #[test]
    fn a_login_that_does_not_say_when_it_began_is_older_than_any_other() {
        let subject = crate::ids::Subject {
            issuer: "https://idp.example".into(),
            subject: "ann".into(),
        };
        let map = crate::config::oidc::ClaimMap::default();
        let claims = Claims::read(subject, serde_json::Map::new(), &map);
        let now = Timestamp::from_secs(1000);
        let record = LoginRecord::new(claims, &tokens(None, false), now, now);
        let mut json = serde_json::to_value(&record).unwrap();
        let read = |json| serde_json::from_value::<LoginRecord>(json).unwrap();
        assert_eq!(read(json.clone()).created, now);
        json.as_object_mut().unwrap().remove("created");
        assert_eq!(read(json).created, Timestamp::from_millis(i64::MIN));
    }

    #[test]
    fn refresh_is_due_before_the_access_token_ends() {
        let due =
            |expires, refresh| refresh_due(&tokens(expires, refresh), Timestamp::from_secs(1000));
        assert_eq!(due(Some(4600), true), Some(Timestamp::from_secs(4540)));
        assert_eq!(due(Some(1100), true), Some(Timestamp::from_secs(1080)));
        assert_eq!(due(Some(900), true), Some(Timestamp::from_secs(900)));
        assert_eq!(due(None, true), Some(Timestamp::from_secs(1600)));
        assert_eq!(due(Some(4600), false), None);
    }
}
