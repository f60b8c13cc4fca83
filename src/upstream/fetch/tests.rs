use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

const LIMIT: usize = 100;

fn fetch() -> Fetch {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(
        &file,
        rcgen::generate_simple_self_signed(["x".to_owned()])
            .unwrap()
            .cert
            .pem(),
    )
    .unwrap();
    Fetch::new(Some(&file), Duration::from_secs(20), LIMIT).unwrap()
}

/// Reads one request, says `answer`, closes; gives back what it read.
async fn server(answer: &'static str) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0, "a whole head");
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = stream.read_to_end(&mut seen).await;
        String::from_utf8(seen).unwrap()
    });
    (address, task)
}

async fn get(answer: &'static str) -> (Result<http::Response<Bytes>, FetchError>, String) {
    let (address, task) = server(answer).await;
    let request = http::Request::get(format!("http://{address}/a?b=c"))
        .body(Bytes::new())
        .unwrap();
    let result = fetch().send(request).await;
    (result, task.await.unwrap())
}

#[tokio::test]
async fn a_whole_answer_comes_back() {
    let (answer, seen) = get("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.body()[..]),
        (200, &b"hi"[..])
    );
    let seen = seen.to_ascii_lowercase();
    assert!(seen.starts_with("get /a?b=c http/1.1\r\n"), "{seen}");
    assert!(
        seen.contains("host: 127.0.0.1:") && seen.contains("user-agent: mcp-oidc-proxy/"),
        "{seen}"
    );
    assert!(!seen.contains("content-length"), "{seen}");
}

#[tokio::test]
async fn an_answer_that_ends_with_the_connection_is_read() {
    let (answer, _) = get("HTTP/1.1 200 OK\r\n\r\nall of it").await;
    assert_eq!(&answer.unwrap().into_body()[..], b"all of it");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (answer, _) =
        get("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
            .await;
    assert_eq!(answer.unwrap().status(), 302);
}

#[tokio::test]
async fn bodies_are_sent_with_their_length() {
    let (address, task) = server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let request = http::Request::post(format!("http://{address}"))
        .body(Bytes::from_static(b"a=b"))
        .unwrap();
    fetch().send(request).await.unwrap();
    let seen = task.await.unwrap().to_ascii_lowercase();
    assert!(
        seen.starts_with("post / http/1.1\r\n") && seen.contains("content-length: 3\r\n"),
        "{seen}"
    );
    assert!(
        seen.ends_with("\r\n\r\na=b") && !seen.contains("transfer-encoding"),
        "{seen}"
    );
}

#[tokio::test]
async fn large_answers_are_refused_declared_or_not() {
    let (answer, _) = get("HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n").await;
    assert!(matches!(answer.unwrap_err(), FetchError::TooLarge(LIMIT)));
    let long = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n".to_owned()
        + &"x".repeat(64)
        + "\r\n40\r\n"
        + &"x".repeat(64)
        + "\r\n0\r\n\r\n";
    let (answer, _) = get(Box::leak(long.into_boxed_str())).await;
    assert!(matches!(answer.unwrap_err(), FetchError::TooLarge(LIMIT)));
}

#[tokio::test]
async fn a_cut_answer_is_broken_not_short() {
    let (answer, _) = get("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhi").await;
    assert!(matches!(answer.unwrap_err(), FetchError::Broken(_)));
}

#[tokio::test(start_paused = true)]
async fn silence_has_an_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let request = http::Request::get(format!("http://{}/", listener.local_addr().unwrap()))
        .body(Bytes::new())
        .unwrap();
    let error = fetch().send(request).await.unwrap_err();
    assert!(matches!(error, FetchError::Timeout(_)), "{error}");
}

#[tokio::test]
async fn odd_addresses_are_refused() {
    for bad in ["/relative", "ftp://host/", "http://user:secret@host/"] {
        let error = fetch()
            .send(http::Request::get(bad).body(Bytes::new()).unwrap())
            .await
            .unwrap_err();
        assert!(matches!(error, FetchError::Address(_)), "{bad}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn only_the_private_ca_is_trusted() {
    let ours = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, ours.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(ours.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![ours.cert.der().clone()], key)
    .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut seen = Vec::new();
            while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
                stream.read_buf(&mut seen).await.unwrap();
            }
            stream
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .await
                .unwrap();
        }
    });
    let url = format!("https://localhost:{}/", address.port());
    let request = || http::Request::get(&url).body(Bytes::new()).unwrap();
    let trusting = Fetch::new(Some(&file), Duration::from_secs(20), LIMIT).unwrap();
    assert_eq!(trusting.send(request()).await.unwrap().status(), 204);
    let error = fetch().send(request()).await.unwrap_err();
    assert!(
        matches!(&error, FetchError::Connect(why) if why.contains("TLS")),
        "{error}"
    );
    task.abort();
}
