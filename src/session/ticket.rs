//! The ticket: what the session cookie holds.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::clock::Ambient;
use crate::secret::{Digest, Secret};
use crate::store::{Key, Space};

/// What the cookie holds: which session and login, and the key that opens the session's record. The key is
/// nowhere else, so nobody who reads the store can make the cookie.
#[derive(Clone)]
pub struct Ticket(Arc<Parts>);

struct Parts {
    bytes: Zeroizing<[u8; LENGTH]>,
    /// Of all bytes; taken once, for a ticket is recognised several times.
    digest: Digest,
}

impl Ticket {
    /// Reads a cookie's value; `None` when it is not of our making. Nothing of it reaches the store but
    /// fixed-length hex (CVE-2021-32785).
    pub fn parse(value: &str) -> Option<Self> {
        if value.len() != TEXT_LENGTH {
            return None;
        }
        let mut bytes = Zeroizing::new([0; LENGTH]);
        let length = URL_SAFE_NO_PAD.decode_slice(value, &mut *bytes).ok()?;
        (length == LENGTH && bytes[0] == VERSION).then(|| Self::of(bytes))
    }

    /// The cookie's value: 87 characters of base64url.
    pub fn to_cookie_value(&self) -> Secret {
        Secret::new(URL_SAFE_NO_PAD.encode(*self.0.bytes))
    }

    fn of(bytes: Zeroizing<[u8; LENGTH]>) -> Self {
        let digest = Digest::of(*bytes);
        Self(Arc::new(Parts { bytes, digest }))
    }

    /// A ticket for a session that does not exist yet.
    pub(super) fn generate(ambient: &Ambient) -> Self {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        bytes[0] = VERSION;
        bytes[1..=ID].copy_from_slice(&ambient.random::<ID>());
        bytes[1 + ID..KEY].copy_from_slice(&ambient.random::<ID>());
        bytes[KEY..].copy_from_slice(&*Zeroizing::new(ambient.random::<32>()));
        Self::of(bytes)
    }

    /// Recognises the whole ticket without keeping it.
    pub(super) fn digest(&self) -> Digest {
        self.0.digest
    }

    /// The session's id, for logs as a digest only.
    pub fn session_id(&self) -> Arc<str> {
        self.session_key().id
    }

    /// The id of the login record.
    pub(super) fn login(&self) -> LoginId {
        let mut id = [0; ID];
        id.copy_from_slice(&self.0.bytes[1 + ID..KEY]);
        LoginId(id)
    }

    /// The key that the session record is sealed with, besides the key ring's.
    pub(super) fn key(&self) -> &[u8] {
        &self.0.bytes[KEY..]
    }

    /// The name of the session record.
    pub(super) fn session_key(&self) -> Key {
        Key::new(Space::Session, hex(&self.0.bytes[1..=ID]))
    }
}

#[cfg(test)]
impl Ticket {
    pub(super) fn with_key(&self, key: [u8; 32]) -> Self {
        let mut bytes = self.0.bytes.clone();
        bytes[KEY..].copy_from_slice(&key);
        Self::of(bytes)
    }

    pub(super) fn with_login_of(&self, other: &Self) -> Self {
        let mut bytes = self.0.bytes.clone();
        bytes[1 + ID..KEY].copy_from_slice(&other.0.bytes[1 + ID..KEY]);
        Self::of(bytes)
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(redacted)")
    }
}

/// Names a login record.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LoginId([u8; ID]);

impl LoginId {
    /// Reads what [`Self::hex`] gave.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() != ID * 2 || !text.is_ascii() {
            return None;
        }
        let mut id = [0; ID];
        for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(id))
    }

    pub(super) fn hex(self) -> Arc<str> {
        hex(&self.0)
    }

    pub(super) fn record(self) -> Key {
        Key::new(Space::Login, self.hex())
    }

    /// One of a small number of places, the same for the same login.
    pub(super) fn slot(self, slots: usize) -> usize {
        usize::from(u16::from_be_bytes([self.0[0], self.0[1]])) % slots
    }
}

/// Bytes as lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> Arc<str> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text.into()
}

const VERSION: u8 = 1;
const ID: usize = 16;
const KEY: usize = 1 + 2 * ID;
const LENGTH: usize = KEY + 32;
const TEXT_LENGTH: usize = (LENGTH * 4).div_ceil(3);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_ticket_survives_its_cookie() {
        let ticket = Ticket::generate(&Ambient::system());
        let value = ticket.to_cookie_value();
        let again = Ticket::parse(value.expose_secret()).unwrap();
        assert_eq!(*again.0.bytes, *ticket.0.bytes);
        assert_eq!(
            LoginId::parse(&ticket.login().hex()).map(LoginId::hex),
            Some(ticket.login().hex())
        );
        assert!(!format!("{ticket:?}").contains(value.expose_secret()));
    }

    proptest! {
        #[test]
        fn only_the_exact_spelling_is_read(value in "\\PC{0,100}|[A-Za-z0-9_-]{87}|AQ[A-Za-z0-9_-]{85}") {
            if let Some(ticket) = Ticket::parse(&value) {
                let again = ticket.to_cookie_value();
                prop_assert_eq!(again.expose_secret(), &value);
                prop_assert!(ticket.session_key().id.bytes().all(|b| b.is_ascii_hexdigit()));
                prop_assert_eq!(ticket.session_key().id.len(), 32);
            }
        }

        #[test]
        fn a_changed_ticket_is_another_or_none(at in 0..87usize, to in "[A-Za-z0-9_=+/ \n-]") {
            let ticket = Ticket::generate(&Ambient::system());
            let value = ticket.to_cookie_value();
            let mut changed = value.expose_secret().to_owned();
            changed.replace_range(at..=at, &to);
            if changed != value.expose_secret() && let Some(other) = Ticket::parse(&changed) {
                prop_assert_ne!(other.digest(), ticket.digest());
            }
        }
    }
}
