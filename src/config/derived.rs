//! What follows from the configuration: values that several parts need, worked out in one place.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use super::Config;
use super::listen::Listener;
use crate::secret::Digest;
use crate::urls::{PublicUrl, PublicUrlError};

/// A listener's address, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `host:port`; the host without brackets.
    Tcp {
        /// Name or address.
        host: String,
        /// Port; 0 takes a free one.
        port: u16,
    },
    /// `unix:/path`.
    Unix(std::path::PathBuf),
}

impl Address {
    /// Reads `host:port`, `[v6]:port` or `unix:/path`. The message says what is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is not an address; write host:port, [v6]:port or unix:/path/to.sock")
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(format!(
                    "`{text}` is not an absolute path; write unix:/path/to.sock"
                ))
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let bare = match host.strip_prefix('[') {
            Some(v6) => v6
                .strip_suffix(']')
                .filter(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok())
                .ok_or_else(wrong)?,
            None if host.contains(':') => {
                return Err(format!(
                    "`{text}` has an IPv6 address without brackets; write [{host}]:{port}"
                ));
            }
            None => host,
        };
        let usable =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if bare.is_empty() || !bare.chars().all(usable) {
            return Err(wrong());
        }
        let port = port
            .parse()
            .map_err(|_| format!("`{port}` is not a port; write a number from 0 to 65535"))?;
        Ok(Self::Tcp {
            host: bare.to_owned(),
            port,
        })
    }

    /// Whether only this machine reaches it: a loopback address, `localhost`, or a unix socket.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => {
                host == "localhost"
                    || host
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|ip| ip.to_canonical().is_loopback())
            }
        }
    }
}

impl Config {
    /// Whether the proxy is the authorization server of its `mcp` routes: it has to be able to sign people in.
    pub fn is_authorization_server(&self) -> bool {
        self.authorization_server.enabled && self.oidc.is_some() && !self.is_bypass()
    }

    /// The public origin: `public_url`, or `http://localhost:<port of the first listener>` (`https` when that
    /// listener serves TLS).
    ///
    /// # Errors
    /// Never for a configuration that [`super::load()`] gave.
    pub fn resolved_public_url(&self) -> Result<PublicUrl, PublicUrlError> {
        match &self.public_url {
            Some(text) => PublicUrl::parse(text),
            None => PublicUrl::parse(&default_public_url(self.listen.first())),
        }
    }

    /// The root secrets as bytes, newest first; empty when none are configured.
    pub fn key_material(&self) -> Vec<Vec<u8>> {
        self.secret_keys
            .iter()
            .filter_map(|key| decode_key(key.secret().expose_secret()))
            .collect()
    }

    /// Whether everybody is let in as one fixed user.
    pub fn is_bypass(&self) -> bool {
        self.auth.mode == super::authn::Mode::Bypass
    }

    /// What is printed at start and by `check-config` about authentication being off.
    pub fn bypass_warning(&self) -> Option<&'static str> {
        self.is_bypass().then_some(
            "auth.mode is bypass: every request is let in as one fixed user; never use this with data that matters",
        )
    }
}

impl super::authn::ApiKey {
    /// What is kept of the key: its SHA-256, given or computed; `None` when neither is usable.
    pub fn digest(&self) -> Option<Digest> {
        match (&self.key, &self.sha256) {
            (Some(key), _) => Some(Digest::of(key.secret().expose_secret())),
            (None, Some(hex)) => hex_digest(hex).map(Digest::from_bytes),
            (None, None) => None,
        }
    }
}

impl super::issuer::Client {
    /// What is kept of the secret: its SHA-256, given or computed; `None` when there is none, or it is not usable.
    pub fn secret_digest(&self) -> Option<Digest> {
        match (&self.secret, &self.secret_sha256) {
            (Some(secret), _) => Some(Digest::of(secret.secret().expose_secret())),
            (None, Some(hex)) => hex_digest(hex).map(Digest::from_bytes),
            (None, None) => None,
        }
    }
}

fn hex_digest(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

pub(super) fn default_public_url(first: Option<&Listener>) -> String {
    let scheme = if first.is_some_and(|first| first.tls.is_some()) {
        "https"
    } else {
        "http"
    };
    match first.map(|first| Address::parse(&first.address)) {
        Some(Ok(Address::Tcp { port, .. })) => format!("{scheme}://localhost:{port}"),
        _ => format!("{scheme}://localhost"),
    }
}

/// Reads base64 or base64url, padded or not; `None` when it is neither or gives fewer than 32 bytes.
pub(super) fn decode_key(text: &str) -> Option<Vec<u8>> {
    [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD]
        .into_iter()
        .find_map(|engine| engine.decode(text.trim()).ok())
        .filter(|bytes| bytes.len() >= 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let tcp = |host: &str, port| {
            Ok(Address::Tcp {
                host: host.to_owned(),
                port,
            })
        };
        assert_eq!(Address::parse("0.0.0.0:8080"), tcp("0.0.0.0", 8080));
        assert_eq!(Address::parse("[::1]:0"), tcp("::1", 0));
        assert_eq!(
            Address::parse("unix:/run/x.sock"),
            Ok(Address::Unix("/run/x.sock".into()))
        );
        for bad in [
            "8080",
            ":8080",
            "host:",
            "host:70000",
            "::1:80",
            "unix:x",
            "[x]:1",
            "a b:1",
            "http://a:1",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn loopback_is_what_only_this_machine_reaches() {
        for yes in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "localhost:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
            "unix:/x",
        ] {
            assert!(Address::parse(yes).unwrap().is_loopback(), "{yes}");
        }
        for no in [
            "0.0.0.0:1",
            "[::]:1",
            "10.0.0.1:1",
            "localhost.evil.example:1",
        ] {
            assert!(!Address::parse(no).unwrap().is_loopback(), "{no}");
        }
    }

    #[test]
    fn keys_are_base64_of_at_least_32_bytes() {
        assert!(decode_key(&STANDARD.encode([0xfb; 32])).is_some());
        assert!(decode_key(&URL_SAFE_NO_PAD.encode([0xfb; 48])).is_some());
        assert!(decode_key(&STANDARD.encode([1; 31])).is_none());
        assert!(decode_key("not base64 at all, but a long enough pass phrase").is_none());
    }
}
