//! What is built from one configuration. At a reload, what did not change is carried over with its state: pools,
//! keys of the provider, remembered sessions.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Lasting, StartError};
use crate::admin::{Check, Status};
use crate::authn::Authn;
use crate::authz::Policy;
use crate::config::Config;
use crate::config::backend::Backend;
use crate::config::oidc::Oidc;
use crate::config::session::{Sessions as SessionConfig, StoreKind};
use crate::forward::Forwarder;
use crate::http::inbound::TrustedProxies;
use crate::keys::KeyRing;
use crate::mcp::edge::Edge;
use crate::oidc::{Browser, Provider};
use crate::proxy::{Bounds, Snapshot};
use crate::route::Table;
use crate::session::Sessions;
use crate::telemetry::requests::RequestMetrics;
use crate::upstream::Upstream;
use crate::urls::PublicUrl;

/// The parts with a life of their own behind a snapshot.
pub(super) struct Built {
    pub(super) public_url: PublicUrl,
    upstreams: Vec<Part<Backend, Upstream>>,
    provider: Option<Part<Oidc, Provider>>,
    sessions: Part<SessionKey, Sessions>,
    authn: Arc<Authn>,
    authn_until: CancellationToken,
}

/// A part, what it was made from, and the token that ends its background task.
struct Part<C, T> {
    config: C,
    value: Arc<T>,
    until: CancellationToken,
    carried: bool,
}

/// Sessions are carried over while their settings and their keys stay the same.
#[derive(Clone, PartialEq)]
struct SessionKey {
    config: SessionConfig,
    /// A keyed digest that changes with the key ring.
    keys: [u8; 32],
    count: usize,
}

impl<C: Clone + PartialEq, T> Part<C, T> {
    /// The old part when it was made from the same, else a new one.
    fn or_carry(
        old: Option<&Self>,
        config: C,
        end: &CancellationToken,
        make: impl FnOnce() -> Result<Arc<T>, StartError>,
    ) -> Result<Self, StartError> {
        if let Some(old) = old.filter(|old| old.config == config) {
            return Ok(Self {
                config,
                value: Arc::clone(&old.value),
                until: old.until.clone(),
                carried: true,
            });
        }
        Ok(Self {
            config,
            value: make()?,
            until: end.child_token(),
            carried: false,
        })
    }
}

/// Builds a snapshot. Nothing is started and nothing old is touched, so a failure changes nothing.
pub(super) fn build(
    lasting: &Lasting,
    config: &Config,
    keys: &KeyRing,
    old: Option<&Built>,
) -> Result<(Snapshot, Built), StartError> {
    let public_url = config
        .resolved_public_url()
        .map_err(|error| StartError::Config(format!("public_url: {error}")))?;
    let (metrics, ambient) = (&lasting.metrics, &lasting.ambient);
    let upstreams = upstreams(lasting, config, old)?;
    let provider = provider(lasting, config, old)?;
    let sessions = sessions(lasting, config, keys, old)?;
    let browser = Arc::new(Browser::new(
        config,
        &public_url,
        provider.as_ref().map(|part| Arc::clone(&part.value)),
        Arc::clone(&sessions.value),
        Arc::clone(&lasting.store),
        keys,
        ambient.clone(),
        metrics,
    ));
    let authn = Authn::new(
        config,
        &public_url,
        provider.as_ref().map(|part| &part.value),
        Arc::clone(&browser),
        ambient,
        metrics,
    )
    .map_err(StartError::Config)?;
    let authn = Arc::new(authn);
    let authn_until = lasting.end.child_token();
    let desk = config.is_authorization_server().then(|| {
        let clients = Arc::new(crate::issuer::client::Clients::new(config, &public_url, keys, Arc::clone(&lasting.store), ambient, metrics, None).unwrap());
        let revocations = crate::revocation::Revocations::new(Arc::clone(&lasting.store), ambient.clone());
        let grants = crate::issuer::Grants::new(Arc::clone(&lasting.store), keys, Arc::clone(&sessions.value), revocations, &config.authorization_server, &config.sessions, ambient.clone());
        (Arc::new(crate::issuer::desk::Desk::new(config, &public_url, Arc::clone(&clients), grants, Arc::clone(&browser), Arc::clone(&lasting.store), keys, ambient.clone())), clients)
    });
    let routes = Table::compile(config, &public_url);
    let names: Vec<&str> = routes
        .routes()
        .iter()
        .map(|route| route.name.as_str())
        .collect();
    let snapshot = Snapshot {
        desk,
        edge: Edge::new(config, &public_url),
        trusted: TrustedProxies::new(&config.trusted_proxies),
        policy: Policy::compile(config, metrics),
        forwarder: Forwarder::new(
            config,
            &public_url,
            upstreams
                .iter()
                .map(|part| Arc::clone(&part.value))
                .collect(),
            keys,
            metrics,
            lasting.drain.streams.clone(),
        ),
        requests: Arc::new(RequestMetrics::new(metrics, names)),
        bounds: Bounds {
            mcp_body: config.mcp.max_body.as_usize(),
            body_idle: config.limits.body_timeout.0,
        },
        tasks: authn_until.clone().drop_guard(),
        authn: Arc::clone(&authn),
        browser,
        routes,
    };
    Ok((
        snapshot,
        Built {
            public_url,
            upstreams,
            provider,
            sessions,
            authn,
            authn_until,
        },
    ))
}

