//! `authorization_code` (RFC 6749 section 4.1.3, RFC 7636).

use super::{Given, TokenDesk};
use crate::config::issuer::GrantType;
use crate::issuer::client::Client;
use crate::issuer::error::{OAuthCode, OAuthError};
use crate::issuer::form::Form;
use crate::issuer::grant::Redemption;
use crate::route::Table;

pub(super) async fn redeem(
    desk: &TokenDesk,
    routes: &Table,
    client: &Client,
    form: &Form,
) -> Result<Given, OAuthError> {
    let code = form
        .get("code")
        .ok_or(OAuthError::invalid_request("code is missing"))?;
    let resource = named(routes, form)?;
    let redemption = Redemption {
        code,
        verifier: form.get("code_verifier"),
        redirect_uri: form.get("redirect_uri"),
        resource: resource.as_deref(),
        refresh: client.may(GrantType::RefreshToken),
    };
    let (grant, about, refresh) = desk.grants.redeem(client, &redemption).await?;
    Ok(Given {
        scopes: about.scopes.clone(),
        grant,
        about,
        refresh,
    })
}

/// The resource that a request names, in the spelling that grants have; `None` when it names none.
pub(super) fn named(routes: &Table, form: &Form) -> Result<Option<String>, OAuthError> {
    let mut named: Option<String> = None;
    for url in form.resources() {
        let resource = routes
            .resource(url)
            .map(|target| target.resource().to_string())
            .filter(|resource| named.as_ref().is_none_or(|other| other == resource))
            .ok_or(OAuthError::new(
                OAuthCode::InvalidTarget,
                "resource has to name the one MCP server that the grant is for",
            ))?;
        named = Some(resource);
    }
    Ok(named)
}
