use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// What a [`Server`] answers.
pub(crate) enum Answer {
    /// This, and the connection ends.
    Whole(Vec<u8>),
    /// A head that promises more, and then a byte at a time without end.
    Drip,
}

/// A JSON answer with further header lines (each with its line end).
pub(crate) fn ok(headers: &str, body: &str) -> Answer {
    Answer::Whole(
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
    )
}

/// An answer with a status and nothing else.
pub(crate) fn status(line: &str) -> Answer {
    Answer::Whole(format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n").into_bytes())
}

/// An https server on loopback, with a certificate for `localhost`, 127.0.0.1 and `clients.example`.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    dir: tempfile::TempDir,
    heads: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let names = ["localhost", "127.0.0.1", "clients.example"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), made.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&heads), Arc::new(answer));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, seen, answer) =
                    (acceptor.clone(), Arc::clone(&seen), Arc::clone(&answer));
                connections.spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let head = String::from_utf8(head).unwrap();
                    let path = head.split(' ').nth(1).unwrap().to_owned();
                    seen.lock().unwrap().push(head);
                    match answer(&path) {
                        Answer::Whole(bytes) => {
                            let _ = stream.write_all(&bytes).await;
                            let _ = stream.shutdown().await;
                        }
                        Answer::Drip => {
                            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n";
                            let _ = stream.write_all(head).await;
                            while stream.write_all(b" ").await.is_ok() {
                                let _ = stream.flush().await;
                                tokio::time::sleep(Duration::from_millis(5)).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            dir,
            heads,
            task,
        }
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The address of a path, by the name `localhost`.
    pub(crate) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("https://localhost:{}{path}", self.address.port())).unwrap()
    }

    /// The heads of the requests that came.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    pub(crate) fn guard(&self, private: &[IpNet], loopback: bool) -> Guarded {
        Guarded::new(Some(&self.ca_file()), private, loopback).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn get(guard: &Guarded, url: &str) -> Result<http::Response<Bytes>, GuardError> {
    guard
        .get(&Url::parse(url).unwrap(), "application/json")
        .await
}

#[tokio::test]
async fn a_document_is_fetched_from_loopback_only_where_we_are_on_loopback() {
    let server = Server::start(|_| ok("", "{}")).await;
    let answer = server
        .guard(&[], true)
        .get(&server.url("/client.json"), "application/json")
        .await
        .unwrap();
    assert_eq!(&answer.body()[..], b"{}");
    let head = server.heads()[0].to_ascii_lowercase();
    assert!(head.starts_with("get /client.json http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!(
        "\r\nhost: localhost:{}\r\n",
        server.address.port()
    )));
    assert!(head.contains("\r\naccept-encoding: identity\r\n"));
    // A listed network has no ports but 443.
    let loopback = ["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    let refused = server
        .guard(&loopback, false)
        .get(&server.url("/"), "application/json")
        .await;
    assert!(
        matches!(refused, Err(GuardError::Address(_))),
        "{refused:?}"
    );
    assert_eq!(server.heads().len(), 1);
}

/// S16: whatever spelling, whatever the resolver says: no connection is made, which the listener would have seen.
#[tokio::test]
async fn attack_s16_special_addresses_are_not_dialled() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let guard = Guarded::new(None, &[], false).unwrap();
    for host in [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "100.64.0.1",
        "10.0.0.1",
    ] {
        let found = get(&guard, &format!("https://{host}:{port}/c")).await;
        assert!(
            matches!(
                found,
                Err(GuardError::Special { .. } | GuardError::Resolve(_))
            ),
            "{host}: {found:?}"
        );
    }
    // Names that stand for such addresses, alone or beside a public one.
    let public: SocketAddr = "192.31.1.1:443".parse().unwrap();
    let own = SocketAddr::from(([127, 0, 0, 1], port));
    let metadata: SocketAddr = "169.254.169.254:80".parse().unwrap();
    for addresses in [
        vec![own],
        vec![public, own],
        vec![own, public],
        vec![public, metadata],
    ] {
        let guard = Guarded::new(None, &[], false)
            .unwrap()
            .resolving(move |_, _| Ok(addresses.clone()));
        let found = get(&guard, "https://clients.example/c").await;
        assert!(
            matches!(found, Err(GuardError::Special { .. })),
            "{found:?}"
        );
    }
    assert!(listener.accept().now_or_never().is_none(), "nobody came");
}

