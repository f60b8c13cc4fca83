use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

use super::harness::{Backend, Front, OK, all, config, read_request, say, simple};

const GET: &str = "GET /app/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

type Seen = Arc<Mutex<Vec<String>>>;

async fn answer(
    seen: Seen,
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    seen.lock().unwrap().push(format!(
        "{:?} {} {} {:?}",
        head.version, head.method, head.uri, head.headers
    ));
    Ok(http::Response::new(Full::new(if body.is_empty() {
        "hello".into()
    } else {
        body
    })))
}

async fn h2c(seen: Seen) -> (std::net::SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            seen.lock().unwrap().push("connection".to_owned());
            let seen = seen.clone();
            connections.spawn(async move {
                let service = service_fn(move |request| answer(seen.clone(), request));
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (address, task)
}

#[tokio::test]
async fn h2c_shares_one_connection() {
    let seen = Seen::default();
    let (address, task) = h2c(seen.clone()).await;
    let front = Front::start(simple(address, ", protocol: http2", "")).await;
    let (a, b) = tokio::join!(front.ask(GET), front.ask(GET));
    assert_eq!((a.status, &*a.body, b.status), (200, "hello", 200));
    let post = "POST /mcp HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(front.ask(post).await.body, "{}");
    let seen = seen.lock().unwrap().clone();
    assert_eq!(
        seen.iter().filter(|line| *line == "connection").count(),
        1,
        "{seen:?}"
    );
    assert!(
        seen[1].starts_with(&format!("HTTP/2.0 GET http://{address}/base/x")),
        "{seen:?}"
    );
    assert!(
        seen[3].contains("\"content-length\": \"2\"") && !seen[3].contains("\"host\""),
        "{seen:?}"
    );
    task.abort();
}

#[tokio::test]
async fn h2_clients_reach_h1_backends() {
    let backend = Backend::answering(OK).await;
    let front = Front::start(simple(backend.address, "", "")).await;
    let io = TokioIo::new(front.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), io)
            .await
            .unwrap();
    let task = tokio::spawn(connection);
    let request = http::Request::post(format!("http://{}/mcp", front.address))
        .header("cookie", "a=1")
        .header("cookie", "__Host-mcp_session=x")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(b"{}")))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "{}"
    );
    let seen = backend.seen().pop().unwrap();
    assert!(seen.starts_with("POST /base HTTP/1.1\r\n"), "{seen}");
    assert_eq!(all(&seen, "cookie"), ["a=1; b=2"]);
    assert_eq!(all(&seen, "host"), [backend.address.to_string()]);
    assert!(all(&seen, "te").is_empty());
    task.abort();
}

/// Tells when it is dropped.
struct Gone(tokio::sync::mpsc::Sender<()>);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

/// A reset of the client's stream resets the backend's, and the shared connection lives on.
#[tokio::test]
async fn a_client_that_goes_away_resets_the_backends_stream() {
    let (gone, mut when_gone) = tokio::sync::mpsc::channel::<()>(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let gone = gone.clone();
            async move {
                if request.uri().path() == "/base/x" {
                    return Ok::<_, hyper::Error>(http::Response::new(Full::new(
                        Bytes::from_static(b"hello"),
                    )));
                }
                let _gone = Gone(gone);
                std::future::pending().await
            }
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    });
    let front = Front::start(simple(address, ", protocol: http2", "")).await;
    let mut client = front.connect().await;
    say(&mut client, "GET /app/pending HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(front.ask(GET).await.body, "hello");
    drop(client);
    when_gone.recv().await.unwrap();
    assert_eq!(front.ask(GET).await.body, "hello");
    task.abort();
}

#[tokio::test]
async fn unix_sockets_are_reached() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await.unwrap();
        say(&mut stream, OK).await;
        request
    });
    let front = Front::start(config(&format!(
        "backends: [{{ name: b, upstream: 'unix:{}:/base' }}]\n\
         routes: [{{ path: /app/*, kind: http, backend: b, public: true }}]\n",
        path.display()
    )))
    .await;
    assert_eq!(front.ask(GET).await.status, 200);
    let seen = task.await.unwrap();
    assert!(seen.starts_with("GET /base/x HTTP/1.1\r\n"), "{seen}");
    assert_eq!(all(&seen, "host"), ["localhost"]);
}

/// A CA, a server's certificate and a client's, as files.
struct Pki {
    dir: tempfile::TempDir,
    server: (CertificateDer<'static>, Vec<u8>),
    ca: CertificateDer<'static>,
}

fn pki() -> Pki {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let leaf = |name: &str, usage| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages.push(usage);
        (params.signed_by(&key, &issuer).unwrap(), key)
    };
    let (server, server_key) = leaf(
        "backend.internal",
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
    );
    let (client, client_key) = leaf("proxy", rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    write("ca.pem", ca.pem());
    write("client.pem", client.pem());
    write("client.key", client_key.serialize_pem());
    Pki {
        server: (server.der().clone(), server_key.serialize_der()),
        ca: ca.der().clone(),
        dir,
    }
}

async fn tls_backend(pki: &Pki, alpn: &[&[u8]], seen: Seen) -> (u16, JoinHandle<()>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(pki.ca.clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        provider.clone(),
    )
    .build()
    .unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![pki.server.0.clone()],
            PrivateKeyDer::try_from(pki.server.1.clone()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            seen.lock().unwrap().push("connection".to_owned());
            let seen = seen.clone();
            connections.spawn(async move {
                let service = service_fn(move |request| answer(seen.clone(), request));
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (port, task)
}

fn tls_config(pki: &Pki, port: u16, tls: &str) -> crate::config::Config {
    let dir = pki.dir.path().display();
    config(&format!(
        "backends: [{{ name: b, upstream: 'https://localhost:{port}/base', tls: {{ ca_file: '{dir}/ca.pem', {tls} }} }}]\n\
         routes: [{{ path: /app/*, kind: http, backend: b, public: true }}]\n"
    ))
}

#[tokio::test]
async fn tls_with_a_private_ca_a_client_certificate_and_either_protocol() {
    let pki = pki();
    let dir = pki.dir.path().display().to_string();
    let good = format!(
        "cert_file: '{dir}/client.pem', key_file: '{dir}/client.key', server_name: backend.internal"
    );
    for (alpn, version) in [
        (&[&b"h2"[..], b"http/1.1"][..], "HTTP/2.0"),
        (&[&b"http/1.1"[..]][..], "HTTP/1.1"),
    ] {
        let seen = Seen::default();
        let (port, task) = tls_backend(&pki, alpn, seen.clone()).await;
        let front = Front::start(tls_config(&pki, port, &good)).await;
        for _ in 0..3 {
            assert_eq!(front.ask(GET).await.body, "hello");
        }
        let lines = seen.lock().unwrap().clone();
        assert_eq!(
            lines.iter().filter(|line| *line == "connection").count(),
            1,
            "{lines:?}"
        );
        assert!(lines[1].starts_with(version), "{lines:?}");
        task.abort();
    }
}

#[tokio::test]
async fn tls_fails_without_the_certificate_and_with_the_wrong_name() {
    let pki = pki();
    let dir = pki.dir.path().display().to_string();
    let (port, task) = tls_backend(&pki, &[], Seen::default()).await;
    let wrong_name = format!("cert_file: '{dir}/client.pem', key_file: '{dir}/client.key'");
    for tls in ["server_name: backend.internal", &wrong_name] {
        let front = Front::start(tls_config(&pki, port, tls)).await;
        assert_eq!(front.ask(GET).await.status, 502, "{tls}");
    }
    task.abort();
}
