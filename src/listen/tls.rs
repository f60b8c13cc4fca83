//! TLS of a listener: protocol settings, certificates by name, and taking over new ones while serving.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::{self, Ticketer, cipher_suite};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedCipherSuite};
use tokio_rustls::TlsAcceptor;

use super::BindError;
use super::certificate::{CertificateError, Files, Loaded, Stamp, Untimely, Which};
use crate::clock::Ambient;
use crate::config::listen::{Tls, TlsVersion};
use crate::secret::Digest;
use crate::telemetry::metrics::{Metrics, Name, Shown};

/// Server order. AES-128 first: its key schedule runs on SHA-256, which processors have instructions for, and
/// it seals faster; `ChaCha20` last, for clients that offer nothing else.
const SUITES: [SupportedCipherSuite; 9] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// Names of a certificate that a log line shows at most.
const SHOWN_NAMES: usize = 10;

/// TLS as one listener speaks it.
pub(super) struct TlsState {
    pub(super) spec: Tls,
    pub(super) acceptor: TlsAcceptor,
    pub(super) certificates: Arc<Certificates>,
}

impl std::fmt::Debug for TlsState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsState")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

impl TlsState {
    /// Reads the certificates and makes the settings. `key` is the listener's place in the configuration.
    pub(super) fn new(
        key: &str,
        listener: &str,
        spec: &Tls,
        metrics: &Arc<Metrics>,
        ambient: &Ambient,
    ) -> Result<Arc<Self>, BindError> {
        let certificates = Arc::new(Certificates::load(key, listener, spec, metrics, ambient)?);
        let wrong = |error: &dyn std::fmt::Display| BindError {
            key: format!("{key}.tls"),
            message: format!("TLS cannot be set up: {error}"),
        };
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = SUITES.to_vec();
        let versions: &[_] = match spec.min_version {
            TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::V1_3 => &[&rustls::version::TLS13],
        };
        let resolver = Arc::clone(&certificates);
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .map_err(|error| wrong(&error))?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = Ticketer::new().map_err(|error| wrong(&error))?;
        // All that can be resumed is resumed by tickets; nothing is kept here.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Arc::new(Self {
            spec: spec.clone(),
            acceptor,
            certificates,
        }))
    }
}

/// The certificates of one listener.
pub(super) struct Certificates {
    listener: String,
    pairs: Mutex<Vec<Pair>>,
    served: ArcSwap<Served>,
    metrics: Arc<Metrics>,
    ambient: Ambient,
}

struct Pair {
    key: String,
    spec: crate::config::listen::Certificate,
    stamps: [Stamp; 2],
    digest: Digest,
    loaded: Loaded,
    /// Shows its end.
    end: Option<Shown>,
    /// What the log has been told of it.
    said: Option<Untimely>,
}

