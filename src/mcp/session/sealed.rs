//! The session id that a client holds: the backend's own, sealed together with where it belongs.
//!
//! What is inside: the endpoint that gave it, when that was, the name under which it is counted, and the backend's id.
//! What has to be said again to open it: the route, its backend, and who is asking. No address is inside: the endpoint
//! is a digest that is only ever compared with those that are configured.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Timestamp;
use crate::ids::Subject;
use crate::seal::{Sealer, Unsealable};

/// Longest session id of a backend, in bytes.
pub(super) const MAX_ID: usize = 2048;

/// Longest sealed id that is looked at: what the longest id of a backend becomes, with room to spare.
pub(super) const MAX_SEALED: usize = 3072;

/// Bytes of the digest that names an endpoint.
pub(super) const TAG: usize = 8;

/// Bytes of the name under which a session is counted.
pub(super) const SLOT: usize = 8;

const HEAD: usize = TAG + SLOT + 8;

/// Where a session belongs. Bytes for the seal to be bound to: the parts with their lengths, so that no two sets of
/// parts give the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binding(Box<[u8]>);

impl Binding {
    /// A route (by its path, which stays the same over restarts and replicas), the backend that it leads to, and the
    /// person or key. `None`: somebody unknown on a public route, which is not the same as anybody who is known.
    pub(super) fn new(route: &str, backend: &str, who: Option<&Subject>) -> Self {
        let (kind, issuer, subject) = match who {
            None => ("nobody", "", ""),
            Some(who) => ("subject", &*who.issuer, &*who.subject),
        };
        let mut out = Vec::with_capacity(96);
        for part in [route, backend, kind, issuer, subject] {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part.as_bytes());
        }
        Self(out.into())
    }
}

/// A session of a backend's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// The endpoint that has it.
    pub(super) endpoint: [u8; TAG],
    /// Its name where sessions are counted.
    pub(super) slot: [u8; SLOT],
    /// When it was given to the client, to the second.
    pub(super) since: Timestamp,
    /// The backend's own id: visible ASCII.
    pub(super) id: Box<[u8]>,
}

impl Session {
    /// The text for the client: base64url, which is visible ASCII as the protocol demands. Empty only without keys.
    pub(super) fn seal(&self, sealer: &Sealer, binding: &Binding) -> String {
        let mut plain = Vec::with_capacity(HEAD + self.id.len());
        plain.extend_from_slice(&self.endpoint);
        plain.extend_from_slice(&self.slot);
        plain.extend_from_slice(&self.since.as_secs().to_be_bytes());
        plain.extend_from_slice(&self.id);
        URL_SAFE_NO_PAD.encode(sealer.seal(&binding.0, &plain))
    }

    /// Opens what [`Self::seal`] made.
    pub(super) fn open(sealer: &Sealer, binding: &Binding, text: &[u8]) -> Result<Self, NotOpened> {
        if text.len() > MAX_SEALED {
            return Err(NotOpened::TooLong);
        }
        let blob = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| NotOpened::NotOurs)?;
        let plain = sealer.open(&binding.0, &blob)?;
        let (head, id) = plain
            .split_first_chunk::<HEAD>()
            .ok_or(NotOpened::NotOurs)?;
        let (mut endpoint, mut slot, mut since) = ([0; TAG], [0; SLOT], [0; 8]);
        endpoint.copy_from_slice(&head[..TAG]);
        slot.copy_from_slice(&head[TAG..TAG + SLOT]);
        since.copy_from_slice(&head[TAG + SLOT..]);
        Ok(Self {
            endpoint,
            slot,
            since: Timestamp::from_secs(i64::from_be_bytes(since)),
            id: id.into(),
        })
    }
}

/// Why a text is no session. For the log: clients are told one and the same.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum NotOpened {
    /// Longer than any that we make.
    #[error("the session id is longer than any that was given out")]
    TooLong,
    /// Not of our making, changed, or of another place.
    #[error("the session id was made for another caller, route or backend, or not by this proxy")]
    NotOurs,
}

impl From<Unsealable> for NotOpened {
    fn from(_: Unsealable) -> Self {
        Self::NotOurs
    }
}

