//! The issuers whose bearer tokens count: the configured provider, and further listed ones.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures_util::future::join_all;
use http::header::ACCEPT;
use jsonwebtoken::Algorithm;
use metrics::Counter;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::meters::accepted;
use super::refusal::Refusal;
use crate::clock::Ambient;
use crate::config::Config;
use crate::config::authn::TrustedIssuer;
use crate::config::oidc::ClaimMap;
use crate::oidc::Provider;
use crate::oidc::discovery::{Place, WELL_KNOWN};
use crate::oidc::first::FirstAttempt;
use crate::oidc::jwks::{self, Jwks};
use crate::oidc::metadata::checked_url;
use crate::telemetry::metrics::Metrics;
use crate::upstream::fetch::Fetch;

/// Time for one call to a listed issuer, and the largest answer.
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 1 << 20;
/// Between two readings of a discovery document, and after failures (doubling from the first to the second).
const REDISCOVER: Duration = Duration::from_secs(3600);
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// One issuer.
pub(super) struct Issuer {
    /// Label in metrics: its host.
    pub(super) label: Box<str>,
    /// Audiences accepted on every route, besides the route's own resource.
    pub(super) audiences: Vec<String>,
    pub(super) claims: ClaimMap,
    /// Counts accepted tokens.
    pub(super) accepted: Counter,
    /// What may be used at all; empty: whatever the key says.
    algorithms: Vec<Algorithm>,
    keys: Keys,
}

enum Keys {
    Main {
        provider: Arc<Provider>,
        configured: String,
    },
    Listed(Listed),
}

/// A listed issuer's keys: at a configured address, or where its discovery document says.
struct Listed {
    issuer: String,
    place: Option<Place>,
    fetch: Fetch,
    jwks: ArcSwapOption<Jwks>,
    /// Address of `jwks`, to notice when the document names another.
    uri: std::sync::Mutex<String>,
    ambient: Ambient,
    metrics: Arc<Metrics>,
    label: Box<str>,
    first: FirstAttempt,
}

/// All issuers.
pub(super) struct Issuers(Vec<Arc<Issuer>>);

/// Why there is no issuer for a token.
#[derive(Debug)]
pub(super) enum NoIssuer {
    /// None that counts.
    Refused(Refusal),
    /// It counts, and is not discovered yet.
    Unavailable,
}

impl Issuers {
    /// The error names the key and the file that cannot be used.
    pub(super) fn new(
        config: &Config,
        provider: Option<&Arc<Provider>>,
        ambient: &Ambient,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, String> {
        let mut all = Vec::new();
        if let (Some(provider), Some(oidc)) = (provider, &config.oidc) {
            all.push(Arc::new(Issuer {
                accepted: accepted(metrics, &host(&oidc.issuer), "bearer_jwt"),
                label: host(&oidc.issuer),
                audiences: oidc.audiences.clone(),
                claims: oidc.claims.clone(),
                algorithms: Vec::new(),
                keys: Keys::Main {
                    provider: Arc::clone(provider),
                    configured: Place::of(&oidc.issuer)
                        .map_or_else(|_| oidc.issuer.clone(), |place| place.issuer),
                },
            }));
        }
        for (at, listed) in config.auth.issuers.iter().enumerate() {
            let fetch = Fetch::new(listed.ca_file.as_deref(), TIMEOUT, MAX_ANSWER)
                .map_err(|error| format!("auth.issuers[{at}].ca_file: {error}"))?;
            all.push(Arc::new(Issuer::listed(listed, fetch, ambient, metrics)));
        }
        Ok(Self(all))
    }

    /// Whether any token could count.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The issuers that clients are pointed to: the main one, else the listed ones. The discovered spelling of the
    /// main one is what its tokens and metadata have; until then the configured one.
    pub(super) fn advertised(&self) -> Vec<Arc<str>> {
        let main = self.0.iter().find_map(|issuer| match &issuer.keys {
            Keys::Main {
                provider,
                configured,
            } => Some(
                provider
                    .issuer()
                    .unwrap_or_else(|| configured.as_str().into()),
            ),
            Keys::Listed(_) => None,
        });
        main.map_or_else(
            || self.0.iter().filter_map(|issuer| issuer.name()).collect(),
            |main| vec![main],
        )
    }

    /// The issuer that a token names (not verified yet), by its exact bytes. Right after the start it waits for the
    /// first discovery of that issuer, and for no other's.
    pub(super) async fn find(&self, named: &str) -> Result<&Arc<Issuer>, NoIssuer> {
        match self.known(named) {
            Err(NoIssuer::Unavailable) => {
                for issuer in &self.0 {
                    if let Keys::Main { provider, .. } = &issuer.keys {
                        provider.settled().await;
                    }
                }
                self.known(named)
            }
            known => known,
        }
    }

    fn known(&self, named: &str) -> Result<&Arc<Issuer>, NoIssuer> {
        if let Some(found) = self
            .0
            .iter()
            .find(|issuer| issuer.name().as_deref() == Some(named))
        {
            return Ok(found);
        }
        let bare = |text: &str| text.strip_suffix('/').unwrap_or(text).to_owned();
        let later = self.0.iter().any(|issuer| match &issuer.keys {
            Keys::Main {
                provider,
                configured,
            } => provider.issuer().is_none() && bare(configured) == bare(named),
            Keys::Listed(_) => false,
        });
        Err(if later {
            NoIssuer::Unavailable
        } else {
            NoIssuer::Refused(Refusal::WrongIssuer)
        })
    }

    /// The main provider.
    #[cfg(test)]
    pub(super) fn main(&self) -> Option<Arc<Provider>> {
        self.0.iter().find_map(|issuer| match &issuer.keys {
            Keys::Main { provider, .. } => Some(Arc::clone(provider)),
            Keys::Listed(_) => None,
        })
    }

    /// Keeps keys and discovery of the listed issuers fresh, until cancelled. The main provider does that itself.
    pub(super) async fn watch(&self, until: CancellationToken) {
        join_all(self.0.iter().filter_map(|issuer| match &issuer.keys {
            Keys::Main { .. } => None,
            Keys::Listed(listed) => Some(listed.watch(until.clone())),
        }))
        .await;
    }
}

impl Issuer {
    fn listed(
        config: &TrustedIssuer,
        fetch: Fetch,
        ambient: &Ambient,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let label = host(&config.issuer);
        let jwks = config
            .jwks_uri
            .as_ref()
            .map(|uri| Jwks::new(&label, uri.clone(), fetch.clone(), ambient.clone(), metrics));
        Self {
            accepted: accepted(metrics, &label, "bearer_jwt"),
            audiences: config.audiences.clone(),
            // Two providers' `admins` are not the same people.
            claims: config.claims.clone().unwrap_or(ClaimMap {
                groups: Vec::new(),
                ..ClaimMap::default()
            }),
            algorithms: config
                .algorithms
                .iter()
                .filter_map(|name| jwks::algorithm(name))
                .collect(),
            keys: Keys::Listed(Listed {
                issuer: config.issuer.clone(),
                place: if jwks.is_some() {
                    None
                } else {
                    Place::of(&config.issuer).ok()
                },
                fetch,
                jwks: ArcSwapOption::new(jwks),
                uri: std::sync::Mutex::default(),
                ambient: ambient.clone(),
                metrics: Arc::clone(metrics),
                label: label.clone(),
                first: FirstAttempt::default(),
            }),
            label,
        }
    }

