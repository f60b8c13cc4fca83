//! A certificate and its key, read from files: for which names it is good, and until when.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::der;
use crate::clock::Timestamp;
use crate::secret::Digest;

/// No certificate chain or key is this long; what is longer is the wrong file.
const MAX_FILE: u64 = 1 << 20;

/// A certificate that can be served.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) key: Arc<CertifiedKey>,
    /// DNS names of the leaf, lower case, wildcards as `*.example.com`.
    pub(super) names: Vec<String>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

/// Why clients will refuse a certificate that is served all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Untimely {
    /// It has ended.
    Expired,
    /// It has not begun.
    NotYetValid,
}

impl Loaded {
    /// Whether it is out of its time (RFC 5280 section 4.1.2.5: both ends belong to it).
    pub(super) fn untimely(&self, now: Timestamp) -> Option<Untimely> {
        if now > self.not_after {
            Some(Untimely::Expired)
        } else if now < self.not_before {
            Some(Untimely::NotYetValid)
        } else {
            None
        }
    }
}

/// Which of the two files is at fault, so that the message can name its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Certificate,
    Key,
}

/// Why a certificate cannot be served. Messages say what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertificateError {
    #[error("{} cannot be read: {source}; check the path, and that the proxy's user may read it", path.display())]
    Unreadable {
        which: Which,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is longer than 1 MiB, so it is no certificate or key; check the path", path.display())]
    TooLong { which: Which, path: PathBuf },
    #[error("{} holds no certificate; write the chain in PEM (`-----BEGIN CERTIFICATE-----`), leaf first", path.display())]
    NoCertificate { path: PathBuf },
    #[error("{} holds no private key; write it in PEM as PKCS#8, PKCS#1 or SEC1, not encrypted", path.display())]
    NoKey { path: PathBuf },
    #[error("{} is not PEM that can be read: {source:?}", path.display())]
    Pem {
        which: Which,
        path: PathBuf,
        source: pem::Error,
    },
    #[error("the first certificate of {} cannot be used: {reason}", path.display())]
    Unusable { path: PathBuf, reason: String },
    #[error("the key in {} does not belong to the certificate in {}; write both again, from the same issue", key.display(), certificate.display())]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error("the key in {} cannot be used: {reason}", path.display())]
    UnusableKey { path: PathBuf, reason: String },
}

impl CertificateError {
    /// Which file's key in the configuration to name.
    pub(super) fn which(&self) -> Which {
        match self {
            Self::Unreadable { which, .. }
            | Self::TooLong { which, .. }
            | Self::Pem { which, .. } => *which,
            Self::NoCertificate { .. } | Self::Unusable { .. } => Which::Certificate,
            Self::NoKey { .. } | Self::Mismatch { .. } | Self::UnusableKey { .. } => Which::Key,
        }
    }
}

/// The contents of both files.
pub(super) struct Files {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Files {
    pub(super) fn read(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        Ok(Self {
            certificate: read(Which::Certificate, certificate)?,
            key: Zeroizing::new(read(Which::Key, key)?),
        })
    }

    /// Tells whether the contents changed.
    pub(super) fn digest(&self) -> Digest {
        let parts = [Digest::of(&self.certificate), Digest::of(&*self.key)];
        Digest::of(parts.map(|part| *part.as_bytes()).concat())
    }

    /// Makes a certificate that can be served, or says why not. A key that is not the certificate's is refused.
    pub(super) fn load(&self, certificate: &Path, key: &Path) -> Result<Loaded, CertificateError> {
        let wrong_pem = |which, path: &Path| {
            let path = path.to_owned();
            move |source| CertificateError::Pem {
                which,
                path,
                source,
            }
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(wrong_pem(Which::Certificate, certificate))?;
        let Some(leaf) = chain.first() else {
            return Err(CertificateError::NoCertificate {
                path: certificate.to_owned(),
            });
        };
        let unusable = |reason: String| CertificateError::Unusable {
            path: certificate.to_owned(),
            reason,
        };
        let names = webpki::EndEntityCert::try_from(leaf)
            .map_err(|error| unusable(error.to_string()))?
            .valid_dns_names()
            .map(str::to_ascii_lowercase)
            .collect();
        let (not_before, not_after) = der::validity(leaf)
            .ok_or_else(|| unusable("its time of validity cannot be read".to_owned()))?;
        let private = match PrivateKeyDer::from_pem_slice(&self.key) {
            Err(pem::Error::NoItemsFound) => {
                return Err(CertificateError::NoKey {
                    path: key.to_owned(),
                });
            }
            read => read.map_err(wrong_pem(Which::Key, key))?,
        };
        let provider = aws_lc_rs::default_provider();
        let key =
            CertifiedKey::from_der(chain, private, &provider).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => CertificateError::Mismatch {
                    certificate: certificate.to_owned(),
                    key: key.to_owned(),
                },
                error => CertificateError::UnusableKey {
                    path: key.to_owned(),
                    reason: error.to_string(),
                },
            })?;
        Ok(Loaded {
            key: Arc::new(key),
            names,
            not_before,
            not_after,
        })
    }
}

fn read(which: Which, path: &Path) -> Result<Vec<u8>, CertificateError> {
    let unreadable = |source| CertificateError::Unreadable {
        which,
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(CertificateError::TooLong {
            which,
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}

/// What the file system says about a file: when this is unchanged, so is the file. Symbolic links are followed,
/// since Kubernetes changes mounted secrets by moving a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp(Option<[i64; 4]>, u64);

impl Stamp {
    pub(super) fn of(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(m) => Self(
                Some([
                    m.mtime(),
                    m.mtime_nsec(),
                    m.ctime_nsec(),
                    m.ino().cast_signed(),
                ]),
                m.len(),
            ),
            Err(_) => Self(None, 0),
        }
    }
}
