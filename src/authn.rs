//! Who is asking: a session, a bearer token or an API key becomes an [`Identity`], or the request ends here.
//!
//! One credential decides. An explicit one (`Authorization`, `X-API-Key`) decides alone: when it is refused, the
//! session cookie that a browser sends along does not step in, and a public route does not make it nobody. Two
//! explicit ones are ambiguous and refused. Tokens in the query are not looked at (RFC 6750 section 2.3 and
//! the MCP specification forbid them).

mod again;
mod apikey;
mod bearer;
mod bypass;
mod challenge;
mod grant;
mod introspection;
mod issuers;
mod jwt;
mod metadata;
mod meters;
mod refusal;
mod session;

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio_util::sync::CancellationToken;

use self::apikey::{ApiKeys, X_API_KEY};
use self::bearer::{Bearer, Failure};
use self::challenge::Challenger;
use self::issuers::Issuers;
use self::meters::{Meters, NOBODY};
use self::refusal::Refusal;
use self::session::{Navigations, cookie_counts};
use crate::claims::Claims;
use crate::clock::{Ambient, Timestamp};
use crate::config::Config;
use crate::config::authn::Mode;
use crate::http::navigation;
use crate::http::{Inbound, Response};
use crate::issuer::{Grants, Lasting};
use crate::oidc::{Browser, Provider};
use crate::reject::{Code, Fault, Reject};
use crate::revocation::Name as Basis;
use crate::route::Target;
use crate::scope::ScopeSet;
use crate::session::Visit;
use crate::telemetry::metrics::{Metrics, Name};
use crate::urls::PublicUrl;

/// Who a request comes from. Made in this module only, from verified credentials.
#[derive(Clone, Debug)]
pub struct Identity {
    claims: Arc<Claims>,
    credential: Credential,
    scopes: Arc<[Box<str>]>,
    client_id: Option<Arc<str>>,
    expires: Option<Timestamp>,
    basis: Option<Arc<[Basis]>>,
}

/// What proved the identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A browser session.
    Session,
    /// A JWT of a listed issuer.
    Bearer,
    /// An access token of our own.
    AccessToken,
    /// An API key, by its configured name.
    ApiKey,
    /// `AUTH_MODE=bypass`.
    Bypass,
}

impl Credential {
    /// Name for logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Bearer => "bearer_jwt",
            Self::AccessToken => "access_token",
            Self::ApiKey => "api_key",
            Self::Bypass => "bypass",
        }
    }
}

/// The outcome of authentication: somebody, or nobody on a route that is public.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Nobody, where the route says `public`.
    Anonymous,
    /// Somebody.
    Known(Identity),
}

impl Identity {
    /// Who, with all verified claims.
    pub fn claims(&self) -> &Arc<Claims> {
        &self.claims
    }

    /// What proved it.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Scopes of the token; empty for sessions.
    pub fn scopes(&self) -> &[Box<str>] {
        &self.scopes
    }

    /// `client_id` or `azp` of the token.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// What can end it early: the login, the grant. Nothing for foreign tokens and API keys.
    pub fn basis(&self) -> &[Basis] {
        self.basis.as_deref().unwrap_or_default()
    }

    /// When the credential ends.
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }
}

/// Authenticates requests.
pub struct Authn {
    bypass: Option<Identity>,
    bearer: Bearer,
    keys: ApiKeys,
    browser: Arc<Browser>,
    challenger: Challenger,
    meters: Meters,
    no_scopes: Arc<[Box<str>]>,
    grants: Option<Arc<Grants>>,
}