fn upstreams(
    lasting: &Lasting,
    config: &Config,
    old: Option<&Built>,
) -> Result<Vec<Part<Backend, Upstream>>, StartError> {
    let mut upstreams = Vec::with_capacity(config.backends.len());
    for (index, backend) in config.backends.iter().enumerate() {
        // Files behind the same names may have changed, so what reads files is made anew.
        let reads_files = backend.tls.ca_file.is_some() || backend.tls.cert_file.is_some();
        let before = old
            .and_then(|old| {
                old.upstreams
                    .iter()
                    .find(|part| part.config.name == backend.name)
            })
            .filter(|_| !reads_files);
        upstreams.push(Part::or_carry(
            before,
            backend.clone(),
            &lasting.end,
            || {
                Upstream::new(backend, &lasting.metrics).map_err(|error| {
                    StartError::Config(format!(
                        "backends[{index}].{}: {}",
                        error.key, error.message
                    ))
                })
            },
        )?);
    }
    Ok(upstreams)
}

fn provider(
    lasting: &Lasting,
    config: &Config,
    old: Option<&Built>,
) -> Result<Option<Part<Oidc, Provider>>, StartError> {
    match config.oidc.as_ref().filter(|_| !config.is_bypass()) {
        None => Ok(None),
        Some(oidc) => {
            let before = old
                .and_then(|old| old.provider.as_ref())
                .filter(|_| oidc.ca_file.is_none());
            Part::or_carry(before, oidc.clone(), &lasting.end, || {
                Provider::new(oidc, lasting.ambient.clone(), &lasting.metrics)
                    .map_err(StartError::Config)
            })
            .map(Some)
        }
    }
}

fn sessions(
    lasting: &Lasting,
    config: &Config,
    keys: &KeyRing,
    old: Option<&Built>,
) -> Result<Part<SessionKey, Sessions>, StartError> {
    let session_key = SessionKey {
        config: config.sessions.clone(),
        keys: keys.mac(crate::keys::Purpose::Index, b"which ring is this"),
        count: keys.macs(crate::keys::Purpose::Index, b"").count(),
    };
    Part::or_carry(
        old.map(|old| &old.sessions),
        session_key,
        &lasting.end,
        || {
            Ok(Sessions::new(
                Arc::clone(&lasting.store),
                keys.clone(),
                &config.sessions,
                &lasting.revocations,
                lasting.ambient.clone(),
                &lasting.metrics,
            ))
        },
    )
}

