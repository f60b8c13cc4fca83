use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

fn issue(folder: &Path, name: &str, names: &[&str]) -> CertificateDer<'static> {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.not_after = rcgen::date_time_ymd(2031, 5, 17);
    let certificate = params.self_signed(&key).unwrap();
    fs::write(folder.join(format!("{name}.crt")), certificate.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    certificate.der().clone()
}

fn listener(folder: &Path, name: &str, further: &[&str], rest: &str) -> String {
    let pair = |name: &str| {
        let file = |end: &str| folder.join(format!("{name}.{end}")).display().to_string();
        format!("cert_file: '{}', key_file: '{}'", file("crt"), file("key"))
    };
    let further: Vec<_> = further
        .iter()
        .map(|name| format!("{{ {} }}", pair(name)))
        .collect();
    format!(
        "listen: [{{ address: '127.0.0.1:0', tls: {{ {}, certificates: [{}]{rest} }} }}]",
        pair(name),
        further.join(", ")
    )
}

/// Takes any certificate: which one came is what is looked at here.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

async fn shake(
    running: &Running,
    name: &str,
    version: &'static SupportedProtocolVersion,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut client = ClientConfig::builder_with_protocol_versions(&[version])
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    client.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(client))
        .connect(name, running.connect().await)
        .await
}

async fn served(running: &Running, name: &str) -> CertificateDer<'static> {
    let stream = shake(running, name, &TLS13, &[]).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

#[tokio::test]
async fn both_versions_and_both_protocols_are_spoken() {
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path(), "a", &["a.example"]);
    let running = start(&listener(folder.path(), "a", &[], ""));
    for (version, shown) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
        let mut stream = shake(&running, "a.example", version, &["http/1.1"])
            .await
            .unwrap();
        let suite = format!(
            "{:?}",
            stream
                .get_ref()
                .1
                .negotiated_cipher_suite()
                .unwrap()
                .suite()
        );
        assert!(suite.contains("AES_128_GCM_SHA256"), "{suite}");
        let (status, head, _) = ask(&mut stream, "/").await;
        assert_eq!(status, 200);
        assert!(head.contains(&format!("x-tls: {shown}\r\n")), "{head}");

        let stream = shake(&running, "a.example", version, &["http/1.1", "h2"])
            .await
            .unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, _connection) = h2(stream).await;
        let response = sender
            .send_request(get("https://a.example/"))
            .await
            .unwrap();
        assert_eq!(response.headers()["x-version"], "HTTP/2.0");
        let count = format!("mcp_proxy_tls_handshakes_total{{result=\"ok\",version=\"{shown}\"}}");
        assert!((running.metric(&count) - 2.0).abs() < 0.1);
    }
}

#[tokio::test]
async fn an_oldest_version_is_kept_to() {
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path(), "a", &["a.example"]);
    let running = start(&listener(folder.path(), "a", &[], ", min_version: '1.3'"));
    assert!(shake(&running, "a.example", &TLS12, &[]).await.is_err());
    assert!(shake(&running, "a.example", &TLS13, &[]).await.is_ok());
    assert!(
        (running.metric("mcp_proxy_tls_handshakes_total{result=\"error\",version=\"none\"}") - 1.0)
            .abs()
            < 0.1
    );
}

#[tokio::test]
async fn certificates_are_chosen_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let first = issue(folder.path(), "first", &["first.example"]);
    let exact = issue(folder.path(), "exact", &["exact.wild.example"]);
    let wild = issue(folder.path(), "wild", &["*.wild.example"]);
    let running = start(&listener(folder.path(), "first", &["exact", "wild"], ""));
    for (name, expected) in [
        ("first.example", &first),
        ("exact.wild.example", &exact),
        ("EXACT.wild.example", &exact),
        ("other.wild.example", &wild),
        ("a.b.wild.example", &first),
        ("wild.example", &first),
        ("unknown.example", &first),
        ("127.0.0.1", &first),
    ] {
        assert_eq!(&served(&running, name).await, expected, "{name}");
    }
}

#[tokio::test]
async fn new_certificates_are_taken_over_and_bad_ones_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let old = issue(path, "a", &["a.example"]);
    let running = start(&listener(path, "a", &[], ""));
    let count = |result: &str| {
        running.metric(&format!(
            "mcp_proxy_tls_certificate_reloads_total{{listener=\"127.0.0.1:0\",result=\"{result}\"}}"
        ))
    };
    assert_eq!(served(&running, "a.example").await, old);
    let cert_file = path.join("a.crt");
    let end = format!(
        "mcp_proxy_tls_certificate_not_after_timestamp_seconds{{listener=\"127.0.0.1:0\",certificate=\"{}\"}}",
        cert_file.display()
    );
    assert!((running.metric(&end) - 1_936_742_400.0).abs() < 0.1);

    // A certificate whose key has not come yet, as a tool that writes one after the other leaves it.
    let new = issue(path, "b", &["a.example"]);
    fs::rename(path.join("b.crt"), path.join("a.crt")).unwrap();
    running.listeners.refresh_certificates();
    assert_eq!(served(&running, "a.example").await, old);
    assert!((count("refused") - 1.0).abs() < 0.1);
    running.listeners.refresh_certificates();
    assert!(
        (count("refused") - 1.0).abs() < 0.1,
        "the same trouble is reported once"
    );

    fs::rename(path.join("b.key"), path.join("a.key")).unwrap();
    running.listeners.refresh_certificates();
    assert_eq!(served(&running, "a.example").await, new);
    assert!((count("ok") - 1.0).abs() < 0.1);

    for bad in [
        "",
        "no PEM",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        fs::write(path.join("a.crt"), bad).unwrap();
        running.listeners.refresh_certificates();
        assert_eq!(served(&running, "a.example").await, new, "{bad}");
    }
    fs::remove_file(path.join("a.crt")).unwrap();
    let error = running
        .listeners
        .reload(&config(&listener(path, "a", &[], "")))
        .unwrap_err();
    assert_eq!(error.key, "listen[0].tls.cert_file");
    assert_eq!(served(&running, "a.example").await, new);
}

