//! The way back to the app: a redirect for addresses of the web and of this computer, a page with a link for the
//! private-use schemes of apps. After a redirect to `cursor://…` the browser would stay on the page before, and
//! nobody would know what to do there.

use http::header::{CACHE_CONTROL, LOCATION, REFERRER_POLICY};
use http::{HeaderValue, StatusCode};

use super::client::{Place, RedirectUri};
use super::desk::Desk;
use super::error::OAuthError;
use crate::http::pages::{HandOff, View};
use crate::http::{Body, Response};
use crate::reject::Reject;
use crate::secret::Secret;

/// What an app is told after the person was asked.
pub(super) struct Answer<'a> {
    /// The app's name for pages.
    pub(super) app: Option<&'a str>,
    pub(super) redirect_uri: &'a RedirectUri,
    /// The address with the answer in it.
    pub(super) href: String,
    pub(super) allowed: bool,
}

impl Answer<'_> {
    /// Sends the person back.
    pub(super) fn send(&self, desk: &Desk, view: &View) -> Result<Response, Reject> {
        match self.redirect_uri.place() {
            Place::Web(_) | Place::Loopback(_) => redirect(&self.href),
            Place::App(_) => Ok(desk.pages().hand_off(
                // What changes the language would have to come back here, and there is no way back here.
                &view.clone().at(None),
                &HandOff {
                    app: self.app,
                    href: &self.href,
                    allowed: self.allowed,
                    at_once: true,
                },
            )),
        }
    }
}

/// The address that tells an app of its code, with `iss` (RFC 9207 section 2).
pub(super) fn code(
    desk: &Desk,
    redirect_uri: &RedirectUri,
    state: Option<&str>,
    code: &Secret,
) -> String {
    let pairs = [
        ("code", Some(code.expose_secret())),
        ("state", state),
        ("iss", Some(&*desk.issuer)),
    ];
    with(redirect_uri.as_str(), &pairs)
}

/// The address that tells an app of an error (RFC 6749 section 4.1.2.1).
pub(super) fn error(
    desk: &Desk,
    redirect_uri: &RedirectUri,
    state: Option<&str>,
    error: &OAuthError,
) -> String {
    let pairs = [
        ("error", Some(error.code.as_str())),
        ("error_description", Some(error.description)),
        ("state", state),
        ("iss", Some(&*desk.issuer)),
    ];
    with(redirect_uri.as_str(), &pairs)
}

/// An address with further parameters. What stands before them stays byte for byte: it was compared as text.
fn with(address: &str, pairs: &[(&str, Option<&str>)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let separator = match address.split_once('?') {
        None => "?",
        Some((_, before)) if before.is_empty() || before.ends_with('&') => "",
        Some(_) => "&",
    };
    format!("{address}{separator}{}", query.finish())
}

/// 303, which makes a GET of a form's POST (RFC 9110 section 15.4.4), and takes no referrer along.
pub(super) fn redirect(to: &str) -> Result<Response, Reject> {
    let location = HeaderValue::try_from(to)
        .map_err(|_| Reject::internal().because("a redirect's target is no header value"))?;
    let mut response = http::Response::new(Body::Empty);
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(LOCATION, location);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_added_and_nothing_else_changes() {
        let pairs = [
            ("code", Some("a b&c")),
            ("state", None),
            ("iss", Some("https://x")),
        ];
        let query = "code=a+b%26c&iss=https%3A%2F%2Fx";
        for (address, expected) in [
            ("https://A.example/cb", "https://A.example/cb?"),
            ("https://a.example/cb?x=1", "https://a.example/cb?x=1&"),
            ("https://a.example/cb?", "https://a.example/cb?"),
            ("https://a.example/cb?x=1&", "https://a.example/cb?x=1&"),
            ("cursor://host/path", "cursor://host/path?"),
        ] {
            assert_eq!(with(address, &pairs), format!("{expected}{query}"));
        }
    }
}
