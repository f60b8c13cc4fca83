//! The pages that people see: rendered from compiled templates, without scripts, with one style sheet.
//!
//! Text goes into text nodes and quoted attributes only, where the templates escape it. What a provider or a
//! client said about an error is never shown.

use askama::Template;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, StatusCode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock::Timestamp;
use crate::http::{Body, Response};
use crate::ids::RequestId;
use crate::reject::Code;

/// The style sheet, served at `<own prefix>/style.css`.
pub const STYLE: &str = include_str!("../../templates/style.css");

/// What a page holds, which decides its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// Text and links.
    Plain,
    /// A form of ours whose answer may lead off our origin. Chromium applies `form-action` to every hop of
    /// the redirects that a form starts, so such a page has none; and with `no-referrer` it would send
    /// `Origin: null` on our own form.
    Form,
}

const PLAIN_CSP: &str = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; \
                         frame-ancestors 'none'; form-action 'none'";
const FORM_CSP: &str = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; \
                        frame-ancestors 'none'";

/// The headers of a page, besides `X-Request-Id`.
pub fn headers(kind: PageKind) -> [(HeaderName, HeaderValue); 8] {
    let (csp, referrer) = match kind {
        PageKind::Plain => (PLAIN_CSP, "no-referrer"),
        PageKind::Form => (FORM_CSP, "same-origin"),
    };
    [
        (
            CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static(referrer)),
        (
            HeaderName::from_static("content-security-policy"),
            HeaderValue::from_static(csp),
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("same-origin"),
        ),
        (
            HeaderName::from_static("permissions-policy"),
            HeaderValue::from_static(
                "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
            ),
        ),
    ]
}

/// A whole answer that is a page.
pub fn response(status: StatusCode, kind: PageKind, html: String) -> Response {
    let mut response = http::Response::new(Body::full(html));
    *response.status_mut() = status;
    response.headers_mut().extend(headers(kind));
    response
}

/// An error, as a person is told about it.
#[derive(Clone, Copy, Debug)]
pub struct ErrorPage<'a> {
    /// Prefix of our own endpoints, without a final slash.
    pub prefix: &'a str,
    /// The status.
    pub status: StatusCode,
    /// The stable code.
    pub code: Code,
    /// What happened, why, what to do next. Shown as it is.
    pub message: &'a str,
    /// Names the request in the log.
    pub request_id: RequestId,
    /// When it happened.
    pub at: Timestamp,
}

/// Renders an error page.
pub fn error(page: &ErrorPage<'_>) -> String {
    let time = OffsetDateTime::from_unix_timestamp(page.at.as_secs())
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default();
    render(&ErrorTemplate {
        prefix: page.prefix,
        title: title(page.code),
        message: page.message,
        actions: actions(page.code, page.prefix),
        request_id: &page.request_id.to_string(),
        time: &time,
        code: page.code.as_str(),
        status: page.status.as_u16(),
    })
}

/// The sign-in page.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "sign_in.html")]
pub struct SignIn<'a> {
    /// Prefix of our own endpoints.
    pub prefix: &'a str,
    /// Our host, as people know it.
    pub host: &'a str,
    /// The provider's host; empty when it is not known.
    pub provider: &'a str,
    /// Path and query that begin the login.
    pub start: &'a str,
}

/// The page that asks whether to sign out.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "sign_out.html")]
pub struct SignOut<'a> {
    /// Prefix of our own endpoints.
    pub prefix: &'a str,
    /// Our host.
    pub host: &'a str,
    /// Who is signed in; empty when nobody is.
    pub account: &'a str,
    /// Path that the form posts to.
    pub action: &'a str,
    /// Where to go afterwards; may be empty.
    pub return_to: &'a str,
}

/// The page after sign-out.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "signed_out.html")]
pub struct SignedOut<'a> {
    /// Prefix of our own endpoints.
    pub prefix: &'a str,
    /// Our host.
    pub host: &'a str,
    /// Whether the provider's own session was ended too.
    pub at_provider: bool,
    /// Path of the sign-in page.
    pub sign_in: &'a str,
}

/// Renders any of the templates above.
pub fn render(page: &impl Template) -> String {
    // Writing into a String does not fail, and no template calls what could.
    page.render().unwrap_or_default()
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorTemplate<'a> {
    prefix: &'a str,
    title: &'static str,
    message: &'a str,
    actions: Vec<Action>,
    request_id: &'a str,
    time: &'a str,
    code: &'static str,
    status: u16,
}

struct Action {
    label: &'static str,
    href: String,
}

fn title(code: Code) -> &'static str {
    match code {
        Code::BadRequest | Code::BadTarget | Code::HeadersTooLarge => {
            "This request cannot be answered"
        }
        Code::BodyTooLarge => "This is too large to send",
        Code::RequestTimeout => "The request took too long",
        Code::MethodNotAllowed => "This address cannot be used that way",
        Code::NotFound => "There is nothing at this address",
        Code::Misdirected => "This request came to the wrong place",
        Code::OriginRefused => "The request came from another site",
        Code::Unauthenticated | Code::InvalidToken => "Please sign in",
        Code::InsufficientScope | Code::Forbidden => "You do not have access",
        Code::LoginFailed => "The sign-in did not work",
        Code::LoginExpired => "This sign-in link is no longer good",
        Code::ProviderUnavailable | Code::KeysUnavailable => {
            "The identity provider does not answer"
        }
        Code::StoreUnavailable => "Sign-ins cannot be looked up just now",
        Code::BackendUnreachable | Code::BackendTimeout | Code::BackendFailed => {
            "The server behind this address has a problem"
        }
        Code::BackendBusy | Code::TooManyRequests => "Too much is going on just now",
        Code::Draining => "This service is restarting",
        Code::Internal => "Something went wrong here",
    }
}

fn actions(code: Code, prefix: &str) -> Vec<Action> {
    let sign_in = |label| Action {
        label,
        href: format!("{prefix}/sign_in"),
    };
    match code {
        Code::Unauthenticated | Code::InvalidToken => vec![sign_in("Sign in")],
        Code::LoginFailed | Code::LoginExpired => vec![sign_in("Sign in again")],
        Code::InsufficientScope | Code::Forbidden => {
            vec![Action {
                label: "Use another account",
                href: format!("{prefix}/sign_out"),
            }]
        }
        Code::RequestTimeout
        | Code::ProviderUnavailable
        | Code::KeysUnavailable
        | Code::StoreUnavailable
        | Code::BackendUnreachable
        | Code::BackendTimeout
        | Code::BackendFailed
        | Code::BackendBusy
        | Code::TooManyRequests
        | Code::Draining
        | Code::Internal => vec![Action {
            label: "Try again",
            href: String::new(),
        }],
        Code::BadRequest
        | Code::BadTarget
        | Code::HeadersTooLarge
        | Code::BodyTooLarge
        | Code::MethodNotAllowed
        | Code::NotFound
        | Code::Misdirected
        | Code::OriginRefused => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
