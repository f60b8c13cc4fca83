//! TLS as a client: whom to trust, and what to show.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::ClientTlsSetup;
use crate::config::session::ClientTls;

/// Why TLS towards a server cannot be set up. The message names the file.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TlsConfigError {
    /// Key inside the `tls` section that is at fault (`ca_file`).
    pub key: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

impl TlsConfigError {
    fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self {
            key,
            message: message.into(),
        }
    }
}

/// TLS as a client. With `ca_file` that file alone is trusted: a file that is missing or holds no usable
/// certificate is an error and never falls back to other roots. Without it the system's roots
/// (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured) and the bundled Mozilla roots are trusted.
pub fn client_config(tls: &ClientTls, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsConfigError> {
    let roots = match &tls.ca_file {
        Some(file) => private_roots(file)?,
        None => public_roots(),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsConfigError::new("ca_file", format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots);
    let mut config = match (&tls.cert_file, &tls.key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = certificates("cert_file", cert)?;
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| {
                TlsConfigError::new(
                    "key_file",
                    format!(
                        "cannot use the private key in {}: {error}; give a PEM file with one key",
                        key.display()
                    ),
                )
            })?;
            builder
                .with_client_auth_cert(chain, private)
                .map_err(|error| {
                    TlsConfigError::new(
                        "key_file",
                        format!(
                            "the private key in {} does not go with the certificate in {}: {error}",
                            key.display(),
                            cert.display()
                        ),
                    )
                })?
        }
        (Some(_), None) => {
            return Err(TlsConfigError::new(
                "key_file",
                "`cert_file` is set and `key_file` is not; give both or none",
            ));
        }
        (None, Some(_)) => {
            return Err(TlsConfigError::new(
                "cert_file",
                "`key_file` is set and `cert_file` is not; give both or none",
            ));
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

impl ClientTlsSetup {
    /// TLS towards `host`; `tls.server_name` wins over it as the name to expect.
    pub fn new(tls: &ClientTls, host: &str, alpn: &[&[u8]]) -> Result<Self, TlsConfigError> {
        let name = tls.server_name.as_deref().unwrap_or(host);
        Ok(Self {
            config: client_config(tls, alpn)?,
            server_name: server_name(name)?,
        })
    }
}

/// The name to expect in a certificate: a DNS name or an IP address, with or without brackets.
pub(crate) fn server_name(name: &str) -> Result<ServerName<'static>, TlsConfigError> {
    let bare = name
        .strip_prefix('[')
        .and_then(|n| n.strip_suffix(']'))
        .unwrap_or(name);
    ServerName::try_from(bare.to_owned()).map_err(|_| {
        TlsConfigError::new(
            "server_name",
            format!("`{name}` is neither a DNS name nor an IP address"),
        )
    })
}

fn private_roots(file: &Path) -> Result<RootCertStore, TlsConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca_file", file)? {
        roots.add(certificate).map_err(|error| {
            TlsConfigError::new(
                "ca_file",
                format!(
                    "a certificate in {} cannot be used as a CA: {error}",
                    file.display()
                ),
            )
        })?;
    }
    Ok(roots)
}

fn certificates(
    key: &'static str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let wrong = |error: rustls::pki_types::pem::Error| {
        TlsConfigError::new(
            key,
            format!("cannot read certificates from {}: {error}", file.display()),
        )
    };
    let found: Vec<_> = CertificateDer::pem_file_iter(file)
        .map_err(wrong)?
        .collect::<Result<_, _>>()
        .map_err(wrong)?;
    if found.is_empty() {
        return Err(TlsConfigError::new(
            key,
            format!(
                "{} holds no PEM certificate; it has to have a BEGIN CERTIFICATE line",
                file.display()
            ),
        ));
    }
    Ok(found)
}

fn public_roots() -> RootCertStore {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "Some of the system's CA certificates were not read; the others are used.");
    }
    // Old roots that the verifier cannot parse are common in system stores and no reason to stop.
    roots.add_parsable_certificates(system.certs);
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_ca(file: &Path) -> ClientTls {
        ClientTls {
            ca_file: Some(file.to_owned()),
            ..ClientTls::default()
        }
    }

    #[test]
    fn a_ca_file_that_cannot_be_used_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing.pem");
        let error = client_config(&with_ca(&missing), &[]).unwrap_err();
        assert!(
            error.key == "ca_file" && error.message.contains("missing.pem"),
            "{error}"
        );

        for garbage in [
            "",
            "not PEM at all",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let file = dir.path().join("garbage.pem");
            std::fs::write(&file, garbage).unwrap();
            let error = client_config(&with_ca(&file), &[]).unwrap_err();
            assert!(
                error.key == "ca_file" && error.message.contains("garbage.pem"),
                "{garbage:?}: {error}"
            );
        }
    }

    #[test]
    fn a_certificate_needs_its_own_key() {
        let dir = tempfile::tempdir().unwrap();
        let one = rcgen::generate_simple_self_signed(["one".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap();
        let (ca, cert, key) = (
            dir.path().join("ca.pem"),
            dir.path().join("cert.pem"),
            dir.path().join("key.pem"),
        );
        std::fs::write(&ca, one.cert.pem()).unwrap();
        std::fs::write(&cert, one.cert.pem()).unwrap();
        std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
        let mut tls = ClientTls {
            ca_file: Some(ca),
            cert_file: Some(cert),
            ..ClientTls::default()
        };
        assert_eq!(client_config(&tls, &[]).unwrap_err().key, "key_file");
        tls.key_file = Some(key.clone());
        assert!(
            client_config(&tls, &[])
                .unwrap_err()
                .message
                .contains("does not go with")
        );
        std::fs::write(&key, one.signing_key.serialize_pem()).unwrap();
        client_config(&tls, &[b"h2"]).unwrap();
        tls.cert_file = None;
        assert_eq!(client_config(&tls, &[]).unwrap_err().key, "cert_file");
    }

    #[test]
    fn names_may_be_hosts_and_addresses() {
        for good in ["idp.example", "127.0.0.1", "::1", "[::1]"] {
            assert!(server_name(good).is_ok(), "{good}");
        }
        assert!(server_name("a b").is_err());
    }
}
