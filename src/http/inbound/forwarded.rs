//! What trusted proxies said about the client: `X-Forwarded-For`, `X-Forwarded-Proto` and `Forwarded` (RFC 7239).
//!
//! Lists are read from the right, the end that the nearest proxy wrote. The first address that is not a
//! trusted proxy is the client; whatever stands left of it was said by nobody who is believed.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

use super::TrustedProxies;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Entries looked at, from the right. No chain of real proxies is longer.
const MAX_HOPS: usize = 32;

/// What was said; `None` where nothing was, or nothing that can be judged.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) client: Option<IpAddr>,
    pub(super) https: Option<bool>,
}

/// Reads the headers of a trusted peer. When both families of headers are there and disagree about the client,
/// one of them came through unchanged from the outside, and neither is believed.
pub(super) fn read(headers: &HeaderMap, trusted: &TrustedProxies) -> Said {
    let mut client = first_untrusted(entries(headers, &X_FORWARDED_FOR).map(address), trusted);
    let mut https = entries(headers, &X_FORWARDED_PROTO).next().and_then(scheme);
    if headers.contains_key(FORWARDED) {
        let elements = || entries(headers, &FORWARDED);
        let rfc = first_untrusted(
            elements().map(|element| parameter(element, "for").and_then(address)),
            trusted,
        );
        client = match (client, rfc) {
            (Some(old), Some(new)) if old != new => None,
            (old, new) => old.or(new),
        };
        https = https.or_else(|| {
            elements()
                .next()
                .and_then(|element| parameter(element, "proto"))
                .and_then(scheme)
        });
    }
    Said { client, https }
}

/// Walks addresses from the nearest hop outwards. An entry that is no address ends the walk at the hop before.
fn first_untrusted(
    hops: impl Iterator<Item = Option<IpAddr>>,
    trusted: &TrustedProxies,
) -> Option<IpAddr> {
    let mut last = None;
    for hop in hops.take(MAX_HOPS) {
        let Some(address) = hop else { break };
        last = Some(address);
        if !trusted.contains(address) {
            break;
        }
    }
    last
}

/// The comma-separated entries of all headers of a name, from the right. Commas in quoted strings do not
/// separate. A header that is not visible ASCII has one entry that nothing can be read from.
fn entries<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let mut lines: Vec<&str> = headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap_or("?"))
        .collect();
    std::iter::from_fn(move || {
        let line = lines.pop()?;
        let cut = split_points(line).last();
        match cut {
            Some(comma) => {
                lines.push(&line[..comma]);
                Some(line[comma + 1..].trim())
            }
            None => Some(line.trim()),
        }
    })
}

/// Where the commas outside of quoted strings are.
fn split_points(line: &str) -> impl Iterator<Item = usize> {
    let mut quoted = false;
    let mut escaped = false;
    line.bytes().enumerate().filter_map(move |(at, byte)| {
        if escaped {
            escaped = false;
        } else if quoted && byte == b'\\' {
            escaped = true;
        } else if byte == b'"' {
            quoted = !quoted;
        } else if byte == b',' && !quoted {
            return Some(at);
        }
        None
    })
}

/// A parameter of a `Forwarded` element. Quoted values with a `;` or an escape inside are never addresses or
/// schemes, so they need no further reading.
fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    element.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]`, `[::1]:5`, each also in double quotes.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(entry);
    let bare = entry
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(entry);
    let address = bare
        .parse()
        .or_else(|_| entry.parse::<SocketAddr>().map(|socket| socket.ip()))
        .ok()?;
    Some(IpAddr::to_canonical(&address))
}

fn scheme(entry: &str) -> Option<bool> {
    let entry = entry.trim_matches('"');
    if entry.eq_ignore_ascii_case("https") {
        Some(true)
    } else if entry.eq_ignore_ascii_case("http") {
        Some(false)
    } else {
        None
    }
}