/// The port that documents are fetched from is no way in either. Names and addresses are resolved as the system does,
/// but for the port, which is that of listeners of ours: a connection to them would show.
#[tokio::test]
async fn attack_s16_port_443_leads_inside_no_more_than_others() {
    let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = inside.local_addr().unwrap().port();
    // Where there is no IPv6, nobody can come by it.
    let inside_v6 = TcpListener::bind(("::1", port)).await.ok();
    let guard = |private: &[IpNet], loopback| {
        Guarded::new(None, private, loopback)
            .unwrap()
            .resolving(move |host, asked| {
                assert_eq!(asked, 443);
                let found = std::net::ToSocketAddrs::to_socket_addrs(&(host, asked))?;
                Ok(found.map(|each| SocketAddr::new(each.ip(), port)).collect())
            })
    };
    let closed = guard(&["10.0.0.0/8".parse().unwrap()], false);
    for host in [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0.0.0.0",
        "127.0.0.1:443",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "100.64.0.1",
        "192.168.0.1",
    ] {
        let found = get(&closed, &format!("https://{host}/c")).await;
        assert!(
            matches!(found, Err(GuardError::Special { .. })),
            "{host}: {found:?}"
        );
    }
    assert!(inside.accept().now_or_never().is_none(), "nobody came");
    let came_by_v6 = inside_v6.and_then(|inside| inside.accept().now_or_never());
    assert!(came_by_v6.is_none(), "nobody came");

    // With the guard open somebody does come: no TLS is spoken there, so that is all that happens.
    let open = guard(&[], true);
    let (found, ()) = tokio::join!(get(&open, "https://127.0.0.1/c"), async {
        drop(inside.accept().await.unwrap());
    });
    assert!(matches!(found, Err(GuardError::Fetch(_))), "{found:?}");
}

#[tokio::test]
async fn attack_s16_ports_and_schemes_of_other_protocols_are_not_dialled() {
    let public: SocketAddr = "192.31.1.1:25".parse().unwrap();
    let guard = Guarded::new(None, &[], true)
        .unwrap()
        .resolving(move |_, _| Ok(vec![public]));
    for url in [
        "https://clients.example:25/c",
        "https://clients.example:8443/c",
        "http://clients.example/c",
        "ftp://clients.example/c",
    ] {
        let found = get(&guard, url).await;
        assert!(
            matches!(found, Err(GuardError::Address(_))),
            "{url}: {found:?}"
        );
    }
}

/// A name that stands for a good address when it is judged and for another one later: it is asked once, and what
/// was judged is dialled, with the name's certificate.
#[tokio::test]
async fn attack_s16_a_name_is_resolved_once() {
    let server = Server::start(|_| ok("", "{}")).await;
    let (own, asked) = (server.address, Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let guard = server.guard(&[], true).resolving(move |host, _| {
        assert_eq!(host, "clients.example");
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(vec![own]),
            _ => Ok(vec!["127.0.0.2:1".parse().unwrap()]),
        }
    });
    get(&guard, "https://clients.example:8443/c").await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(server.heads()[0].contains("clients.example:8443"));
    // A certificate for another name does not do.
    let own = server.address;
    let guard = server.guard(&[], true).resolving(move |_, _| Ok(vec![own]));
    let found = get(&guard, "https://other.example:8443/c").await;
    assert!(
        matches!(found, Err(GuardError::Fetch(FetchError::Connect(_)))),
        "{found:?}"
    );
}

#[tokio::test]
async fn attack_s16_redirects_sizes_and_encodings_are_refused() {
    let huge = "x".repeat(MAX_BYTES + 1);
    let server = Server::start(move |path| match path {
        "/redirect" => Answer::Whole(
            b"HTTP/1.1 302 Found\r\nLocation: https://localhost/there\r\nContent-Length: 0\r\n\r\n"
                .to_vec(),
        ),
        "/huge" => ok("", &huge),
        "/endless" => Answer::Whole(
            format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(4 * MAX_BYTES)).into_bytes(),
        ),
        "/bomb" => Answer::Whole(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b"
                .to_vec(),
        ),
        "/created" => status("201 Created"),
        "/partial" => status("206 Partial Content"),
        "/error" => status("500 Internal Server Error"),
        "/slow" => Answer::Drip,
        _ => ok("", "there"),
    })
    .await;
    let guard = server.guard(&[], true);
    let fetch = async |path: &str| guard.get(&server.url(path), "application/json").await;
    for path in ["/redirect", "/created", "/partial", "/error"] {
        let found = fetch(path).await;
        assert!(
            matches!(found, Err(GuardError::Status(_))),
            "{path}: {found:?}"
        );
    }
    for path in ["/huge", "/endless"] {
        let found = fetch(path).await;
        assert!(
            matches!(found, Err(GuardError::Fetch(FetchError::TooLarge(_)))),
            "{path}: {found:?}"
        );
    }
    assert!(matches!(fetch("/bomb").await, Err(GuardError::Encoded)));
    // The promise is for the whole of a fetch, so a server that never pauses is cut off as well.
    let mut hasty = guard.clone();
    hasty.timeout = Duration::from_millis(300);
    let slow = hasty.get(&server.url("/slow"), "application/json").await;
    assert!(
        matches!(slow, Err(GuardError::Fetch(FetchError::Timeout(_)))),
        "{slow:?}"
    );
    assert!(!server.heads().iter().any(|head| head.contains("/there")));
}
