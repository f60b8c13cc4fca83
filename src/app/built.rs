//! What is built from one configuration. At a reload, what did not change is carried over with its state: pools,
//! keys of the provider, remembered sessions.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Lasting, StartError};
use crate::admin::{Check, Status, Subjects};
use crate::authn::Authn;
use crate::authz::Policy;
use crate::config::Config;
use crate::config::backend::Backend;
use crate::config::issuer::AuthorizationServer;
use crate::config::session::Sessions as SessionConfig;
use crate::http::inbound::TrustedProxies;
use crate::issuer::{AccessTokens, Grants, Issuer};
use crate::keys::{KeyRing, Purpose};
use crate::mcp::edge::Edge;
use crate::mcp::session::Sessions as McpSessions;
use crate::oidc::Browser;
use crate::proxy::{Bounds, Snapshot};
use crate::route::Table;
use crate::session::Sessions;
use crate::signing::{SigningKeys, Signs};
use crate::telemetry::requests::RequestMetrics;
use crate::upstream::Upstream;
use crate::urls::PublicUrl;

use self::backends::{AssertionKey, assertion_keys, forwarder, upstreams};
use self::learned::Known;
use self::providers::Providers;

mod backends;
mod learned;
mod providers;

/// The parts with a life of their own behind a snapshot.
pub(super) struct Built {
    pub(super) public_url: PublicUrl,
    upstreams: Vec<Part<Backend, Upstream>>,
    learned: Vec<Known>,
    providers: Providers,
    sessions: Part<SessionKey, Sessions>,
    server: Option<Part<ServerKey, LastingServer>>,
    assertion_keys: Option<Part<AssertionKey, SigningKeys>>,
    issuer: Option<Arc<Issuer>>,
    authn: Arc<Authn>,
    authn_until: CancellationToken,
}

/// Grants and keys of the authorization server are carried over while what they are made from stays the same.
#[derive(Clone, PartialEq)]
struct ServerKey {
    config: AuthorizationServer,
    sessions: SessionKey,
    issuer: String,
}

/// The parts of the authorization server with a life of their own.
struct LastingServer {
    keys: Arc<SigningKeys>,
    parts: crate::issuer::Lasting,
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
    ring: RingMark,
}

/// A keyed digest that changes with the key ring, and how many keys there are.
#[derive(Clone, PartialEq)]
struct RingMark([u8; 32], usize);

impl RingMark {
    fn of(keys: &KeyRing) -> Self {
        Self(
            keys.mac(Purpose::Index, b"which ring is this"),
            keys.macs(Purpose::Index, b"").count(),
        )
    }
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
#[expect(
    clippy::too_many_lines,
    reason = "the list of all parts, in the order in which they need each other"
)]
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
    let providers = Providers::build(lasting, config, old.map(|old| &old.providers))?;
    let sessions = sessions(lasting, config, keys, old)?;
    let browser = Arc::new(Browser::new(
        config,
        &public_url,
        providers.all(),
        Arc::clone(&sessions.value),
        Arc::clone(&lasting.store),
        keys,
        ambient.clone(),
        metrics,
        &lasting.audit,
    ));
    let server = server(lasting, config, keys, &public_url, &sessions, old)?;
    let issuer = match &server {
        None => None,
        Some(server) => Some(Arc::new(
            Issuer::new(
                config,
                &public_url,
                &server.value.parts,
                &browser,
                &lasting.store,
                keys,
                ambient,
                metrics,
                &lasting.audit,
                old.and_then(|old| old.issuer.as_deref()),
            )
            .map_err(StartError::Config)?,
        )),
    };
    let authn = Authn::new(
        config,
        server.as_ref().map(|server| &server.value.parts),
        &public_url,
        &providers.all(),
        Arc::clone(&browser),
        ambient,
        metrics,
    )
    .map_err(StartError::Config)?;
    let authn = Arc::new(authn);
    let authn_until = lasting.end.child_token();
    let assertion_keys = assertion_keys(lasting, config, keys, old)?;
    let routes = Table::compile(config, &public_url);
    let names: Vec<&str> = routes
        .routes()
        .iter()
        .map(|route| route.name.as_str())
        .collect();
    let learned = learned::learned(lasting, config, old.map_or(&[], |old| &old.learned));
    let snapshot = Snapshot {
        learned: learned
            .iter()
            .map(|known| Arc::clone(&known.value))
            .collect(),
        edge: Edge::new(config, &public_url),
        trusted: TrustedProxies::new(&config.trusted_proxies),
        policy: Policy::compile(config, metrics),
        unknown_names: config
            .backends
            .iter()
            .map(|each| each.unknown_names)
            .collect(),
        forwarder: forwarder(
            lasting,
            config,
            &public_url,
            keys,
            &upstreams,
            assertion_keys.as_ref(),
        ),
        sessions: mcp_sessions(lasting, config, keys),
        requests: Arc::new(RequestMetrics::new(metrics, names)),
        bounds: Bounds {
            mcp_body: config.mcp.max_body.as_usize(),
            body_idle: config.limits.body_timeout.0,
        },
        tasks: authn_until.clone().drop_guard(),
        authn: Arc::clone(&authn),
        issuer: issuer.clone(),
        assertion_keys: assertion_keys.as_ref().map(|part| Arc::clone(&part.value)),
        browser,
        routes,
    };
    Ok((
        snapshot,
        Built {
            public_url,
            upstreams,
            learned,
            providers,
            sessions,
            server,
            assertion_keys,
            issuer,
            authn,
            authn_until,
        },
    ))
}

