//! Browser sessions: a ticket in the cookie, a sealed record in the store, one login record behind it.
//!
//! The ticket holds the session's id and a key. The session record opens only with that key and the key
//! ring. Provider tokens and claims live once, in the login record, sealed by the key ring alone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::claims::Claims;
use crate::clock::{Ambient, Timestamp};
use crate::config::session::Sessions as SessionConfig;
use crate::keys::KeyRing;
use crate::secret::Secret;
use crate::store::{Store, Unavailable};
use crate::telemetry::metrics::Metrics;

/// What the cookie holds: which session, and the key that opens its record.
#[derive(Clone)]
pub struct Ticket {
    _private: (),
}

impl Ticket {
    /// Reads a cookie's value; `None` when it is not of our making.
    pub fn parse(_value: &str) -> Option<Self> {
        todo!()
    }

    /// The cookie's value.
    pub fn to_cookie_value(&self) -> Secret {
        todo!()
    }
}

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
}

/// All sessions of this installation.
pub struct Sessions {
    _private: (),
}

impl Sessions {
    /// Over a store, with a key ring.
    pub fn new(
        _store: Arc<dyn Store>,
        _keys: KeyRing,
        _config: &SessionConfig,
        _ambient: Ambient,
        _metrics: &Arc<Metrics>,
    ) -> Arc<Self> {
        todo!()
    }

    /// Makes a session for a finished login, with a new id, whatever cookie the browser had.
    pub async fn create(&self, _login: NewLogin) -> Result<(Session, Ticket), Unavailable> {
        todo!()
    }

    /// Finds the session of a ticket: living, absent (also expired or unopenable), or unavailable. One that was
    /// just seen is not asked for again; the idle time is prolonged.
    pub async fn find(&self, _ticket: &Ticket) -> Result<Option<Arc<Session>>, Unavailable> {
        todo!()
    }

    /// Ends a session and forgets it on every replica; gives its tokens for RP-initiated logout.
    pub async fn end(&self, _ticket: &Ticket) -> Result<Option<ProviderTokens>, Unavailable> {
        todo!()
    }

    /// The tokens of a login record, with its revision.
    pub async fn tokens(&self, _login: &str) -> Result<Option<(u64, ProviderTokens)>, Unavailable> {
        todo!()
    }

    /// Stores refreshed tokens and claims if nobody was faster; sessions see them at their next request.
    pub async fn update_login(
        &self,
        _login: &str,
        _revision: u64,
        _tokens: ProviderTokens,
        _claims: Claims,
    ) -> Result<bool, Unavailable> {
        todo!()
    }

    /// Ends a login, and so every session on it (a conclusive refusal by the provider).
    pub async fn end_login(&self, _login: &str) -> Result<(), Unavailable> {
        todo!()
    }
}

/// A login flow under way, kept in the store between `start` and `callback`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Flow {
    /// `nonce` of the authorization request.
    pub nonce: String,
    /// PKCE verifier.
    pub verifier: String,
    /// Where the person goes afterwards.
    pub return_to: String,
    /// Issuer that the flow was begun with.
    pub issuer: String,
    /// When it was begun.
    pub started: Timestamp,
}
