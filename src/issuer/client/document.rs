//! Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document): the `client_id` is the https address
//! of a document about the client, and its host is what vouches for it.

use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;
use serde_json::{Map, Value};
use url::Url;

use super::fetches::{Cause, Fetches};
use super::metadata::{self, Declared, Method};
use super::redirect::{RedirectUri, RedirectUris};
use super::shelf::{Fetched, Miss, Nothing, Shelf, Source, fresh_for};
use super::{Client, ClientAuth, ClientError, ClientKeys, Standing, digest, hosts};
use crate::clock::Ambient;
use crate::config::issuer::{AuthorizationServer, ClientDocuments, GrantType};
use crate::telemetry::metrics::{Metrics, Name};
use crate::upstream::fetch::FetchError;
use crate::upstream::guarded::{GuardError, Guarded};

/// Documents that are remembered.
const BOUND: usize = 500;

/// The one text for every way in which a document was not had: more would tell strangers what there is in our
/// networks.
const NOT_HAD: &str = "the document at the address that is this app's client_id could not be read, or does not follow the rules for such documents. Try again in a moment; if it stays so, tell the maker of the app";

/// Clients by the address of their document.
pub(super) struct Documents {
    policy: ClientDocuments,
    schemes: Vec<String>,
    guard: Guarded,
    fetches: Arc<Fetches>,
    shelf: Arc<Shelf<Client>>,
    meters: Meters,
}

struct Meters {
    remembered: Counter,
    fetched: Counter,
    stale: Counter,
    refused: Counter,
    failed: Counter,
    limited: Counter,
}

/// Why there is no client behind an address.
#[derive(Debug)]
pub(super) enum NoDocument {
    /// It can never be one, or the operator does not let it in. The text is for people.
    Unacceptable(&'static str),
    /// It was not had just now.
    NotHad,
    /// Too many are fetched; in so many seconds one may be again.
    Limited(u64),
}

impl Documents {
    /// `None` when such clients are not let in. What `before` remembers is kept when it was fetched under the same
    /// rules.
    pub(super) fn new(
        config: &AuthorizationServer,
        guard: &Guarded,
        fetches: &Arc<Fetches>,
        ambient: &Ambient,
        metrics: &Metrics,
        before: Option<&Self>,
    ) -> Option<Self> {
        let policy = &config.client_metadata_documents;
        if !policy.enabled {
            return None;
        }
        let count = |result| metrics.counter(Name::ClientDocuments, &[("result", result)]);
        let kept = before.filter(|before| {
            before.policy == *policy
                && before.schemes == config.redirect_schemes
                && before.guard.allows_as(guard)
        });
        Some(Self {
            shelf: kept.map_or_else(
                || Arc::new(Shelf::new(BOUND, ambient.clone())),
                |before| Arc::clone(&before.shelf),
            ),
            policy: policy.clone(),
            schemes: config.redirect_schemes.clone(),
            guard: guard.clone(),
            fetches: Arc::clone(fetches),
            meters: Meters {
                remembered: count("remembered"),
                fetched: count("fetched"),
                stale: count("stale"),
                refused: count("refused"),
                failed: count("failed"),
                limited: count("limited"),
            },
        })
    }

    /// The client of an address, asked for by somebody.
    pub(super) async fn find(&self, id: &str, cause: Cause) -> Result<Arc<Client>, NoDocument> {
        let refused = |why| {
            self.meters.refused.increment(1);
            NoDocument::Unacceptable(why)
        };
        let url = address(id).map_err(refused)?;
        let host = url.host_str().unwrap_or_default();
        if hosts::lists(&self.policy.denied_hosts, host)
            || !(self.policy.allowed_hosts.is_empty()
                || hosts::lists(&self.policy.allowed_hosts, host))
        {
            return Err(refused(
                "apps of this host are not let in here; ask the operator of this server",
            ));
        }
        let found = self
            .shelf
            .get(
                id,
                Duration::MAX,
                || self.fetch(id, &url, cause),
                |miss| {
                    match miss {
                        Miss::Limited(_) => self.meters.limited.increment(1),
                        Miss::Silent(_) | Miss::Wrong(_) => self.meters.failed.increment(1),
                    }
                    tracing::warn!(
                        client_id = id,
                        reason = miss.why(),
                        "A client's metadata document was not had."
                    );
                },
            )
            .await;
        let (client, source) = found.map_err(|nothing| match nothing {
            Nothing::NotHad => NoDocument::NotHad,
            Nothing::Limited(seconds) => NoDocument::Limited(seconds),
        })?;
        match source {
            Source::Memory => self.meters.remembered.increment(1),
            Source::Fetch => self.meters.fetched.increment(1),
            Source::Stale => self.meters.stale.increment(1),
        }
        Ok(client)
    }

