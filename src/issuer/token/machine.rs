//! `client_credentials` (RFC 6749 section 4.4): a client that acts for nobody but itself. Only clients of the
//! configuration may, and only with a proof of who they are.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Given, TokenDesk};
use crate::claims::Claims;
use crate::config::oidc::ClaimMap;
use crate::ids::Subject;
use crate::issuer::client::{Client, ClientAuth, Standing};
use crate::issuer::error::{OAuthCode, OAuthError};
use crate::issuer::form::Form;
use crate::issuer::grant::{About, Basis};
use crate::issuer::wanted;
use crate::route::Table;

/// The issuer of subjects that are clients: nobody at a provider can have it.
pub(super) const CLIENTS: &str = "urn:mcp-oidc-proxy:client";

pub(super) async fn give(
    desk: &TokenDesk,
    routes: &Table,
    client: &Client,
    form: &Form,
) -> Result<Given, OAuthError> {
    if client.standing != Standing::Configured || matches!(client.auth, ClientAuth::None) {
        return Err(OAuthError::new(
            OAuthCode::UnauthorizedClient,
            "only clients that the operator registered, and that prove who they are, may act for themselves",
        ));
    }
    let target = wanted::resource(routes, desk.default_route.as_deref(), client, form)?;
    let scopes = wanted::scopes(client, &target, form.get("scope"))?;
    let about = About {
        client_id: client.id.to_string(),
        client: client.digest.to_string(),
        client_name: client.name.clone(),
        subject: subject(client),
        basis: Basis::Here(Box::new(claims(client))),
        resource: target.resource().to_string(),
        scopes: scopes.clone(),
        created: desk.ambient.now(),
        ends: desk.one_token(),
    };
    Ok(Given {
        grant: desk.grants.start(about.clone()).await?,
        about,
        scopes,
        refresh: None,
    })
}

fn subject(client: &Client) -> Subject {
    Subject {
        issuer: CLIENTS.into(),
        subject: Arc::clone(&client.id),
    }
}

fn claims(client: &Client) -> Claims {
    let groups = client
        .groups
        .iter()
        .map(|group| group.as_str().into())
        .collect();
    let all = Map::from_iter([
        ("sub".to_owned(), Value::String(client.id.to_string())),
        ("groups".to_owned(), Value::Array(groups)),
    ]);
    Claims::read(subject(client), all, &ClaimMap::default())
}
