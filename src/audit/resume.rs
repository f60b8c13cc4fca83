//! Where a chain goes on after a restart.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::chain::{Hash, sha256};
use super::event::{Event, Kind, Log, Outcome};
use super::read::{MAX_LINE, Parsed, looks_torn};
use super::sink::file;

/// The end of a log as it was found.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) chain: String,
    pub(super) seq: u64,
    pub(super) hash: Hash,
    /// Number of the file in its chain.
    pub(super) number: u64,
    /// Whether the last record says that the end was orderly.
    clean: bool,
    /// What stands behind the last whole record.
    torn: Option<Torn>,
    /// The last record is whole but for its newline.
    open: bool,
}

/// Bytes that are no record.
#[derive(Debug)]
struct Torn {
    bytes: u64,
    sha256: String,
    damaged: bool,
    /// They end with a newline.
    newline: bool,
}

/// Why a log cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The system said no.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Io(PathBuf, io::Error),
    /// It is no audit log, or its end cannot be read.
    #[error("{} does not end with a record of an audit log, so the chain cannot go on in it; move it away (and keep it), or name another file", .0.display())]
    NoLog(PathBuf),
}

/// The end of the log at `path`: of the file itself, or of the last full one when the file is not there. `None` when
/// there is no log yet. The flag says whether it is the file itself.
pub(super) fn find(path: &Path) -> Result<Option<(Tail, bool)>, ResumeError> {
    if let Some(tail) = Tail::read(path)? {
        return Ok(Some((tail, true)));
    }
    match file::numbered_files(path).pop() {
        Some((_, full)) => Ok(Tail::read(&full)?.map(|tail| (tail, false))),
        None => Ok(None),
    }
}

impl Tail {
    /// Reads the end of a file; `None` when it is missing or empty.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, ResumeError> {
        match tail(path) {
            Ok(found) => found
                .ok_or_else(|| ResumeError::NoLog(path.to_owned()))
                .map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ResumeError::Io(path.to_owned(), error)),
        }
    }

    /// Ends what is open at the end of the file, so that the next record begins on a line of its own.
    pub(super) fn close_line(&self, path: &Path) -> io::Result<()> {
        if self.open || self.torn.as_ref().is_some_and(|torn| !torn.newline) {
            OpenOptions::new()
                .append(true)
                .open(path)?
                .write_all(b"\n")?;
        }
        Ok(())
    }

    /// The record of an end that was not orderly; `None` when it was.
    pub(super) fn recovered(&self) -> Option<Event> {
        if self.clean && self.torn.is_none() && !self.open {
            return None;
        }
        let damaged = self.torn.as_ref().is_some_and(|torn| torn.damaged);
        let outcome = if damaged {
            Outcome::Failure
        } else {
            Outcome::Error
        };
        let mut event = Event::new(Kind::LogRecovered, outcome).because(if damaged {
            "damaged"
        } else {
            "crash"
        });
        event.log = Some(Box::new(Log {
            torn_bytes: self.torn.as_ref().map(|torn| torn.bytes),
            torn_sha256: self.torn.as_ref().map(|torn| torn.sha256.as_str().into()),
            damaged,
            ..Log::default()
        }));
        Some(event)
    }
}

/// `Ok(None)`: there is something, and it does not end like an audit log.
fn tail(path: &Path) -> io::Result<Option<Tail>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length == 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    let number = number(&mut file)?;
    let start = length.saturating_sub(4 * MAX_LINE as u64);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(4 * MAX_LINE as u64).read_to_end(&mut bytes)?;
    let mut end = bytes.len();
    // From the last line to the first that is whole.
    while end > 0 {
        let (line_end, begin) = bounds(&bytes, end);
        let line = &bytes[begin..line_end];
        if let Ok(parsed) = Parsed::read(line)
            && parsed.is_whole()
        {
            let rest = &bytes[(line_end + 1).min(bytes.len())..];
            let has_newline = line_end < bytes.len();
            return Ok(Some(Tail {
                seq: parsed.head.seq,
                hash: parsed.hash,
                number: number.unwrap_or(1),
                clean: parsed.head.log.as_ref().is_some_and(|log| log.end),
                torn: (!rest.is_empty()).then(|| Torn::of(rest)),
                open: !has_newline,
                chain: parsed.head.chain,
            }));
        }
        end = begin;
    }
    Ok(None)
}

/// Begin and end of the line that ends at `end`, with its newline if it has one.
fn bounds(bytes: &[u8], end: usize) -> (usize, usize) {
    let line_end = if bytes[end - 1] == b'\n' {
        end - 1
    } else {
        end
    };
    let begin = memchr::memrchr(b'\n', &bytes[..line_end]).map_or(0, |at| at + 1);
    (line_end, begin)
}

/// The number that the first record of the file gives it.
fn number(file: &mut File) -> io::Result<Option<u64>> {
    let mut first = Vec::new();
    file.take(64 << 10).read_to_end(&mut first)?;
    let end = memchr::memchr(b'\n', &first).unwrap_or(first.len());
    let parsed = Parsed::read(&first[..end]).ok();
    Ok(parsed.and_then(|parsed| parsed.head.log?.number))
}

impl Torn {
    fn of(rest: &[u8]) -> Self {
        let damaged = !looks_torn(rest);
        // A newline that ends what is damaged ends a line; it is none of its bytes.
        let bytes = rest.strip_suffix(b"\n").unwrap_or(rest);
        Self {
            bytes: bytes.len() as u64,
            sha256: sha256(bytes),
            damaged,
            newline: rest.ends_with(b"\n"),
        }
    }
}
