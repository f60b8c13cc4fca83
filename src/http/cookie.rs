//! Reading cookies, and building `Set-Cookie` with our fixed attributes.

use std::time::Duration;

use cookie::{Cookie, SameSite};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::secret::Secret;
use crate::urls::PublicUrl;

/// Bytes of `Cookie` headers that are looked at; what stands behind is not read.
const MAX_BYTES: usize = 64 << 10;

/// Cookies that are looked at.
const MAX_COOKIES: usize = 512;

/// Our cookies' names, and how they are set: the session, and one for each login flow under way.
///
/// With an https `public_url` the names start with `__Host-`, so that browsers take them only with `Secure`,
/// `Path=/` and no `Domain` (RFC 6265bis section 4.1.3.2): no other host can plant one.
#[derive(Clone, Debug)]
pub struct CookieNames {
    session: Box<str>,
    login: Box<str>,
    https: bool,
}

impl CookieNames {
    /// Names for this origin; `cookie_name` is `sessions.cookie_name`.
    pub fn new(public_url: &PublicUrl, cookie_name: &str) -> Self {
        let prefix = if public_url.is_https() { "__Host-" } else { "" };
        Self {
            session: format!("{prefix}{cookie_name}").into(),
            login: format!("{prefix}{cookie_name}_login_").into(),
            https: public_url.is_https(),
        }
    }

    /// The session cookie's name.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// The name of the cookie of one login flow. The id is made by us, of `A-Za-z0-9_-`.
    pub fn login(&self, flow: &str) -> String {
        format!("{}{flow}", self.login)
    }

    /// What the names of all login cookies start with.
    pub fn login_prefix(&self) -> &str {
        &self.login
    }

    /// The name of the cookie that keeps the chosen language.
    pub fn language(&self) -> String {
        format!("{}_language", self.session)
    }

    /// Whether a cookie of this name is ours, with or without `__Host-`: neither goes to a backend, nor may a
    /// backend set it.
    pub fn is_ours(&self, name: &str) -> bool {
        fn bare(name: &str) -> &str {
            name.strip_prefix("__Host-").unwrap_or(name)
        }
        let (name, login) = (bare(name), bare(&self.login));
        name.eq_ignore_ascii_case(bare(&self.session))
            || name.eq_ignore_ascii_case(bare(&self.language()))
            || name
                .get(..login.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(login))
    }

    /// `Set-Cookie` for one of our names. The value is of our making: visible ASCII without `;`, `,` or quotes.
    /// `None` if it is not, which no caller brings about.
    pub fn set_cookie(&self, name: &str, value: &Secret, max_age: Duration) -> Option<HeaderValue> {
        let seconds = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
        self.build(name, value.expose_secret(), seconds)
    }

    /// `Set-Cookie` that removes one of our names, with the same attributes as it was set with.
    pub fn clear_cookie(&self, name: &str) -> Option<HeaderValue> {
        self.build(name, "", 0)
    }

    fn build(&self, name: &str, value: &str, max_age: i64) -> Option<HeaderValue> {
        let good = |b: u8| matches!(b, 0x21..=0x7e) && !matches!(b, b';' | b',' | b'"' | b'\\');
        if name.is_empty()
            || !name.bytes().all(|b| good(b) && b != b'=')
            || !value.bytes().all(good)
        {
            return None;
        }
        let cookie = Cookie::build((name, value))
            .path("/")
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(self.https)
            .max_age(time::Duration::seconds(max_age));
        let mut header = HeaderValue::try_from(cookie.to_string()).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

/// The value of the first cookie of a name. Browsers send the one with the longest path first.
pub fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    pairs(headers)
        .find(|(each, _)| *each == name)
        .map(|(_, value)| value)
}

/// All cookies of all `Cookie` headers, in order. Whatever is not `name=value` in visible ASCII is skipped;
/// at most 64 KiB and 512 cookies are looked at.
pub fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let mut left = MAX_BYTES;
    headers
        .get_all(COOKIE)
        .iter()
        .map(move |line| {
            let line = line.as_bytes();
            let line = &line[..line.len().min(left)];
            left -= line.len();
            line
        })
        .flat_map(|line| line.split(|b| *b == b';'))
        .take(MAX_COOKIES)
        .filter_map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?.trim_matches([' ', '\t']);
            let (name, value) = pair.split_once('=')?;
            let visible = pair.bytes().all(|b| matches!(b, 0x20..=0x7e));
            (visible && !name.is_empty()).then(|| (name.trim_end(), value.trim_start()))
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> CookieNames {
        CookieNames::new(
            &PublicUrl::parse("https://mcp.example.com").unwrap(),
            "mcp_session",
        )
    }

