//! Clients that registered themselves: everything about them is inside their id, sealed. Nothing is stored, so
//! nothing grows, and nothing is lost.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::metadata::{Declared, Method, Source, Wrong};
use super::redirect::{Place, RedirectUri, RedirectUris};
use super::{Client, ClientAuth, ClientKeys, Standing, digest, hosts};
use crate::clock::{Ambient, Timestamp};
use crate::config::issuer::{AuthorizationServer, GrantType};
use crate::keys::{KeyRing, Purpose};
use crate::oidc::jwks::read_key_set;
use crate::seal::Sealer;
use crate::secret::{Digest, Secret};

/// What such ids begin with.
const PREFIX: &str = "mcpd_";
/// Longest id: it travels in queries and in headers.
const MAX_ID: usize = 1536;
/// What the blob is sealed for.
const CONTEXT: &[u8] = b"registered client";

/// The grants that an id may carry, by their bit.
const GRANTS: [GrantType; 3] = [
    GrantType::AuthorizationCode,
    GrantType::RefreshToken,
    GrantType::JwtBearer,
];

/// Makes and opens ids.
pub(super) struct Registered {
    sealer: Sealer,
    schemes: Vec<String>,
    hosts: Vec<String>,
    ambient: Ambient,
    /// Whether new ones are made.
    pub(super) takes_new: bool,
}

/// A client that has just registered.
#[derive(Debug)]
pub(in crate::issuer) struct New {
    pub(in crate::issuer) id: String,
    pub(in crate::issuer) secret: Option<Secret>,
    pub(in crate::issuer) issued: Timestamp,
    pub(in crate::issuer) method: &'static str,
    pub(in crate::issuer) grants: Vec<&'static str>,
}

/// What is inside of an id. The names of its members are short, because the id is.
#[derive(Serialize, Deserialize)]
struct Inside<'a> {
    /// Seconds since the epoch.
    #[serde(rename = "t")]
    issued: i64,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(rename = "r")]
    redirect_uris: Vec<String>,
    /// Bits of [`GRANTS`].
    #[serde(rename = "g")]
    grants: u8,
    /// SHA-256 of the secret, base64url.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    jwks_uri: Option<url::Url>,
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none", borrow)]
    jwks: Option<&'a RawValue>,
}

impl Registered {
    /// `None` when clients may not register themselves, nor those go on that did. Registration that is switched off
    /// takes no new clients: it is not meant to break all that is in use.
    pub(super) fn new(
        config: &AuthorizationServer,
        keys: &KeyRing,
        ambient: &Ambient,
    ) -> Option<Self> {
        let policy = &config.registration;
        (policy.enabled || policy.accept_existing).then(|| Self {
            takes_new: policy.enabled,
            sealer: keys.sealer(Purpose::ClientId, None),
            schemes: config.redirect_schemes.clone(),
            hosts: config.registration.redirect_hosts.clone(),
            ambient: ambient.clone(),
        })
    }

    /// Makes an id, and a secret for a client that asks for one. Of the secret, its digest is in the id.
    pub(super) fn register(&self, declared: Declared) -> Result<New, Wrong> {
        for uri in &declared.redirect_uris {
            self.uri(uri)?;
        }
        let issued = self.ambient.now();
        let secret = matches!(declared.method, Method::Secret(_))
            .then(|| Secret::new(URL_SAFE_NO_PAD.encode(self.ambient.random::<32>())));
        let method = declared.method.as_str();
        let (jwks, jwks_uri) = match declared.method {
            Method::PrivateKeyJwt(Source::Inline(text, _)) => (Some(text), None),
            Method::PrivateKeyJwt(Source::Address(url)) => (None, Some(url)),
            Method::None | Method::Secret(_) => (None, None),
        };
        let inside = Inside {
            issued: issued.as_secs(),
            name: declared.name,
            grants: GRANTS
                .iter()
                .enumerate()
                .filter(|(_, grant)| declared.grants.contains(grant))
                .fold(0, |bits, (at, _)| bits | 1 << at),
            redirect_uris: declared.redirect_uris,
            secret: secret.as_ref().map(|secret| {
                URL_SAFE_NO_PAD.encode(Digest::of(secret.expose_secret()).as_bytes())
            }),
            jwks_uri,
            jwks: jwks
                .as_deref()
                .and_then(|text| serde_json::from_str(text).ok()),
        };
        let plain = serde_json::to_vec(&inside)
            .map_err(|_| Wrong::Metadata("the metadata cannot be kept".to_owned()))?;
        let id = format!(
            "{PREFIX}{}",
            URL_SAFE_NO_PAD.encode(self.sealer.seal(CONTEXT, &plain))
        );
        if id.len() > MAX_ID {
            return Err(Wrong::Metadata(
                "there is too much of it: redirect_uris, client_name and jwks together may have about 1000 bytes; name fewer, or put keys at a jwks_uri".to_owned(),
            ));
        }
        Ok(New {
            id,
            secret,
            issued,
            method,
            grants: declared
                .grants
                .iter()
                .map(|grant| super::metadata::grant_name(*grant))
                .collect(),
        })
    }

    /// The client inside of an id. `None` when we did not make it, or nothing of it is acceptable any more: the rules
    /// of today count, not those of the day of the registration.
    pub(super) fn open(&self, id: &str) -> Option<Client> {
        let sealed = URL_SAFE_NO_PAD.decode(id.strip_prefix(PREFIX)?).ok()?;
        let plain = self.sealer.open(CONTEXT, &sealed).ok()?;
        let inside: Inside<'_> = serde_json::from_slice(&plain).ok()?;
        let redirect_uris: Vec<_> = inside
            .redirect_uris
            .iter()
            .filter_map(|uri| self.uri(uri).ok())
            .collect();
        let grants: Vec<_> = GRANTS
            .iter()
            .enumerate()
            .filter(|(at, _)| inside.grants & (1 << at) != 0)
            .map(|(_, grant)| *grant)
            .collect();
        if redirect_uris.is_empty() && grants.contains(&GrantType::AuthorizationCode) {
            return None;
        }
        let auth = match (inside.secret, inside.jwks, inside.jwks_uri) {
            (Some(text), None, None) => {
                let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
                ClientAuth::Secret(Digest::from_bytes(bytes.try_into().ok()?))
            }
            (None, Some(set), None) => {
                ClientAuth::Keys(ClientKeys::Inline(read_key_set(set.get().as_bytes()).ok()?))
            }
            (None, None, Some(url)) => ClientAuth::Keys(ClientKeys::At(url)),
            (None, None, None) => ClientAuth::None,
            _ => return None,
        };
        Some(Client {
            digest: digest(id),
            id: id.into(),
            standing: Standing::Registered,
            name: inside.name,
            redirect_uris: RedirectUris::new(redirect_uris, &self.schemes),
            auth,
            grants,
            scopes: None,
            routes: None,
            groups: Vec::new(),
        })
    }

    fn uri(&self, text: &str) -> Result<RedirectUri, Wrong> {
        let uri =
            RedirectUri::register(text, &self.schemes).map_err(|why| Wrong::uri(text, why))?;
        match uri.place() {
            Place::Web(host) if !self.hosts.is_empty() && !hosts::lists(&self.hosts, host) => {
                Err(Wrong::uri(
                    text,
                    "the operator does not let clients of this host register themselves",
                ))
            }
            _ => Ok(uri),
        }
    }
}

#[cfg(test)]
mod tests;
