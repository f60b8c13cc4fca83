//! What a page holds, which decides its headers.

use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderName, HeaderValue};

/// What a page holds, which decides its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// Text and links.
    Plain,
    /// A form of ours whose answer may lead off our origin. Chromium applies `form-action` to every hop of
    /// the redirects that a form starts, so such a page has none; and with `no-referrer` it would send
    /// `Origin: null` on our own form.
    Form,
    /// A page on the way of an app's authorization request. An app on the web may hold the window of it and
    /// wait for its answer there, so the opener is not cut off.
    Flow,
    /// A page that holds a code for an app in a link. Nothing is loaded but the style sheet.
    HandOff,
}

const PLAIN_CSP: &str = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; \
                         frame-ancestors 'none'; form-action 'none'";
const FORM_CSP: &str = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; \
                        frame-ancestors 'none'";
const HAND_OFF_CSP: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; \
                            frame-ancestors 'none'; form-action 'none'";

impl PageKind {
    /// The headers, besides `X-Request-Id` and those of the language.
    pub fn headers(self) -> [(HeaderName, HeaderValue); 9] {
        let (csp, referrer, opener) = match self {
            Self::Plain => (PLAIN_CSP, "no-referrer", "same-origin"),
            Self::Form => (FORM_CSP, "same-origin", "same-origin"),
            Self::Flow => (FORM_CSP, "same-origin", "unsafe-none"),
            Self::HandOff => (HAND_OFF_CSP, "no-referrer", "unsafe-none"),
        };
        let own = HeaderName::from_static;
        let value = HeaderValue::from_static;
        [
            (CONTENT_TYPE, value("text/html; charset=utf-8")),
            (CACHE_CONTROL, value("no-store")),
            (X_CONTENT_TYPE_OPTIONS, value("nosniff")),
            (X_FRAME_OPTIONS, value("DENY")),
            (REFERRER_POLICY, value(referrer)),
            (own("content-security-policy"), value(csp)),
            (own("cross-origin-opener-policy"), value(opener)),
            (own("cross-origin-resource-policy"), value("same-origin")),
            (
                own("permissions-policy"),
                value("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
            ),
        ]
    }
}
