//! From record to record along a chain.

use std::path::{Path, PathBuf};

use super::files::{Lines, within};
use super::report::{ChainReport, FindingKind, Report};
use super::{Options, PublicKey, Unreadable};
use crate::audit::chain::{Hash, NONE, hex, is_signed, sha256, unhex};
use crate::audit::event::Kind;
use crate::audit::line::VERSION;
use crate::audit::read::{Parsed, looks_torn};

/// Time over which records without a checkpoint are not explained by a crash: there is one each second.
const SEALED_EVERY_MS: i64 = 60_000;

struct Walk<'a> {
    options: &'a Options,
    report: &'a mut Report,
    about: ChainReport,
    last: Option<Last>,
    /// An unreadable line, until the next record says whether it comes from a crash.
    torn: Option<Torn>,
    /// The record before the first one, and whether a removal explains that it is not there.
    before: Option<(u64, Hash)>,
    explained: bool,
    /// The last removed record that was told of.
    removed: u64,
    /// Public key that the log itself names, where none was given.
    own_key: Option<PublicKey>,
    /// When the first record after the last signed checkpoint was written.
    unsealed_since: Option<i64>,
    met: Vec<bool>,
}

#[derive(Clone, Copy)]
struct Last {
    seq: u64,
    hash: Hash,
    time: i64,
}

struct Torn {
    line: u64,
    bytes: u64,
    sha256: String,
    from_crash: bool,
}

pub(super) fn chain(
    name: &str,
    files: &[PathBuf],
    options: &Options,
    report: &mut Report,
) -> Result<(), Unreadable> {
    let mut walk = Walk {
        options,
        report,
        about: ChainReport {
            chain: name.to_owned(),
            files: files
                .iter()
                .map(|file| file.display().to_string())
                .collect(),
            ..ChainReport::default()
        },
        last: None,
        torn: None,
        before: None,
        explained: false,
        removed: 0,
        own_key: None,
        unsealed_since: None,
        met: vec![false; options.heads.len()],
    };
    for (at, file) in files.iter().enumerate() {
        walk.file(file, at + 1 == files.len())?;
    }
    walk.end();
    Ok(())
}

