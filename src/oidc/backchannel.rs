//! `/oauth2/backchannel-logout`: the provider says that somebody's sign-in is over (OpenID Connect Back-Channel Logout
//! 1.0). Every login of that session, or of that person, ends on all replicas.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::browser::{Browser, only, store_unavailable};
use super::jwt::{JwtError, Unverified, is_for, time};
use super::provider::{Provider, Ready};
use crate::audit::event::clip;
use crate::audit::{Event, Kind, Outcome, Who};
use crate::clock::Timestamp;
use crate::http::{Body, Inbound, Request, Response};
use crate::ids::Subject;
use crate::reject::{Code, Fault, Reject};
use crate::secret::Digest;
use crate::session::ProviderTokens;
use crate::store::{Key, Space, Unavailable};

/// Bytes of a request that are read, and the time to send them.
const MAX_FORM: usize = 64 << 10;
const FORM_TIME: Duration = Duration::from_secs(10);

/// The member of `events` that makes a token a logout token (section 2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// How old a token without `exp` may be, as older providers send it; and one with `exp`, whatever that says. Within that
/// time its `jti` is remembered.
const MAX_AGE: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(86_400));

/// Longest `jti`, `sid` and `sub`, in bytes.
const MAX_NAME: usize = 1024;

/// Whose logins end.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    issuer: String,
    subject: Option<String>,
    session: Option<String>,
    jti: String,
    /// Until when the token could be sent again.
    until: Timestamp,
}

/// Why nothing was ended.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Invalid(&'static str),
    #[error("{0}")]
    Later(String),
    #[error("{}", .0.reason().unwrap_or_default())]
    Reject(Reject),
}

impl From<JwtError> for Refused {
    fn from(error: JwtError) -> Self {
        match error {
            JwtError::Invalid(why) => Self::Invalid(why),
            JwtError::Keys(error) => Self::Later(error.to_string()),
        }
    }
}

impl From<Unavailable> for Refused {
    fn from(error: Unavailable) -> Self {
        Self::Reject(store_unavailable(&error))
    }
}

/// Ends what a logout token names: 200. One that does not count: 400. While the store or the keys are away: 503, so that
/// the provider sends it again.
pub(super) async fn logout(
    browser: &Browser,
    inbound: &Inbound,
    request: Request,
) -> Result<Response, Reject> {
    only(&request, "POST")?;
    let (head, body) = request.into_parts();
    let form = body.collect(MAX_FORM, FORM_TIME).await?;
    let outcome = end(browser, &head.headers, &form).await;
    browser
        .audit
        .note_with(|_| event(&outcome).at(inbound.place()));
    match outcome {
        Ok((_, ended)) => {
            browser.count("backchannel_logout", "success", "none");
            tracing::info!(ended, "the provider ended logins by back-channel logout");
            answer(StatusCode::OK, None)
        }
        Err(Refused::Invalid(why)) => {
            browser.count("backchannel_logout", "failure", "invalid_token");
            tracing::warn!(%why, "a back-channel logout was refused");
            answer(StatusCode::BAD_REQUEST, Some(why))
        }
        Err(Refused::Later(why)) => {
            browser.count("backchannel_logout", "failure", "provider_unavailable");
            tracing::warn!(%why, "a back-channel logout could not be judged; the provider is asked to repeat it");
            let reject = Reject::unavailable(
                Code::KeysUnavailable,
                Fault::Provider,
                "The logout token cannot be judged just now. Send it again in a moment.",
            );
            Err(no_store(reject.because(why)))
        }
        Err(Refused::Reject(reject)) => {
            browser.count("backchannel_logout", "failure", reject.code().as_str());
            Err(no_store(reject))
        }
    }
}

fn event(outcome: &Result<(Wanted, usize), Refused>) -> Event {
    match outcome {
        Ok((wanted, ended)) => {
            let who = Who {
                issuer: Some(clip(&wanted.issuer).into()),
                subject: wanted.subject.as_deref().map(|text| clip(text).into()),
                ..Who::default()
            };
            Event::ok(Kind::Logout)
                .because("told_by_provider")
                .detail(&format!("{ended} logins ended"))
                .by(who)
        }
        Err(Refused::Invalid(why)) => Event::new(Kind::Logout, Outcome::Failure)
            .because("invalid_token")
            .detail(why),
        Err(Refused::Later(why)) => Event::new(Kind::Logout, Outcome::Error)
            .because(Code::KeysUnavailable.as_str())
            .detail(why),
        Err(Refused::Reject(reject)) => Event::rejected(Kind::Logout, reject),
    }
}

