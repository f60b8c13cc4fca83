//! The token endpoint (RFC 6749 section 3.2).

mod assertion;
mod code;
mod machine;
mod refresh;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, PRAGMA};
use http::{HeaderValue, Method, StatusCode};
use metrics::Counter;
use serde::Serialize;

pub(super) use self::assertion::Assertions;
use super::access::{AccessTokens, Content, NotMinted};
use super::client::{Client, Clients};
use super::error::{OAuthCode, OAuthError};
use super::form::Form;
use super::grant::{About, Grants};
use crate::audit::event::clip;
use crate::audit::{Audit, Event, Kind, Outcome, What, Who};
use crate::clock::{Ambient, Timestamp};
use crate::config::issuer::GrantType;
use crate::http::{Body, Inbound, Request, RequestBody, Response};
use crate::oidc::Browser;
use crate::route::Table;
use crate::scope::ScopeSet;
use crate::secret::Secret;
use crate::telemetry::metrics::{Metrics, Name};

/// What the token endpoint works with.
pub(super) struct TokenDesk {
    pub(super) clients: Arc<Clients>,
    pub(super) grants: Arc<Grants>,
    pub(super) access: Arc<AccessTokens>,
    pub(super) browser: Arc<Browser>,
    pub(super) assertions: Assertions,
    pub(super) default_route: Option<String>,
    pub(super) ambient: Ambient,
    pub(super) meters: TokenMeters,
    pub(super) audit: Audit,
}

/// Counts requests at the token endpoint.
pub(super) struct TokenMeters(Arc<Metrics>);

impl TokenMeters {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        Self(Arc::clone(metrics))
    }

    fn count(&self, grant: &'static str, result: &'static str) -> Counter {
        self.0.counter(
            Name::TokenRequests,
            &[("grant_type", grant), ("result", result)],
        )
    }
}

/// What a successful request gives.
struct Given {
    grant: Arc<str>,
    about: About,
    scopes: ScopeSet,
    refresh: Option<Secret>,
}

#[derive(Serialize)]
struct Answer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
}

/// `POST /oauth2/token`.
pub(super) async fn answer(
    desk: &TokenDesk,
    inbound: &Inbound,
    routes: &Table,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return other_method();
    }
    let mut kind = "unknown";
    let mut who = Who::default();
    let outcome = async {
        let form = read(&head.headers, body).await?;
        let grant = form
            .get("grant_type")
            .ok_or(OAuthError::invalid_request("grant_type is missing"))?;
        let (grant, name) = grant_of(grant)?;
        kind = name;
        // As it says itself, until it has proven it.
        who = Who::default()
            .with_client(form.get("client_id"))
            .with_credential(name);
        let client = authenticated(&desk.clients, &head.headers, &form, inbound.client).await?;
        who = who.clone().with_client(Some(&client.id));
        if !client.may(grant) {
            return Err(OAuthError::new(
                OAuthCode::UnauthorizedClient,
                "this client may not use that grant_type; it is not among those that it registered",
            ));
        }
        let given = match grant {
            GrantType::AuthorizationCode => code::redeem(desk, routes, &client, &form).await?,
            GrantType::RefreshToken => refresh::refresh(desk, routes, &client, &form).await?,
            GrantType::ClientCredentials => machine::give(desk, routes, &client, &form).await?,
            GrantType::JwtBearer => assertion::exchange(desk, routes, &client, &form).await?,
        };
        let answer = desk.tokens(&given)?;
        Ok((answer, given))
    }
    .await;
    desk.audit
        .note_with(|_| event(kind, who, &outcome).at(inbound.place()));
    let result = match &outcome {
        Ok(_) => "issued",
        Err(error) => error.code.as_str(),
    };
    desk.meters.count(kind, result).increment(1);
    match outcome {
        Ok((answer, _)) => answer,
        Err(error) => {
            tracing::info!(
                error = error.code.as_str(),
                description = error.description,
                grant_type = kind,
                "no tokens were given"
            );
            error.answer()
        }
    }
}

