//! The configured provider: known by name, then discovered, refreshed in the background, retried while it is down.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::calls::Calls;
use super::client_auth::Credentials;
use super::discovery::{DiscoveryError, MAX_ANSWER, Place, find};
use super::first::FirstAttempt;
use super::github;
use super::jwks::Jwks;
use super::metadata::{Metadata, TENANT_TEMPLATE};
use super::profile::{Issuers, Profile};
use super::token::Caller;
use crate::clock::Ambient;
use crate::config::oidc::{ClaimMap, Oidc};
use crate::reject::{Code, Fault, Reject};
use crate::telemetry::metrics::Metrics;
use crate::upstream::fetch::Fetch;

/// How often the document is read again once it was read.
const REFRESH: Duration = Duration::from_secs(3600);

/// First and longest pause after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The name of the main provider where none is written.
pub(crate) const MAIN: &str = "main";

/// A configured provider.
pub struct Provider {
    config: Oidc,
    profile: &'static Profile,
    claims: ClaimMap,
    github: Option<github::Api>,
    place: Place,
    label: Arc<str>,
    credentials: Credentials,
    fetch: Fetch,
    calls: Calls,
    ambient: Ambient,
    metrics: Arc<Metrics>,
    ready: ArcSwapOption<Ready>,
    trouble: Mutex<Option<String>>,
    first: FirstAttempt,
    /// Somebody wants to log in and cannot: try at once instead of sitting out the pause.
    wanted: Notify,
}

/// A discovered provider.
pub(crate) struct Ready {
    pub(crate) metadata: Metadata,
    pub(crate) issuer: Arc<str>,
    jwks: Option<Arc<Jwks>>,
    issuers: Issuers,
}

impl Ready {
    /// Whether tokens with this `iss` are its own.
    pub(crate) fn is_issuer(&self, issuer: &str) -> bool {
        self.issuers.hold(&self.issuer, issuer)
    }

    /// The one spelling of an issuer of its own.
    pub(crate) fn canonical(&self, issuer: &str) -> Arc<str> {
        self.issuers.canonical(&self.issuer, issuer).into()
    }

    /// Its keys.
    pub(crate) fn jwks(&self) -> Option<&Arc<Jwks>> {
        self.jwks.as_ref()
    }
}

impl Provider {
    /// The main provider; [`Self::watch`] does the discovery.
    ///
    /// # Errors
    /// What in the configuration cannot be used (address, CA file, private key), with its key.
    pub fn new(
        config: &Oidc,
        ambient: Ambient,
        metrics: &Arc<Metrics>,
    ) -> Result<Arc<Self>, String> {
        Self::make(config, true, ambient, metrics)
    }

