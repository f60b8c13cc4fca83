//! Whose account it is that a page speaks of.

use url::Url;

use super::name::shown;
use crate::claims::Claims;

/// An account, as its owner knows it.
#[derive(Clone, Debug)]
pub struct Account {
    /// The best name of it.
    pub(super) name: String,
    /// The e-mail address, unless that is the name already.
    pub(super) email: Option<String>,
    /// The host of the identity provider.
    pub(super) issuer: String,
}

impl Account {
    /// Of verified claims.
    pub fn of(claims: &Claims) -> Self {
        let text = |text: &Option<String>| text.as_deref().and_then(shown);
        let email = text(&claims.email);
        let name = text(&claims.name)
            .or_else(|| email.clone())
            .or_else(|| text(&claims.preferred_username))
            .or_else(|| shown(&claims.subject.subject))
            .unwrap_or_default();
        let issuer = Url::parse(&claims.subject.issuer)
            .ok()
            .and_then(|url| url.host_str().map(str::to_owned))
            .unwrap_or_else(|| claims.subject.issuer.to_string());
        Self {
            email: email.filter(|email| *email != name),
            issuer,
            name,
        }
    }
}
