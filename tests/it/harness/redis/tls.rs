//! A server that speaks TLS with a CA of the test's own, and demands a client certificate.

use std::path::PathBuf;

use deadpool_redis::redis::{ClientTlsConfig, TlsCertificates};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use super::{Server, write};

pub(crate) struct TlsServer {
    pub(crate) server: Server,
    pub(crate) files: Files,
}

/// Certificates and keys in PEM files.
pub(crate) struct Files {
    pub(crate) ca: PathBuf,
    /// Of the client.
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    /// A CA that has nothing to do with the server.
    pub(crate) other_ca: PathBuf,
    dir: tempfile::TempDir,
}

/// The name in the server's certificate, beside its address.
pub(crate) const NAME: &str = "redis.test";

impl TlsServer {
    /// A server whose certificate has a name, but not its address.
    pub(crate) async fn start() -> Self {
        let files = Files::new(&[NAME]);
        let server = Server::start(&[], |port| files.lines(port)).await;
        Self { server, files }
    }
}

impl Files {
    pub(crate) fn new(names: &[&str]) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let files = tempfile::tempdir().unwrap();
        let dir = files.path();
        let ca = authority("the CA");
        let usages = [
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let (cert, key) = issue(&ca, names, &usages);
        write(dir, "server.pem", &cert);
        write(dir, "server.key", &key);
        let (cert, key) = issue(&ca, &["client.test"], &usages[1..]);
        Self {
            cert: write(dir, "client.pem", &cert),
            key: write(dir, "client.key", &key),
            ca: write(dir, "ca.pem", &ca.pem()),
            other_ca: write(dir, "other.pem", &authority("another CA").pem()),
            dir: files,
        }
    }

    /// Configuration of a server that speaks TLS only, and wants a client certificate.
    pub(crate) fn lines(&self, port: u16) -> String {
        let dir = self.dir.path().display();
        format!(
            "port 0\ntls-port {port}\ntls-cert-file {dir}/server.pem\ntls-key-file {dir}/server.key\n\
             tls-ca-cert-file {dir}/ca.pem\ntls-auth-clients yes\ntls-replication yes\n"
        )
    }

    /// What a client of the test's own shows and trusts.
    pub(crate) fn client(&self) -> TlsCertificates {
        let read = |path: &PathBuf| std::fs::read(path).unwrap();
        TlsCertificates {
            client_tls: Some(ClientTlsConfig {
                client_cert: read(&self.cert),
                client_key: read(&self.key),
            }),
            root_cert: Some(read(&self.ca)),
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
    usages: &[ExtendedKeyUsagePurpose],
) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names.clone()).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, names[0].as_str());
    params.extended_key_usages = usages.to_vec();
    (
        params.signed_by(&key, ca).unwrap().pem(),
        key.serialize_pem(),
    )
}