/// What is served: by name, and to those who name nobody that we know.
#[derive(Debug)]
struct Served {
    default: Arc<CertifiedKey>,
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl Certificates {
    fn load(
        key: &str,
        listener: &str,
        spec: &Tls,
        metrics: &Arc<Metrics>,
        ambient: &Ambient,
    ) -> Result<Self, BindError> {
        let first = crate::config::listen::Certificate {
            cert_file: spec.cert_file.clone(),
            key_file: spec.key_file.clone(),
        };
        let rest = spec
            .certificates
            .iter()
            .enumerate()
            .map(|(index, pair)| (format!("{key}.tls.certificates[{index}]"), pair.clone()));
        let specs = std::iter::once((format!("{key}.tls"), first)).chain(rest);
        let mut pairs = specs
            .map(|(key, spec)| Pair::load(key, spec))
            .collect::<Result<Vec<_>, _>>()?;
        let served = served(&pairs).ok_or_else(|| BindError {
            key: format!("{key}.tls"),
            message: "no certificate is configured; set cert_file and key_file".to_owned(),
        })?;
        let this = Self {
            listener: listener.to_owned(),
            pairs: Mutex::new(Vec::new()),
            served: ArcSwap::from_pointee(served),
            metrics: Arc::clone(metrics),
            ambient: ambient.clone(),
        };
        for pair in &mut pairs {
            this.show_end(pair);
            this.warn(pair);
        }
        for result in ["ok", "refused"] {
            this.count(result, 0);
        }
        *this.pairs.lock().unwrap_or_else(PoisonError::into_inner) = pairs;
        Ok(this)
    }

    /// Looks at the files and takes over what changed. A file that cannot be served is refused with a log line
    /// and a count, and the certificate read before serves on. Blocking: reads files.
    ///
    /// # Errors
    /// The first refusal, for a reload to report.
    pub(super) fn refresh(&self) -> Result<(), BindError> {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        let mut refused = None;
        for pair in pairs.iter_mut() {
            match pair.refresh() {
                Ok(false) => {}
                Ok(true) => {
                    changed = true;
                    self.count("ok", 1);
                    self.show_end(pair);
                    tracing::info!(
                        listener = self.listener,
                        certificate = %pair.spec.cert_file.display(),
                        not_after = pair.loaded.not_after.as_secs(),
                        "A new certificate is served."
                    );
                }
                Err(error) => {
                    self.count("refused", 1);
                    let error = pair.error(&error);
                    tracing::error!(
                        listener = self.listener,
                        key = error.key,
                        error = error.message,
                        "A new certificate was refused; the one read before serves on."
                    );
                    refused.get_or_insert(error);
                }
            }
            self.warn(pair);
        }
        if changed && let Some(served) = served(&pairs) {
            self.served.store(Arc::new(served));
        }
        refused.map_or(Ok(()), Err)
    }

    /// Tells the log again of certificates that are out of their time: somebody looks at it after a reload.
    pub(super) fn remind(&self) {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        for pair in pairs.iter_mut() {
            pair.said = None;
            self.warn(pair);
        }
    }

    /// Tells the log, once, that a certificate is out of its time. It is served all the same: clients judge it, and
    /// no certificate would help nobody.
    fn warn(&self, pair: &mut Pair) {
        let found = pair.loaded.untimely(self.ambient.now());
        if found != pair.said
            && let Some(found) = found
        {
            let names: Vec<&str> = pair
                .loaded
                .names
                .iter()
                .take(SHOWN_NAMES)
                .map(String::as_str)
                .collect();
            let (not_before, not_after) = (
                pair.loaded.not_before.rfc3339(),
                pair.loaded.not_after.rfc3339(),
            );
            tracing::warn!(
                listener = self.listener,
                certificate = %pair.spec.cert_file.display(),
                names = names.join(", "),
                not_before = String::from_utf8_lossy(&not_before).as_ref(),
                not_after = String::from_utf8_lossy(&not_after).as_ref(),
                "{}",
                match found {
                    Untimely::Expired => "A certificate has expired, so clients refuse it; write a new one into its files.",
                    Untimely::NotYetValid => "A certificate is not valid yet, so clients refuse it; check the clock of this machine and the certificate.",
                }
            );
        }
        pair.said = found;
    }

    fn count(&self, result: &str, by: u64) {
        let labels = [("listener", &*self.listener), ("result", result)];
        self.metrics
            .counter(Name::CertificateReloads, &labels)
            .increment(by);
    }

    fn show_end(&self, pair: &mut Pair) {
        let file = pair.spec.cert_file.display().to_string();
        let labels = [("listener", &*self.listener), ("certificate", &*file)];
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds since 1970 fit for a long time"
        )]
        let seconds = pair.loaded.not_after.as_secs() as f64;
        pair.end
            .get_or_insert_with(|| self.metrics.shown(Name::CertificateNotAfter, &labels))
            .set(seconds);
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let served = self.served.load();
        let Some(found) = hello.server_name().and_then(|name| served.find(name)) else {
            return Some(Arc::clone(&served.default));
        };
        // A name may have an ECDSA and an RSA certificate; give the first that the client can check.
        let schemes = hello.signature_schemes();
        let fits = found
            .iter()
            .find(|key| key.key.choose_scheme(schemes).is_some());
        fits.or(found.first()).cloned()
    }
}

impl Pair {
    fn load(key: String, spec: crate::config::listen::Certificate) -> Result<Self, BindError> {
        let stamps = stamps(&spec);
        let load = || {
            let files = Files::read(&spec.cert_file, &spec.key_file)?;
            Ok((files.digest(), files.load(&spec.cert_file, &spec.key_file)?))
        };
        match load() {
            Ok((digest, loaded)) => Ok(Self {
                key,
                spec,
                stamps,
                digest,
                loaded,
                end: None,
                said: None,
            }),
            Err(error) => Err(bind_error(&key, &error)),
        }
    }

    /// Whether a new certificate was taken over.
    fn refresh(&mut self) -> Result<bool, CertificateError> {
        let stamps = stamps(&self.spec);
        if stamps == self.stamps {
            return Ok(false);
        }
        // Also after a refusal: the same bad file is reported once, not at every look.
        self.stamps = stamps;
        let files = Files::read(&self.spec.cert_file, &self.spec.key_file)?;
        let digest = files.digest();
        if digest == self.digest {
            return Ok(false);
        }
        self.loaded = files.load(&self.spec.cert_file, &self.spec.key_file)?;
        self.said = None;
        self.digest = digest;
        Ok(true)
    }

    fn error(&self, error: &CertificateError) -> BindError {
        bind_error(&self.key, error)
    }
}

impl Served {
    fn find(&self, name: &str) -> Option<&Vec<Arc<CertifiedKey>>> {
        // rustls hands names over in lower case only when the client wrote them so.
        let name = name.to_ascii_lowercase();
        self.by_name.get(&name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        })
    }
}

fn served(pairs: &[Pair]) -> Option<Served> {
    let default = Arc::clone(&pairs.first()?.loaded.key);
    let mut by_name: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
    for pair in pairs {
        for name in &pair.loaded.names {
            by_name
                .entry(name.clone())
                .or_default()
                .push(Arc::clone(&pair.loaded.key));
        }
    }
    Some(Served { default, by_name })
}

fn stamps(spec: &crate::config::listen::Certificate) -> [Stamp; 2] {
    [Stamp::of(&spec.cert_file), Stamp::of(&spec.key_file)]
}

fn bind_error(key: &str, error: &CertificateError) -> BindError {
    let file = match error.which() {
        Which::Certificate => "cert_file",
        Which::Key => "key_file",
    };
    BindError {
        key: format!("{key}.{file}"),
        message: error.to_string(),
    }
}
