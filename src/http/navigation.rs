//! What a browser says about its own request (Fetch Metadata, <https://www.w3.org/TR/fetch-metadata/>).

use http::header::{ACCEPT, ORIGIN};
use http::{HeaderMap, Method};

/// Where the page that caused a request stands towards us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// Our own origin, or the person (address bar, bookmark).
    Same,
    /// Any other page, also one of a sibling host.
    Foreign,
    /// The browser does not say, or there is no browser.
    Unsaid,
}

/// Reads `Sec-Fetch-Site`. Values that we do not know and repeated headers are foreign.
pub fn site(headers: &HeaderMap) -> Site {
    let mut values = headers.get_all("sec-fetch-site").iter();
    match (values.next(), values.next()) {
        (None, _) => Site::Unsaid,
        (Some(value), None) if matches!(value.as_bytes(), b"same-origin" | b"none") => Site::Same,
        _ => Site::Foreign,
    }
}

/// Whether a person's browser loads a page into a window or tab of its own, by what it says itself.
pub fn is_document_navigation(headers: &HeaderMap) -> bool {
    loads_document(headers) && !headers.contains_key(ORIGIN)
}

fn loads_document(headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &[u8]| {
        let mut values = headers.get_all(name).iter();
        values.next().is_some_and(|found| found.as_bytes() == value) && values.next().is_none()
    };
    is("sec-fetch-mode", b"navigate") && is("sec-fetch-dest", b"document")
}

/// Whether an answer is for a person's eyes: a navigation (a form that was sent is one too), or, where the browser
/// does not say (plain http, old ones), a GET or a form that asks for HTML first of all.
pub fn wants_page(method: &Method, headers: &HeaderMap) -> bool {
    if headers.contains_key("sec-fetch-mode") {
        return loads_document(headers);
    }
    if !matches!(*method, Method::GET | Method::HEAD | Method::POST) {
        return false;
    }
    headers
        .get(ACCEPT)
        .is_some_and(|accept| accept.as_bytes().starts_with(b"text/html"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn sent(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn sites() {
        assert_eq!(site(&HeaderMap::new()), Site::Unsaid);
        for (value, expected) in [
            ("same-origin", Site::Same),
            ("none", Site::Same),
            ("same-site", Site::Foreign),
            ("cross-site", Site::Foreign),
            ("Same-Origin", Site::Foreign),
            ("", Site::Foreign),
        ] {
            assert_eq!(
                site(&sent(&[("sec-fetch-site", value)])),
                expected,
                "{value}"
            );
        }
        assert_eq!(
            site(&sent(&[
                ("sec-fetch-site", "none"),
                ("sec-fetch-site", "none")
            ])),
            Site::Foreign
        );
    }

    #[test]
    fn pages_are_for_navigating_browsers() {
        let navigation = [
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        assert!(wants_page(&Method::GET, &sent(&navigation)));
        assert!(wants_page(
            &Method::GET,
            &sent(&[("accept", "text/html,application/xhtml+xml")])
        ));
        for lines in [
            &[
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "iframe"),
                ("accept", "text/html"),
            ][..],
            &[
                ("sec-fetch-mode", "cors"),
                ("sec-fetch-dest", "empty"),
                ("accept", "text/html"),
            ],
            &[("accept", "application/json, text/html")],
            &[("accept", "*/*")],
            &[],
        ] {
            assert!(!wants_page(&Method::GET, &sent(lines)), "{lines:?}");
        }
        let form = [
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
            ("origin", "https://mcp.example.com"),
        ];
        assert!(wants_page(&Method::POST, &sent(&form)));
        assert!(wants_page(
            &Method::POST,
            &sent(&[("accept", "text/html,*/*")])
        ));
        assert!(!wants_page(
            &Method::DELETE,
            &sent(&[("accept", "text/html")])
        ));
    }
}