impl Authn {
    /// Puts the parts together. `providers` is empty in bypass mode and when there are only API keys. The error names
    /// the key and the file that cannot be used.
    pub fn new(
        config: &Config,
        own: Option<&Lasting>,
        public_url: &PublicUrl,
        providers: &[Arc<Provider>],
        browser: Arc<Browser>,
        ambient: &Ambient,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, String> {
        let issuers = Issuers::new(config, providers, own, ambient, metrics)?;
        let bypass = config.auth.mode == Mode::Bypass;
        metrics
            .gauge(Name::Bypass, &[])
            .set(if bypass { 1.0 } else { 0.0 });
        Ok(Self {
            bypass: bypass.then(bypass::fixed_user),
            challenger: Challenger {
                public_url: public_url.clone(),
                tokens: !issuers.is_empty(),
                login: !providers.is_empty(),
            },
            bearer: Bearer::new(issuers, config.auth.clock_skew.0, metrics),
            keys: ApiKeys::new(&config.auth.api_keys),
            browser,
            meters: Meters::new(metrics),
            no_scopes: Arc::from([]),
            grants: own.map(|own| Arc::clone(&own.grants)),
        })
    }

    /// Keeps keys and discovery of the listed issuers fresh, until cancelled.
    pub async fn watch(&self, until: CancellationToken) {
        self.bearer.issuers.watch(until).await;
    }

    /// Finds out who asks for a target. 401 with a challenge for nobody and for credentials that are none, 400 for
    /// several at once, 503 when the store or an issuer's keys cannot be asked.
    pub async fn authenticate(
        &self,
        inbound: &Inbound,
        target: &Target,
        parts: &Parts,
    ) -> Result<Caller, Reject> {
        let navigations = Navigations::of(target.route().kind);
        let page = navigation::wants_page(&parts.method, &parts.headers);
        self.caller(inbound, target, &parts.headers, navigations, page)
            .await
    }

    /// The same for forward-auth, which another proxy asks on behalf of a browser: it never leads to a login by
    /// itself, and navigations from other sites count.
    pub async fn authenticate_forwarded(
        &self,
        inbound: &Inbound,
        target: &Target,
        headers: &HeaderMap,
    ) -> Result<Caller, Reject> {
        self.caller(inbound, target, headers, Navigations::Count, false)
            .await
    }

    /// Who is signed in, for forward-auth without a route: sessions only, for a token means nothing without the
    /// audience of a route.
    pub async fn signed_in(&self, headers: &HeaderMap) -> Result<Identity, Reject> {
        if let Some(fixed) = &self.bypass {
            return Ok(fixed.clone());
        }
        let explicit = headers.contains_key(AUTHORIZATION) || headers.contains_key(X_API_KEY);
        if !explicit
            && let Some(identity) = self
                .session(headers, Navigations::Count, Visit::Use)
                .await?
        {
            return Ok(identity);
        }
        Err(Reject::new(
            http::StatusCode::UNAUTHORIZED,
            Code::Unauthenticated,
            Fault::Client,
            "This needs you to be signed in.",
        )
        .header(
            http::header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer"),
        )
        .because(if explicit {
            "a token or key without a route"
        } else {
            "no credential"
        }))
    }

    /// Answers for a route's protected resource metadata (RFC 9728).
    pub fn resource_metadata(
        &self,
        inbound: &Inbound,
        target: &Target,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Response, Reject> {
        metadata::answer(
            &self.bearer.issuers.advertised(),
            target,
            method,
            headers,
            inbound,
        )
    }

    /// The challenge for a person's browser that opens the address of an MCP server, which is told what that is for.
    /// `None` where the request goes its way: with a credential of a program, on a public route, in bypass mode, and
    /// where no client could sign in anyhow.
    pub fn guide(&self, target: &Target, headers: &HeaderMap) -> Option<HeaderValue> {
        let explicit = headers.contains_key(AUTHORIZATION) || headers.contains_key(X_API_KEY);
        if self.bypass.is_some() || explicit || target.route().public {
            return None;
        }
        self.challenger.guide(target)
    }

    /// The answer to nobody who asks for something that is for somebody: 401 with a challenge.
    pub fn sign_in(&self, target: &Target) -> Reject {
        self.challenger.reject(target, None, false)
    }

    /// The answer to a token that was granted too little: 403 with one challenge that names all of `scopes`.
    pub fn step_up(&self, target: &Target, scopes: &ScopeSet) -> Reject {
        self.challenger.step_up(target, scopes)
    }

    async fn caller(
        &self,
        inbound: &Inbound,
        target: &Target,
        headers: &HeaderMap,
        navigations: Navigations,
        page: bool,
    ) -> Result<Caller, Reject> {
        if let Some(fixed) = &self.bypass {
            self.meters.bypass.increment(1);
            return Ok(Caller::Known(fixed.clone()));
        }
        let refuse = |refusal| self.challenger.reject(target, Some(refusal), page);
        match (only(headers, &AUTHORIZATION)?, only(headers, &X_API_KEY)?) {
            (Some(_), Some(_)) => Err(ambiguous("Authorization and X-API-Key")),
            (Some(header), None) => self
                .by_token(header, target, inbound)
                .await
                .unwrap_or_else(|refusal| Err(refuse(refusal))),
            (None, Some(key)) => self.by_key(key).map_err(refuse),
            (None, None) => match self.session(headers, navigations, Visit::Use).await? {
                Some(identity) => Ok(Caller::Known(identity)),
                None if target.route().public => Ok(Caller::Anonymous),
                None => Err(self.challenger.reject(target, None, page)),
            },
        }
    }

    fn by_key(&self, key: &HeaderValue) -> Result<Caller, Refusal> {
        let Some(identity) = self.keys.find(key.as_bytes()) else {
            self.meters
                .denied(NOBODY, "api_key", Refusal::UnknownApiKey);
            return Err(Refusal::UnknownApiKey);
        };
        self.meters.api_key.increment(1);
        Ok(Caller::Known(identity))
    }

    /// The inner result is for what is no refusal of the token: keys that cannot be read.
    async fn by_token(
        &self,
        header: &HeaderValue,
        target: &Target,
        inbound: &Inbound,
    ) -> Result<Result<Caller, Reject>, Refusal> {
        let judged = self.bearer.judge(header, target, inbound).await;
        let issuer = judged.issuer.as_deref();
        let label = issuer.map_or(NOBODY, |issuer| &*issuer.label);
        match judged.outcome {
            Ok(identity) => {
                if let Some(issuer) = issuer {
                    issuer.accepted.increment(1);
                }
                Ok(Ok(Caller::Known(identity)))
            }
            Err(Failure::Refused(refusal)) => {
                self.meters.denied(label, FLOW, refusal);
                Err(refusal)
            }
            Err(Failure::Unavailable(why)) => {
                self.meters.error(label, FLOW, "keys_unavailable");
                Ok(Err(Reject::unavailable(
                    Code::KeysUnavailable,
                    Fault::Provider,
                    "The keys to check your token with cannot be read just now. Your token may be good; try again.",
                )
                .because(why)))
            }
        }
    }

    /// The identity of the session cookie, where it counts.
    async fn session(
        &self,
        headers: &HeaderMap,
        navigations: Navigations,
        visit: Visit,
    ) -> Result<Option<Identity>, Reject> {
        if !cookie_counts(headers, self.challenger.public_url.as_str(), navigations) {
            return Ok(None);
        }
        let found = match self.browser.visit(headers, visit).await {
            Ok(found) => found,
            Err(reject) => {
                self.meters.error(NOBODY, "session", reject.code().as_str());
                return Err(reject);
            }
        };
        Ok(found.map(|session| {
            if visit == Visit::Use {
                self.meters.session.increment(1);
            }
            Identity {
                claims: Arc::clone(&session.claims),
                credential: Credential::Session,
                scopes: Arc::clone(&self.no_scopes),
                client_id: None,
                expires: Some(session.absolute_end),
                basis: Some(Arc::clone(&session.names)),
            }
        }))
    }
}

impl std::fmt::Debug for Authn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authn")
            .field("bypass", &self.bypass.is_some())
            .field("api_keys", &!self.keys.is_empty())
            .finish_non_exhaustive()
    }
}

