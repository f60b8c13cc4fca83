//! The browser's side: what the login, the refresh and the sign-out share.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, LOCATION, REFERRER_POLICY, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio_util::task::TaskTracker;

use super::flow::Tabs;
use super::login::Wish;
use super::provider::Provider;
use super::refresh::{Due, Refresher};
use super::site::Site;
use crate::audit::Audit;
use crate::clock::{Ambient, Timestamp};
use crate::config::Config;
use crate::http::cookie::{self, CookieNames};
use crate::http::pages::Pages;
use crate::http::{Body, Inbound, Request, Response, respond};
use crate::keys::{KeyRing, Purpose};
use crate::paths::{Own, OwnPaths};
use crate::reject::{Code, Fault, Reject};
use crate::seal::Sealer;
use crate::session::{Session, Sessions, Ticket, Visit};
use crate::store::{Store, Unavailable};
use crate::telemetry::metrics::{Metrics, Name};
use crate::urls::PublicUrl;

/// What became of a login that was to be refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// It lives, refreshed or not due.
    Living,
    /// It is over: ended here, or refused by the provider.
    Over,
}

/// The browser's side: the endpoints under `/oauth2/`, and sessions kept fresh.
pub struct Browser {
    /// The main one first.
    pub(super) providers: Arc<[Arc<Provider>]>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) store: Arc<dyn Store>,
    pub(super) tabs: Tabs,
    pub(super) refresher: Option<Arc<Refresher>>,
    pub(super) names: CookieNames,
    pub(super) paths: OwnPaths,
    pub(super) public: PublicUrl,
    pub(super) pages: Arc<Pages>,
    /// Seals the return address that travels through the provider at sign-out.
    pub(super) errands: Sealer,
    pub(super) skew: Duration,
    pub(super) session_life: Duration,
    pub(super) ambient: Ambient,
    pub(super) metrics: Arc<Metrics>,
    pub(super) audit: Audit,
    tasks: TaskTracker,
}

impl Browser {
    /// Puts the parts together. `providers` has the main one first; it is empty in bypass mode and when there are only
    /// API keys.
    #[expect(clippy::too_many_arguments, reason = "a composition, called once")]
    pub fn new(
        config: &Config,
        public_url: &PublicUrl,
        providers: Vec<Arc<Provider>>,
        sessions: Arc<Sessions>,
        store: Arc<dyn Store>,
        keys: &KeyRing,
        ambient: Ambient,
        metrics: &Arc<Metrics>,
        audit: &Audit,
    ) -> Self {
        let names = CookieNames::new(public_url, &config.sessions.cookie_name);
        let tasks = TaskTracker::new();
        let providers: Arc<[Arc<Provider>]> = providers.into();
        let refresher = (!providers.is_empty()).then(|| {
            Refresher::new(
                Arc::clone(&providers),
                Arc::clone(&sessions),
                config.auth.clock_skew.0,
                ambient.clone(),
                Arc::clone(metrics),
                tasks.clone(),
                audit.clone(),
            )
        });
        Self {
            tabs: Tabs::new(
                Arc::clone(&store),
                keys,
                names.clone(),
                config.sessions.login_timeout.0,
                ambient.clone(),
            ),
            store,
            refresher,
            providers,
            sessions,
            names,
            paths: OwnPaths::new(&config.own_prefix, config.is_authorization_server()),
            public: public_url.clone(),
            pages: Arc::new(Pages::new(config, public_url)),
            errands: keys.sealer(Purpose::FlowCookie, Some(b"sign-out")),
            skew: config.auth.clock_skew.0,
            session_life: config.sessions.absolute_timeout.0,
            ambient,
            metrics: Arc::clone(metrics),
            audit: audit.clone(),
            tasks,
        }
    }

