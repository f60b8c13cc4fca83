//! Clients that the operator wrote into the configuration.

use std::collections::HashMap;
use std::sync::Arc;

use url::Url;

use super::redirect::{RedirectUri, RedirectUris};
use super::{Client, ClientAuth, ClientKeys, Standing, digest};
use crate::config::issuer::{AuthorizationServer, Client as Written};
use crate::oidc::jwks::read_key_set;
use crate::scope::ScopeSet;

/// The clients by their id. The error names the key of the configuration.
pub(super) fn read(config: &AuthorizationServer) -> Result<HashMap<Box<str>, Arc<Client>>, String> {
    config
        .clients
        .iter()
        .enumerate()
        .map(|(at, written)| {
            let client = one(written, &config.redirect_schemes)
                .map_err(|(key, why)| format!("authorization_server.clients[{at}].{key}: {why}"))?;
            Ok((written.client_id.as_str().into(), Arc::new(client)))
        })
        .collect()
}

fn one(written: &Written, schemes: &[String]) -> Result<Client, (&'static str, String)> {
    let uris = written
        .redirect_uris
        .iter()
        .map(|uri| {
            RedirectUri::register(uri, schemes)
                .map_err(|why| ("redirect_uris", format!("`{uri}`: {why}")))
        })
        .collect::<Result<_, _>>()?;
    Ok(Client {
        id: written.client_id.as_str().into(),
        digest: digest(&written.client_id),
        standing: Standing::Configured,
        name: written.name.clone(),
        redirect_uris: RedirectUris::new(uris, schemes),
        auth: auth(written)?,
        grants: written.grant_types.clone(),
        scopes: written.scopes.as_ref().map(ScopeSet::of),
        routes: written.routes.clone(),
        groups: written.groups.clone(),
    })
}

fn auth(written: &Written) -> Result<ClientAuth, (&'static str, String)> {
    if let Some(digest) = written.secret_digest() {
        return Ok(ClientAuth::Secret(digest));
    }
    if written.secret_sha256.is_some() {
        return Err(("secret_sha256", "it is not a SHA-256 in hex".to_owned()));
    }
    if let Some(file) = &written.jwks_file {
        let wrong = |why: String| ("jwks_file", format!("{}: {why}", file.display()));
        let text = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
        let keys = read_key_set(&text).map_err(wrong)?;
        return Ok(ClientAuth::Keys(ClientKeys::Inline(keys)));
    }
    if let Some(address) = &written.jwks_uri {
        let url = Url::parse(address).map_err(|error| ("jwks_uri", error.to_string()))?;
        return Ok(ClientAuth::Keys(ClientKeys::Configured(url)));
    }
    Ok(ClientAuth::None)
}
