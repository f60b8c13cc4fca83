//! An issuer other than the configured provider, of which only the keys are wanted: at a configured address, or where
//! its discovery document says.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::ACCEPT;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::discovery::{Place, WELL_KNOWN};
use super::first::FirstAttempt;
use super::jwks::Jwks;
use super::metadata::checked_url;
use crate::clock::Ambient;
use crate::telemetry::metrics::Metrics;
use crate::upstream::fetch::Fetch;

/// Time for one call to a listed issuer, and the largest answer.
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 1 << 20;
/// Between two readings of a discovery document, and after failures (doubling from the first to the second).
const REDISCOVER: Duration = Duration::from_secs(3600);
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A listed issuer's keys: at a configured address, or where its discovery document says.
pub struct Listed {
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

impl Listed {
    /// The issuer with this exact `iss`. The error says what is wrong with the CA file.
    pub fn new(
        issuer: &str,
        jwks_uri: Option<&str>,
        ca_file: Option<&Path>,
        ambient: &Ambient,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, String> {
        let fetch = Fetch::new(ca_file, TIMEOUT, MAX_ANSWER)?;
        let label = host(issuer);
        let jwks = jwks_uri.map(|uri| {
            Jwks::new(
                &label,
                uri.to_owned(),
                fetch.clone(),
                ambient.clone(),
                metrics,
            )
        });
        Ok(Self {
            issuer: issuer.to_owned(),
            place: if jwks.is_some() {
                None
            } else {
                Place::of(issuer).ok()
            },
            fetch,
            jwks: ArcSwapOption::new(jwks),
            uri: std::sync::Mutex::default(),
            ambient: ambient.clone(),
            metrics: Arc::clone(metrics),
            label,
            first: FirstAttempt::default(),
        })
    }

    /// Its exact `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Its host, a label in metrics.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its keys; `None` while they are not discovered. Right after the start it waits for the first discovery.
    pub async fn jwks(&self) -> Option<Arc<Jwks>> {
        if self.jwks.load().is_none() {
            self.first.wait().await;
        }
        self.jwks.load_full()
    }

    /// Keeps keys and discovery fresh, until cancelled.
    pub async fn watch(&self, until: CancellationToken) {
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

impl std::fmt::Debug for Listed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listed({})", self.issuer)
    }
}

/// The host of an address, as a label in metrics.
pub fn host(url: &str) -> Box<str> {
    let host = url::Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(Box::from));
    host.unwrap_or_else(|| "provider".into())
}
