//! `healthcheck`: one small request to a running proxy, for containers that have no other client.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Exit, out};
use crate::config::derived::Address;
use crate::config::{Config, Sources, load};

/// Most of an answer that is read: the status line and the body of `/health`.
const MAX_ANSWER: u64 = 64 << 10;

/// Where to ask, and what.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    address: Address,
    path: String,
}

pub(super) fn run(sources: &Sources, url: Option<&str>, timeout: Duration) -> Exit {
    let target = match url {
        Some(url) => parse(url),
        None => match load(&sources.without_secrets()) {
            Ok(loaded) => of_config(&loaded.config),
            Err(problems) => {
                out::stderr(&format!("{problems}\n"));
                return Exit::Config;
            }
        },
    };
    match target.and_then(|target| ask(&target, timeout)) {
        Ok(200) => {
            out::line("healthy");
            Exit::Ok
        }
        Ok(status) => {
            out::line(&format!("unhealthy: status {status}"));
            Exit::Failure
        }
        Err(message) => {
            out::stderr(&format!("{message}\n"));
            Exit::Failure
        }
    }
}

fn of_config(config: &Config) -> Result<Target, String> {
    if config.metrics.enabled {
        return Ok(Target {
            address: Address::parse(&config.metrics.address)?,
            path: "/health/live".to_owned(),
        });
    }
    let plain = config
        .listen
        .iter()
        .find(|listener| listener.tls.is_none() && !listener.redirect_to_https);
    let Some(listener) = plain else {
        return Err("metrics are off and every listener speaks TLS; turn metrics.enabled on, or name a plain address with --url".to_owned());
    };
    Ok(Target {
        address: Address::parse(&listener.address)?,
        path: "/health".to_owned(),
    })
}

fn parse(url: &str) -> Result<Target, String> {
    let wrong = || {
        format!("`{url}` cannot be asked; write http://host:port/path or unix:/path/to.sock:/path")
    };
    if let Some(rest) = url.strip_prefix("unix:") {
        let (socket, path) = rest.split_once(':').unwrap_or((rest, "/health"));
        let path = path.to_owned();
        return Ok(Target {
            address: Address::Unix(PathBuf::from(socket)),
            path,
        });
    }
    let parsed = url::Url::parse(url).map_err(|_| wrong())?;
    let (Some(host), "http") = (parsed.host_str(), parsed.scheme()) else {
        return Err(wrong());
    };
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let path = match parsed.query() {
        Some(query) => format!("{}?{query}", parsed.path()),
        None => parsed.path().to_owned(),
    };
    Ok(Target {
        address: Address::Tcp {
            host,
            port: parsed.port().unwrap_or(80),
        },
        path,
    })
}

/// Asks and gives the status.
fn ask(target: &Target, timeout: Duration) -> Result<u16, String> {
    let until = Instant::now() + timeout;
    match &target.address {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)
                .map_err(|error| format!("cannot connect to {}: {error}", path.display()))?;
            let limit = left(until)?;
            stream
                .set_read_timeout(Some(limit))
                .and_then(|()| stream.set_write_timeout(Some(limit)))
                .map_err(|error| error.to_string())?;
            exchange(stream, &target.path, until)
        }
        Address::Tcp { host, port } => {
            // A listener on all interfaces is asked on loopback.
            let host = match host.as_str() {
                "0.0.0.0" => "127.0.0.1",
                "::" => "::1",
                other => other,
            };
            let cannot =
                |error: std::io::Error| format!("cannot connect to {host} port {port}: {error}");
            let mut last = format!("cannot connect to {host} port {port}: the name has no address");
            for address in (host, *port).to_socket_addrs().map_err(cannot)? {
                match TcpStream::connect_timeout(&address, left(until)?) {
                    Ok(stream) => {
                        let limit = left(until)?;
                        stream
                            .set_read_timeout(Some(limit))
                            .and_then(|()| stream.set_write_timeout(Some(limit)))
                            .map_err(|error| error.to_string())?;
                        return exchange(stream, &target.path, until);
                    }
                    Err(error) => last = cannot(error),
                }
            }
            Err(last)
        }
    }
}

fn left(until: Instant) -> Result<Duration, String> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err("no answer in time".to_owned())
    } else {
        Ok(left)
    }
}

fn exchange(mut stream: impl Read + Write, path: &str, until: Instant) -> Result<u16, String> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nUser-Agent: mcp-oidc-proxy-healthcheck\r\n\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .map_err(|error| format!("the request could not be sent: {error}"))?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    // The status line is enough.
    while !answer.contains(&b'\n') && (answer.len() as u64) < MAX_ANSWER {
        left(until)?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) => return Err(format!("no answer: {error}")),
        }
    }
    status(&answer).ok_or_else(|| "the answer is not HTTP".to_owned())
}

/// RFC 9112 section 4: `HTTP/1.1 200 OK`.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let rest = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    rest.get(2..5)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood() {
        let tcp = |host: &str, port, path: &str| Target {
            address: Address::Tcp {
                host: host.to_owned(),
                port,
            },
            path: path.to_owned(),
        };
        assert_eq!(
            parse("http://127.0.0.1:9090/health/live"),
            Ok(tcp("127.0.0.1", 9090, "/health/live"))
        );
        assert_eq!(parse("http://[::1]:1/x?y"), Ok(tcp("::1", 1, "/x?y")));
        assert_eq!(
            parse("unix:/run/x.sock:/health"),
            Ok(Target {
                address: Address::Unix("/run/x.sock".into()),
                path: "/health".to_owned()
            })
        );
        assert!(parse("https://x/").is_err());
    }

    #[test]
    fn a_status_line_is_read() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 503 \r\n"), Some(503));
        assert_eq!(status(b"SSH-2.0\r\n"), None);
        assert_eq!(status(b""), None);
    }

    #[test]
    fn a_server_is_asked() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = [0; 512];
            let count = stream.read(&mut seen).unwrap();
            stream
                .write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
                .unwrap();
            String::from_utf8_lossy(&seen[..count]).into_owned()
        });
        let target = parse(&format!("http://127.0.0.1:{port}/health/live")).unwrap();
        assert_eq!(ask(&target, Duration::from_secs(5)), Ok(503));
        assert!(
            server
                .join()
                .unwrap()
                .starts_with("GET /health/live HTTP/1.1\r\nHost: localhost\r\n")
        );
        let error = ask(&target, Duration::from_secs(5)).unwrap_err();
        assert!(error.contains("cannot connect"), "{error}");
    }
}