/// Whether a backend's id is one that the protocol allows (2025-11-25, transports, session management: visible
/// ASCII, 0x21 to 0x7E) and that has room in a header.
pub(super) fn is_good(id: &[u8]) -> bool {
    !id.is_empty() && id.len() <= MAX_ID && id.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Ambient;
    use crate::keys::{KeyRing, Purpose};

    fn sealer(roots: &[u8]) -> Sealer {
        let roots = roots.iter().map(|root| vec![*root; 32]).collect();
        KeyRing::new(roots, Ambient::system())
            .unwrap()
            .sealer(Purpose::McpSession, None)
    }

    fn subject(issuer: &str, subject: &str) -> Subject {
        Subject {
            issuer: issuer.into(),
            subject: subject.into(),
        }
    }

    fn session(id: &[u8]) -> Session {
        Session {
            endpoint: [1; TAG],
            slot: [2; SLOT],
            since: Timestamp::from_secs(1_700_000_000),
            id: id.into(),
        }
    }

    #[test]
    fn opens_only_where_it_belongs() {
        let sealer = sealer(&[1]);
        let ann = subject("https://idp", "ann");
        let home = Binding::new("/mcp", "files", Some(&ann));
        let text = session(b"abc").seal(&sealer, &home);
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(
            Session::open(&sealer, &home, text.as_bytes()),
            Ok(session(b"abc"))
        );
        let elsewhere = [
            Binding::new("/mcp/*", "files", Some(&ann)),
            Binding::new("/mcp", "mails", Some(&ann)),
            Binding::new("/mcp", "files", Some(&subject("https://idp", "bob"))),
            Binding::new("/mcp", "files", Some(&subject("https://other", "ann"))),
            Binding::new("/mcp", "files", Some(&subject("https://id", "pann"))),
            Binding::new("/mcp", "files", Some(&subject("", ""))),
            Binding::new("/mcp", "files", None),
            Binding::new("/mcpf", "iles", Some(&ann)),
        ];
        for other in elsewhere {
            assert_eq!(
                Session::open(&sealer, &other, text.as_bytes()),
                Err(NotOpened::NotOurs),
                "{other:?}"
            );
        }
    }

    #[test]
    fn older_roots_open_and_removed_ones_do_not() {
        let home = Binding::new("/mcp", "files", None);
        let text = session(b"abc").seal(&sealer(&[1]), &home);
        assert!(Session::open(&sealer(&[2, 1]), &home, text.as_bytes()).is_ok());
        assert_eq!(
            Session::open(&sealer(&[2]), &home, text.as_bytes()),
            Err(NotOpened::NotOurs)
        );
    }

    #[test]
    fn every_change_of_the_text_is_seen() {
        let (sealer, home) = (sealer(&[1]), Binding::new("/mcp", "files", None));
        let text = session(b"abc").seal(&sealer, &home).into_bytes();
        for at in 0..text.len() {
            for byte in [b'A', b'_', b'=', b' ', 0xff] {
                let mut changed = text.clone();
                changed[at] = byte;
                if changed != text {
                    assert!(Session::open(&sealer, &home, &changed).is_err(), "{at}");
                }
            }
            assert!(Session::open(&sealer, &home, &text[..at]).is_err(), "{at}");
        }
        let longer = [&text[..], b"A"].concat();
        assert!(Session::open(&sealer, &home, &longer).is_err());
        assert_eq!(
            Session::open(&sealer, &home, &vec![b'A'; MAX_SEALED + 1]),
            Err(NotOpened::TooLong)
        );
    }

    #[test]
    fn the_longest_id_fits() {
        let (sealer, home) = (sealer(&[1]), Binding::new("/mcp", "files", None));
        let text = session(&[b'x'; MAX_ID]).seal(&sealer, &home);
        assert!(text.len() <= MAX_SEALED, "{}", text.len());
        assert!(Session::open(&sealer, &home, text.as_bytes()).is_ok());
    }

    #[test]
    fn ids_of_backends_are_visible_ascii() {
        for good in [&b"1"[..], b"!~", &[b'x'; MAX_ID]] {
            assert!(is_good(good));
        }
        for bad in [
            &b""[..],
            b"a b",
            b"\x7f",
            b"\xc3\xa4",
            b"\t",
            &[b'x'; MAX_ID + 1],
        ] {
            assert!(!is_good(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at_without_harm(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let home = Binding::new("/mcp", "files", None);
            prop_assert!(Session::open(&sealer(&[1]), &home, &text).is_err());
        }

        #[test]
        fn what_was_sealed_comes_back(id in "[!-~]{1,80}", endpoint: [u8; TAG], slot: [u8; SLOT], since in 0_i64..1 << 40) {
            let home = Binding::new("/mcp", "files", None);
            let sealer = sealer(&[1]);
            let session = Session { endpoint, slot, since: Timestamp::from_secs(since), id: id.into_bytes().into() };
            let text = session.seal(&sealer, &home);
            prop_assert_eq!(Session::open(&sealer, &home, text.as_bytes()), Ok(session));
        }
    }
}