fn no_store(reject: Reject) -> Reject {
    reject.header(CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

/// Section 2.8: 200, or 400 with an error as of RFC 6749 section 5.2. Never stored.
fn answer(status: StatusCode, why: Option<&str>) -> Result<Response, Reject> {
    let body = why.map_or_else(Bytes::new, |why| {
        let error = json!({ "error": "invalid_request", "error_description": why });
        error.to_string().into()
    });
    http::Response::builder()
        .status(status)
        .header(CACHE_CONTROL, "no-store")
        .header(CONTENT_TYPE, "application/json")
        .body(Body::full(body))
        .map_err(|error| Reject::internal().because(error.to_string()))
}

async fn end(
    browser: &Browser,
    headers: &HeaderMap,
    form: &[u8],
) -> Result<(Wanted, usize), Refused> {
    let token = token(headers, form)?;
    let wanted = judge(browser, &token).await?;
    let key = replay_key(&wanted);
    if browser.store.get(&key).await?.is_some() {
        return Err(Refused::Invalid("its `jti` was there before"));
    }
    let mut ended = 0;
    for login in logins(browser, &wanted).await? {
        browser.sessions.end_login(&login).await?;
        ended += 1;
    }
    // Last: were it first and the store then away, the repetition would be refused and nothing would have ended.
    let left = wanted.until.since(browser.ambient.now());
    browser.store.put_new(&key, Bytes::new(), left).await?;
    Ok((wanted, ended))
}

/// `logout_token` of the form, once.
fn token(headers: &HeaderMap, form: &[u8]) -> Result<String, Refused> {
    let typed = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(|value| value.split(';').next().unwrap_or_default().trim());
    if !typed.is_some_and(|typed| typed.eq_ignore_ascii_case("application/x-www-form-urlencoded")) {
        return Err(Refused::Invalid(
            "the body has to be application/x-www-form-urlencoded",
        ));
    }
    let mut found = url::form_urlencoded::parse(form).filter(|(name, _)| name == "logout_token");
    match (found.next(), found.next()) {
        (Some((_, token)), None) if !token.is_empty() => Ok(token.into_owned()),
        _ => Err(Refused::Invalid("`logout_token` has to be there once")),
    }
}

async fn judge(browser: &Browser, token: &str) -> Result<Wanted, Refused> {
    let token = Unverified::parse(token)?;
    let named = token.text("iss").unwrap_or_default();
    let provider = browser
        .provider_of(named)
        .ok_or(Refused::Invalid("its `iss` is no provider of ours"))?;
    let ready = provider.ready().await.map_err(Refused::Reject)?;
    let Some(jwks) = ready.jwks() else {
        return Err(Refused::Invalid("its `iss` signs nothing"));
    };
    // Providers that have no type for it write `JWT`; what it is for is said by `events` anyhow.
    let claims = token.verify(jwks, &["logout+jwt", "JWT"]).await?;
    check(
        &claims,
        provider,
        &ready,
        browser.ambient.now(),
        browser.skew,
    )
}

/// Section 2.6, but for the signature.
fn check(
    claims: &Map<String, Value>,
    provider: &Provider,
    ready: &Ready,
    now: Timestamp,
    skew: Duration,
) -> Result<Wanted, Refused> {
    let text = |name: &str| {
        claims
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty() && text.len() <= MAX_NAME)
            .map(str::to_owned)
    };
    let issuer = text("iss")
        .filter(|issuer| ready.is_issuer(issuer))
        .map(|issuer| ready.canonical(&issuer).to_string())
        .ok_or(Refused::Invalid("its `iss` is not the provider's"))?;
    if !is_for(claims, &provider.config().client_id) {
        return Err(Refused::Invalid("its `aud` is not this client"));
    }
    let iat = time(claims, "iat")?.ok_or(Refused::Invalid("it has no `iat`"))?;
    if iat > now.plus(skew) {
        return Err(Refused::Invalid("it was iat in the future"));
    }
    let expires = time(claims, "exp")?;
    let until = match expires {
        Some(expires) => expires.min(iat.plus(MAX_AGE.1)),
        None => iat.plus(MAX_AGE.0),
    };
    let until = until.plus(skew);
    if now >= until {
        return Err(Refused::Invalid("it is too old"));
    }
    if !claims
        .get("events")
        .and_then(|events| events.get(EVENT))
        .is_some_and(Value::is_object)
    {
        return Err(Refused::Invalid("it has no back-channel logout event"));
    }
    // Section 2.4: so that no ID token can be taken for one.
    if claims.contains_key("nonce") {
        return Err(Refused::Invalid("it has a `nonce`"));
    }
    let (subject, session) = (text("sub"), text("sid"));
    if subject.is_none() && session.is_none() {
        return Err(Refused::Invalid("it has neither `sub` nor `sid`"));
    }
    Ok(Wanted {
        jti: text("jti").ok_or(Refused::Invalid("it has no `jti`"))?,
        issuer,
        subject,
        session,
        until,
    })
}

fn replay_key(wanted: &Wanted) -> Key {
    let name = ["logout", &wanted.issuer, &wanted.jti].join("\0");
    let digest = Digest::of(name.as_bytes());
    Key::new(Space::Replay, URL_SAFE_NO_PAD.encode(digest.as_bytes()))
}

/// The logins that are meant: those of the provider's session, and of the person those of which nobody knows on which of
/// the provider's sessions they are.
async fn logins(browser: &Browser, wanted: &Wanted) -> Result<Vec<String>, Refused> {
    let sessions = &browser.sessions;
    let mut all = match &wanted.session {
        Some(session) => {
            sessions
                .logins_of_provider_session(&wanted.issuer, session)
                .await?
        }
        None => Vec::new(),
    };
    if let Some(subject) = &wanted.subject {
        let subject = Subject {
            issuer: wanted.issuer.as_str().into(),
            subject: subject.as_str().into(),
        };
        for login in sessions.logins_of(&subject).await? {
            let meant = wanted.session.is_none() || {
                let tokens = sessions.tokens(&login).await?;
                tokens.is_some_and(|(_, tokens)| on_unknown_session(&tokens))
            };
            if meant && !all.contains(&login) {
                all.push(login);
            }
        }
    }
    Ok(all)
}

fn on_unknown_session(tokens: &ProviderTokens) -> bool {
    tokens.provider_session.is_none()
}