/// Flow label of bearer tokens.
const FLOW: &str = "bearer_jwt";

/// The one header of a name; several are ambiguous.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Reject> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        Err(ambiguous(if *name == AUTHORIZATION {
            "several Authorization headers"
        } else {
            "several X-API-Key headers"
        }))
    } else {
        Ok(first)
    }
}

fn ambiguous(what: &'static str) -> Reject {
    Reject::bad_request("The request has more than one credential. Send exactly one.").because(what)
}

/// The token of an `Authorization` header (RFC 6750 section 2.1; the scheme is not case-sensitive).
fn token(header: &HeaderValue) -> Result<&str, Refusal> {
    let text = header.to_str().map_err(|_| Refusal::Malformed)?;
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(Refusal::UnknownScheme);
    }
    let token = rest.trim_matches(' ');
    if token.is_empty() || token.contains([' ', '\t', ',']) {
        Err(Refusal::Malformed)
    } else {
        Ok(token)
    }
}

/// Reads a token as far as it is read before its signature is checked; tells whether it could be one. For fuzzing.
pub(crate) fn could_be_token(token: &str, now: Timestamp) -> bool {
    let skew = std::time::Duration::from_secs(30);
    jwt::parse(token).is_ok_and(|parsed| {
        let signed = parsed.signature().is_ok();
        let facts = jwt::times(&parsed.payload, now, skew)
            .and_then(|expires| jwt::facts(&parsed.payload, expires));
        signed && facts.is_ok()
    })
}

#[cfg(test)]
mod tests;
