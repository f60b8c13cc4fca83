//! Where a backend is: its address read once, and how paths are put below its own.

use std::borrow::Cow;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

use super::connect::Address;

/// A backend's address, read from `upstream`.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Where to connect.
    pub(crate) address: Address,
    /// `http` or `https`, for HTTP/2's `:scheme`.
    pub(crate) scheme: Scheme,
    /// `host[:port]` as written: the `Host` that backends expect. `localhost` for unix sockets.
    pub(crate) authority: Authority,
    base: PathAndQuery,
}

impl Place {
    /// Reads `http://host:port/path`, `https://…` or `unix:/path/to.sock:/path`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("unix:") {
            return Self::parse_unix(text, rest);
        }
        let wrong = |why: &str| {
            format!(
                "the address {why}; write http://host:port/path, https://host/path or unix:/path/to.sock:/path"
            )
        };
        let uri: Uri = text
            .parse()
            .map_err(|error| wrong(&format!("`{text}` is not a URL ({error})")))?;
        let authority = uri
            .authority()
            .ok_or_else(|| wrong(&format!("`{text}` has no host")))?
            .clone();
        if authority.as_str().contains('@') {
            // Not shown: it may hold a password.
            return Err(wrong(
                "has a user or password in it, which belongs into `headers`",
            ));
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(wrong(&format!("`{text}` has a query or fragment")));
        }
        let (scheme, port) = match uri.scheme_str() {
            Some("http") => (Scheme::HTTP, 80),
            Some("https") => (Scheme::HTTPS, 443),
            _ => return Err(wrong(&format!("`{text}` is of another kind"))),
        };
        if authority.host().is_empty() {
            return Err(wrong(&format!("`{text}` has no host")));
        }
        Ok(Self {
            address: Address::tcp(authority.host(), authority.port_u16().unwrap_or(port)),
            scheme,
            authority,
            base: uri.path().parse().map_err(|error| {
                wrong(&format!("`{text}` has a path that is not usable ({error})"))
            })?,
        })
    }

    fn parse_unix(text: &str, rest: &str) -> Result<Self, String> {
        let (socket, path) = match rest.find(":/") {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, "/"),
        };
        let path: PathAndQuery = path
            .parse()
            .map_err(|error| format!("the path in `{text}` is not usable: {error}"))?;
        if !socket.starts_with('/') || path.query().is_some() {
            return Err(format!(
                "`{text}` is not usable; write unix:/path/to.sock, or unix:/path/to.sock:/path"
            ));
        }
        Ok(Self {
            address: Address::unix(socket),
            scheme: Scheme::HTTP,
            authority: Authority::from_static("localhost"),
            base: path,
        })
    }

    /// Whether TLS is spoken.
    pub(crate) fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The path of the address itself.
    pub(crate) fn base(&self) -> &str {
        self.base.path()
    }

    /// Puts a judged path and query below the address's own path, byte for byte. What does not begin with a slash
    /// (nothing, or a query) goes right behind the address's path.
    pub(crate) fn join(&self, below: &str) -> Option<PathAndQuery> {
        if below.is_empty() {
            return Some(self.base.clone());
        }
        let whole = if below.starts_with('/') {
            match self.base.path().trim_end_matches('/') {
                "" => Cow::Borrowed(below),
                base => Cow::Owned([base, below].concat()),
            }
        } else {
            Cow::Owned([self.base.path(), below].concat())
        };
        match whole {
            Cow::Borrowed(path) => path.parse().ok(),
            Cow::Owned(path) => PathAndQuery::from_maybe_shared(bytes::Bytes::from(path)).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let place = Place::parse("http://127.0.0.1:3001/mcp").unwrap();
        assert_eq!(
            (place.address.to_string(), place.base()),
            ("127.0.0.1:3001".into(), "/mcp")
        );
        let place = Place::parse("https://[::1]").unwrap();
        assert_eq!(
            (place.address.to_string(), place.base(), place.is_tls()),
            ("[::1]:443".into(), "/", true)
        );
        let place = Place::parse("unix:/run/a.sock:/mcp").unwrap();
        assert_eq!(
            (place.address.to_string(), place.base()),
            ("unix:/run/a.sock".into(), "/mcp")
        );
        assert_eq!(Place::parse("unix:/run/a.sock").unwrap().base(), "/");
        for bad in [
            "",
            "host:80",
            "ftp://host/",
            "http://host/?q",
            "http://host/#f",
            "unix:run.sock",
            "http://",
            "/x",
        ] {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
        let error = Place::parse("http://user:secret@host/").unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn paths_go_below_byte_for_byte() {
        let join = |address: &str, below: &str| {
            Place::parse(address)
                .unwrap()
                .join(below)
                .unwrap()
                .to_string()
        };
        assert_eq!(join("http://h/mcp", ""), "/mcp");
        assert_eq!(join("http://h/mcp", "?a=%20b"), "/mcp?a=%20b");
        assert_eq!(join("http://h", ""), "/");
        assert_eq!(join("http://h", "?a"), "/?a");
        assert_eq!(join("http://h", "/x/%41?y=/z"), "/x/%41?y=/z");
        assert_eq!(join("http://h/base/", "/x"), "/base/x");
        assert_eq!(join("http://h/mcp/", ""), "/mcp/");
    }
}
