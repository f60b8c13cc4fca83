//! Reading lines back: what `audit verify` looks at, and where a chain goes on after a restart.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::chain::{HASH, Hash, SIG, hash, unhex};

/// Longest line that is read; ours are shorter.
pub(super) const MAX_LINE: usize = 1 << 20;

/// A line that is one of ours by its form.
pub(super) struct Parsed<'a> {
    pub(super) head: Head,
    pub(super) time: i64,
    pub(super) prev: Hash,
    /// The hash that the line says it has.
    pub(super) hash: Hash,
    before_hash: &'a [u8],
    /// The signature of a checkpoint, and what it is over.
    pub(super) signature: Option<(Vec<u8>, &'a [u8])>,
}

/// The part of a record that the chain is about.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Head {
    pub(super) v: u32,
    pub(super) chain: String,
    pub(super) seq: u64,
    prev: String,
    pub(super) kind: String,
    #[serde(default)]
    pub(super) log: Option<LogHead>,
}

/// What records about the log say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LogHead {
    pub(super) number: Option<u64>,
    pub(super) key: Option<String>,
    pub(super) last_seq: Option<u64>,
    pub(super) last_hash: Option<String>,
    pub(super) end: bool,
    pub(super) torn_bytes: Option<u64>,
    pub(super) torn_sha256: Option<String>,
    pub(super) damaged: bool,
    pub(super) count: Option<u64>,
}

#[derive(Deserialize)]
struct Native {
    time: i64,
    #[serde(flatten)]
    head: Head,
}

#[derive(Deserialize)]
struct Ocsf {
    time: i64,
    unmapped: Head,
}

/// The line does not have the form of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRecord;

impl<'a> Parsed<'a> {
    /// Reads a line, without its newline.
    pub(super) fn read(line: &'a [u8]) -> Result<Self, NoRecord> {
        let (body, is_native) = match line.strip_suffix(b"\"}}") {
            Some(body) => (body, false),
            None => (line.strip_suffix(b"\"}").ok_or(NoRecord)?, true),
        };
        let start = body.len().checked_sub(64 + HASH.len()).ok_or(NoRecord)?;
        let (before_hash, tail) = body.split_at(start);
        let hex = tail.strip_prefix(HASH).ok_or(NoRecord)?;
        let hash = std::str::from_utf8(hex)
            .ok()
            .and_then(unhex)
            .ok_or(NoRecord)?;
        let (time, head) = if is_native {
            let Native { time, head } = serde_json::from_slice(line).map_err(|_| NoRecord)?;
            (time, head)
        } else {
            let Ocsf { time, unmapped } = serde_json::from_slice(line).map_err(|_| NoRecord)?;
            (time, unmapped)
        };
        Ok(Self {
            prev: unhex(&head.prev).ok_or(NoRecord)?,
            signature: signature(before_hash),
            head,
            time,
            hash,
            before_hash,
        })
    }

    /// Whether the line has the hash that it says it has.
    pub(super) fn is_whole(&self) -> bool {
        hash(&self.prev, self.before_hash) == self.hash
    }

    /// Whether it is a record of this kind.
    pub(super) fn is(&self, kind: super::event::Kind) -> bool {
        self.head.kind == kind.as_str()
    }
}

/// The signature at the end of what stands before the hash: 64 bytes in base64url.
fn signature(before_hash: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    const DIGITS: usize = 86;
    let body = before_hash.strip_suffix(b"\"")?;
    let start = body.len().checked_sub(DIGITS + SIG.len())?;
    let (before_sig, tail) = body.split_at(start);
    let sig = URL_SAFE_NO_PAD.decode(tail.strip_prefix(SIG)?).ok()?;
    Some((sig, before_sig))
}

/// Whether bytes without a newline at their end may be the beginning of a record whose writing was cut short. A whole
/// JSON value, and bytes that no JSON begins with, are something else: somebody wrote them. Zeros are what some file
/// systems leave where data was not written before a power cut.
pub(super) fn looks_torn(bytes: &[u8]) -> bool {
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    let text = &bytes[..end];
    if memchr::memchr(b'\n', text).is_some() {
        return false;
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(text) {
        Ok(_) => false,
        Err(error) => text.is_empty() || error.is_eof(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_of_records_are_torn_and_nothing_else_is() {
        let record = br#"{"v":1,"chain":"ab","x":[1,2,"\u00e4 \" text"],"y":true}"#;
        for end in 0..record.len() {
            assert!(looks_torn(&record[..end]), "{end}");
        }
        assert!(!looks_torn(record));
        assert!(!looks_torn(b"{\"a\":1}x"));
        assert!(!looks_torn(b"hello"));
        assert!(!looks_torn(b"{\"a\":1\n"));
        assert!(looks_torn(b"{\"a\":1,\0\0\0"));
    }
}
