//! A server that speaks TLS with a CA of the test's own, and demands a client certificate.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use super::{Server, write};

pub(crate) struct TlsServer {
    pub(crate) server: Server,
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    /// A CA that has nothing to do with the server.
    pub(crate) other_ca: PathBuf,
    _files: tempfile::TempDir,
}

/// The name in the server's certificate.
pub(crate) const NAME: &str = "redis.test";

impl TlsServer {
    pub(crate) async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let files = tempfile::tempdir().unwrap();
        let dir = files.path();
        let ca = authority("the CA");
        let (cert, key) = issue(&ca, &[NAME], ExtendedKeyUsagePurpose::ServerAuth);
        let server_cert = write(dir, "server.pem", &cert);
        let server_key = write(dir, "server.key", &key);
        let (cert, key) = issue(&ca, &["client.test"], ExtendedKeyUsagePurpose::ClientAuth);
        let cert = write(dir, "client.pem", &cert);
        let key = write(dir, "client.key", &key);
        let ca = write(dir, "ca.pem", &ca.pem());
        let other_ca = write(dir, "other.pem", &authority("another CA").pem());
        let server = Server::start(&[], |port| {
            format!(
                "port 0\ntls-port {port}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients yes\n",
                server_cert.display(),
                server_key.display(),
                ca.display()
            )
        })
        .await;
        Self {
            server,
            ca,
            cert,
            key,
            other_ca,
            _files: files,
        }
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(
    ca: &CertifiedIssuer<'static, KeyPair>,
    names: &[&str],
    usage: ExtendedKeyUsagePurpose,
) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names.clone()).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, names[0].as_str());
    params.extended_key_usages = vec![usage];
    (
        params.signed_by(&key, ca).unwrap().pem(),
        key.serialize_pem(),
    )
}
