//! What is compared: nginx, the proxy, and a second proxy that asks Redis on every request.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mcp_oidc_proxy::clock::Ambient;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio_rustls::rustls;

use crate::backend::Backend;
use crate::process::{self, Process};
use crate::provider::Provider;
use crate::{LOAD_CPU, Outcome, SUBJECT_CPU};

/// One running server that is measured.
pub(crate) struct Subject {
    pub(crate) port: u16,
    /// The process that does the work.
    pub(crate) id: u32,
    _process: Process,
}

/// All of them, and the Redis that they use.
pub(crate) struct Subjects {
    pub(crate) nginx: Subject,
    pub(crate) proxy: Subject,
    /// With `recently_seen: 0s`.
    pub(crate) asking: Option<Subject>,
    /// From the start of the process to the first accepted connection.
    pub(crate) start: Duration,
    /// What ran where, for the head of the table.
    pub(crate) about: String,
    _redis: Option<Process>,
}

impl Subjects {
    /// Starts them. With `baseline` a second nginx stands for the proxy.
    pub(crate) async fn start(
        folder: &Path,
        certificate: &Certificate,
        backend: &Backend,
        provider: &Provider,
        baseline: bool,
    ) -> Outcome<Self> {
        let nginx = nginx(folder, "nginx", certificate, backend).await?;
        if baseline {
            let proxy = self::nginx(folder, "nginx-again", certificate, backend).await?;
            let about = about("nginx measured against itself")?;
            return Ok(Self {
                nginx,
                proxy,
                asking: None,
                start: Duration::ZERO,
                about,
                _redis: None,
            });
        }
        let (redis, redis_port) = redis(folder).await?;
        let config = |seen: &'static str| Config {
            certificate,
            backend,
            provider,
            redis_port,
            seen,
        };
        let began = Instant::now();
        let recent = proxy(folder, "proxy", &config("10s")).await?;
        let start = began.elapsed();
        let asking = Some(proxy(folder, "proxy-asking", &config("0s")).await?);
        Ok(Self {
            nginx,
            proxy: recent,
            asking,
            start,
            about: about("mcp-oidc-proxy beside nginx")?,
            _redis: Some(redis),
        })
    }
}

/// A self-signed certificate for localhost.
pub(crate) struct Certificate {
    der: CertificateDer<'static>,
    pub(crate) cert_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

impl Certificate {
    pub(crate) fn make(folder: &Path) -> Outcome<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (cert_file, key_file) = (folder.join("tls.crt"), folder.join("tls.key"));
        fs::write(&cert_file, made.cert.pem())?;
        fs::write(&key_file, made.signing_key.serialize_pem())?;
        Ok(Self {
            der: made.cert.der().clone(),
            cert_file,
            key_file,
        })
    }

    /// TLS 1.3 without resumption: every handshake is a full one.
    pub(crate) fn client_config(&self) -> Outcome<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.der.clone())?;
        let mut config =
            rustls::ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }
}

async fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))
        .await?
        .local_addr()?
        .port())
}

async fn nginx(
    folder: &Path,
    name: &str,
    certificate: &Certificate,
    backend: &Backend,
) -> Outcome<Subject> {
    let port = free_port().await?;
    let folder = folder.join(name);
    fs::create_dir(&folder)?;
    let text = include_str!("nginx.conf")
        .replace("@FOLDER@", &folder.display().to_string())
        .replace("@PORT@", &port.to_string())
        .replace("@BACKEND@", &backend.port.to_string())
        .replace("@CERT@", &certificate.cert_file.display().to_string())
        .replace("@KEY@", &certificate.key_file.display().to_string());
    let config = folder.join("nginx.conf");
    fs::write(&config, text)?;
    let arguments = [
        "-p".as_ref(),
        folder.as_os_str(),
        "-c".as_ref(),
        config.as_os_str(),
    ];
    let mut process = Process::start(SUBJECT_CPU, "nginx", &arguments, &folder.join("log"))?;
    process.listening(name, port).await?;
    let id = process::child_of(process.id()).await?;
    Ok(Subject {
        port,
        id,
        _process: process,
    })
}

async fn redis(folder: &Path) -> Outcome<(Process, u16)> {
    let port = free_port().await?.to_string();
    let arguments = [
        "--port",
        &port,
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
    ];
    let mut process = Process::start(
        LOAD_CPU,
        "redis-server",
        &arguments,
        &folder.join("redis.log"),
    )?;
    let port = port.parse()?;
    process.listening("redis-server", port).await?;
    Ok((process, port))
}

struct Config<'a> {
    certificate: &'a Certificate,
    backend: &'a Backend,
    provider: &'a Provider,
    redis_port: u16,
    seen: &'static str,
}

async fn proxy(folder: &Path, name: &str, config: &Config<'_>) -> Outcome<Subject> {
    let port = free_port().await?;
    let text = include_str!("proxy.yaml")
        .replace("@PORT@", &port.to_string())
        .replace(
            "@CERT@",
            &config.certificate.cert_file.display().to_string(),
        )
        .replace("@KEY@", &config.certificate.key_file.display().to_string())
        .replace("@ISSUER@", config.provider.issuer())
        .replace("@BACKEND@", &config.backend.port.to_string())
        .replace("@REDIS@", &config.redis_port.to_string())
        .replace("@SEEN@", config.seen)
        .replace(
            "@SECRET@",
            &STANDARD.encode(Ambient::system().random::<32>()),
        );
    let file = folder.join(format!("{name}.yaml"));
    fs::write(&file, text)?;
    let arguments = ["--config".as_ref(), file.as_os_str()];
    let program = env!("CARGO_BIN_EXE_mcp-oidc-proxy");
    let log = folder.join(format!("{name}.log"));
    let mut process = Process::start(SUBJECT_CPU, program, &arguments, &log)?;
    if let Err(error) = process.listening(name, port).await {
        return Err(format!("{error}\n{}", fs::read_to_string(&log)?).into());
    }
    Ok(Subject {
        port,
        id: process.id(),
        _process: process,
    })
}

fn about(what: &str) -> Outcome<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, name)| name.trim());
    let number = cpus
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let version = std::process::Command::new("nginx").arg("-v").output()?;
    let version = String::from_utf8_lossy(&version.stderr)
        .trim()
        .replace("nginx version: ", "");
    Ok(format!(
        "{what}: {version}; {model}, {number} CPUs, Linux {}",
        kernel.trim()
    ))
}
