//! Which files belong together, and in which order.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::report::{FindingKind, Report};
use super::{Options, Unreadable};
use crate::audit::read::{MAX_LINE, Parsed};

/// Lines of a file, one at a time.
pub(super) struct Lines {
    reader: BufReader<File>,
    path: PathBuf,
    /// The number of the line that was read last, from 1.
    pub(super) number: u64,
}

/// A line.
pub(super) struct Raw {
    /// Without its newline.
    pub(super) bytes: Vec<u8>,
    /// Whether it had one.
    pub(super) ended: bool,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self, Unreadable> {
        let file = File::open(path).map_err(unreadable(path))?;
        Ok(Self {
            reader: BufReader::with_capacity(256 << 10, file),
            path: path.to_owned(),
            number: 0,
        })
    }

    /// The next line; of one that is too long, what is within the bound, as if it ended there.
    pub(super) fn next(&mut self) -> Result<Option<Raw>, Unreadable> {
        let mut bytes = Vec::new();
        let limit = MAX_LINE as u64 + 1;
        (&mut self.reader)
            .take(limit)
            .read_until(b'\n', &mut bytes)
            .map_err(unreadable(&self.path))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let ended = bytes.last() == Some(&b'\n') || bytes.len() as u64 == limit;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        Ok(Some(Raw { bytes, ended }))
    }
}

/// The record on a line among others: from its first brace.
pub(super) fn within(line: &[u8]) -> Option<&[u8]> {
    let start = memchr::memchr(b'{', line)?;
    let line = line[start..].trim_ascii_end();
    memchr::memmem::find(line, b"\"prev\":\"").map(|_| line)
}

/// The files of each chain, in the order of their records.
pub(super) fn by_chain(
    paths: &[PathBuf],
    options: &Options,
    report: &mut Report,
) -> Result<Vec<(String, Vec<PathBuf>)>, Unreadable> {
    let mut found: Vec<(String, u64, PathBuf)> = Vec::new();
    for (path, named) in expand(paths)? {
        match first(&path, options)? {
            Some((chain, seq)) => found.push((chain, seq, path)),
            None if named => report.find(
                FindingKind::NoRecord,
                Some(&path),
                0,
                "this file has no record of an audit log",
            ),
            None => report.notes.push(format!(
                "{} is not of an audit log and was left out",
                path.display()
            )),
        }
    }
    found.sort();
    let mut chains: Vec<(String, Vec<PathBuf>)> = Vec::new();
    for (chain, _, path) in found {
        match chains.last_mut() {
            Some((last, files)) if *last == chain => files.push(path),
            _ => chains.push((chain, vec![path])),
        }
    }
    Ok(chains)
}

/// Files, and whether they were named themselves.
fn expand(paths: &[PathBuf]) -> Result<Vec<(PathBuf, bool)>, Unreadable> {
    let mut all = Vec::new();
    for path in paths {
        if !path.is_dir() {
            all.push((path.clone(), true));
            continue;
        }
        for entry in std::fs::read_dir(path).map_err(unreadable(path))? {
            let entry = entry.map_err(unreadable(path))?;
            let found = entry.path();
            if found.is_file() {
                all.push((found, false));
            }
        }
    }
    all.sort();
    all.dedup_by(|one, other| one.0 == other.0);
    Ok(all)
}

/// Chain and number of the first line that is a record.
fn first(path: &Path, options: &Options) -> Result<Option<(String, u64)>, Unreadable> {
    let mut lines = Lines::open(path)?;
    while let Some(raw) = lines.next()? {
        let line = if options.mixed {
            within(&raw.bytes)
        } else {
            Some(&*raw.bytes)
        };
        if let Some(Ok(parsed)) = line.map(Parsed::read) {
            return Ok(Some((parsed.head.chain, parsed.head.seq)));
        }
    }
    Ok(None)
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Unreadable + '_ {
    move |error| Unreadable {
        path: path.to_owned(),
        error,
    }
}