    fn headers(lines: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        headers
    }

    #[test]
    fn host_prefixed_with_all_attributes() {
        let names = names();
        let set = names
            .set_cookie(
                names.session(),
                &Secret::new("abc-_1"),
                Duration::from_secs(60),
            )
            .unwrap();
        assert_eq!(
            set.to_str().unwrap(),
            "__Host-mcp_session=abc-_1; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=60"
        );
        assert!(set.is_sensitive());
    }

    #[test]
    fn advisory_cve_2025_55162_clearing_has_the_same_attributes_as_setting() {
        let names = names();
        let clear = names.clear_cookie(names.session()).unwrap();
        assert_eq!(
            clear.to_str().unwrap(),
            "__Host-mcp_session=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0"
        );
    }

    #[test]
    fn plain_loopback_has_no_prefix() {
        let names = CookieNames::new(
            &PublicUrl::parse("http://localhost:8080").unwrap(),
            "mcp_session",
        );
        let set = names
            .set_cookie(names.session(), &Secret::new("a"), Duration::ZERO)
            .unwrap();
        assert_eq!(
            set.to_str().unwrap(),
            "mcp_session=a; HttpOnly; SameSite=Lax; Path=/; Max-Age=0"
        );
    }

    #[test]
    fn nothing_can_be_smuggled_into_an_attribute() {
        for value in ["a; Domain=evil", "a\r\nSet-Cookie: b", "a,b", "a b"] {
            assert!(
                names()
                    .set_cookie("x", &Secret::new(value), Duration::ZERO)
                    .is_none(),
                "{value:?}"
            );
        }
    }

    #[test]
    fn ours_are_known_in_every_spelling() {
        let names = names();
        for ours in [
            "__Host-mcp_session",
            "mcp_session",
            "MCP_Session",
            "mcp_session_login_x",
            "__Host-mcp_session_login_",
        ] {
            assert!(names.is_ours(ours), "{ours}");
        }
        for other in ["mcp_sessions", "__Secure-mcp_session", "session", ""] {
            assert!(!names.is_ours(other), "{other}");
        }
    }

    #[test]
    fn advisory_cve_2023_28625_crooked_headers_are_read_without_harm() {
        for line in [
            "=", ";", ";;", "=;=", "a", " ; a", "=b", "a;=c;;", "\u{e4}=b",
        ] {
            let found = headers(&[line.as_bytes()]);
            assert_eq!(pairs(&found).count(), 0, "{line:?}");
        }
        let found = headers(&[b"a=1;;b=2; =;c==3;  d = 4 ;\xffe=5;f=\xff", b"a=6"]);
        assert_eq!(
            pairs(&found).collect::<Vec<_>>(),
            [("a", "1"), ("b", "2"), ("c", "=3"), ("d", "4"), ("a", "6")]
        );
        assert_eq!(find(&found, "a"), Some("1"));
    }

    #[test]
    fn no_more_than_64_kib_is_read() {
        let mut line = vec![b'x'; 64 << 10];
        line.extend(b"; a=1");
        assert_eq!(find(&headers(&[&line]), "a"), None);
        let many = "b=1;".repeat(600) + "a=1";
        assert_eq!(find(&headers(&[many.as_bytes()]), "a"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                let mut headers = HeaderMap::new();
                headers.append(COOKIE, value);
                for (name, value) in pairs(&headers) {
                    prop_assert!(!name.is_empty() && !name.contains(['=', ';']) && !value.contains(';'));
                }
            }
        }

        #[test]
        fn what_was_set_is_read_again(value in "[A-Za-z0-9._~-]{1,80}") {
            let names = names();
            let set = names.set_cookie(names.session(), &Secret::new(value.clone()), Duration::from_secs(1)).unwrap();
            let pair = set.to_str().unwrap().split(';').next().unwrap().to_owned();
            let sent = headers(&[b"z=1", pair.as_bytes()]);
            prop_assert_eq!(find(&sent, names.session()), Some(&*value));
        }
    }
}