impl Built {
    /// Starts the background tasks of the parts that are new.
    pub(super) fn start(&self, lasting: &Lasting) {
        for part in self.upstreams.iter().filter(|part| !part.carried) {
            lasting
                .tracker
                .spawn(Arc::clone(&part.value).watch(part.until.clone()));
        }
        if let Some(part) = self.provider.as_ref().filter(|part| !part.carried) {
            lasting
                .tracker
                .spawn(Arc::clone(&part.value).watch(part.until.clone()));
        }
        if !self.sessions.carried {
            let (sessions, until) = (
                Arc::clone(&self.sessions.value),
                self.sessions.until.clone(),
            );
            lasting
                .tracker
                .spawn(async move { sessions.background(until).await });
        }
        let (authn, until) = (Arc::clone(&self.authn), self.authn_until.clone());
        lasting
            .tracker
            .spawn(async move { authn.watch(until).await });
    }

    /// Ends the background tasks of the parts that were not carried over.
    pub(super) fn end_what_is_not_in(self, next: &Self) {
        let upstreams = self.upstreams.iter().map(|part| {
            let kept = next
                .upstreams
                .iter()
                .any(|other| Arc::ptr_eq(&other.value, &part.value));
            (kept, &part.until)
        });
        let provider = self.provider.iter().map(|part| {
            let kept = next
                .provider
                .iter()
                .any(|other| Arc::ptr_eq(&other.value, &part.value));
            (kept, &part.until)
        });
        let kept = Arc::ptr_eq(&self.sessions.value, &next.sessions.value);
        for (kept, until) in upstreams
            .chain(provider)
            .chain([(kept, &self.sessions.until)])
        {
            if !kept {
                until.cancel();
            }
        }
    }

    /// Tells health what to look at.
    pub(super) fn configure_health(&self, lasting: &Lasting, config: &Config) {
        let upstreams: Vec<Arc<Upstream>> = self
            .upstreams
            .iter()
            .map(|part| Arc::clone(&part.value))
            .collect();
        let provider = self.provider.as_ref().map(|part| Arc::clone(&part.value));
        let store = Arc::clone(&lasting.store_state);
        let (bypass, needs_store) = (config.is_bypass(), config.health.ready_requires_store);
        let checks = move || {
            let mut checks = vec![Check {
                name: "session_store".to_owned(),
                status: store.status(),
                needed_for_ready: needs_store,
            }];
            checks.extend(upstreams.iter().map(|upstream| Check {
                name: format!("backend:{}", upstream.name()),
                status: match upstream.is_up() {
                    Some(true) => Status::Healthy,
                    Some(false) => Status::Unhealthy,
                    None => Status::Degraded,
                },
                needed_for_ready: false,
            }));
            if let Some(provider) = &provider {
                checks.push(Check {
                    name: "identity_provider".to_owned(),
                    status: if provider.health().is_ok() {
                        Status::Healthy
                    } else {
                        Status::Unhealthy
                    },
                    needed_for_ready: false,
                });
            }
            if bypass {
                checks.push(Check {
                    name: "authentication_bypassed".to_owned(),
                    status: Status::Degraded,
                    needed_for_ready: false,
                });
            }
            checks
        };
        lasting.health.configure(&config.health, Box::new(checks));
    }
}

/// Keys that only a restart changes, of those that differ.
pub(super) fn restart_only(before: &Config, after: &Config) -> Vec<&'static str> {
    let mut keys = Vec::new();
    if store_of(&before.sessions) != store_of(&after.sessions) {
        keys.push("sessions.store, sessions.redis, sessions.max_sessions, sessions.max_logins");
    }
    if before.metrics.enabled != after.metrics.enabled
        || before.metrics.address != after.metrics.address
    {
        keys.push("metrics.enabled, metrics.address");
    }
    if before.logging.format != after.logging.format {
        keys.push("logging.format (of the process's log; access records change at once)");
    }
    keys
}

/// The new session settings over the store that is open.
pub(super) fn with_store_of(before: &Config, after: &Config) -> SessionConfig {
    SessionConfig {
        store: before.sessions.store,
        redis: before.sessions.redis.clone(),
        max_sessions: before.sessions.max_sessions,
        max_logins: before.sessions.max_logins,
        ..after.sessions.clone()
    }
}

fn store_of(
    sessions: &SessionConfig,
) -> (StoreKind, &Option<crate::config::session::Redis>, u32, u32) {
    (
        sessions.store,
        &sessions.redis,
        sessions.max_sessions,
        sessions.max_logins,
    )
}