    /// A further provider. Its groups count only where its claim map names them.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn further(
        config: &Oidc,
        ambient: Ambient,
        metrics: &Arc<Metrics>,
    ) -> Result<Arc<Self>, String> {
        Self::make(config, false, ambient, metrics)
    }

    fn make(
        config: &Oidc,
        main: bool,
        ambient: Ambient,
        metrics: &Arc<Metrics>,
    ) -> Result<Arc<Self>, String> {
        let profile = Profile::of(config);
        let place = Place::of_provider(config, profile).map_err(|error| error.to_string())?;
        for dropped in profile.dropped(config) {
            tracing::warn!(parameter = %dropped, "the provider refuses sign-ins with this parameter of oidc.authorization_params, so it is not sent");
        }
        let fetch = Fetch::new(config.ca_file.as_deref(), config.timeout.0, MAX_ANSWER)
            .map_err(|error| format!("oidc.ca_file: {error}"))?;
        let label: Arc<str> = Url::parse(&config.issuer)
            .ok()
            .and_then(|url| url.host_str().map(Arc::from))
            .unwrap_or_else(|| "provider".into());
        Ok(Arc::new(Self {
            credentials: Credentials::new(config)?,
            calls: Calls::new(fetch.clone(), &label, metrics),
            config: config.clone(),
            claims: profile.claims(&config.claims, main),
            github: profile.is_oauth_only().then(|| github::Api::new(config)),
            profile,
            place,
            label,
            fetch,
            ambient,
            metrics: Arc::clone(metrics),
            ready: ArcSwapOption::empty(),
            trouble: Mutex::new(None),
            first: FirstAttempt::default(),
            wanted: Notify::new(),
        }))
    }

    /// Discovers, retries with backoff, refreshes, until cancelled. What was read last stays good while the
    /// provider is down.
    pub async fn watch(self: Arc<Self>, until: CancellationToken) {
        let mut failures = 0;
        while let Some(outcome) = until
            .run_until_cancelled(find(&self.place, self.profile, &self.config, &self.calls))
            .await
        {
            let pause = match outcome {
                Ok(metadata) => {
                    failures = 0;
                    self.accept(metadata);
                    REFRESH
                }
                Err(error) => {
                    failures += 1;
                    self.note(&error);
                    self.backoff(failures)
                }
            };
            self.first.over();
            let stop = until.child_token();
            let keys = self.jwks().map(|jwks| jwks.watch(stop.clone()));
            tokio::select! {
                () = self.pause(pause) => {}
                () = until.cancelled() => {}
                // Runs beside the pause; it ends only when it is told to.
                () = async { match keys { Some(keys) => keys.await, None => std::future::pending().await } } => {}
            }
            stop.cancel();
        }
        self.first.over();
    }

    /// Waits, two seconds at most, while the first discovery after the start is under way. Once it has ended, well
    /// or not, this comes back at once.
    pub async fn settled(&self) {
        self.first.wait().await;
    }

    /// The provider's exact issuer, once discovered. One that stands for many tenants goes by its configured name.
    pub fn issuer(&self) -> Option<Arc<str>> {
        let ready = self.ready.load();
        let issuer = ready.as_ref().map(|ready| &ready.issuer)?;
        Some(if issuer.contains(TENANT_TEMPLATE) {
            self.place.issuer.as_str().into()
        } else {
            Arc::clone(issuer)
        })
    }

    /// Whether discovery has worked.
    pub(crate) fn is_discovered(&self) -> bool {
        self.ready.load().is_some()
    }

    /// Its issuer as far as it is known: the discovered one, else the configured one.
    pub(crate) fn named(&self) -> Arc<str> {
        self.issuer()
            .unwrap_or_else(|| self.place.issuer.as_str().into())
    }

    /// Whether it signs tokens at all.
    pub(crate) fn signs(&self) -> bool {
        !self.profile.is_oauth_only()
    }

    /// Its name in addresses of ours.
    pub fn name(&self) -> &str {
        self.config.name.as_deref().unwrap_or(MAIN)
    }

    /// What its button says.
    pub fn title(&self) -> &str {
        self.config.label.as_deref().unwrap_or(&self.label)
    }

    /// The provider's keys, once discovered.
    pub fn jwks(&self) -> Option<Arc<Jwks>> {
        self.ready
            .load()
            .as_ref()
            .and_then(|ready| ready.jwks.clone())
    }

    /// Whether discovery has worked (for health), with the last error otherwise.
    ///
    /// # Errors
    /// The last error, as text for operators.
    pub fn health(&self) -> Result<(), String> {
        if self.ready.load().is_some() {
            return Ok(());
        }
        let trouble = self.trouble.lock().ok().and_then(|slot| slot.clone());
        Err(trouble.unwrap_or_else(|| "discovery is under way".to_owned()))
    }

    /// The discovered provider, or a 503 that says so and makes discovery hurry. Right after the start it waits for
    /// the first discovery.
    pub(crate) async fn ready(&self) -> Result<Arc<Ready>, Reject> {
        self.settled().await;
        self.ready_now()
    }

    /// The same without waiting.
    pub(crate) fn ready_now(&self) -> Result<Arc<Ready>, Reject> {
        self.ready.load_full().ok_or_else(|| {
            self.wanted.notify_one();
            unavailable().because(self.health().err().unwrap_or_default())
        })
    }

    /// Whether an issuer is this provider; before it is discovered, as far as its configuration tells.
    pub(crate) fn owns(&self, issuer: &str) -> bool {
        let bare = |text: &str| text.strip_suffix('/').unwrap_or(text).to_owned();
        match &*self.ready.load() {
            Some(ready) => ready.is_issuer(issuer),
            None => {
                bare(&self.place.issuer) == bare(issuer)
                    || self.profile.issuers.accept(&self.place.issuer, issuer)
            }
        }
    }

    /// The one spelling of an issuer that it [`Self::owns`].
    pub(crate) fn canonical(&self, issuer: &str) -> Arc<str> {
        match &*self.ready.load() {
            Some(ready) => ready.canonical(issuer),
            None => issuer.into(),
        }
    }

    /// What is particular about it.
    pub(crate) fn profile(&self) -> &'static Profile {
        self.profile
    }

    /// Which claims hold what.
    pub(crate) fn claims(&self) -> &ClaimMap {
        &self.claims
    }

    /// Audiences of its bearer tokens that are accepted on every route.
    pub(crate) fn audiences(&self) -> Vec<String> {
        self.profile.audiences(&self.config)
    }

    /// The API that tells who somebody is, where no ID token does.
    pub(crate) fn github(&self) -> Option<&github::Api> {
        self.github.as_ref()
    }

    pub(crate) fn config(&self) -> &Oidc {
        &self.config
    }

    pub(crate) fn label(&self) -> &Arc<str> {
        &self.label
    }

    pub(crate) fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Who calls the token endpoint.
    pub(crate) fn caller<'a>(&'a self, metadata: &'a Metadata) -> Caller<'a> {
        Caller {
            client_id: &self.config.client_id,
            credentials: &self.credentials,
            metadata,
            calls: &self.calls,
            ambient: &self.ambient,
        }
    }

    fn accept(&self, metadata: Metadata) {
        let before = self.ready.load_full();
        if before
            .as_ref()
            .is_some_and(|ready| ready.metadata == metadata)
        {
            return;
        }
        let jwks = match &before {
            Some(ready) if ready.metadata.jwks_uri == metadata.jwks_uri => ready.jwks.clone(),
            _ => metadata.jwks_uri.as_ref().map(|uri| {
                Jwks::new(
                    &self.label,
                    uri.to_string(),
                    self.fetch.clone(),
                    self.ambient.clone(),
                    &self.metrics,
                )
            }),
        };
        tracing::info!(issuer = %metadata.issuer, "the identity provider is discovered");
        let issuer = metadata.issuer.as_str().into();
        self.ready.store(Some(Arc::new(Ready {
            metadata,
            issuer,
            jwks,
            issuers: self.profile.issuers,
        })));
    }

    fn note(&self, error: &DiscoveryError) {
        let error = error.to_string();
        if self.ready.load().is_some() {
            tracing::warn!(%error, "the discovery document cannot be read again; the last good one stays in use");
        } else {
            tracing::warn!(%error, "the identity provider is not discovered yet; sign-ins wait for it");
        }
        if let Ok(mut slot) = self.trouble.lock() {
            *slot = Some(error);
        }
    }

    /// Doubles with each failure, and is spread over half of itself so that replicas do not march in step.
    fn backoff(&self, failures: u32) -> Duration {
        let (first, longest) = BACKOFF;
        let full = first
            .saturating_mul(1 << failures.saturating_sub(1).min(6))
            .min(longest);
        let [chance] = self.ambient.random::<1>();
        full.mul_f64(0.5 + f64::from(chance) / 510.0)
    }

    /// Waits; shorter when somebody wants to log in, but never less than the first pause.
    async fn pause(&self, pause: Duration) {
        if self.ready.load().is_some() {
            return tokio::time::sleep(pause).await;
        }
        tokio::time::sleep(pause.min(BACKOFF.0)).await;
        let _ = tokio::time::timeout(pause.saturating_sub(BACKOFF.0), self.wanted.notified()).await;
    }
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Provider({})", self.label)
    }
}

/// 503: the provider is away. Nobody is logged out by it, and no login is begun against it.
pub(crate) fn unavailable() -> Reject {
    Reject::unavailable(
        Code::ProviderUnavailable,
        Fault::Provider,
        "The identity provider cannot be reached just now, so nobody can be signed in. Sessions are kept. Try again in a moment.",
    )
}
