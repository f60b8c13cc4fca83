//! `refresh_token` (RFC 6749 section 6). The provider is asked first, when its own token is due; rotation is last.

use super::{Given, TokenDesk, code};
use crate::issuer::client::Client;
use crate::issuer::error::{OAuthCode, OAuthError};
use crate::issuer::form::Form;
use crate::issuer::wanted;
use crate::oidc::Refreshed;
use crate::reject::Code;
use crate::route::Table;

pub(super) async fn refresh(
    desk: &TokenDesk,
    routes: &Table,
    client: &Client,
    form: &Form,
) -> Result<Given, OAuthError> {
    let token = form
        .secret("refresh_token")
        .ok_or(OAuthError::invalid_request("refresh_token is missing"))?;
    let presented = desk.grants.present(token, client).await?;
    let about = &presented.about;
    if code::named(routes, form)?.is_some_and(|resource| resource != about.resource) {
        return Err(OAuthError::new(
            OAuthCode::InvalidTarget,
            "the grant is for another resource",
        ));
    }
    // The route may have gone since, with its resource.
    if routes.resource(&about.resource).is_none() {
        return Err(OAuthError::invalid_grant(
            "the MCP server that the grant is for is not here any more",
        ));
    }
    let scopes = match form.get("scope") {
        None => about.scopes.clone(),
        Some(asked) => {
            let asked = wanted::read(asked)?;
            if !about.scopes.covers(&asked) {
                return Err(OAuthError::new(
                    OAuthCode::InvalidScope,
                    "more scopes are asked for than were granted",
                ));
            }
            asked
        }
    };
    if let Some(login) = presented.login() {
        match Box::pin(desk.browser.refresh_login(login)).await {
            Ok(Refreshed::Living) => {}
            Ok(Refreshed::Over) => {
                return Err(OAuthError::invalid_grant(
                    "the sign-in that the grant rests on is over; sign in again",
                ));
            }
            Err(reject) => {
                tracing::warn!(
                    reason = reject.reason(),
                    "a grant could not be refreshed; it is kept, and the client tries again"
                );
                return Err(OAuthError::unavailable(
                    if reject.code() == Code::StoreUnavailable {
                        "the store of sign-ins cannot be reached just now; try again"
                    } else {
                        "the identity provider cannot be reached just now; try again"
                    },
                ));
            }
        }
    }
    let rotated = desk.grants.rotate(&presented).await?;
    Ok(Given {
        grant: rotated.grant,
        about: presented.about,
        scopes,
        refresh: Some(rotated.refresh),
    })
}