    /// Answers the endpoints of signing in and out, and those that pages are made of.
    pub async fn handle(
        &self,
        own: Own,
        inbound: &Inbound,
        request: Request,
    ) -> Result<Response, Reject> {
        let mut response = match own {
            Own::Style => super::endpoints::style(self, &request)?,
            Own::Logo => super::endpoints::logo(self, &request)?,
            Own::Language => super::endpoints::language(self, &request)?,
            Own::SwitchAccount => Box::pin(super::switch::switch_account(self, request)).await?,
            Own::SignIn => super::endpoints::sign_in(self, &request)?,
            Own::Start => Box::pin(super::login::start(self, request)).await?,
            Own::Callback => Box::pin(super::callback::callback(self, inbound, &request)).await?,
            Own::SignOut => Box::pin(super::logout::sign_out(self, inbound, request)).await?,
            Own::BackchannelLogout => {
                Box::pin(super::backchannel::logout(self, inbound, request)).await?
            }
            Own::Userinfo => super::endpoints::userinfo(self, &request).await?,
            Own::Session => super::endpoints::session(self, &request).await?,
            Own::Auth
            | Own::Authorize
            | Own::Consent
            | Own::Token
            | Own::Register
            | Own::Revoke
            | Own::Jwks
            | Own::AssertionJwks
            | Own::ServerMetadata
            | Own::Health
            | Own::Ready
            | Own::Metrics
            | Own::Unknown => {
                return Err(not_here());
            }
        };
        response
            .headers_mut()
            .insert("x-request-id", respond::request_id(inbound.id));
        Ok(response)
    }

    /// The redirect to login for a browser that navigated to `path_and_query` without a session: 302 with a new
    /// flow and its cookie. `headers` are the request's: flows that the browser has under way are bounded by them.
    pub async fn login_redirect(
        &self,
        inbound: &Inbound,
        headers: &HeaderMap,
        path_and_query: &str,
        wish: Wish<'_>,
    ) -> Result<Response, Reject> {
        let mut response = super::login::begin(self, headers, path_and_query, wish).await?;
        response
            .headers_mut()
            .insert("x-request-id", respond::request_id(inbound.id));
        Ok(response)
    }

    /// The living session of a request's cookie, refreshed when due. `Ok(None)`: no or no living session. Does not
    /// judge whether the cookie counts for the request (cross-site rules); the caller has done that.
    pub async fn session(&self, headers: &HeaderMap) -> Result<Option<Arc<Session>>, Reject> {
        self.visit(headers, Visit::Use).await
    }

    /// The same, or a look only, which does not prolong the session's idle time.
    pub async fn visit(
        &self,
        headers: &HeaderMap,
        visit: Visit,
    ) -> Result<Option<Arc<Session>>, Reject> {
        let Some(ticket) = self.ticket(headers) else {
            return Ok(None);
        };
        let found = self
            .sessions
            .visit(&ticket, visit)
            .await
            .map_err(|error| store_unavailable(&error))?;
        let Some(session) = found else {
            return Ok(None);
        };
        let (Some(refresher), Some(since)) = (&self.refresher, self.due(session.refresh_due))
        else {
            return Ok(Some(session));
        };
        let due = Due {
            login: &session.login,
            claims: &session.claims,
            since,
        };
        // Boxed: the rare path must not make every request's future large.
        if !Box::pin(refresher.refresh(due)).await? {
            return Ok(Some(session));
        }
        self.sessions
            .visit(&ticket, visit)
            .await
            .map_err(|error| store_unavailable(&error))
    }

    /// Refreshes the login behind a grant at the provider, when that is due.
    ///
    /// # Errors
    /// 503 when nobody can tell whether the login may go on: the store is away, or the provider is in trouble and the
    /// access token that it gave is over.
    pub async fn refresh_login(&self, login: &Arc<str>) -> Result<Refreshed, Reject> {
        let look = || async {
            let found = self.sessions.login(login).await;
            found.map_err(|error| store_unavailable(&error))
        };
        let Some(view) = look().await? else {
            return Ok(Refreshed::Over);
        };
        if let (Some(refresher), Some(since)) = (&self.refresher, self.due(view.refresh_due)) {
            let due = Due {
                login,
                claims: &view.claims,
                since,
            };
            if refresher.refresh(due).await? && look().await?.is_none() {
                return Ok(Refreshed::Over);
            }
        }
        Ok(Refreshed::Living)
    }

    fn due(&self, due: Option<Timestamp>) -> Option<Timestamp> {
        due.filter(|due| *due <= self.ambient.now())
    }

    /// Whether people can sign in here.
    pub fn has_provider(&self) -> bool {
        !self.providers.is_empty()
    }

    /// The providers that a person can choose from, each by its name in `/oauth2/start?provider=NAME` and by what its
    /// button says. The main one is first.
    pub fn choices(&self) -> impl Iterator<Item = (&str, &str)> {
        self.providers
            .iter()
            .map(|provider| (provider.name(), provider.title()))
    }

    /// Our pages.
    pub fn pages(&self) -> &Arc<Pages> {
        &self.pages
    }

