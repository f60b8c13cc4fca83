//! The root secrets, and every key that is derived from them: one for each purpose, never shared.

use aws_lc_rs::{hkdf, hmac};

use crate::clock::Ambient;
use crate::seal::Sealer;

/// What a derived key is for. Keys of two purposes are never interchangeable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Browser-session records; combined with the ticket's own key.
    Session,
    /// Provider tokens and claims (`mcp:login:<id>`).
    Login,
    /// Login flows on their way through the provider.
    Flow,
    /// Cookies that name a login flow.
    FlowCookie,
    /// Names of index entries in the store (subject, provider session).
    Index,
    /// The root secret that is kept in the store.
    Root,
    /// URLs that we hand out to MCP clients (the `endpoint` event of HTTP+SSE).
    Endpoint,
    /// Grants of MCP clients.
    Grant,
    /// Codes and refresh tokens.
    RefreshToken,
    /// Ids of clients that registered themselves.
    ClientId,
    /// Consent forms on their way through the browser, and remembered consent.
    Consent,
    /// The signing keys that are kept in the store.
    SigningKeys,
    /// The keys that sign identity assertions, kept in the store.
    AssertionKeys,
    /// Session ids that MCP clients are given.
    McpSession,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Session => b"mcp-oidc-proxy session v1",
            Self::Login => b"mcp-oidc-proxy login v1",
            Self::Flow => b"mcp-oidc-proxy flow v1",
            Self::FlowCookie => b"mcp-oidc-proxy flow-cookie v1",
            Self::Index => b"mcp-oidc-proxy index v1",
            Self::Root => b"mcp-oidc-proxy root v1",
            Self::Endpoint => b"mcp-oidc-proxy endpoint v1",
            Self::Grant => b"mcp-oidc-proxy grant v1",
            Self::RefreshToken => b"mcp-oidc-proxy refresh-token v1",
            Self::ClientId => b"mcp-oidc-proxy client-id v1",
            Self::Consent => b"mcp-oidc-proxy consent v1",
            Self::SigningKeys => b"mcp-oidc-proxy signing-keys v1",
            Self::AssertionKeys => b"mcp-oidc-proxy assertion-keys v1",
            Self::McpSession => b"mcp-oidc-proxy mcp-session v1",
        }
    }
}

/// Bytes of a root secret at least.
const MIN_ROOT: usize = 32;

/// The ordered root secrets: the first seals, all open.
#[derive(Clone)]
pub struct KeyRing {
    roots: Vec<zeroize::Zeroizing<Vec<u8>>>,
    ambient: Ambient,
}

impl KeyRing {
    /// From root secrets of at least 32 bytes each; the list must not be empty (`None` otherwise).
    pub fn new(roots: Vec<Vec<u8>>, ambient: Ambient) -> Option<Self> {
        if roots.is_empty() || roots.iter().any(|root| root.len() < MIN_ROOT) {
            return None;
        }
        Some(Self {
            roots: roots.into_iter().map(zeroize::Zeroizing::new).collect(),
            ambient,
        })
    }

    /// One random root that ends with the process.
    pub fn ephemeral(ambient: Ambient) -> Self {
        let root: [u8; 32] = ambient.random();
        Self {
            roots: vec![zeroize::Zeroizing::new(root.to_vec())],
            ambient,
        }
    }

    /// A sealer for a purpose, optionally bound to a further secret (a session ticket's key).
    pub fn sealer(&self, purpose: Purpose, extra: Option<&[u8]>) -> Sealer {
        let keys = self.roots.iter().map(|root| {
            let key = derive(root, extra.unwrap_or_default(), purpose.label());
            let id = derive(root, b"id", purpose.label());
            ([id[0], id[1], id[2], id[3]], key)
        });
        Sealer::new(keys.collect::<Vec<_>>(), self.ambient.clone())
    }

    /// A keyed digest of `data` under the first root: a name that tells nothing about what it names.
    pub fn mac(&self, purpose: Purpose, data: &[u8]) -> [u8; 32] {
        self.macs(purpose, data).next().unwrap_or_default()
    }

    /// The keyed digest under every root, newest first, to look up what older roots have named.
    pub fn macs(&self, purpose: Purpose, data: &[u8]) -> impl Iterator<Item = [u8; 32]> {
        self.roots.iter().map(move |root| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &derive(root, b"mac", purpose.label()));
            let mut out = [0; 32];
            out.copy_from_slice(hmac::sign(&key, data).as_ref());
            out
        })
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyRing({} roots)", self.roots.len())
    }
}

/// HKDF-SHA-256 (RFC 5869): `salt` separates uses of one purpose, `info` names the purpose.
fn derive(root: &[u8], salt: &[u8], info: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let filled = hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(root)
        .expand(&[info], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut out));
    // 32 bytes is one block of SHA-256, which HKDF always gives.
    assert!(filled.is_ok(), "HKDF gives one block");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Unsealable;

    fn ring(roots: &[u8]) -> KeyRing {
        KeyRing::new(
            roots.iter().map(|b| vec![*b; 32]).collect(),
            Ambient::system(),
        )
        .unwrap()
    }

    #[test]
    fn sealed_blobs_open_only_where_they_belong() {
        let sealer = ring(&[1]).sealer(Purpose::Session, Some(b"ticket"));
        let blob = sealer.seal(b"session:1", b"hello");
        assert_eq!(sealer.open(b"session:1", &blob).unwrap(), b"hello");
        assert_eq!(sealer.open(b"session:2", &blob), Err(Unsealable));
        assert_eq!(
            ring(&[1])
                .sealer(Purpose::Session, Some(b"other"))
                .open(b"session:1", &blob),
            Err(Unsealable)
        );
        assert_eq!(
            ring(&[1])
                .sealer(Purpose::Flow, Some(b"ticket"))
                .open(b"session:1", &blob),
            Err(Unsealable)
        );
        for i in 0..blob.len() {
            let mut changed = blob.clone();
            changed[i] ^= 1;
            assert_eq!(
                sealer.open(b"session:1", &changed),
                Err(Unsealable),
                "byte {i}"
            );
        }
    }

    #[test]
    fn older_roots_still_open() {
        let old = ring(&[1]).sealer(Purpose::Login, None).seal(b"", b"x");
        assert_eq!(
            ring(&[2, 1])
                .sealer(Purpose::Login, None)
                .open(b"", &old)
                .unwrap(),
            b"x"
        );
        assert!(
            ring(&[2])
                .sealer(Purpose::Login, None)
                .open(b"", &old)
                .is_err()
        );
    }

    #[test]
    fn advisory_cve_2021_32791_nonces_do_not_repeat() {
        let sealer = ring(&[1]).sealer(Purpose::Login, None);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100_000 {
            assert!(seen.insert(sealer.seal(b"", b"")[5..17].to_vec()));
        }
    }
}
