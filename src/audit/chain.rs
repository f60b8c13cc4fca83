//! The chain: every record names the hash of the one before, and checkpoints are signed.
//!
//! `hash` = SHA-256 over the 32 bytes of the previous hash and the bytes of the line as written, up to and without
//! `,"hash":`. A checkpoint's `sig` is Ed25519 over [`CONTEXT`], the previous hash, and the bytes of the line up to and
//! without `,"sig":`. So a signature seals its own line and, through the chain, every line before it.

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::event::{Event, Kind};
use super::{line, ocsf};
use crate::clock::Timestamp;
use crate::config::audit::AuditFormat;

/// What a signature begins with, so that it can be taken for nothing else.
pub(super) const CONTEXT: &[u8] = b"mcp-oidc-proxy audit checkpoint v1\n";
/// What stands before the signature and the hash of a line.
pub(super) const SIG: &[u8] = b",\"sig\":\"";
pub(super) const HASH: &[u8] = b",\"hash\":\"";

/// The hash of a line.
pub(super) type Hash = [u8; 32];
/// What the first line of a chain names as the one before.
pub(super) const NONE: Hash = [0; 32];

/// A line's place.
pub(super) struct Link<'a> {
    pub(super) chain: &'a str,
    pub(super) seq: u64,
    pub(super) prev: &'a str,
}

/// The end of a chain, to which lines are added.
pub(super) struct Chain {
    id: Box<str>,
    seq: u64,
    hash: Hash,
    signer: Option<Signer>,
    format: AuditFormat,
}

/// Signs checkpoints.
pub(super) struct Signer(Ed25519KeyPair);

impl Signer {
    /// From the seed; every 32 bytes are one.
    pub(super) fn new(seed: &[u8; 32]) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Self)
    }

    /// The public key, base64url.
    pub(super) fn public(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref())
    }
}

impl Chain {
    /// A chain whose last line was this one; `0` and [`NONE`] for a new one.
    pub(super) fn new(
        id: &str,
        seq: u64,
        hash: Hash,
        signer: Option<Signer>,
        format: AuditFormat,
    ) -> Self {
        Self {
            id: id.into(),
            seq,
            hash,
            signer,
            format,
        }
    }

    /// Number of the last line.
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// Hash of the last line, in hex.
    pub(super) fn hash(&self) -> String {
        hex(&self.hash)
    }

    /// Name of the chain.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The public key of checkpoints.
    pub(super) fn public_key(&self) -> Option<String> {
        self.signer.as_ref().map(Signer::public)
    }

    /// Appends the line of an event, its newline included.
    pub(super) fn append(&mut self, out: &mut Vec<u8>, event: &Event, at: Timestamp) {
        let start = out.len();
        let prev = hex(&self.hash);
        let link = Link {
            chain: &self.id,
            seq: self.seq.saturating_add(1),
            prev: &prev,
        };
        match self.format {
            AuditFormat::Native => line::write(out, event, at, &link),
            AuditFormat::Ocsf => ocsf::write(out, event, at, &link),
        }
        if event.kind == Kind::LogCheckpoint
            && let Some(Signer(key)) = &self.signer
        {
            let signature = key.sign(&signed(&self.hash, &out[start..]));
            out.extend_from_slice(SIG);
            out.extend_from_slice(URL_SAFE_NO_PAD.encode(signature.as_ref()).as_bytes());
            out.push(b'"');
        }
        self.hash = hash(&self.hash, &out[start..]);
        self.seq = self.seq.saturating_add(1);
        out.extend_from_slice(HASH);
        out.extend_from_slice(hex(&self.hash).as_bytes());
        out.extend_from_slice(match self.format {
            AuditFormat::Native => b"\"}\n",
            AuditFormat::Ocsf => b"\"}}\n",
        });
    }
}

/// The hash of a line: of what stands before its own `hash`, and of the hash before.
pub(super) fn hash(prev: &Hash, before_hash: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(prev);
    context.update(before_hash);
    let mut out = NONE;
    out.copy_from_slice(context.finish().as_ref());
    out
}

fn signed(prev: &Hash, before_sig: &[u8]) -> Vec<u8> {
    [CONTEXT, prev, before_sig].concat()
}

/// Whether a checkpoint was signed with this key.
pub(super) fn is_signed(key: &[u8; 32], prev: &Hash, before_sig: &[u8], sig: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key)
        .verify(&signed(prev, before_sig), sig)
        .is_ok()
}

/// SHA-256 of some bytes, in hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(crate::secret::Digest::of(bytes).as_bytes())
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}

/// Reads 64 lower-case hex digits.
pub(super) fn unhex(text: &str) -> Option<Hash> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let bytes = text.as_bytes();
    if bytes.len() != 64 {
        return None;
    }
    let mut out = NONE;
    for (to, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
        *to = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}