    /// Waits for refreshes under way, so that no rotated refresh token is lost at shutdown. Each is bounded by
    /// the timeouts of its calls.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Waits for refreshes under way, `patience` at most; further ones may begin.
    pub async fn settle(&self, patience: Duration) {
        self.tasks.close();
        // Those that take longer go on when the process does.
        let _ = tokio::time::timeout(patience, self.tasks.wait()).await;
        self.tasks.reopen();
    }

    pub(super) fn ticket(&self, headers: &HeaderMap) -> Option<Ticket> {
        cookie::find(headers, self.names.session()).and_then(Ticket::parse)
    }

    /// The main provider, for endpoints that make sense only with one.
    pub(super) fn provider(&self) -> Result<&Arc<Provider>, Reject> {
        self.providers.first().ok_or_else(|| {
            Reject::new(
                StatusCode::NOT_FOUND,
                Code::NotFound,
                Fault::Client,
                "There is no sign-in here: this service has no identity provider configured.",
            )
        })
    }

    /// The provider that an issuer is.
    pub(super) fn provider_of(&self, issuer: &str) -> Option<&Arc<Provider>> {
        provider_of(&self.providers, issuer)
    }

    /// The provider of a name.
    pub(super) fn provider_named(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers
            .iter()
            .find(|provider| provider.name() == name)
    }

    pub(super) fn site(&self, headers: &HeaderMap) -> Site {
        Site::of(headers, &self.public)
    }

    /// Counts an event of authentication that no provider in particular has to do with. All values are from fixed sets.
    pub(super) fn count(&self, flow: &str, result: &str, reason: &str) {
        let main = self.providers.first();
        let label = main.map_or("none", |provider| &**provider.label());
        self.count_for(label, flow, result, reason);
    }

    /// Counts an event of authentication at a provider.
    pub(super) fn count_at(&self, provider: &Provider, flow: &str, result: &str, reason: &str) {
        self.count_for(provider.label(), flow, result, reason);
    }

    fn count_for(&self, provider: &str, flow: &str, result: &str, reason: &str) {
        let labels = [
            ("provider", provider),
            ("flow", flow),
            ("result", result),
            ("reason", reason),
        ];
        self.metrics
            .counter(Name::AuthRequests, &labels)
            .increment(1);
    }
}

impl std::fmt::Debug for Browser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Browser")
    }
}

/// The provider that an issuer is. One that has been discovered knows it exactly, and goes first.
pub(super) fn provider_of<'a>(
    providers: &'a [Arc<Provider>],
    issuer: &str,
) -> Option<&'a Arc<Provider>> {
    let mut owners = providers.iter().filter(|provider| provider.owns(issuer));
    let first = owners.next();
    first
        .filter(|provider| provider.is_discovered())
        .or_else(|| owners.find(|provider| provider.is_discovered()))
        .or(first)
}

/// A redirect that is not stored and takes no referrer along: the address it leaves may hold a code.
pub(super) fn redirect(
    status: StatusCode,
    to: &str,
    cookies: Vec<HeaderValue>,
) -> Result<Response, Reject> {
    let location = HeaderValue::try_from(to)
        .map_err(|_| Reject::internal().because("a redirect's target is no header value"))?;
    let mut response = http::Response::new(Body::Empty);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(LOCATION, location);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    add_cookies(&mut response, cookies);
    Ok(response)
}

pub(super) fn add_cookies(response: &mut Response, cookies: Vec<HeaderValue>) {
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// Refuses methods that an endpoint does not have. Where something happens, `HEAD` is not among them.
pub(super) fn only(request: &Request, allowed: &'static str) -> Result<(), Reject> {
    let method = request.method().as_str();
    if allowed.split(", ").any(|each| each == method) {
        return Ok(());
    }
    let reject = Reject::new(
        StatusCode::METHOD_NOT_ALLOWED,
        Code::MethodNotAllowed,
        Fault::Client,
        "This address does not take that method. The Allow header names those that it takes.",
    );
    Err(reject.header(ALLOW, HeaderValue::from_static(allowed)))
}

/// 503: whether somebody is signed in cannot be found out. The cookie stays.
pub(super) fn store_unavailable(error: &Unavailable) -> Reject {
    Reject::unavailable(
        Code::StoreUnavailable,
        Fault::Proxy,
        "Sign-ins cannot be looked up just now. You are not signed out. Try again in a moment.",
    )
    .because(error.to_string())
}

pub(super) fn not_here() -> Reject {
    Reject::new(
        StatusCode::NOT_FOUND,
        Code::NotFound,
        Fault::Client,
        "There is nothing at this address.",
    )
}
