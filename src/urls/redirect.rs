//! Redirect URIs of OAuth clients: which may be registered at all (RFC 9700 section 2.1, RFC 8252 section 7), and
//! where one leads.
//!
//! Only the normal form of an address is taken: what one reader takes for a path and another for a host, a dot
//! segment, a number in another notation, is not there. Everything after this compares bytes.

use serde::{Deserialize, Serialize};
use url::{Position, Url};

/// Longest redirect URI, in bytes.
pub const MAX: usize = 2048;

/// Hosts at which an app on the person's own computer listens (RFC 8252 section 7.3, and `localhost`, which it
/// advises against and every client uses).
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Schemes that are never an app's own: a browser runs or reads them itself, or hands them to a part of the system
/// that does more than open an app.
const DANGEROUS: [&str; 38] = [
    "about",
    "acap",
    "blob",
    "callto",
    "chrome",
    "chrome-extension",
    "cid",
    "data",
    "dict",
    "feed",
    "file",
    "filesystem",
    "ftp",
    "gopher",
    "imap",
    "intent",
    "jar",
    "javascript",
    "ldap",
    "livescript",
    "mailto",
    "mhtml",
    "mocha",
    "moz-extension",
    "ms-msdt",
    "news",
    "res",
    "resource",
    "search-ms",
    "sftp",
    "shell",
    "sms",
    "ssh",
    "tel",
    "vbscript",
    "view-source",
    "ws",
    "wss",
];

/// Where a redirect URI leads: what the consent page says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// An https address on this host (look-alikes of other scripts are in their `xn--` form).
    Web(String),
    /// An app on the person's own computer, at a loopback address.
    Loopback(String),
    /// The app that handles links of this private-use scheme.
    App(String),
}

/// Why a text may not be a redirect URI. The message says what to write instead; it does not repeat the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    /// Empty or over [`MAX`].
    #[error("it has to have 1 to {MAX} characters")]
    Length,
    /// Characters that RFC 3986 does not have.
    #[error(
        "it has a character that addresses do not have (white space, a control character, a backslash, or one that is not ASCII); percent-encode it, and write host names in their xn-- form"
    )]
    Characters,
    /// RFC 6749 section 3.1.2.
    #[error("it must not have a fragment; remove `#` and what follows")]
    Fragment,
    /// No scheme, or one that is not written in lower case.
    #[error("it has to begin with a scheme in lower case, such as https:")]
    NoScheme,
    /// A scheme that no configuration allows.
    #[error("addresses with `{0}:` are never redirected to; use https or a loopback address")]
    Dangerous(String),
    /// A private-use scheme that is not on the list.
    #[error(
        "the scheme `{0}:` is not allowed here; use https or a loopback address, or ask the operator to add it to authorization_server.redirect_schemes"
    )]
    Scheme(String),
    /// http to another machine.
    #[error("http is only for localhost, 127.0.0.1 and [::1]; use https")]
    Plain,
    /// No host, or none that can be read.
    #[error("it has no host, or one that cannot be read")]
    Host,
    /// A user or password.
    #[error("it must not have a user or password in front of the host")]
    Userinfo,
    /// Another way to write an address than the usual one.
    #[error(
        "it is not in its normal form; write the host in lower case, numbers in decimal, and no dot segments or encoded control characters"
    )]
    NotNormal,
}

/// Judges a text; `schemes` are the private-use schemes that are allowed (in lower case).
///
/// # Errors
/// The first rule that it breaks.
pub fn judge(text: &str, schemes: &[String]) -> Result<Place, RedirectError> {
    if text.is_empty() || text.len() > MAX {
        return Err(RedirectError::Length);
    }
    if !text
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&b))
    {
        return Err(RedirectError::Characters);
    }
    if text.contains('#') {
        return Err(RedirectError::Fragment);
    }
    let (scheme, rest) = text.split_once(':').ok_or(RedirectError::NoScheme)?;
    if is_dangerous(scheme) {
        return Err(RedirectError::Dangerous(scheme.to_ascii_lowercase()));
    }
    if !is_scheme(scheme) {
        return Err(RedirectError::NoScheme);
    }
    if has_encoded_trick(rest) {
        return Err(RedirectError::NotNormal);
    }
    match scheme {
        "https" | "http" => web(scheme, rest, text),
        _ if schemes.iter().any(|each| each == scheme) => app(scheme, rest, text),
        _ => Err(RedirectError::Scheme(scheme.to_owned())),
    }
}

/// Whether no configuration may allow this scheme.
pub fn is_dangerous(scheme: &str) -> bool {
    DANGEROUS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(scheme))
}

/// Whether this is a scheme (RFC 3986 section 3.1) in its normal form, lower case.
pub fn is_scheme(text: &str) -> bool {
    text.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
}

/// Whether `asked` means the same app as `registered`, where both have passed [`judge`]: equal byte for byte, but
/// for the port of http on a loopback address, which an app takes as it is free (RFC 8252 section 7.3).
pub fn is_match(registered: &str, asked: &str) -> bool {
    registered == asked
        || matches!(
            (without_port(registered), without_port(asked)),
            (Some(one), Some(other)) if one == other
        )
}

/// Host and path of an http address on loopback.
fn without_port(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (host, _) = split_port(authority);
    LOOPBACK.contains(&host).then_some((host, path))
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    // The colons of an IPv6 address stand before its bracket.
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn web(scheme: &str, rest: &str, text: &str) -> Result<Place, RedirectError> {
    let rest = rest.strip_prefix("//").ok_or(RedirectError::Host)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(RedirectError::Userinfo);
    }
    let url = Url::parse(text).map_err(|_| RedirectError::Host)?;
    let (host, port) = split_port(authority);
    if host.is_empty() {
        return Err(RedirectError::Host);
    }
    let same_port = match port {
        None => url.port().is_none(),
        Some(port) => {
            !port.starts_with('0')
                && port
                    .parse()
                    .is_ok_and(|port: u16| url.port_or_known_default() == Some(port))
        }
    };
    let read = &url[Position::BeforePath..];
    // An empty path is the only thing that a reader adds to.
    let same_path =
        read == path || (!path.starts_with('/') && read.strip_prefix('/') == Some(path));
    if url.host_str() != Some(host) || !same_port || !same_path {
        return Err(RedirectError::NotNormal);
    }
    match (scheme, LOOPBACK.contains(&host)) {
        (_, true) => Ok(Place::Loopback(host.to_owned())),
        ("https", false) => Ok(Place::Web(host.to_owned())),
        _ => Err(RedirectError::Plain),
    }
}

fn app(scheme: &str, rest: &str, text: &str) -> Result<Place, RedirectError> {
    let url = Url::parse(text).map_err(|_| RedirectError::Host)?;
    if rest.is_empty() || rest == "/" || rest == "//" {
        return Err(RedirectError::Host);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(RedirectError::Userinfo);
    }
    if url.as_str() != text {
        return Err(RedirectError::NotNormal);
    }
    Ok(Place::App(scheme.to_owned()))
}

/// Encoded control characters and backslashes: nothing that an app needs, and what header injection and parser
/// confusion are made of.
fn has_encoded_trick(text: &str) -> bool {
    text.as_bytes().windows(3).any(|three| {
        let [b'%', high, low] = three else {
            return false;
        };
        match high {
            b'0' | b'1' => low.is_ascii_hexdigit(),
            b'5' => low.eq_ignore_ascii_case(&b'c'),
            b'7' => low.eq_ignore_ascii_case(&b'f'),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests;
