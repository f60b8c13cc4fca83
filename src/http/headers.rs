//! What becomes of each header on its way to a backend.

use http::HeaderMap;
use http::header::CONNECTION;

pub(crate) use crate::headers::is_hop_by_hop;
use crate::headers::{fold, is_not_the_clients, is_written_anew};

/// What becomes of a request header on its way to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Goes on as it is.
    Keep,
    /// Is not for the backend: hop-by-hop, a credential of ours, or a name that only we may speak.
    Drop,
    /// `Cookie`: ours are taken out.
    Cookie,
    /// `Origin`: judged at the edge, goes on only where configured.
    Origin,
    /// `Accept-Encoding`: replaced on `mcp` routes.
    AcceptEncoding,
    /// A session of MCP or an event in it: on `mcp` routes it goes on only as what it was sealed from.
    Session,
}

/// Names that belong to the proxy on the way to backends. Every inbound spelling of them is removed: any case,
/// and `_` for `-`, since many servers fold both into one variable (CVE-2025-64484).
#[derive(Clone, Debug, Default)]
pub(crate) struct Reserved {
    configured: Box<[Box<str>]>,
}

impl Reserved {
    /// With the names that the configuration adds: claim headers, and headers that are set for backends.
    pub(crate) fn new<'a>(configured: impl Iterator<Item = &'a str>) -> Self {
        let mut names: Vec<Box<str>> = configured
            .map(|name| fold(&name.to_ascii_lowercase()).into())
            .collect();
        names.sort_unstable();
        names.dedup();
        Self {
            configured: names.into(),
        }
    }

    /// What becomes of a header, by its lower-case name.
    pub(crate) fn fate(&self, name: &str) -> Fate {
        let folded = &*fold(name);
        match folded {
            _ if is_written_anew(folded)
                || is_hop_by_hop(folded)
                || is_not_the_clients(folded)
                || self.is_configured(folded) =>
            {
                Fate::Drop
            }
            "cookie" => Fate::Cookie,
            "origin" => Fate::Origin,
            "accept-encoding" => Fate::AcceptEncoding,
            "mcp-session-id" | "last-event-id" => Fate::Session,
            _ => Fate::Keep,
        }
    }

    fn is_configured(&self, folded: &str) -> bool {
        self.configured.iter().any(|each| **each == *folded)
    }
}

/// Whether an answer's header speaks for the whole origin, which is ours and not the backend's, or claims to come
/// from us: an echo of identity headers would show one backend's callers what another is told.
pub(crate) fn is_not_the_backends(name: &str) -> bool {
    matches!(
        name,
        "service-worker-allowed"
            | "clear-site-data"
            | "strict-transport-security"
            | "public-key-pins"
            | "alt-svc"
            | "x-request-id"
            | "forwarded"
            | "x-real-ip"
            | "x-identity-assertion"
    ) || name.starts_with("x-forwarded-")
        || name.starts_with("x-auth-request-")
}

/// Further names that a `Connection` header declares to be hop-by-hop, in lower case. What we own and what frames
/// the message is handled by its own rule whether it is listed or not: listing removes only what a client sent, and
/// our own headers are added after that (CVE-2025-48865).
pub(crate) fn connection_listed(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        // The usual ones without allocating.
        .filter(|token| {
            !["", "close", "keep-alive"]
                .iter()
                .any(|usual| token.eq_ignore_ascii_case(usual))
        })
        .map(str::to_ascii_lowercase)
        .filter(|token| !is_hop_by_hop(token))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_every_reserved_name_is_dropped() {
        let reserved = Reserved::new(["X-Department", "x_team"].into_iter());
        let names = [
            "x-forwarded-user",
            "x-forwarded-email",
            "x-forwarded-groups",
            "x-forwarded-preferred-username",
            "x-forwarded-issuer",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded-uri",
            "x-forwarded-method",
            "x-forwarded-prefix",
            "x-forwarded-access-token",
            "forwarded",
            "x-real-ip",
            "x-request-id",
            "x-original-url",
            "x-rewrite-url",
            "authorization",
            "x-api-key",
            "proxy-authorization",
            "x-department",
            "x-team",
            "x-auth-request-user",
            "x-webauth-user",
            "remote-user",
        ];
        for name in names {
            assert_eq!(reserved.fate(name), Fate::Drop, "{name}");
            // Every mix of the two separators.
            let dashes: Vec<usize> = name.match_indices('-').map(|(at, _)| at).collect();
            for mask in 0..(1u32 << dashes.len()) {
                let mut mixed = name.to_owned().into_bytes();
                for (bit, at) in dashes.iter().enumerate() {
                    if mask & (1 << bit) != 0 {
                        mixed[*at] = b'_';
                    }
                }
                let mixed = String::from_utf8(mixed).unwrap();
                assert_eq!(reserved.fate(&mixed), Fate::Drop, "{mixed}");
            }
        }
    }

    #[test]
    fn what_mcp_needs_is_kept() {
        let reserved = Reserved::default();
        for name in [
            "mcp-protocol-version",
            "mcp-method",
            "mcp-name",
            "mcp-param-x",
            "mcp_param_y",
            "accept",
            "content-type",
            "user-agent",
            "traceparent",
        ] {
            assert_eq!(reserved.fate(name), Fate::Keep, "{name}");
        }
    }

    #[test]
    fn no_spelling_of_a_session_is_taken_for_something_else() {
        let reserved = Reserved::default();
        for name in [
            "mcp-session-id",
            "mcp_session_id",
            "mcp-session_id",
            "last-event-id",
            "last_event_id",
        ] {
            assert_eq!(reserved.fate(name), Fate::Session, "{name}");
        }
    }

    #[test]
    fn connection_lists_further_names_only() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, "close, X-Hop ,upgrade".parse().unwrap());
        headers.append(CONNECTION, "X-Forwarded-User".parse().unwrap());
        assert_eq!(connection_listed(&headers), ["x-hop", "x-forwarded-user"]);
    }
}
