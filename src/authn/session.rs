//! When a session cookie counts.
//!
//! A browser sends our cookie along with whatever any page makes it ask for, so the cookie alone says nothing about
//! who wants this. It counts when the browser says that a page of ours or the person does; where browsers cannot
//! tell (after a login Chromium marks the redirect back as cross-site) a plain navigation is enough, for it
//! changes nothing and no other page can read what comes back.

use http::HeaderMap;
use http::header::{ORIGIN, UPGRADE};

use crate::config::route::Kind;
use crate::http::navigation::{self, Site};

/// Whether navigations from other sites count: on `http` routes and for forward-auth, never on `mcp` routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Navigations {
    Count,
    DoNot,
}

impl Navigations {
    pub(super) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Http => Self::Count,
            Kind::Mcp => Self::DoNot,
        }
    }
}

/// Whether the session cookie of a request counts. `own` is our origin.
pub(super) fn cookie_counts(headers: &HeaderMap, own: &str, navigations: Navigations) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let origin = origins
        .next()
        .map(|origin| origin.as_bytes() == own.as_bytes());
    if origins.next().is_some() || origin == Some(false) {
        return false;
    }
    if headers.contains_key(UPGRADE) {
        return origin == Some(true);
    }
    match navigation::site(headers) {
        // Without the header, what has an `Origin` that is not ours was turned away above.
        Site::Same | Site::Unsaid => true,
        Site::Foreign => {
            navigations == Navigations::Count && navigation::is_document_navigation(headers)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "https://mcp.example.com";

    fn counts(lines: &[(&'static str, &'static str)], navigations: Navigations) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        cookie_counts(&headers, OWN, navigations)
    }

    #[test]
    fn the_table() {
        let site = |value| ("sec-fetch-site", value);
        let navigation = [
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        let with = |first, more: &[(&'static str, &'static str)]| [&[first], more].concat();
        for (lines, on_http, on_mcp) in [
            (vec![], true, true),
            (vec![("origin", OWN)], true, true),
            (vec![("origin", "https://evil.test")], false, false),
            (vec![("origin", "null")], false, false),
            (vec![("origin", OWN), ("origin", OWN)], false, false),
            (vec![site("same-origin")], true, true),
            (vec![site("none")], true, true),
            (
                vec![site("same-origin"), ("origin", "https://evil.test")],
                false,
                false,
            ),
            (vec![site("same-site")], false, false),
            (vec![site("cross-site")], false, false),
            (vec![site("none"), site("none")], false, false),
            (with(site("cross-site"), &navigation), true, false),
            (with(site("same-site"), &navigation), true, false),
            (
                with(
                    site("cross-site"),
                    &[
                        navigation[0],
                        navigation[1],
                        ("origin", "https://evil.test"),
                    ],
                ),
                false,
                false,
            ),
            (
                with(
                    site("cross-site"),
                    &[navigation[0], ("sec-fetch-dest", "iframe")],
                ),
                false,
                false,
            ),
            (
                with(
                    site("cross-site"),
                    &[("sec-fetch-mode", "no-cors"), navigation[1]],
                ),
                false,
                false,
            ),
            (vec![("upgrade", "websocket"), ("origin", OWN)], true, true),
            (
                vec![
                    ("upgrade", "websocket"),
                    ("origin", OWN),
                    site("same-origin"),
                ],
                true,
                true,
            ),
            (vec![("upgrade", "websocket")], false, false),
            (
                vec![("upgrade", "websocket"), site("same-origin")],
                false,
                false,
            ),
            (
                vec![("upgrade", "websocket"), ("origin", "https://evil.test")],
                false,
                false,
            ),
        ] {
            assert_eq!(
                counts(&lines, Navigations::Count),
                on_http,
                "http {lines:?}"
            );
            assert_eq!(counts(&lines, Navigations::DoNot), on_mcp, "mcp {lines:?}");
        }
    }
}
