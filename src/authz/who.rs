//! What conditions look at: the facts about a caller.

use crate::authn::{Caller, Credential, Identity};
use crate::claims::Claims;

/// Facts about a caller, borrowed from where they were verified.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who<'a> {
    /// `None` for nobody, on public routes.
    pub(super) claims: Option<&'a Claims>,
    pub(super) scopes: Scopes<'a>,
    /// The client that the token was made for.
    pub(super) client: Client<'a>,
    /// The name of the API key.
    pub(super) api_key: Option<&'a str>,
    /// The fixed user of a proxy without authentication, who may do what somebody may do.
    pub(super) bypass: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Scopes<'a> {
    /// What the token was granted. It can be stepped up.
    Granted(&'a [Box<str>]),
    /// A credential that has no scopes, and never will.
    Without,
    /// Not known yet: a person whose token is still to be made.
    Open,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Client<'a> {
    Known(&'a str),
    Without,
    /// Not known yet.
    Open,
}

impl<'a> Who<'a> {
    pub(super) fn of(caller: &'a Caller) -> Self {
        match caller {
            Caller::Anonymous => Self {
                claims: None,
                scopes: Scopes::Without,
                client: Client::Without,
                api_key: None,
                bypass: false,
            },
            Caller::Known(identity) => Self::known(identity),
        }
    }

    fn known(identity: &'a Identity) -> Self {
        let claims = &**identity.claims();
        let credential = identity.credential();
        let scopes = match credential {
            Credential::Bearer | Credential::AccessToken => Scopes::Granted(identity.scopes()),
            Credential::Session | Credential::ApiKey | Credential::Bypass => Scopes::Without,
        };
        Self {
            claims: Some(claims),
            scopes,
            client: identity.client_id().map_or(Client::Without, Client::Known),
            api_key: (*credential == Credential::ApiKey).then_some(&*claims.subject.subject),
            bypass: *credential == Credential::Bypass,
        }
    }

    /// A person of whom only the claims are known: which app they use, and what it will be granted, is open.
    pub(super) fn person(claims: &'a Claims) -> Self {
        Self {
            claims: Some(claims),
            scopes: Scopes::Open,
            client: Client::Open,
            api_key: None,
            bypass: false,
        }
    }
}
