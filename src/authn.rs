//! Who is asking: a session, a bearer token or an API key becomes an [`Identity`], or the request ends here.

use std::sync::Arc;

use crate::claims::Claims;
use crate::clock::Timestamp;

/// Who a request comes from. Made in this module only, from verified credentials.
#[derive(Clone, Debug)]
pub struct Identity {
    claims: Arc<Claims>,
    credential: Credential,
    scopes: Arc<[Box<str>]>,
    client_id: Option<Arc<str>>,
    expires: Option<Timestamp>,
}

/// What proved the identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A browser session.
    Session,
    /// A JWT of a listed issuer.
    Bearer,
    /// An API key, by its configured name.
    ApiKey,
    /// `AUTH_MODE=bypass`.
    Bypass,
}

impl Credential {
    /// Name for logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Bearer => "bearer_jwt",
            Self::ApiKey => "api_key",
            Self::Bypass => "bypass",
        }
    }
}

/// The outcome of authentication: somebody, or nobody on a route that is public.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Nobody, where the route says `public`.
    Anonymous,
    /// Somebody.
    Known(Identity),
}

impl Identity {
    /// Who, with all verified claims.
    pub fn claims(&self) -> &Arc<Claims> {
        &self.claims
    }

    /// What proved it.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Scopes of the token; empty for sessions.
    pub fn scopes(&self) -> &[Box<str>] {
        &self.scopes
    }

    /// `client_id` or `azp` of the token.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// When the credential ends.
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }
}

impl Identity {
    /// An identity without a credential behind it, for tests of what comes after authentication.
    #[cfg(test)]
    pub(crate) fn for_test(claims: Arc<Claims>) -> Self {
        Self { claims, credential: Credential::Bearer, scopes: Arc::from([]), client_id: None, expires: None }
    }
}
