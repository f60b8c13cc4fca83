//! Proving that a log is what was written: nothing changed, taken out, put in or put elsewhere, no file missing; and,
//! against a head that was kept elsewhere, nothing cut off at the end.

mod files;
mod report;
mod walk;

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

pub use self::report::{ChainReport, Finding, FindingKind, Report};
use super::chain::{Hash, unhex};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Public keys that checkpoints may be signed with.
    pub keys: Vec<PublicKey>,
    /// Ends that were kept elsewhere.
    pub heads: Vec<Head>,
    /// The files are a part of the log: what came before them is not asked for.
    pub partial: bool,
    /// Other lines stand between the records, and other text before them on a line.
    pub mixed: bool,
}

/// An Ed25519 public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(pub(super) [u8; 32]);

impl PublicKey {
    /// Reads base64 or base64url of 32 bytes.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let plain = text.trim().trim_end_matches('=');
        URL_SAFE_NO_PAD
            .decode(plain)
            .or_else(|_| STANDARD.decode(text.trim()))
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| {
                format!("`{text}` is not a public key; give the one that `keygen --audit` printed")
            })
    }
}

/// The end of a chain as it once was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The chain.
    pub chain: String,
    /// Number of the record.
    pub seq: u64,
    pub(super) hash: Hash,
}

impl Head {
    /// Reads `chain/seq/hash`, as `audit head` prints it.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a head; give what `audit head` printed");
        let mut parts = text.trim().split('/');
        let (Some(chain), Some(seq), Some(hash), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        Ok(Self {
            chain: chain.to_owned(),
            seq: seq.parse().map_err(|_| wrong())?,
            hash: unhex(hash).ok_or_else(wrong)?,
        })
    }
}

/// The files could not be read; nothing is said about them.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read: {error}", path.display())]
pub struct Unreadable {
    path: PathBuf,
    error: std::io::Error,
}

/// Verifies files; a folder stands for all files in it. Their order does not matter.
///
/// # Errors
/// When one of them cannot be read.
pub fn verify(paths: &[PathBuf], options: &Options) -> Result<Report, Unreadable> {
    let mut report = Report::default();
    let chains = files::by_chain(paths, options, &mut report)?;
    for head in &options.heads {
        if !chains.iter().any(|(chain, _)| *chain == head.chain) {
            report.find(
                FindingKind::MissingFile,
                None,
                0,
                format!("no file belongs to the chain {} of a head", head.chain),
            );
        }
    }
    for (chain, files) in chains {
        walk::chain(&chain, &files, options, &mut report)?;
    }
    Ok(report)
}

#[cfg(test)]
mod tests;
