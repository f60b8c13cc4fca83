//! The small endpoints: the sign-in page, who is signed in, how long, and the style sheet.

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::browser::{Browser, not_here, only, redirect};
use super::login::{PROMPTS, one};
use super::site::Site;
use crate::clock::Timestamp;
use crate::config::pages::Language;
use crate::http::pages::{Choice, SignIn};
use crate::http::{Body, Request, Response};
use crate::paths::Own;
use crate::reject::{Code, Fault, Reject};
use crate::secret::Secret;
use crate::session::Session;
use crate::urls::ReturnTo;

/// How long browsers may keep what never changes under its address.
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// How long a chosen language is kept.
const LANGUAGE_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// The style sheet of all pages.
pub(super) fn style(browser: &Browser, request: &Request) -> Result<Response, Reject> {
    only(request, "GET, HEAD")?;
    let mut response = http::Response::new(Body::full(browser.pages.style().to_owned()));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/css; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, KEPT);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// The operator's logo. Opened by itself it is an image without any rights (an SVG could hold a script).
pub(super) fn logo(browser: &Browser, request: &Request) -> Result<Response, Reject> {
    only(request, "GET, HEAD")?;
    let logo = browser.pages.logo().ok_or_else(not_here)?;
    let mut response = http::Response::new(Body::full(logo.bytes()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(logo.kind()));
    headers.insert(CACHE_CONTROL, KEPT);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox"),
    );
    Ok(response)
}

/// Keeps the language that the person chose, and goes back. It changes nothing else, so a link may do it.
pub(super) fn language(browser: &Browser, request: &Request) -> Result<Response, Reject> {
    only(request, "GET")?;
    let query = request.uri().query().unwrap_or_default();
    let chosen = one(query, "to").and_then(|tag| {
        Language::ALL
            .into_iter()
            .find(|language| language.tag() == tag)
    });
    let chosen = chosen.ok_or_else(|| {
        Reject::bad_request("The parameter `to` names no language that there is.")
    })?;
    let to = one(query, "rd")
        .and_then(|to| ReturnTo::parse(&to))
        .unwrap_or_else(ReturnTo::root);
    let cookie = browser.names.set_cookie(
        &browser.names.language(),
        &Secret::new(chosen.tag()),
        LANGUAGE_LIFE,
    );
    redirect(
        StatusCode::SEE_OTHER,
        to.as_str(),
        cookie.into_iter().collect(),
    )
}

/// The page with the sign-in buttons; `rd` goes along.
pub(super) fn sign_in(browser: &Browser, request: &Request) -> Result<Response, Reject> {
    only(request, "GET, HEAD")?;
    browser.provider()?;
    let asked = request.uri().query().unwrap_or_default();
    let return_to = one(asked, "rd").and_then(|to| ReturnTo::parse(&to));
    let prompt = one(asked, "prompt").filter(|prompt| PROMPTS.contains(&&**prompt));
    // Where there is one provider only, it need not be named.
    let several = browser.choices().count() > 1;
    let address = |own: Own, provider: Option<&str>| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let pairs = [
            ("provider", provider),
            ("rd", return_to.as_ref().map(ReturnTo::as_str)),
            ("prompt", prompt.as_deref()),
        ];
        for (name, value) in pairs {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        let (path, query) = (browser.paths.path(own), query.finish());
        if query.is_empty() {
            path
        } else {
            format!("{path}?{query}")
        }
    };
    let here = address(Own::SignIn, None);
    let view = browser.pages.view(request.headers(), None, Some(&here));
    let choices = browser
        .choices()
        .map(|(name, label)| Choice {
            label: label.to_owned(),
            href: address(Own::Start, several.then_some(name)),
        })
        .collect();
    Ok(browser.pages.sign_in(&view, &SignIn { choices }))
}

/// Who is signed in. Never a token: the list of members is closed (CVE-2024-39315).
#[derive(Serialize)]
struct Who<'a> {
    issuer: &'a str,
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_username: Option<&'a str>,
    groups: &'a [String],
}

/// `/oauth2/userinfo`.
pub(super) async fn userinfo(browser: &Browser, request: &Request) -> Result<Response, Reject> {
    let session = own_session(browser, request).await?;
    let claims = &session.claims;
    json(&Who {
        issuer: &claims.subject.issuer,
        sub: &claims.subject.subject,
        email: claims.email.as_deref(),
        name: claims.name.as_deref(),
        preferred_username: claims.preferred_username.as_deref(),
        groups: &claims.groups,
    })
}

/// How long the session lasts, as times and as seconds from now.
#[derive(Serialize)]
struct Times {
    created: String,
    idle_end: String,
    absolute_end: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_due: Option<String>,
    ends_in_seconds: u64,
}

/// `/oauth2/session`.
pub(super) async fn session(browser: &Browser, request: &Request) -> Result<Response, Reject> {
    let session = own_session(browser, request).await?;
    let end = session.idle_end.min(session.absolute_end);
    json(&Times {
        created: rfc3339(session.created),
        idle_end: rfc3339(session.idle_end),
        absolute_end: rfc3339(session.absolute_end),
        refresh_due: session.refresh_due.map(rfc3339),
        ends_in_seconds: end.since(browser.ambient.now()).as_secs(),
    })
}

/// The session of a request, where its cookie counts: asked by our own pages, by the person, or by something
/// that is no browser.
async fn own_session(browser: &Browser, request: &Request) -> Result<Arc<Session>, Reject> {
    only(request, "GET, HEAD")?;
    let headers = request.headers();
    let found = if browser.site(headers) == Site::Foreign {
        None
    } else {
        browser.session(headers).await?
    };
    found.ok_or_else(|| {
        Reject::new(
            StatusCode::UNAUTHORIZED,
            Code::Unauthenticated,
            Fault::Client,
            "Nobody is signed in here. Sign in, then ask again.",
        )
    })
}

fn json(value: &impl Serialize) -> Result<Response, Reject> {
    let body =
        serde_json::to_vec(value).map_err(|error| Reject::internal().because(error.to_string()))?;
    let mut response = http::Response::new(Body::full(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

fn rfc3339(at: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp(at.as_secs())
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}
