//! Where lines go. A sink writes what it can and remembers how far it came, so that nothing is written twice or lost
//! when it could not.

mod datagram;
pub(super) mod file;
mod syslog;

use std::io::{self, Write};

use self::datagram::Journal;
use self::file::FileSink;
use self::syslog::SyslogSink;
use crate::config::audit::{Audit, SinkKind, SyslogAddress};

/// Lines that are to be written, and how much of them was.
#[derive(Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    done: usize,
}

impl Pending {
    /// Where lines are added.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What is not written.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.done..]
    }

    /// The first line that is not written, without its newline.
    fn line(&self) -> Option<&[u8]> {
        let rest = self.rest();
        memchr::memchr(b'\n', rest).map(|end| &rest[..end])
    }

    /// So much more was written.
    fn advance(&mut self, bytes: usize) {
        self.done = self.bytes.len().min(self.done + bytes);
        if self.done == self.bytes.len() {
            self.bytes.clear();
            self.done = 0;
        }
    }
}

/// A sink.
pub(super) enum Sink {
    /// A file.
    File(FileSink),
    /// Standard output, shared with the access records.
    Stdout,
    /// Anything that takes bytes.
    #[cfg(test)]
    Stream(Box<dyn Write + Send>),
    /// syslog.
    Syslog(SyslogSink),
    /// The journal.
    Journal(Journal),
}

impl Sink {
    /// The sink of the configuration; files are opened by [`FileSink::open`], which reads them first.
    pub(super) fn other(config: &Audit, kind: SinkKind) -> io::Result<Self> {
        Ok(match kind {
            SinkKind::File | SinkKind::Stdout => Self::Stdout,
            SinkKind::Journald => Self::Journal(Journal::open()?),
            SinkKind::Syslog => {
                let address = SyslogAddress::parse(&config.syslog.address)
                    .map_err(|message| io::Error::new(io::ErrorKind::InvalidInput, message))?;
                Self::Syslog(SyslogSink::open(address, config.syslog.facility)?)
            }
        })
    }

    /// The label.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Stdout => "stdout",
            #[cfg(test)]
            Self::Stream(_) => "stdout",
            Self::Syslog(_) => "syslog",
            Self::Journal(_) => "journald",
        }
    }

    /// Writes all that is pending. After an error the rest is still pending.
    pub(super) fn write(&mut self, pending: &mut Pending) -> io::Result<()> {
        match self {
            Self::File(file) => file.write(pending),
            Self::Stdout => stream(&mut io::stdout().lock(), pending),
            #[cfg(test)]
            Self::Stream(writer) => stream(writer, pending),
            Self::Syslog(syslog) => syslog.write(pending),
            Self::Journal(journal) => journal.write(pending),
        }
    }

    /// Makes what was written last, where that can be asked for.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.settle(),
            _ => Ok(()),
        }
    }
}

fn stream(writer: &mut impl Write, pending: &mut Pending) -> io::Result<()> {
    while !pending.rest().is_empty() {
        match writer.write(pending.rest()) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => pending.advance(bytes),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    writer.flush()
}
