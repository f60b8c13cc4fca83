//! Logins and grants over the configured store alone, for commands that work without a running proxy.

use std::sync::Arc;

use super::StartError;
use crate::admin::Subjects;
use crate::clock::Ambient;
use crate::config::Config;
use crate::issuer::Grants;
use crate::keys::KeyRing;
use crate::revocation::Revocations;
use crate::session::Sessions;
use crate::session::keyring::key_ring;
use crate::telemetry::metrics::Metrics;

/// Opens the store with the keys of the configuration. What is ended is told to the proxies that run.
///
/// # Errors
/// The store or the keys cannot be had.
pub async fn subjects(config: &Config) -> Result<Subjects, StartError> {
    let (ambient, metrics) = (Ambient::system(), Metrics::new());
    let store = crate::store::open(&config.sessions, ambient.clone(), &metrics)
        .await
        .map_err(|error| StartError::Unavailable(format!("sessions.redis: {error}")))?;
    let own = KeyRing::ephemeral(ambient.clone());
    let keys = key_ring(config, &*store, &own, &ambient)
        .await
        .map_err(|error| StartError::Unavailable(error.to_string()))?;
    let revocations = Revocations::new(Arc::clone(&store), ambient.clone());
    let sessions = Sessions::new(
        Arc::clone(&store),
        keys.clone(),
        &config.sessions,
        &revocations,
        ambient.clone(),
        &metrics,
    );
    // Also where the proxy is no authorization server any more: what it gave before may still be there.
    let grants = Grants::new(
        store,
        &keys,
        Arc::clone(&sessions),
        revocations,
        &config.authorization_server,
        &config.sessions,
        ambient,
        crate::audit::Audit::default(),
    );
    Ok(Subjects {
        sessions,
        grants: Some(grants),
    })
}
