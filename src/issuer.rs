//! We as authorization server for MCP clients (OAuth 2.1): metadata, clients, consent, tokens, revocation.
//!
//! ```text
//! GET authorize --checks--> Asked --no session--> sign-in at the provider --> GET authorize again
//!                             \--session--> consent page --POST consent of this session--> Grant::Coded --303--> code
//! POST token: client authenticated -> code | refresh | client credentials | identity assertion -> access + refresh
//! request with an access token: authn -> access (signature) -> grant::find(sid) -> claims of the login
//! ```

pub mod access;
pub mod grant;

mod authorize;
mod client;
mod consent;
mod desk;
mod error;
mod form;
mod handoff;
mod limit;
mod metadata;
mod prompt;
mod register;
mod remembered;
mod revoke;
mod token;
mod wanted;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio_util::sync::CancellationToken;

pub use self::access::AccessTokens;
pub use self::grant::{Grants, Living};

use self::client::Clients;
use self::desk::{Desk, Visit};
use self::metadata::Offers;
use self::token::{Assertions, TokenDesk, TokenMeters};
use crate::audit::Audit;
use crate::claims::Claims;
use crate::clock::Ambient;
use crate::config::Config;
use crate::http::{Body, Inbound, Request, Response, document, respond};
use crate::keys::KeyRing;
use crate::mcp::edge::open_cors;
use crate::oidc::Browser;
use crate::paths::Own;
use crate::reject::{Code, Fault, Reject};
use crate::route::{Table, Target};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::urls::PublicUrl;

/// The parts of the authorization server that outlive a configuration.
#[derive(Clone, Debug)]
pub struct Lasting {
    /// Grants.
    pub grants: Arc<Grants>,
    /// Access tokens.
    pub access: Arc<AccessTokens>,
}

/// The authorization server under one configuration.
pub struct Issuer {
    clients: Arc<Clients>,
    desk: Desk,
    tokens: TokenDesk,
    document: Bytes,
    audit: Audit,
}

/// What a request is judged by besides ourselves.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Where it came in.
    pub inbound: &'a Inbound,
    /// The routes: they are the resources.
    pub routes: &'a Table,
    /// Whether somebody may use a route.
    pub admits: &'a (dyn Fn(&Arc<Claims>, &Target) -> bool + Send + Sync),
}

impl Issuer {
    /// Puts the parts together. `before` is the one of the former configuration, whose caches go on.
    ///
    /// # Errors
    /// The key of the configuration that cannot be used, and why.
    #[expect(clippy::too_many_arguments, reason = "a composition, called once")]
    pub fn new(
        config: &Config,
        public_url: &PublicUrl,
        lasting: &Lasting,
        browser: &Arc<Browser>,
        store: &Arc<dyn Store>,
        keys: &KeyRing,
        ambient: &Ambient,
        metrics: &Arc<Metrics>,
        audit: &Audit,
        before: Option<&Self>,
    ) -> Result<Self, String> {
        let clients = Arc::new(Clients::new(
            config,
            public_url,
            keys,
            Arc::clone(store),
            ambient,
            metrics,
            before.map(|before| &*before.clients),
        )?);
        let desk = Desk::new(
            config,
            public_url,
            Arc::clone(&clients),
            Arc::clone(&lasting.grants),
            Arc::clone(browser),
            Arc::clone(store),
            keys,
            ambient.clone(),
            audit.clone(),
        );
        let tokens = TokenDesk {
            clients: Arc::clone(&clients),
            grants: Arc::clone(&lasting.grants),
            access: Arc::clone(&lasting.access),
            browser: Arc::clone(browser),
            assertions: Assertions::new(
                config,
                public_url.as_str(),
                Arc::clone(store),
                keys,
                ambient,
                metrics,
            )?,
            default_route: desk.default_route.clone(),
            ambient: ambient.clone(),
            meters: TokenMeters::new(metrics),
            audit: audit.clone(),
        };
        let offers = Offers {
            registration: clients.can_register(),
            documents: clients.has_documents(),
        };
        Ok(Self {
            document: metadata::document(config, public_url, offers),
            clients,
            desk,
            tokens,
            audit: audit.clone(),
        })
    }

    /// Keeps keys of issuers of assertions fresh, until cancelled.
    pub async fn watch(&self, until: CancellationToken) {
        self.tokens.assertions.watch(until).await;
    }

    /// Answers at the endpoints of the authorization server.
    pub async fn handle(
        &self,
        own: Own,
        around: &Surroundings<'_>,
        request: Request,
    ) -> Result<Response, Reject> {
        let visit = Visit {
            inbound: around.inbound,
            routes: around.routes,
            admits: around.admits,
        };
        let mut response = match own {
            Own::Authorize => Box::pin(authorize::answer(&self.desk, visit, request)).await?,
            Own::Consent => Box::pin(consent::answer(&self.desk, visit, request)).await?,
            Own::Register => {
                register::register(&self.clients, &self.audit, around.inbound, request).await
            }
            Own::Token | Own::Revoke | Own::Jwks | Own::ServerMetadata => {
                Box::pin(self.open(own, around, request)).await?
            }
            _ => return Err(not_here()),
        };
        response
            .headers_mut()
            .insert("x-request-id", respond::request_id(around.inbound.id));
        Ok(response)
    }

    /// The endpoints that programs ask, from any origin: they know no cookie.
    async fn open(
        &self,
        own: Own,
        around: &Surroundings<'_>,
        request: Request,
    ) -> Result<Response, Reject> {
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let mut response = match own {
            _ if method == Method::OPTIONS => {
                let mut response = http::Response::new(Body::Empty);
                *response.status_mut() = StatusCode::NO_CONTENT;
                response
            }
            Own::Token => token::answer(&self.tokens, around.inbound, around.routes, request).await,
            Own::Revoke => revoke::answer(&self.tokens, around.inbound, request).await,
            Own::ServerMetadata => document::public(&self.document, &method)?,
            Own::Jwks => {
                let set = self.tokens.access.keys().current().ok_or_else(no_keys)?;
                document::public(set.document(), &method)?
            }
            _ => return Err(not_here()),
        };
        open_cors(&method, &headers, response.headers_mut());
        Ok(response)
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issuer")
    }
}

/// 404: this proxy is no authorization server.
pub fn not_here() -> Reject {
    Reject::new(
        StatusCode::NOT_FOUND,
        Code::NotFound,
        Fault::Client,
        "The proxy has no such endpoint.",
    )
}

fn no_keys() -> Reject {
    Reject::unavailable(
        Code::StoreUnavailable,
        Fault::Proxy,
        "The keys cannot be read just now. Try again in a moment.",
    )
}