    /// The exact `iss` of its tokens; `None` while it is not discovered.
    fn name(&self) -> Option<Arc<str>> {
        match &self.keys {
            Keys::Main { provider, .. } => provider.issuer(),
            Keys::Listed(listed) => Some(listed.issuer.as_str().into()),
        }
    }

    /// Its keys; `None` while they are not discovered. Right after the start it waits for the first discovery.
    pub(super) async fn jwks(&self) -> Option<Arc<Jwks>> {
        match &self.keys {
            Keys::Main { provider, .. } => provider.jwks(),
            Keys::Listed(listed) => {
                if listed.jwks.load().is_none() {
                    listed.first.wait().await;
                }
                listed.jwks.load_full()
            }
        }
    }

    /// Whether its tokens may be signed so at all; the key has its own say.
    pub(super) fn allows(&self, algorithm: Algorithm) -> bool {
        self.algorithms.is_empty() || self.algorithms.contains(&algorithm)
    }
}

impl Listed {
    async fn watch(&self, until: CancellationToken) {
        let mut retry = RETRY.0;
        while !until.is_cancelled() {
            let pause = match until.run_until_cancelled(self.discover()).await {
                None => break,
                Some(Ok(())) => {
                    retry = RETRY.0;
                    REDISCOVER
                }
                Some(Err(error)) => {
                    tracing::warn!(issuer = %self.issuer, %error, "the keys of a listed issuer cannot be found yet");
                    let pause = retry;
                    retry = (retry * 2).min(RETRY.1);
                    pause
                }
            };
            self.first.over();
            let stop = until.child_token();
            let keys = self.jwks.load_full().map(|jwks| jwks.watch(stop.clone()));
            let pause = until.run_until_cancelled(tokio::time::sleep(pause));
            match keys {
                Some(keys) => {
                    tokio::select! {
                        _ = pause => {}
                        () = keys => {}
                    }
                }
                None => {
                    pause.await;
                }
            }
            stop.cancel();
        }
        self.first.over();
    }

    /// Reads the discovery document, if there is one to read. It has to name exactly the configured issuer.
    async fn discover(&self) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Document {
            issuer: String,
            jwks_uri: String,
        }
        let Some(place) = &self.place else {
            return Ok(());
        };
        let request = http::Request::get(&place.document)
            .header(ACCEPT, "application/json")
            .body(Bytes::new())
            .map_err(|error| format!("{}: {error}", place.document))?;
        let answer = self
            .fetch
            .send(request)
            .await
            .map_err(|error| error.to_string())?;
        if answer.status() != http::StatusCode::OK {
            return Err(format!(
                "{} answered {}; set jwks_uri if the issuer has no {WELL_KNOWN}",
                place.document,
                answer.status()
            ));
        }
        let document: Document = serde_json::from_slice(answer.body()).map_err(|_| {
            format!(
                "{} is no discovery document with `issuer` and `jwks_uri`",
                place.document
            )
        })?;
        if document.issuer != self.issuer {
            return Err(format!(
                "{} names another issuer than the configured one",
                place.document
            ));
        }
        let plain = self.issuer.starts_with("http://");
        let uri = checked_url("jwks_uri", &document.jwks_uri, plain)
            .map_err(|error| error.to_string())?;
        let mut current = self.uri.lock().map_err(|_| "a lock is broken".to_owned())?;
        if *current != uri.as_str() {
            uri.as_str().clone_into(&mut current);
            let jwks = Jwks::new(
                &self.label,
                uri.into(),
                self.fetch.clone(),
                self.ambient.clone(),
                &self.metrics,
            );
            self.jwks.store(Some(jwks));
        }
        Ok(())
    }
}

fn host(url: &str) -> Box<str> {
    let host = url::Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(Box::from));
    host.unwrap_or_else(|| "provider".into())
}
