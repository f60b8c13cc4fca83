//! What was found.

use std::path::Path;

use serde::Serialize;

/// Findings that are kept; a log with more of them has one cause.
const MAX_FINDINGS: usize = 200;

/// The outcome of a verification.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The chains that were found.
    pub chains: Vec<ChainReport>,
    /// What shows that the log is not what was written. Empty: it is.
    pub findings: Vec<Finding>,
    /// What is worth knowing and is no tampering: crashes, dropped records, records that are not sealed yet.
    pub notes: Vec<String>,
}

/// One chain.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ChainReport {
    /// Its name.
    pub chain: String,
    /// Its files, in order.
    pub files: Vec<String>,
    /// Number of the first record.
    pub first_seq: u64,
    /// Number of the last record.
    pub last_seq: u64,
    /// Its head, to be kept elsewhere.
    pub head: String,
    /// Records.
    pub records: u64,
    /// Checkpoints with a good signature.
    pub signed_checkpoints: u64,
    /// The last record that a good signature covers; 0 for none.
    pub sealed_seq: u64,
    /// Ends of the process that were not orderly.
    pub crashes: u64,
    /// Records that the proxy says it dropped.
    pub dropped: u64,
}

/// Something that shows tampering or damage.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// In which file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// At which line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// In words.
    pub message: String,
}

/// Kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A line does not have the hash that it says.
    Edited,
    /// A line is no record.
    NoRecord,
    /// Records are missing.
    Removed,
    /// A record stands where it does not belong: again, or in another order.
    Misplaced,
    /// A record does not follow the one before it: the one or the other was replaced.
    Replaced,
    /// A checkpoint's signature is not that of the key.
    BadSignature,
    /// A checkpoint has no signature.
    Unsigned,
    /// Files before the first one, or of a head, are missing.
    MissingFile,
    /// The log ends before a head that was kept elsewhere.
    Truncated,
    /// The log has another record where the head was.
    OtherThanHead,
    /// A record of another chain.
    Foreign,
    /// Records that no checkpoint follows, over a time in which there were some.
    Unsealed,
}

impl Report {
    /// Whether the log is what was written.
    pub fn is_intact(&self) -> bool {
        self.findings.is_empty()
    }

    /// `line` is 0 where it is about no line.
    pub(super) fn find(
        &mut self,
        kind: FindingKind,
        file: Option<&Path>,
        line: u64,
        message: impl Into<String>,
    ) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding {
                kind,
                file: file.map(|file| file.display().to_string()),
                line: (line > 0).then_some(line),
                message: message.into(),
            });
        }
    }

    /// For eyes.
    pub fn text(&self) -> String {
        use std::fmt::Write;
        let mut out = String::new();
        for finding in &self.findings {
            if let Some(file) = &finding.file {
                let _ = write!(out, "{file}:");
                if let Some(line) = finding.line {
                    let _ = write!(out, "{line}:");
                }
                out.push(' ');
            }
            let _ = writeln!(out, "{}", finding.message);
        }
        for note in &self.notes {
            let _ = writeln!(out, "note: {note}");
        }
        for chain in &self.chains {
            let _ = writeln!(
                out,
                "chain {}: records {} to {} in {} file{}, {} signed checkpoints, sealed up to record {}",
                chain.chain,
                chain.first_seq,
                chain.last_seq,
                chain.files.len(),
                if chain.files.len() == 1 { "" } else { "s" },
                chain.signed_checkpoints,
                chain.sealed_seq,
            );
            let _ = writeln!(out, "head {}", chain.head);
        }
        let verdict = match (self.is_intact(), self.chains.is_empty()) {
            (true, false) => "intact: this is what was written".to_owned(),
            (true, true) => "no audit log was found".to_owned(),
            (false, _) => format!("NOT INTACT: {} findings", self.findings.len()),
        };
        let _ = writeln!(out, "{verdict}");
        out
    }
}