    async fn fetch(&self, id: &str, url: &Url, cause: Cause) -> Result<Fetched<Client>, Miss> {
        self.fetches.admit(cause, url).map_err(Miss::Limited)?;
        let answer = self
            .guard
            .get(url, ACCEPT)
            .await
            .map_err(|error| miss(&error))?;
        let fresh_for = fresh_for(answer.headers());
        let host = url.host_str().unwrap_or_default().to_owned();
        let value = client(id, host, answer.body(), &self.schemes).map_err(Miss::Wrong)?;
        Ok(Fetched { value, fresh_for })
    }
}

impl From<NoDocument> for ClientError {
    fn from(error: NoDocument) -> Self {
        match error {
            NoDocument::Unacceptable(why) => Self::Unknown(why.to_owned()),
            NoDocument::NotHad => Self::Unknown(NOT_HAD.to_owned()),
            NoDocument::Limited(seconds) => Self::Limited(seconds),
        }
    }
}

const ACCEPT: &str = "application/json";

/// A failure to fetch, by whether the server itself said so.
pub(super) fn miss(error: &GuardError) -> Miss {
    match error {
        GuardError::Status(status) if status.is_server_error() || status.as_u16() == 429 => {
            Miss::Silent(error.to_string())
        }
        // It was answered, and what has grown beyond the bound is not what was let in.
        GuardError::Fetch(FetchError::TooLarge(_))
        | GuardError::Address(_)
        | GuardError::Special { .. }
        | GuardError::Status(_)
        | GuardError::Encoded => Miss::Wrong(error.to_string()),
        GuardError::Resolve(_) | GuardError::Fetch(_) => Miss::Silent(error.to_string()),
    }
}

/// Reads a `client_id` as the address of a document: https in its normal form, with a path, without user, query and
/// fragment. Whatever the URL parser would change is refused: upper case, numbers that stand for IP addresses, dot
/// segments, the default port.
fn address(id: &str) -> Result<Url, &'static str> {
    const FORM: &str = "its client_id is no address of a document: it has to be an https address in its normal form, with a path, and without user, query and fragment";
    let url = Url::parse(id).map_err(|_| FORM)?;
    let normal = url.scheme() == "https"
        && url.as_str() == id
        && url.path().len() > 1
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    normal.then_some(url).ok_or(FORM)
}

/// The client that a document describes; why not, for the log.
fn client(id: &str, host: String, document: &[u8], schemes: &[String]) -> Result<Client, String> {
    let said: Map<String, Value> =
        serde_json::from_slice(document).map_err(|_| "it is no JSON object".to_owned())?;
    if said.get("client_id").and_then(Value::as_str) != Some(id) {
        return Err("its client_id is not its own address, byte for byte".to_owned());
    }
    if let Some(name) = said.keys().find(|name| name.starts_with("client_secret")) {
        return Err(format!(
            "it has `{}`: what everybody can read is no secret",
            name.escape_default()
        ));
    }
    let Declared {
        name,
        redirect_uris,
        method,
        grants,
    } = metadata::read(&said, "none").map_err(|wrong| wrong.to_string())?;
    let auth = match method {
        Method::None => ClientAuth::None,
        Method::Secret(_) => {
            return Err("it wants a shared secret, which such clients cannot have".to_owned());
        }
        Method::PrivateKeyJwt(source) => ClientAuth::Keys(ClientKeys::of(source)),
    };
    // A document is the same for all servers, so one that lists something not allowed here is no fault of it: only
    // that address is left out.
    let (good, bad): (Vec<_>, Vec<_>) = redirect_uris
        .iter()
        .map(|uri| RedirectUri::register(uri, schemes).map_err(|why| (uri, why)))
        .partition(Result::is_ok);
    for (uri, why) in bad.into_iter().filter_map(Result::err) {
        tracing::info!(client_id = id, uri = %uri.escape_default(), %why, "A redirect URI of a client's document is not accepted.");
    }
    let redirect_uris: Vec<_> = good.into_iter().filter_map(Result::ok).collect();
    if redirect_uris.is_empty() && grants.contains(&GrantType::AuthorizationCode) {
        return Err("none of its redirect_uris is acceptable".to_owned());
    }
    Ok(Client {
        digest: digest(id),
        id: id.into(),
        standing: Standing::Document { host },
        name,
        redirect_uris: RedirectUris::new(redirect_uris, schemes),
        auth,
        grants,
        scopes: None,
        routes: None,
        groups: Vec::new(),
    })
}

#[cfg(test)]
mod tests;
