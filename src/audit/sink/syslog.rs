//! A syslog server: RFC 5424 over a unix socket, UDP (RFC 5426) or TCP with counted octets (RFC 6587).

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use super::Pending;
use crate::config::audit::{Facility, SyslogAddress};

const PATIENCE: Duration = Duration::from_secs(1);
/// "Notice" (RFC 5424 section 6.2.1).
const SEVERITY: u8 = 5;

/// A syslog server.
pub(in crate::audit) struct SyslogSink {
    address: SyslogAddress,
    line: Option<Line>,
    /// The head of a message up to its timestamp, which is left to the record.
    head: String,
}

enum Line {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl SyslogSink {
    /// Connects; later, broken connections are made anew.
    pub(super) fn open(address: SyslogAddress, facility: Facility) -> io::Result<Self> {
        let priority = facility.number() * 8 + SEVERITY;
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = Some(host.trim()).filter(|host| {
            !host.is_empty() && host.len() <= 255 && host.bytes().all(|b| b.is_ascii_graphic())
        });
        let head = format!(
            "<{priority}>1 - {} mcp-oidc-proxy {} audit - ",
            host.unwrap_or("-"),
            std::process::id()
        );
        Ok(Self {
            line: Some(connect(&address)?),
            address,
            head,
        })
    }

    pub(super) fn write(&mut self, pending: &mut Pending) -> io::Result<()> {
        while let Some(record) = pending.line() {
            let length = record.len() + 1;
            let mut message = self.head.clone().into_bytes();
            message.extend_from_slice(record);
            match self.send(&message) {
                Ok(()) => pending.advance(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // What was sent of it in part stays behind with the connection; the record is sent again whole.
                    self.line = None;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let line = match &mut self.line {
            Some(line) => line,
            none => none.insert(connect(&self.address)?),
        };
        match line {
            Line::Unix(socket) => socket.send(message).map(drop),
            Line::Udp(socket) => socket.send(message).map(drop),
            Line::Tcp(stream) => {
                let mut framed = format!("{} ", message.len()).into_bytes();
                framed.extend_from_slice(message);
                stream.write_all(&framed)
            }
        }
    }
}

fn connect(address: &SyslogAddress) -> io::Result<Line> {
    match address {
        SyslogAddress::Unix(path) => unix(path),
        SyslogAddress::Udp(place) => {
            let to = resolve(place)?;
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any)?;
            socket.connect(to)?;
            Ok(Line::Udp(socket))
        }
        SyslogAddress::Tcp(place) => {
            let stream = TcpStream::connect_timeout(&resolve(place)?, PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            Ok(Line::Tcp(stream))
        }
    }
}

fn unix(path: &Path) -> io::Result<Line> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(Line::Unix(socket))
}

fn resolve(place: &str) -> io::Result<std::net::SocketAddr> {
    place
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn pending(text: &[u8]) -> Pending {
        let mut pending = Pending::default();
        pending.out().extend_from_slice(text);
        pending
    }

    #[test]
    fn records_reach_a_unix_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let server = UnixDatagram::bind(&path).unwrap();
        let mut sink = SyslogSink::open(SyslogAddress::Unix(path), Facility::Authpriv).unwrap();
        sink.write(&mut pending(b"{\"a\":1}\n{\"b\":2}\n")).unwrap();
        let mut buffer = [0; 512];
        for record in ["{\"a\":1}", "{\"b\":2}"] {
            let length = server.recv(&mut buffer).unwrap();
            let message = std::str::from_utf8(&buffer[..length]).unwrap();
            assert!(message.starts_with("<85>1 - "), "{message}");
            assert!(
                message.ends_with(&format!(" audit - {record}")),
                "{message}"
            );
        }
    }

    #[test]
    fn records_reach_a_tcp_server_counted_and_again_after_it_was_away() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let place = server.local_addr().unwrap().to_string();
        let mut sink = SyslogSink::open(SyslogAddress::Tcp(place), Facility::Local0).unwrap();
        let (mut first, _) = server.accept().unwrap();
        sink.write(&mut pending(b"{\"a\":1}\n")).unwrap();
        let mut buffer = [0; 512];
        let length = first.read(&mut buffer).unwrap();
        let message = std::str::from_utf8(&buffer[..length]).unwrap().to_owned();
        let (count, rest) = message.split_once(' ').unwrap();
        assert_eq!(count.parse::<usize>().unwrap(), rest.len());
        assert!(rest.starts_with("<133>1 "), "{rest}");
        sink.line = None;
        sink.write(&mut pending(b"{\"b\":2}\n")).unwrap();
        let (mut second, _) = server.accept().unwrap();
        let length = second.read(&mut buffer).unwrap();
        assert!(buffer[..length].ends_with(b"{\"b\":2}"));
    }

    #[test]
    fn what_cannot_be_sent_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let server = UnixDatagram::bind(&path).unwrap();
        let mut sink = SyslogSink::open(SyslogAddress::Unix(path.clone()), Facility::Auth).unwrap();
        drop(server);
        let mut lines = pending(b"{\"a\":1}\n");
        assert!(sink.write(&mut lines).is_err());
        assert_eq!(lines.rest(), b"{\"a\":1}\n");
        std::fs::remove_file(&path).unwrap();
        let server = UnixDatagram::bind(&path).unwrap();
        sink.write(&mut lines).unwrap();
        let mut buffer = [0; 512];
        let length = server.recv(&mut buffer).unwrap();
        assert!(buffer[..length].ends_with(b"{\"a\":1}"));
    }
}
