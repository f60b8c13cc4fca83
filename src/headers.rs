//! Header names with a meaning of their own, spelt once: what the configuration may not set, and what is taken from
//! clients. All functions want lower case, with `_` written as `-` ([`fold`]).

use std::borrow::Cow;

/// The identity headers with fixed names.
pub const IDENTITY: [&str; 5] = [
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-issuer",
];

/// `_` as `-`, since many servers fold both into one variable (CVE-2025-64484).
pub fn fold(name: &str) -> Cow<'_, str> {
    if memchr::memchr(b'_', name.as_bytes()).is_some() {
        Cow::Owned(name.replace('_', "-"))
    } else {
        Cow::Borrowed(name)
    }
}

/// Whether the proxy sets, removes or reads this header itself on every request, so that a configured header must
/// not be it.
pub fn is_governed(folded: &str) -> bool {
    is_hop_by_hop(folded)
        || is_written_anew(folded)
        || ends_here(folded)
        || matches!(
            folded,
            // The message's own, and what the edge judges.
            "content-encoding"
                | "content-type"
                | "cookie"
                | "mcp-protocol-version"
                | "mcp-session-id"
                | "origin"
                | "via"
        )
}

/// Whether a header is not a client's to send to a backend: a credential that ends here, or a name by which backends
/// recognise a caller, an address or another target. From a client each of them would be a lie or a leak. Some of
/// them may be configured, with a value that we know.
pub fn is_not_the_clients(folded: &str) -> bool {
    ends_here(folded)
        || matches!(
            folded,
            "remote-user" | "true-client-ip" | "cf-connecting-ip" | "fastly-client-ip" | "proxy"
        )
        || folded.strip_prefix("x-").is_some_and(|rest| {
            matches!(
                rest,
                "client-ip"
                    | "cluster-client-ip"
                    | "remote-user"
                    | "remote-addr"
                    | "original-url"
                    | "original-uri"
                    | "original-method"
                    | "original-host"
                    | "rewrite-url"
                    | "host"
            ) || rest.starts_with("forwarded")
                || rest.starts_with("auth-request-")
                || rest.starts_with("webauth-")
        })
}

/// Credentials that are checked here, and facts about the request that only we tell.
fn ends_here(folded: &str) -> bool {
    matches!(
        folded,
        "authorization"
            | "forwarded"
            | "x-api-key"
            | "x-real-ip"
            | "x-request-id"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-port"
            | "x-forwarded-proto"
    )
}

/// Headers that are written anew for the leg to the backend.
pub fn is_written_anew(folded: &str) -> bool {
    matches!(folded, "host" | "content-length" | "expect")
}

/// Headers that mean one connection only (RFC 9110 section 7.6.1, RFC 9113 section 8.2.2, and what is met in
/// the field). `Trailer` goes too, for trailers are not handed on.
pub fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-authentication-info"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_governed_and_what_is_a_clients_differ_on_purpose() {
        for name in ["authorization", "x-request-id", "x-forwarded-for"] {
            assert!(is_governed(name) && is_not_the_clients(name), "{name}");
        }
        // Hop-by-hop headers cannot be configured either, all of them.
        for name in ["proxy-authenticate", "http2-settings", "te", "upgrade"] {
            assert!(is_governed(name), "{name}");
        }
        // For backends that read their caller from another header.
        for name in ["x-auth-request-user", "x-webauth-user", "remote-user"] {
            assert!(is_not_the_clients(name) && !is_governed(name), "{name}");
        }
        for name in ["origin", "cookie", "mcp-session-id"] {
            assert!(is_governed(name) && !is_not_the_clients(name), "{name}");
        }
        for name in IDENTITY {
            assert!(is_not_the_clients(name), "{name}");
        }
    }
}
