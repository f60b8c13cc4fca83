//! Sealing: authenticated encryption under a purpose of its own, with a ring of keys.
//!
//! AES-256-GCM with random 96-bit nonces. Each purpose has its own key, derived with HKDF-SHA-256, so at
//! most 2^32 blobs may be sealed under one root secret and purpose (NIST SP 800-38D section 8.3) before it has
//! to be rotated; at a thousand seals a second that is 49 days, at fifty a second two and a half years.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::clock::Ambient;

const VERSION: u8 = 1;
const KEY_ID: usize = 4;
const HEAD: usize = 1 + KEY_ID + NONCE_LEN;

/// Seals and opens blobs of one purpose. The first key seals, all open.
#[derive(Clone)]
pub struct Sealer {
    keys: Arc<[Key]>,
    ambient: Ambient,
}

struct Key {
    id: [u8; KEY_ID],
    key: LessSafeKey,
}

/// The blob was not sealed by us for this purpose and these surroundings, or it was changed.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the blob cannot be opened with any key of the ring")]
pub struct Unsealable;

impl Sealer {
    /// From derived keys, each with the id that is written into the blob.
    pub(crate) fn new(
        keys: impl IntoIterator<Item = ([u8; KEY_ID], [u8; 32])>,
        ambient: Ambient,
    ) -> Self {
        let keys = keys
            .into_iter()
            .filter_map(|(id, bytes)| {
                // The length is right by type, so this never drops a key.
                UnboundKey::new(&AES_256_GCM, &bytes).ok().map(|key| Key {
                    id,
                    key: LessSafeKey::new(key),
                })
            })
            .collect();
        Self { keys, ambient }
    }

    /// Seals `plain`. The same `context` has to be given to open it: name the record and its place in it, so
    /// that a blob moved elsewhere does not open.
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let Some(key) = self.keys.first() else {
            return Vec::new();
        };
        let nonce: [u8; NONCE_LEN] = self.ambient.random();
        let mut out = Vec::with_capacity(HEAD + plain.len() + AES_256_GCM.tag_len());
        out.push(VERSION);
        out.extend_from_slice(&key.id);
        out.extend_from_slice(&nonce);
        let mut body = plain.to_vec();
        if key
            .key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context),
                &mut body,
            )
            .is_err()
        {
            return Vec::new();
        }
        out.append(&mut body);
        out
    }

    /// Opens what [`Self::seal`] made.
    ///
    /// # Errors
    /// [`Unsealable`] when it was made elsewhere, for another purpose or context, or was changed.
    pub fn open(&self, context: &[u8], blob: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let (head, body) = blob.split_at_checked(HEAD).ok_or(Unsealable)?;
        if head[0] != VERSION {
            return Err(Unsealable);
        }
        let id = &head[1..=KEY_ID];
        let key = self
            .keys
            .iter()
            .find(|key| key.id == id)
            .ok_or(Unsealable)?;
        let nonce =
            Nonce::try_assume_unique_for_key(&head[1 + KEY_ID..]).map_err(|_| Unsealable)?;
        let mut body = body.to_vec();
        let length = key
            .key
            .open_in_place(nonce, Aad::from(context), &mut body)
            .map_err(|_| Unsealable)?
            .len();
        body.truncate(length);
        Ok(body)
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({} keys)", self.keys.len())
    }
}