fn event(kind: &'static str, who: Who, outcome: &Result<(Response, Given), OAuthError>) -> Event {
    match outcome {
        Ok((_, given)) => {
            let issued = if kind == "refresh_token" {
                Kind::TokenRefreshed
            } else {
                Kind::TokenIssued
            };
            let about = &given.about;
            let what = What {
                resource: Some(clip(&about.resource)),
                scopes: given.scopes.iter().map(clip).collect(),
                ..What::default()
            };
            let who = Who {
                client_id: who.client_id,
                credential: who.credential,
                ..Who::subject(&about.subject)
            };
            Event::ok(issued)
                .by(who.with_grant(&given.grant))
                .what(what)
        }
        Err(error) => {
            let outcome = if error.is_ours() {
                Outcome::Error
            } else {
                Outcome::Failure
            };
            Event::new(Kind::TokenRefused, outcome)
                .because(error.code.as_str())
                .detail(error.description)
                .by(who)
        }
    }
}

impl TokenDesk {
    fn tokens(&self, given: &Given) -> Result<Response, OAuthError> {
        let content = Content {
            subject: &given.about.subject.subject,
            audience: &given.about.resource,
            client: &given.about.client,
            scopes: &given.scopes,
            grant: &given.grant,
            ends: given.about.ends,
        };
        let minted = self.access.mint(&content).map_err(|why| match why {
            NotMinted::Over => OAuthError::invalid_grant("the grant is over"),
            NotMinted::NoKey => {
                OAuthError::unavailable("there is no key to sign with just now; try again")
            }
        })?;
        let answer = Answer {
            access_token: minted.token.expose_secret(),
            token_type: "Bearer",
            expires_in: minted.life.as_secs(),
            scope: given.scopes.to_string(),
            refresh_token: given.refresh.as_ref().map(Secret::expose_secret),
        };
        let body = serde_json::to_vec(&answer).map_err(|_| {
            OAuthError::new(OAuthCode::ServerError, "the answer could not be written")
        })?;
        let mut response = http::Response::new(Body::full(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
        Ok(response)
    }

    /// When the one token of a grant without refresh token ends.
    fn one_token(&self) -> Timestamp {
        self.ambient.now().plus(self.access.life())
    }
}

/// Reads the form of a request to the token or revocation endpoint.
pub(super) async fn read(headers: &http::HeaderMap, body: RequestBody) -> Result<Form, OAuthError> {
    let body = body.collect(MAX_FORM, FORM_TIME).await.map_err(|reject| {
        tracing::debug!(reason = reject.reason(), "a form could not be read");
        OAuthError::invalid_request("the body is too large or did not arrive in time")
    })?;
    Form::of_body(headers, &body)
}

/// The client that calls, proven.
pub(super) async fn authenticated(
    clients: &Clients,
    headers: &http::HeaderMap,
    form: &Form,
    from: Option<IpAddr>,
) -> Result<Arc<Client>, OAuthError> {
    let found = clients.authenticate(headers, form, from).await;
    found.map_err(|error| {
        tracing::info!(%error, "a client was refused");
        error.into()
    })
}

fn grant_of(text: &str) -> Result<(GrantType, &'static str), OAuthError> {
    match text {
        "authorization_code" => Ok((GrantType::AuthorizationCode, "authorization_code")),
        "refresh_token" => Ok((GrantType::RefreshToken, "refresh_token")),
        "client_credentials" => Ok((GrantType::ClientCredentials, "client_credentials")),
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => Ok((GrantType::JwtBearer, "jwt_bearer")),
        _ => Err(OAuthError::new(
            OAuthCode::UnsupportedGrantType,
            "this grant_type is not served",
        )),
    }
}

/// 405 for everything but POST (RFC 6749 section 3.2).
pub(super) fn other_method() -> Response {
    let mut response =
        OAuthError::invalid_request("this endpoint takes POST requests only").answer();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    response
}

/// Bytes of a form: tokens, an assertion, and a little.
const MAX_FORM: usize = 64 << 10;
/// Time to send it.
const FORM_TIME: Duration = Duration::from_secs(10);