impl Walk<'_> {
    fn file(&mut self, path: &Path, is_last: bool) -> Result<(), Unreadable> {
        let mut lines = Lines::open(path)?;
        while let Some(raw) = lines.next()? {
            let number = lines.number;
            let line = if self.options.mixed {
                match within(&raw.bytes) {
                    Some(line) => line,
                    None => continue,
                }
            } else {
                &*raw.bytes
            };
            match Parsed::read(line) {
                Ok(parsed) => {
                    if !raw.ended && !self.options.mixed {
                        self.about.crashes += 1;
                        self.note(
                            path,
                            number,
                            "the last line has no newline: the process ended while it was written",
                        );
                    }
                    self.record(path, number, &parsed);
                }
                Err(_) if !raw.ended && is_last && looks_torn(line) => {
                    self.flush_torn(path);
                    self.about.crashes += 1;
                    self.note(
                        path,
                        number,
                        "the last line is not finished: the process ended while it was written",
                    );
                }
                Err(_) => {
                    self.flush_torn(path);
                    self.torn = Some(Torn {
                        line: number,
                        bytes: line.len() as u64,
                        sha256: sha256(line),
                        from_crash: looks_torn(line),
                    });
                }
            }
        }
        self.flush_torn(path);
        Ok(())
    }

    fn note(&mut self, path: &Path, line: u64, message: &str) {
        self.report
            .notes
            .push(format!("{}:{line}: {message}", path.display()));
    }

    /// The unreadable line before was not explained.
    fn flush_torn(&mut self, path: &Path) {
        if let Some(torn) = self.torn.take() {
            self.report.find(
                FindingKind::NoRecord,
                Some(path),
                torn.line,
                "this line is no record: it was changed or put in",
            );
        }
    }

    fn record(&mut self, path: &Path, line: u64, parsed: &Parsed) {
        let head = &parsed.head;
        if head.chain != self.about.chain || head.v != VERSION {
            self.flush_torn(path);
            self.report.find(
                FindingKind::Foreign,
                Some(path),
                line,
                format!(
                    "this record is of another chain ({}) or version",
                    head.chain
                ),
            );
            return;
        }
        let whole = parsed.is_whole();
        if !whole {
            self.report.find(
                FindingKind::Edited,
                Some(path),
                line,
                format!("record {} was changed: it does not have its hash", head.seq),
            );
        }
        let follows = self.follows(path, line, parsed);
        if follows == Follows::Repeated {
            return;
        }
        if parsed.is(Kind::LogRecovered) && whole && follows == Follows::Yes {
            self.recovered(path, line, parsed);
        }
        self.flush_torn(path);
        if self.last.is_none() {
            self.about.first_seq = head.seq;
            self.before = (head.seq != 1).then(|| (head.seq.saturating_sub(1), parsed.prev));
        }
        self.about.records += 1;
        self.unsealed_since.get_or_insert(parsed.time);
        self.last = Some(Last {
            seq: head.seq,
            hash: parsed.hash,
            time: parsed.time,
        });
        self.about_log(path, line, parsed);
        self.heads(path, line, parsed);
    }

    fn follows(&mut self, path: &Path, line: u64, parsed: &Parsed) -> Follows {
        let seq = parsed.head.seq;
        let Some(last) = self.last else {
            if seq == 1 && parsed.prev != NONE {
                self.report.find(
                    FindingKind::Replaced,
                    Some(path),
                    line,
                    "the first record names one before it",
                );
            }
            return Follows::Yes;
        };
        let next = last.seq.saturating_add(1);
        let (kind, message) = if seq == next && parsed.prev == last.hash {
            return Follows::Yes;
        } else if seq == next {
            (
                FindingKind::Replaced,
                format!(
                    "record {seq} does not follow the record before it: one of them was replaced"
                ),
            )
        } else if seq > next {
            (
                FindingKind::Removed,
                format!("records {next} to {} are missing before this line", seq - 1),
            )
        } else if self.options.mixed && seq == last.seq && parsed.hash == last.hash {
            // Delivered twice, as collectors do when a connection breaks.
            return Follows::Repeated;
        } else {
            (
                FindingKind::Misplaced,
                format!(
                    "record {seq} stands after record {}: it was put here or repeated",
                    last.seq
                ),
            )
        };
        self.report.find(kind, Some(path), line, message);
        Follows::No
    }

    /// A crash explains the unfinished line before its record, if that is the one that it names.
    fn recovered(&mut self, path: &Path, line: u64, parsed: &Parsed) {
        self.about.crashes += 1;
        let log = parsed.head.log.clone().unwrap_or_default();
        if log.damaged {
            self.report.find(
                FindingKind::NoRecord,
                Some(path),
                line,
                "when the proxy started, the end of the file was damaged in a way that no crash explains",
            );
        }
        let explained = self.torn.as_ref().is_some_and(|torn| {
            torn.from_crash
                && log.torn_bytes == Some(torn.bytes)
                && log.torn_sha256.as_deref() == Some(torn.sha256.as_str())
        });
        if explained {
            self.torn = None;
        }
        self.note(
            path,
            line,
            "the process before did not end in order; the chain goes on",
        );
    }

    /// Checkpoints, removals, losses.
    fn about_log(&mut self, path: &Path, line: u64, parsed: &Parsed) {
        let log = parsed.head.log.as_ref();
        if parsed.is(Kind::LogCheckpoint) {
            self.checkpoint(path, line, parsed);
        } else if parsed.is(Kind::LogOpened) {
            let key = log.and_then(|log| log.key.as_deref());
            self.own_key = key.and_then(|key| PublicKey::parse(key).ok());
        } else if parsed.is(Kind::LogRemoved)
            && let Some(log) = log
        {
            let seq = log.last_seq.unwrap_or_default();
            let hash = log.last_hash.as_deref().and_then(unhex);
            self.removed = self.removed.max(seq);
            self.explained |= self.before.is_some() && self.before == hash.map(|hash| (seq, hash));
        } else if parsed.is(Kind::LogDropped) {
            self.about.dropped += log.and_then(|log| log.count).unwrap_or_default();
        }
    }

    fn checkpoint(&mut self, path: &Path, line: u64, parsed: &Parsed) {
        let given = !self.options.keys.is_empty();
        let Some((sig, before_sig)) = &parsed.signature else {
            if given || self.own_key.is_some() {
                self.report.find(
                    FindingKind::Unsigned,
                    Some(path),
                    line,
                    "this checkpoint is not signed",
                );
            }
            return;
        };
        let good = |key: &PublicKey| is_signed(&key.0, &parsed.prev, before_sig, sig);
        let good = if given {
            self.options.keys.iter().any(good)
        } else {
            self.own_key.iter().any(good)
        };
        // A part of a log does not begin with the record that names its key.
        if !good && (given || self.own_key.is_some()) {
            self.report.find(
                FindingKind::BadSignature,
                Some(path),
                line,
                "this checkpoint was not signed with the key",
            );
        }
        if good {
            self.about.signed_checkpoints += 1;
            self.about.sealed_seq = parsed.head.seq;
            self.unsealed_since = None;
        }
    }

    fn heads(&mut self, path: &Path, line: u64, parsed: &Parsed) {
        for (met, head) in self.met.iter_mut().zip(&self.options.heads) {
            if head.chain != self.about.chain || head.seq != parsed.head.seq {
                continue;
            }
            *met = true;
            if head.hash != parsed.hash {
                self.report.find(
                    FindingKind::OtherThanHead,
                    Some(path),
                    line,
                    format!("record {} is not the one that was the head", head.seq),
                );
            }
        }
    }

    fn end(mut self) {
        let Some(last) = self.last else {
            return;
        };
        self.about.last_seq = last.seq;
        self.about.head = format!("{}/{}/{}", self.about.chain, last.seq, hex(&last.hash));
        if let Some((seq, _)) = self.before
            && !self.explained
            && !self.options.partial
        {
            self.report.find(
                FindingKind::MissingFile,
                None,
                0,
                format!("records 1 to {seq} of chain {} are missing, and no record says that their files were removed; give all files, or say --partial", self.about.chain),
            );
        }
        self.unmet(&last);
        self.unsealed(&last);
        if self.about.dropped > 0 {
            self.report.notes.push(format!(
                "the proxy dropped {} records because they could not be written",
                self.about.dropped
            ));
        }
        self.report.chains.push(self.about);
    }

    fn unmet(&mut self, last: &Last) {
        for (met, head) in self.met.iter().zip(&self.options.heads) {
            if *met || head.chain != self.about.chain {
                continue;
            }
            if head.seq > last.seq {
                self.report.find(
                    FindingKind::Truncated,
                    None,
                    0,
                    format!(
                        "the log ends with record {}, but its head was record {} once: the end was cut off",
                        last.seq, head.seq
                    ),
                );
            } else if head.seq < self.about.first_seq
                && (head.seq <= self.removed || self.options.partial)
            {
                self.report.notes.push(format!(
                    "the head {} lies in files that are not here any more",
                    head.seq
                ));
            } else {
                self.report.find(
                    FindingKind::OtherThanHead,
                    None,
                    0,
                    format!("record {}, which was the head once, is missing", head.seq),
                );
            }
        }
    }

    fn unsealed(&mut self, last: &Last) {
        if self.options.keys.is_empty() {
            self.report.notes.push(if self.own_key.is_some() {
                "no --key was given: signatures were checked with the key that the log itself names, which shows less".to_owned()
            } else {
                "the log is not signed, or no --key was given".to_owned()
            });
            return;
        }
        let open = last.seq - self.about.sealed_seq.min(last.seq);
        if open == 0 {
            return;
        }
        if self
            .unsealed_since
            .is_some_and(|since| last.time.saturating_sub(since) > SEALED_EVERY_MS)
        {
            self.report.find(
                FindingKind::Unsealed,
                None,
                0,
                format!(
                    "the last {open} records have no checkpoint, though there is one each second"
                ),
            );
        } else {
            self.report.notes.push(format!(
                "the last {open} records are not sealed: the process is running, or did not end in order"
            ));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Follows {
    Yes,
    No,
    Repeated,
}
