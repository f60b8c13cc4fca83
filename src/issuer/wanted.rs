//! What a request is for: a resource (RFC 8707) and scopes, as far as this client may have them.

use super::client::Client;
use super::error::{OAuthCode, OAuthError};
use super::form::Form;
use crate::route::{Table, Target};
use crate::scope::ScopeSet;

/// The route that `resource` names; without one the client's only route, the default one, or the only one there is.
pub(super) fn resource(
    routes: &Table,
    default: Option<&str>,
    client: &Client,
    form: &Form,
) -> Result<Target, OAuthError> {
    let wrong = |description| OAuthError::new(OAuthCode::InvalidTarget, description);
    let mut found: Option<Target> = None;
    for url in form.resources() {
        let target = routes
            .resource(url)
            .ok_or_else(|| wrong("resource is no MCP server of this service"))?;
        if found
            .as_ref()
            .is_some_and(|other| other.resource() != target.resource())
        {
            return Err(wrong("several resources are named; name one"));
        }
        found = Some(target);
    }
    let only = match client.routes.as_deref() {
        Some([only]) => Some(only.as_str()),
        _ => None,
    };
    let target = found
        .or_else(|| routes.default_resource(only.or(default)))
        .ok_or_else(|| wrong("resource is missing, and there is no default"))?;
    let own = client
        .routes
        .as_ref()
        .is_none_or(|routes| routes.contains(&target.route().name));
    if own {
        Ok(target)
    } else {
        Err(wrong("this client may not use that resource"))
    }
}

/// The scopes that are asked for and permitted; those that every client of the route needs when none are asked for.
/// What rules ask for besides is granted by name only: a challenge names it to those who need it. What is asked for
/// beyond that is left out, and the answer names what was granted (RFC 6749 section 3.3).
pub(super) fn scopes(
    client: &Client,
    target: &Target,
    asked: Option<&str>,
) -> Result<ScopeSet, OAuthError> {
    let route = target.route();
    let own = |scopes: ScopeSet| match &client.scopes {
        Some(own) => scopes.common(own),
        None => scopes,
    };
    let needed = ScopeSet::of(&route.scopes);
    let Some(asked) = asked else {
        return Ok(own(needed));
    };
    let all = needed.union(&ScopeSet::of(&route.more_scopes));
    Ok(own(all).common(&read(asked)?))
}

/// Reads a `scope` parameter.
pub(super) fn read(asked: &str) -> Result<ScopeSet, OAuthError> {
    ScopeSet::parse(asked).ok_or_else(|| {
        OAuthError::new(
            OAuthCode::InvalidScope,
            "scope has characters that scopes cannot have",
        )
    })
}
