//! Grants: what a person (or an operator) gave to a client. One record each, changed by compare-and-swap only; the
//! code and every refresh token name it, so that a replayed one can always end what was issued.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::claims::Claims;
use crate::clock::Timestamp;
use crate::ids::Subject;
use crate::scope::ScopeSet;
use crate::secret::Secret;
use crate::store::Unavailable;

use super::client::{Client, RedirectUri};
use super::error::OAuthError;

/// What a grant is about; fixed when it is given.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct About {
    /// The client's `client_id`.
    pub(crate) client_id: String,
    /// Its digest (see [`Client::digest`]).
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Basis {
    /// In the login record of this id: they change with each refresh at the provider, and end with the login.
    Login(Arc<str>),
    /// Here: a client that acts for itself, or an identity assertion.
    Here(Claims),
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
#[derive(Debug)]
pub struct Living {
    /// Its id: `sid` of the access tokens.
    pub id: Arc<str>,
    /// The client's `client_id`.
    pub client_id: Arc<str>,
    /// Who, by the last that the provider said.
    pub claims: Arc<Claims>,
    /// The login behind it, if there is one.
    pub login: Option<Arc<str>>,
    /// The scopes that were granted.
    pub scopes: Arc<[Box<str>]>,
    /// When it ends at the latest.
    pub ends: Timestamp,
}

/// Why a grant ended: for logs, audit and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    /// The client gave it back (RFC 7009).
    Revoked,
    /// A code was presented twice.
    CodeReplayed,
    /// A refresh token was presented after its time.
    RefreshReplayed,
    /// An operator ended it.
    Operator,
    /// The login behind it is over.
    Login,
}

/// All grants of this installation.
pub struct Grants {
    idle: Duration,
}

impl Grants {
    /// Makes a grant that waits for its code to be redeemed, and the code: 60 s, single use.
    pub(crate) async fn approve(&self, approval: Approval) -> Result<Secret, Unavailable> {
        let _ = (self.idle, approval);
        todo!()
    }

    /// Ends a grant on every replica. `false`: it was not there, or over.
    pub(crate) async fn end(&self, id: &str, why: Ending) -> Result<bool, Unavailable> {
        let _ = (id, why);
        todo!()
    }

    /// The living grant of an access token's `sid`, remembered for at most 60 s.
    pub async fn find(&self, sid: &str) -> Result<Option<Arc<Living>>, Unavailable> {
        let _ = sid;
        todo!()
    }

    /// Ends every grant of a subject; tells how many.
    pub async fn end_of(&self, subject: &Subject) -> Result<usize, Unavailable> {
        let _ = subject;
        todo!()
    }

    /// Whether a client may still refresh; only here to fix the shape of errors.
    pub(crate) async fn refresh(&self, token: &Secret, client: &Client) -> Result<(), OAuthError> {
        let _ = (token, client);
        todo!()
    }
}
