//! URLs with a meaning: the public origin, an issuer, a place to return to. Each checks itself when made.

pub mod redirect;

use std::fmt;
use std::sync::Arc;

use url::Url;

/// The origin under which the proxy is reached: scheme, host and port, no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    origin: Arc<str>,
    authority: Arc<str>,
    https: bool,
}

/// Why a text is not a public URL.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PublicUrlError {
    /// Not an absolute http or https URL with a host.
    #[error("`{0}` is not an absolute http or https address with a host")]
    NotHttp(String),
    /// A path, query, fragment or user was given.
    #[error(
        "`{0}` has more than scheme, host and port; give the proxy a host name of its own, or map the gateway so that no stage path is left, and write the origin only"
    )]
    NotAnOrigin(String),
}

impl PublicUrl {
    /// Reads an origin; one final slash is tolerated.
    pub fn parse(text: &str) -> Result<Self, PublicUrlError> {
        let url = Url::parse(text).map_err(|_| PublicUrlError::NotHttp(text.to_owned()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(PublicUrlError::NotHttp(text.to_owned()));
        }
        if url.path() != "/"
            || url.query().is_some()
            || url.fragment().is_some()
            || !url.username().is_empty()
            || url.password().is_some()
        {
            return Err(PublicUrlError::NotAnOrigin(text.to_owned()));
        }
        let origin = url.origin().ascii_serialization();
        let authority = origin
            .split_once("://")
            .map_or("", |(_, rest)| rest)
            .to_owned();
        Ok(Self {
            origin: origin.into(),
            authority: authority.into(),
            https: url.scheme() == "https",
        })
    }

    /// `https://host[:port]`, no final slash: the issuer string and the `Origin` of our own pages.
    pub fn as_str(&self) -> &str {
        &self.origin
    }

    /// `host[:port]`, the default port left out.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether cookies get `Secure` and `__Host-`.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The absolute URL of a path (which starts with a slash) on this origin.
    pub fn join(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.origin)
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

/// A place on our own origin to which a person returns after login: a path with an optional query.
///
/// Anything that a browser could read as another origin is refused: `//`, `/\`, control characters,
/// white space and backslashes anywhere in the text, also where they are percent-encoded at the front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// Longest return address that is kept, in bytes. An authorization request of an MCP client has to fit: its
    /// `client_id` alone may have 2 KiB, and clients put all they want into `state`.
    pub const MAX: usize = 6 << 10;

    /// Reads a same-origin path and query; `None` when it could lead elsewhere.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() > Self::MAX || bytes.first() != Some(&b'/') {
            return None;
        }
        if bytes
            .iter()
            .any(|b| !(0x21..=0x7e).contains(b) || *b == b'\\')
        {
            return None;
        }
        // Decode the path twice, as the most lenient chain of readers would, and look again.
        let path = text.split(['?', '#']).next().unwrap_or_default();
        let mut seen = path.to_owned();
        for _ in 0..3 {
            if seen.starts_with("//")
                || seen.starts_with("/\\")
                || seen.bytes().any(|b| b.is_ascii_control() || b == b'\\')
            {
                return None;
            }
            let decoded = percent_encoding::percent_decode_str(&seen)
                .decode_utf8()
                .ok()?
                .into_owned();
            if decoded == seen {
                break;
            }
            seen = decoded;
        }
        // The URL standard's own view, against a base that cannot be ours by accident.
        let base = Url::parse("https://return.invalid").ok()?;
        let joined = base.join(text).ok()?;
        (joined.origin() == base.origin() && !joined.path().starts_with("//"))
            .then(|| Self(text.to_owned()))
    }

    /// The start page.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// The path and query.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_an_origin() {
        let url = PublicUrl::parse("https://MCP.example.com:443/").unwrap();
        assert_eq!(
            (url.as_str(), url.authority()),
            ("https://mcp.example.com", "mcp.example.com")
        );
        assert!(matches!(
            PublicUrl::parse("https://a.b/c"),
            Err(PublicUrlError::NotAnOrigin(_))
        ));
        assert!(matches!(
            PublicUrl::parse("mcp.example.com"),
            Err(PublicUrlError::NotHttp(_))
        ));
    }

    #[test]
    fn return_addresses_stay_on_the_origin() {
        for good in [
            "/",
            "/a?b=c",
            "/a/b%20c",
            "/x#y",
            "/a?u=https://other.example/",
        ] {
            assert!(ReturnTo::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "a",
            "//evil",
            "/\\evil",
            "/%2f/evil",
            "/%5cevil",
            "/%09/evil",
            "/\tevil",
            "https://evil",
            "/%252fevil/",
            "/..//evil",
            "/.//evil",
            "\\\\evil",
            "/ evil",
            "/%0d%0aLocation:x",
            "/%255cevil",
        ] {
            assert!(ReturnTo::parse(bad).is_none(), "{bad}");
        }
    }
}
