//! The journal of systemd, by its native protocol: a datagram for each record.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use super::Pending;

const SOCKET: &str = "/run/systemd/journal/socket";

/// The journal.
pub(in crate::audit) struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    pub(super) fn open() -> io::Result<Self> {
        Self::at(Path::new(SOCKET))
    }

    fn at(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.set_write_timeout(Some(Duration::from_secs(1)))?;
        Ok(Self { socket })
    }

    pub(super) fn write(&mut self, pending: &mut Pending) -> io::Result<()> {
        while let Some(line) = pending.line() {
            // A line has no newline in it, so the simple form of a field will do (systemd, "Native Journal Protocol").
            let mut datagram =
                b"PRIORITY=5\nSYSLOG_IDENTIFIER=mcp-oidc-proxy-audit\nMESSAGE=".to_vec();
            datagram.extend_from_slice(line);
            datagram.push(b'\n');
            let length = line.len() + 1;
            match self.socket.send(&datagram) {
                Ok(_) => pending.advance(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // The journal may have been started anew; the next attempt finds it.
                    let _ = self.socket.connect(SOCKET);
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_entry() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let server = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::at(&path).unwrap();
        let mut pending = Pending::default();
        pending.out().extend_from_slice(b"{\"a\":1}\n{\"b\":2}\n");
        journal.write(&mut pending).unwrap();
        assert!(pending.rest().is_empty());
        let mut buffer = [0; 256];
        for message in ["{\"a\":1}", "{\"b\":2}"] {
            let length = server.recv(&mut buffer).unwrap();
            let entry = std::str::from_utf8(&buffer[..length]).unwrap();
            assert_eq!(
                entry,
                format!("PRIORITY=5\nSYSLOG_IDENTIFIER=mcp-oidc-proxy-audit\nMESSAGE={message}\n")
            );
        }
    }
}
