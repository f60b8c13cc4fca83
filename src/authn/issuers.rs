//! The issuers whose bearer tokens count: the configured provider, and further listed ones.

use std::sync::Arc;

use futures_util::future::join_all;
use jsonwebtoken::Algorithm;
use metrics::Counter;
use tokio_util::sync::CancellationToken;

use super::meters::accepted;
use super::refusal::Refusal;
use crate::clock::Ambient;
use crate::config::Config;
use crate::config::authn::TrustedIssuer;
use crate::config::oidc::ClaimMap;
use crate::issuer::Lasting;
use crate::oidc::Provider;
use crate::oidc::introspection::Introspector;
use crate::oidc::jwks::{self, Jwks};
use crate::oidc::listed::Listed;
use crate::telemetry::metrics::Metrics;

/// Label of our own tokens in metrics.
const OWN: &str = "proxy";

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
    Provider(Arc<Provider>),
    Listed(Box<Listed>, Option<Box<Introspector>>),
    /// We ourselves, for the clients of our routes.
    Own(Lasting),
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
        providers: &[Arc<Provider>],
        own: Option<&Lasting>,
        ambient: &Ambient,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, String> {
        let mut all = Vec::new();
        if let Some(own) = own {
            all.push(Arc::new(Issuer {
                accepted: accepted(metrics, OWN, "access_token"),
                label: OWN.into(),
                audiences: Vec::new(),
                claims: ClaimMap::default(),
                algorithms: Vec::new(),
                keys: Keys::Own(own.clone()),
            }));
        }
        // A provider that signs nothing gives no tokens that could count.
        for provider in providers.iter().filter(|provider| provider.signs()) {
            all.push(Arc::new(Issuer {
                accepted: accepted(metrics, provider.label(), "bearer_jwt"),
                label: (**provider.label()).into(),
                audiences: provider.audiences(),
                claims: provider.claims().clone(),
                algorithms: Vec::new(),
                keys: Keys::Provider(Arc::clone(provider)),
            }));
        }
        for (at, listed) in config.auth.issuers.iter().enumerate() {
            let issuer = Issuer::listed(listed, ambient, metrics)
                .map_err(|error| format!("auth.issuers[{at}].ca_file: {error}"))?;
            all.push(Arc::new(issuer));
        }
        Ok(Self(all))
    }

    /// Whether any token could count.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The issuers that clients are pointed to: ourselves, else the main one, else the listed ones. The discovered spelling of the
    /// main one is what its tokens and metadata have; until then the configured one.
    pub(super) fn advertised(&self) -> Vec<Arc<str>> {
        let main = self.0.iter().find_map(|issuer| match &issuer.keys {
            // It stands first.
            Keys::Own(own) => Some(Arc::clone(own.access.issuer())),
            Keys::Provider(provider) => Some(provider.named()),
            Keys::Listed(..) => None,
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
                    if let Keys::Provider(provider) = &issuer.keys
                        && !provider.is_discovered()
                        && provider.owns(named)
                    {
                        provider.settled().await;
                    }
                }
                self.known(named)
            }
            known => known,
        }
    }

    fn known(&self, named: &str) -> Result<&Arc<Issuer>, NoIssuer> {
        if let Some(found) = self.0.iter().find(|issuer| issuer.is(named)) {
            return Ok(found);
        }
        let later = self.0.iter().any(|issuer| match &issuer.keys {
            Keys::Provider(provider) => !provider.is_discovered() && provider.owns(named),
            Keys::Listed(..) | Keys::Own(_) => false,
        });
        Err(if later {
            NoIssuer::Unavailable
        } else {
            NoIssuer::Refused(Refusal::WrongIssuer)
        })
    }

    /// Those that can be asked about opaque tokens, in the order in which they are listed.
    pub(super) fn introspecting(&self) -> impl Iterator<Item = (&Arc<Issuer>, &Introspector)> {
        self.0.iter().filter_map(|issuer| match &issuer.keys {
            Keys::Listed(_, introspector) => Some((issuer, introspector.as_deref()?)),
            Keys::Provider(_) | Keys::Own(_) => None,
        })
    }

    /// The main provider.
    #[cfg(test)]
    pub(super) fn main(&self) -> Option<Arc<Provider>> {
        self.0.iter().find_map(|issuer| match &issuer.keys {
            Keys::Provider(provider) => Some(Arc::clone(provider)),
            Keys::Listed(..) | Keys::Own(_) => None,
        })
    }

    /// Keeps keys and discovery of the listed issuers fresh, until cancelled. The main provider does that itself.
    pub(super) async fn watch(&self, until: CancellationToken) {
        join_all(self.0.iter().filter_map(|issuer| match &issuer.keys {
            Keys::Provider(_) | Keys::Own(_) => None,
            Keys::Listed(listed, _) => Some(listed.watch(until.clone())),
        }))
        .await;
    }
}

impl Issuer {
    fn listed(
        config: &TrustedIssuer,
        ambient: &Ambient,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, String> {
        let listed = Listed::new(
            &config.issuer,
            config.jwks_uri.as_deref(),
            config.ca_file.as_deref(),
            ambient,
            metrics,
        )?;
        let ca_file = config.ca_file.as_deref();
        let introspector = config
            .introspection
            .as_ref()
            .map(|config| Introspector::new(config, ca_file, metrics))
            .transpose()?;
        Ok(Self {
            accepted: accepted(metrics, listed.label(), "bearer_jwt"),
            label: listed.label().into(),
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
            keys: Keys::Listed(Box::new(listed), introspector.map(Box::new)),
        })
    }

    /// The exact `iss` of its tokens; `None` while it is not discovered.
    pub(super) fn name(&self) -> Option<Arc<str>> {
        match &self.keys {
            Keys::Provider(provider) => provider.issuer(),
            Keys::Listed(listed, _) => Some(listed.issuer().into()),
            Keys::Own(own) => Some(Arc::clone(own.access.issuer())),
        }
    }

    /// Whether its tokens may name this issuer.
    fn is(&self, named: &str) -> bool {
        match &self.keys {
            Keys::Provider(provider) => provider.is_discovered() && provider.owns(named),
            Keys::Listed(..) | Keys::Own(_) => self.name().as_deref() == Some(named),
        }
    }

    /// The one spelling of an issuer under which its people are known.
    pub(super) fn canonical(&self, named: &str) -> Arc<str> {
        match &self.keys {
            Keys::Provider(provider) => provider.canonical(named),
            Keys::Listed(..) | Keys::Own(_) => named.into(),
        }
    }

    /// Its keys; `None` while they are not discovered. Right after the start it waits for the first discovery.
    pub(super) async fn jwks(&self) -> Option<Arc<Jwks>> {
        match &self.keys {
            Keys::Provider(provider) => provider.jwks(),
            Keys::Listed(listed, _) => listed.jwks().await,
            Keys::Own(_) => None,
        }
    }

    /// The authorization server of our own, when this is it.
    pub(super) fn own(&self) -> Option<&Lasting> {
        match &self.keys {
            Keys::Own(own) => Some(own),
            Keys::Provider(_) | Keys::Listed(..) => None,
        }
    }

    /// Whether its tokens may be signed so at all; the key has its own say.
    pub(super) fn allows(&self, algorithm: Algorithm) -> bool {
        self.algorithms.is_empty() || self.algorithms.contains(&algorithm)
    }
}