#[tokio::test]
async fn a_mounted_secret_is_followed_through_its_link() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for version in ["v1", "v2"] {
        fs::create_dir(path.join(version)).unwrap();
    }
    let first = issue(&path.join("v1"), "a", &["a.example"]);
    let second = issue(&path.join("v2"), "a", &["a.example"]);
    symlink("v1", path.join("..data")).unwrap();
    symlink("..data/a.crt", path.join("a.crt")).unwrap();
    symlink("..data/a.key", path.join("a.key")).unwrap();
    let running = start(&listener(path, "a", &[], ""));
    assert_eq!(served(&running, "a.example").await, first);
    symlink("v2", path.join("..data_tmp")).unwrap();
    fs::rename(path.join("..data_tmp"), path.join("..data")).unwrap();
    running.listeners.refresh_certificates();
    assert_eq!(served(&running, "a.example").await, second);
}

#[tokio::test]
async fn pairs_that_cannot_be_served_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    issue(path, "a", &["a.example"]);
    issue(path, "b", &["b.example"]);
    let refused = |name: &str, further: &[&str]| {
        let config = config(&listener(path, name, further, ""));
        Listeners::bind(
            &config,
            Inherited::default(),
            &Metrics::new(),
            &Ambient::system(),
        )
        .unwrap_err()
    };
    let error = refused("none", &[]);
    assert_eq!(error.key, "listen[0].tls.cert_file");
    assert!(error.message.contains("cannot be read"), "{error}");

    fs::copy(path.join("b.key"), path.join("a.key")).unwrap();
    let error = refused("b", &["a"]);
    assert_eq!(error.key, "listen[0].tls.certificates[0].key_file");
    assert!(
        error.message.contains("does not belong to the certificate"),
        "{error}"
    );

    fs::copy(path.join("b.crt"), path.join("b.key")).unwrap();
    let error = refused("b", &[]);
    assert_eq!(error.key, "listen[0].tls.key_file");
    assert!(error.message.contains("holds no private key"), "{error}");

    fs::write(
        path.join("a.crt"),
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    assert!(
        refused("a", &[])
            .message
            .contains("is not PEM that can be read")
    );
}

#[tokio::test]
async fn a_handshake_that_does_not_come_ends() {
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path(), "a", &["a.example"]);
    let yaml = listener(folder.path(), "a", &[], "") + "\nlimits: { handshake_timeout: 200ms }";
    let running = start(&yaml);
    let mut silent = running.connect().await;
    assert!(closed(&mut silent).await);
    assert!(
        (running.metric("mcp_proxy_tls_handshakes_total{result=\"timeout\",version=\"none\"}")
            - 1.0)
            .abs()
            < 0.1
    );
    let mut plain = running.connect().await;
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0];
    // A TLS alert, not an answer.
    assert!(!matches!(plain.read(&mut byte).await, Ok(1) if byte == *b"H"));
}

/// Collects what is logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logged(by: impl FnOnce()) -> String {
    let lines = Lines::default();
    let made = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || made.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, by);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn certificates_out_of_their_time_are_served_and_logged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for (name, from, until) in [
        ("old", 2019, 2020),
        ("good", 2020, 2041),
        ("early", 2040, 2041),
    ] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![format!("{name}.example")]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 2, 3);
        params.not_after = rcgen::date_time_ymd(until, 4, 5);
        let certificate = params.self_signed(&key).unwrap();
        fs::write(path.join(format!("{name}.crt")), certificate.pem()).unwrap();
        fs::write(path.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    let config = config(&listener(path, "old", &["good", "early"], ""));
    let clock = Arc::new(crate::clock::ManualClock::new(
        crate::clock::Timestamp::from_secs(1_800_000_000),
    ));
    let ambient = Ambient::new(
        Arc::clone(&clock) as _,
        Arc::new(crate::clock::SystemRandom),
    );
    let mut listeners = None;
    let said = logged(|| {
        listeners = Some(
            Listeners::bind(&config, Inherited::default(), &Metrics::new(), &ambient).unwrap(),
        );
    });
    let listeners = listeners.unwrap();
    assert_eq!(said.matches("WARN").count(), 2, "{said}");
    for part in [
        "expired",
        "old.example",
        "2019-02-03T00:00:00",
        "2020-04-05T00:00:00",
        "not valid yet",
        "early.example",
        "2040-02-03T00:00:00",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = logged(|| listeners.refresh_certificates());
    assert_eq!(said, "", "each is said once");
    let said = logged(|| listeners.reload(&config).unwrap());
    assert_eq!(said.matches("WARN").count(), 2, "{said}");
    // 2041-06: the good one ends while it is served.
    clock.advance(Duration::from_secs(453_000_000));
    let said = logged(|| listeners.refresh_certificates());
    assert!(
        said.contains("good.example") && said.contains("early.example"),
        "{said}"
    );
    assert!(!said.contains("old.example"), "{said}");
}
