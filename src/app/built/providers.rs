//! The identity providers: the main one, and further ones that people can choose.

use std::sync::Arc;

use super::{Lasting, Part, StartError};
use crate::admin::health::{Check, Status};
use crate::config::Config;
use crate::config::oidc::Oidc;
use crate::oidc::Provider;

/// The main one first; none in bypass mode and when there are only API keys.
pub(super) struct Providers(Vec<Part<(bool, Oidc), Provider>>);

impl Providers {
    /// Carries over those whose configuration stays the same.
    pub(super) fn build(
        lasting: &Lasting,
        config: &Config,
        old: Option<&Self>,
    ) -> Result<Self, StartError> {
        if config.is_bypass() {
            return Ok(Self(Vec::new()));
        }
        let main = config.oidc.iter().map(|oidc| (true, oidc));
        let further = config.further_providers.iter().map(|oidc| (false, oidc));
        main.chain(further)
            .map(|(is_main, oidc)| {
                let key = (is_main, oidc.clone());
                let before = old
                    .and_then(|old| old.0.iter().find(|part| part.config == key))
                    // The file behind the same name may have changed.
                    .filter(|_| oidc.ca_file.is_none());
                let (ambient, metrics) = (lasting.ambient.clone(), &lasting.metrics);
                Part::or_carry(before, key, &lasting.end, || {
                    if is_main {
                        Provider::new(oidc, ambient, metrics)
                    } else {
                        Provider::further(oidc, ambient, metrics)
                    }
                    .map_err(StartError::Config)
                })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn all(&self) -> Vec<Arc<Provider>> {
        self.0.iter().map(|part| Arc::clone(&part.value)).collect()
    }

    /// Starts the discovery of those that are new.
    pub(super) fn start(&self, lasting: &Lasting) {
        for part in self.0.iter().filter(|part| !part.carried) {
            lasting
                .tracker
                .spawn(Arc::clone(&part.value).watch(part.until.clone()));
        }
    }

    /// Ends the discovery of those that were not carried over.
    pub(super) fn end_what_is_not_in(&self, next: &Self) {
        for part in &self.0 {
            let kept = |other: &Part<_, Provider>| Arc::ptr_eq(&other.value, &part.value);
            if !next.0.iter().any(kept) {
                part.until.cancel();
            }
        }
    }
}

/// What health tells of them.
pub(super) fn checks(providers: &[Arc<Provider>]) -> impl Iterator<Item = Check> {
    providers.iter().enumerate().map(|(at, provider)| Check {
        name: if at == 0 {
            "identity_provider".to_owned()
        } else {
            format!("identity_provider:{}", provider.name())
        },
        status: if provider.health().is_ok() {
            Status::Healthy
        } else {
            Status::Unhealthy
        },
        needed_for_ready: false,
    })
}
