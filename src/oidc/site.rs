//! Whether a request to our own endpoints was made by our own pages.

use http::HeaderMap;
use http::header::ORIGIN;

use crate::urls::PublicUrl;

/// Where a request comes from, as far as the browser says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// From our own origin, or typed by the person.
    Own,
    /// From elsewhere; another host of the same site counts as elsewhere.
    Foreign,
    /// The browser does not say (plain http, an old one, or none at all).
    Silent,
}

impl Site {
    /// Reads `Sec-Fetch-Site` (Fetch Metadata), else `Origin`.
    pub(crate) fn of(headers: &HeaderMap, public: &PublicUrl) -> Self {
        let mut said = headers.get_all("sec-fetch-site").iter();
        if let Some(first) = said.next() {
            let own = matches!(first.as_bytes(), b"same-origin" | b"none") && said.next().is_none();
            return if own { Self::Own } else { Self::Foreign };
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => Self::Silent,
            (Some(one), None) if one.as_bytes() == public.as_str().as_bytes() => Self::Own,
            _ => Self::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(lines: &[(&'static str, &'static str)]) -> Site {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        Site::of(
            &headers,
            &PublicUrl::parse("https://mcp.example.com").unwrap(),
        )
    }

    #[test]
    fn only_our_own_pages_are_ours() {
        assert_eq!(site(&[("sec-fetch-site", "same-origin")]), Site::Own);
        assert_eq!(site(&[("sec-fetch-site", "none")]), Site::Own);
        assert_eq!(site(&[("origin", "https://mcp.example.com")]), Site::Own);
        assert_eq!(site(&[]), Site::Silent);
        for foreign in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-site", "cross-site"),
            ],
            &[("origin", "null")],
            &[("origin", "https://mcp.example.com.evil.example")],
            &[
                ("origin", "https://mcp.example.com"),
                ("origin", "https://evil.example"),
            ],
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "https://mcp.example.com"),
            ],
        ] {
            assert_eq!(site(foreign), Site::Foreign, "{foreign:?}");
        }
    }
}
