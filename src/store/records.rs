//! Typed values to sealed blobs and back. The blob is bound to the name of its record, so that one that was
//! moved to another name does not open.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::{Key, Stored};
use crate::seal::Sealer;

/// Seals a value for the record of this name.
pub fn seal<T: Serialize>(sealer: &Sealer, key: &Key, value: &T) -> Bytes {
    // Only a map with keys that are no strings fails to serialize; our records have none. An empty blob
    // would not open, which ends in "absent".
    let plain = Zeroizing::new(serde_json::to_vec(value).unwrap_or_default());
    sealer.seal(context(key).as_bytes(), &plain).into()
}

/// Opens a record; `None` when it was not sealed by a key of this sealer for this name, or has a shape that
/// this version does not know.
pub fn open<T: DeserializeOwned>(sealer: &Sealer, key: &Key, stored: &Stored) -> Option<T> {
    let plain = Zeroizing::new(sealer.open(context(key).as_bytes(), &stored.blob).ok()?);
    serde_json::from_slice(&plain).ok()
}

/// The name that a blob is bound to: the default prefix, whatever prefix is configured.
fn context(key: &Key) -> String {
    format!("mcp:{}:{}", key.space.as_str(), key.id)
}
