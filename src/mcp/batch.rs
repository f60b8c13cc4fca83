//! JSON arrays of messages, which revision 2025-03-26 has.

use bytes::Bytes;
use serde_json::Value;

use super::json::Scanner;
use super::unreadable::{Unreadable, Why};
use super::{Call, message, mirror};

/// Messages of one array at most.
const MAX_BATCH: usize = 64;

/// Reads an array, which begins where the scanner stands.
///
/// # Errors
/// Arrays of other revisions, without messages, with too many, with one that has to stand alone, with two requests of
/// the same id; and what makes one of them unreadable.
pub(super) fn read(
    scanner: &mut Scanner<'_>,
    body: &Bytes,
    said: Option<&str>,
) -> Result<Vec<Call>, Unreadable> {
    let invalid = |what| Unreadable::from(Why::Invalid(what));
    if !mirror::may_be_batch(said) {
        return Err(invalid(
            "arrays of messages exist in revision 2025-03-26 only",
        ));
    }
    let mut calls: Vec<Call> = Vec::new();
    scanner.array(|scanner| {
        if calls.len() == MAX_BATCH {
            return Err(invalid("an array has too many messages"));
        }
        let read = message::read(scanner, body)?;
        let alone = read.call.method.as_deref() == Some("initialize");
        if alone || read.version.is_some() {
            return Err(invalid(
                "an array has a message in it that has to stand alone",
            ));
        }
        calls.push(read.call);
        Ok(())
    })?;
    if calls.is_empty() {
        return Err(invalid("an array has no messages"));
    }
    // Their answers could not be told apart.
    let requests = calls.iter().filter(|call| call.method.is_some());
    let mut ids: Vec<Value> = Vec::new();
    for id in requests.filter_map(|call| call.id.as_deref()) {
        let id = serde_json::from_str(id).unwrap_or_default();
        if ids.contains(&id) {
            return Err(invalid("two requests of an array have the same `id`"));
        }
        ids.push(id);
    }
    Ok(calls)
}
