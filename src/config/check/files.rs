//! Files with certificates and keys: readable, PEM, and belonging together.

use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use super::Checker;

/// A certificate chain and its private key, with the keys that name the files.
pub(super) struct Pair<'a> {
    /// Key path of the section that holds both.
    pub(super) at: &'a str,
    pub(super) cert_file: &'a Path,
    pub(super) key_file: &'a Path,
}

/// Checks a pair; a finding for each file that is wrong, or one for the pair.
pub(super) fn pair(checker: &mut Checker, pair: &Pair) {
    let cert_key = format!("{}.cert_file", pair.at);
    let key_key = format!("{}.key_file", pair.at);
    let chain = certificates(pair.cert_file, "certificate")
        .map_err(|message| checker.add(&cert_key, message));
    let key = private_key(pair.key_file).map_err(|message| checker.add(&key_key, message));
    let (Ok(chain), Ok(key)) = (chain, key) else {
        return;
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    match CertifiedKey::from_der(chain, key, &provider) {
        Ok(_) => {}
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => checker.add(
            &key_key,
            format!(
                "the private key {} does not belong to the certificate {}; give the key that the certificate was issued for (leaf first in the chain)",
                pair.key_file.display(),
                pair.cert_file.display()
            ),
        ),
        Err(Error::InvalidCertificate(error)) => checker.add(
            &cert_key,
            format!("the first certificate in {} cannot be used: {error:?}", pair.cert_file.display()),
        ),
        Err(error) => checker.add(
            &key_key,
            format!("the private key {} cannot be used: {error}; use ECDSA, Ed25519 or RSA", pair.key_file.display()),
        ),
    }
}

/// Checks a file of CA certificates.
pub(super) fn ca(checker: &mut Checker, at: &str, file: &Path) {
    if let Err(message) = certificates(file, "CA") {
        checker.add(at, message);
    }
}

/// Checks an optional client certificate: both files or none.
pub(super) fn client_pair(
    checker: &mut Checker,
    at: &str,
    cert_file: Option<&Path>,
    key_file: Option<&Path>,
) {
    match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => pair(
            checker,
            &Pair {
                at,
                cert_file,
                key_file,
            },
        ),
        (Some(_), None) => checker.add(
            format!("{at}.key_file"),
            "the client certificate has no key; add `key_file`",
        ),
        (None, Some(_)) => {
            checker.add(
                format!("{at}.cert_file"),
                "the client key has no certificate; add `cert_file`",
            );
        }
        (None, None) => {}
    }
}

fn certificates(file: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = file.display();
    let text = read(file, &format!("{what} file"))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(format!(
            "the {what} file {shown} holds no PEM certificate; it must have a `-----BEGIN CERTIFICATE-----` block"
        )),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("the {what} file {shown} is not good PEM: {error}")),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let shown = file.display();
    let text = read(file, "private key file")?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => format!(
            "the private key file {shown} holds no PEM private key; it must have a `-----BEGIN PRIVATE KEY-----` block (encrypted keys are not read)"
        ),
        error => format!("the private key file {shown} is not good PEM: {error}"),
    })
}

fn read(file: &Path, what: &str) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| {
        format!(
            "the {what} {} cannot be read: {error}; check the path and its permissions",
            file.display()
        )
    })
}