fn mcp_sessions(lasting: &Lasting, config: &Config, keys: &KeyRing) -> McpSessions {
    McpSessions::new(
        config,
        keys,
        lasting.ambient.clone(),
        Arc::clone(&lasting.mcp_sessions),
        &lasting.metrics,
    )
}

fn sessions(
    lasting: &Lasting,
    config: &Config,
    keys: &KeyRing,
    old: Option<&Built>,
) -> Result<Part<SessionKey, Sessions>, StartError> {
    let session_key = SessionKey {
        config: config.sessions.clone(),
        ring: RingMark::of(keys),
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

fn server(
    lasting: &Lasting,
    config: &Config,
    keys: &KeyRing,
    public_url: &PublicUrl,
    sessions: &Part<SessionKey, Sessions>,
    old: Option<&Built>,
) -> Result<Option<Part<ServerKey, LastingServer>>, StartError> {
    if !config.is_authorization_server() {
        return Ok(None);
    }
    let server = &config.authorization_server;
    let key = ServerKey {
        config: server.clone(),
        sessions: sessions.config.clone(),
        issuer: public_url.as_str().to_owned(),
    };
    // Grants hold on to the sessions that they were made with.
    let before = old
        .and_then(|old| old.server.as_ref())
        .filter(|_| sessions.carried);
    Part::or_carry(before, key, &lasting.end, || {
        let signing = SigningKeys::new(
            Signs::AccessTokens,
            &server.signing_keys,
            Arc::clone(&lasting.store),
            keys,
            lasting.ambient.clone(),
        )
        .map_err(StartError::Config)?;
        let grants = Grants::new(
            Arc::clone(&lasting.store),
            keys,
            Arc::clone(&sessions.value),
            Arc::clone(&lasting.revocations),
            server,
            &config.sessions,
            lasting.ambient.clone(),
            lasting.audit.clone(),
        );
        let access = AccessTokens::new(
            Arc::clone(&signing),
            public_url.as_str().into(),
            server.access_token_lifetime.0,
            lasting.ambient.clone(),
        );
        Ok(Arc::new(LastingServer {
            keys: signing,
            parts: crate::issuer::Lasting { grants, access },
        }))
    })
    .map(Some)
}

impl Built {
    /// Reads the keys without which backends cannot be told who asks.
    pub(super) async fn read_keys(&self) {
        if let Some(part) = self.assertion_keys.as_ref().filter(|part| !part.carried) {
            backends::read_keys(&part.value).await;
        }
    }

    /// Starts the background tasks of the parts that are new.
    pub(super) fn start(&self, lasting: &Lasting) {
        for part in self.upstreams.iter().filter(|part| !part.carried) {
            lasting
                .tracker
                .spawn(Arc::clone(&part.value).watch(part.until.clone()));
        }
        self.providers.start(lasting);
        if !self.sessions.carried {
            let (sessions, until) = (
                Arc::clone(&self.sessions.value),
                self.sessions.until.clone(),
            );
            lasting
                .tracker
                .spawn(async move { sessions.background(until).await });
        }
        if let Some(part) = self.server.as_ref().filter(|part| !part.carried) {
            lasting
                .tracker
                .spawn(Arc::clone(&part.value.keys).watch(part.until.clone()));
        }
        if let Some(part) = self.assertion_keys.as_ref().filter(|part| !part.carried) {
            lasting
                .tracker
                .spawn(Arc::clone(&part.value).watch(part.until.clone()));
        }
        if let Some(issuer) = &self.issuer {
            let (issuer, until) = (Arc::clone(issuer), self.authn_until.clone());
            lasting
                .tracker
                .spawn(async move { issuer.watch(until).await });
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
        self.providers.end_what_is_not_in(&next.providers);
        let server = self.server.iter().map(|part| {
            let kept = next
                .server
                .iter()
                .any(|other| Arc::ptr_eq(&other.value, &part.value));
            (kept, &part.until)
        });
        let assertion_keys = self.assertion_keys.iter().map(|part| {
            let kept = next
                .assertion_keys
                .iter()
                .any(|other| Arc::ptr_eq(&other.value, &part.value));
            (kept, &part.until)
        });
        let kept = Arc::ptr_eq(&self.sessions.value, &next.sessions.value);
        for (kept, until) in upstreams
            .chain(server)
            .chain(assertion_keys)
            .chain([(kept, &self.sessions.until)])
        {
            if !kept {
                until.cancel();
            }
        }
    }

    /// The identity providers that people sign in at.
    #[cfg(feature = "lambda")]
    pub(super) fn providers(&self) -> Vec<Arc<crate::oidc::Provider>> {
        self.providers.all()
    }

    /// Drops connections to backends that nobody uses.
    #[cfg(feature = "lambda")]
    pub(super) fn let_go(&self) {
        self.upstreams.iter().for_each(|part| part.value.let_go());
    }

    /// Where an operator finds what people have open.
    pub(super) fn subjects(&self) -> Subjects {
        Subjects {
            sessions: Arc::clone(&self.sessions.value),
            grants: self
                .server
                .as_ref()
                .map(|server| Arc::clone(&server.value.parts.grants)),
        }
    }

    /// Tells health what to look at.
    pub(super) fn configure_health(&self, lasting: &Lasting, config: &Config) {
        let upstreams: Vec<Arc<Upstream>> = self
            .upstreams
            .iter()
            .map(|part| Arc::clone(&part.value))
            .collect();
        let providers = self.providers.all();
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
            checks.extend(providers::checks(&providers));
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
