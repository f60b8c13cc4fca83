//! What clients hold: codes and refresh tokens, and the id of the grant that they name.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Ambient;
use crate::keys::{KeyRing, Purpose};
use crate::secret::{Digest, Secret};

/// Prefix of codes.
const CODE: &str = "mcpc_";
/// Prefix of refresh tokens.
const REFRESH: &str = "mcpr_";

const ID: usize = 16;
const SECRET: usize = 32;
const GENERATION: usize = 8;

/// Names a grant: 128 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct GrantId([u8; ID]);

impl GrantId {
    pub(super) fn generate(ambient: &Ambient) -> Self {
        Self(ambient.random())
    }

    /// Reads 32 hex digits; nothing else reaches the store.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 2 * ID {
            return None;
        }
        let mut id = [0; ID];
        for (byte, pair) in id.iter_mut().zip(bytes.chunks_exact(2)) {
            let digit = |at: usize| match pair[at] {
                digit @ b'0'..=b'9' => Some(digit - b'0'),
                digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
                _ => None,
            };
            *byte = digit(0)? << 4 | digit(1)?;
        }
        Some(Self(id))
    }

    pub(super) fn hex(self) -> Arc<str> {
        use std::fmt::Write;
        let text = self
            .0
            .iter()
            .fold(String::with_capacity(2 * ID), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            });
        text.into()
    }
}

/// The code of a grant.
pub(super) fn code(id: GrantId, secret: &[u8; SECRET]) -> Secret {
    let mut text = CODE.to_owned();
    URL_SAFE_NO_PAD.encode_string([&id.0[..], secret].concat(), &mut text);
    Secret::new(text)
}

/// The grant that a code names, and the digest of its secret part.
pub(super) fn parse_code(code: &str) -> Option<(GrantId, Digest)> {
    let bytes = decode::<{ ID + SECRET }>(code.strip_prefix(CODE)?)?;
    let (id, secret) = bytes.split_at(ID);
    Some((GrantId(id.try_into().ok()?), Digest::of(secret)))
}

/// The refresh token of a generation: the same again whenever it is asked for.
pub(super) fn refresh(keys: &KeyRing, id: GrantId, generation: u64, client: &str) -> Secret {
    let mac = keys.mac(Purpose::RefreshToken, &signed(id, generation, client));
    let mut text = REFRESH.to_owned();
    let bytes = [&id.0[..], &generation.to_be_bytes(), &mac].concat();
    URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
    Secret::new(text)
}

/// The grant and generation of a refresh token, if it is one of ours and this client's. Nothing of it reaches the
/// store before that.
pub(super) fn open_refresh(keys: &KeyRing, token: &str, client: &str) -> Option<(GrantId, u64)> {
    let bytes = decode::<{ ID + GENERATION + SECRET }>(token.strip_prefix(REFRESH)?)?;
    let (id, rest) = bytes.split_at(ID);
    let (generation, mac) = rest.split_at(GENERATION);
    let id = GrantId(id.try_into().ok()?);
    let generation = u64::from_be_bytes(generation.try_into().ok()?);
    let told = Digest::from_bytes(mac.try_into().ok()?);
    keys.macs(Purpose::RefreshToken, &signed(id, generation, client))
        .any(|ours| Digest::from_bytes(ours) == told)
        .then_some((id, generation))
}

fn signed(id: GrantId, generation: u64, client: &str) -> Vec<u8> {
    [&id.0[..], &generation.to_be_bytes(), client.as_bytes()].concat()
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    // Longer than it may be does not fit into the buffer, and is refused.
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    (length == N).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(roots: &[u8]) -> KeyRing {
        KeyRing::new(
            roots.iter().map(|root| vec![*root; 32]).collect(),
            Ambient::system(),
        )
        .unwrap()
    }

    #[test]
    fn attack_s28_a_refresh_token_is_its_clients_own() {
        let keys = ring(&[1]);
        let id = GrantId([7; ID]);
        let token = refresh(&keys, id, 3, "client-a");
        let text = token.expose_secret();
        assert_eq!(open_refresh(&keys, text, "client-a"), Some((id, 3)));
        assert_eq!(open_refresh(&keys, text, "client-b"), None);
        assert_eq!(open_refresh(&ring(&[2]), text, "client-a"), None);
        // Made under an older root it is still good.
        assert_eq!(
            open_refresh(&ring(&[2, 1]), text, "client-a"),
            Some((id, 3))
        );
        assert_eq!(refresh(&keys, id, 3, "client-a"), token, "the same again");
        for at in REFRESH.len()..text.len() {
            let mut other = text.to_owned().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert_eq!(open_refresh(&keys, &other, "client-a"), None, "{at}");
        }
        assert_eq!(
            open_refresh(&keys, &text[..text.len() - 1], "client-a"),
            None
        );
        assert_eq!(open_refresh(&keys, &format!("{text}A"), "client-a"), None);
    }

    #[test]
    fn ids_are_hex_and_nothing_else() {
        let id = GrantId([0xa5; ID]);
        assert_eq!(GrantId::parse(&id.hex()), Some(id));
        for wrong in ["", "zz", &"A5".repeat(16), &"a5".repeat(17), "mcp:grant:*"] {
            assert_eq!(GrantId::parse(wrong), None);
        }
        let (named, _) = parse_code(code(id, &[1; SECRET]).expose_secret()).unwrap();
        assert_eq!(named, id);
        assert!(parse_code("mcpc_").is_none() && parse_code("mcpr_AAAA").is_none());
    }
}
