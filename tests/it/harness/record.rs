//! With `MCP_PROXY_TEST_RECORD` naming a folder, the suite keeps there what was secret in it, and all that proxies
//! wrote about what they did: log, access records, audit logs, metrics, spans. `tests/canaries.sh` looks for the one in
//! the other. Every proxy of this process then writes an audit log and traces, whatever its test is about.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use mcp_oidc_proxy::app::Running;
use mcp_oidc_proxy::config::audit::{AuditFile, FileMode, SinkKind, WhenFull};
use mcp_oidc_proxy::config::{ByteSize, Config};
use serde_json::Value;

/// Shorter ones could be found by chance.
const SHORTEST: usize = 16;
/// Members of answers that are secrets.
const MEMBERS: [&str; 5] = [
    "access_token",
    "refresh_token",
    "id_token",
    "client_secret",
    "registration_access_token",
];

static RECORDER: LazyLock<Option<Recorder>> = LazyLock::new(Recorder::begin);

struct Recorder {
    folder: PathBuf,
    secrets: Mutex<(HashSet<String>, File)>,
    collector: String,
    audits: AtomicUsize,
}

/// Something that no proxy may write anywhere.
pub(crate) fn secret(text: &str) {
    let Some(recorder) = &*RECORDER else { return };
    if text.len() < SHORTEST || text.contains('\n') {
        return;
    }
    let mut secrets = recorder.secrets.lock().unwrap();
    if secrets.0.insert(text.to_owned()) {
        writeln!(secrets.1, "{text}").unwrap();
    }
}

/// What a client proves itself with.
pub(crate) fn sent(headers: &HeaderMap) {
    if RECORDER.is_none() {
        return;
    }
    let values = |name: &http::HeaderName| -> Vec<String> {
        let texts = headers.get_all(name).iter();
        texts
            .filter_map(|v| Some(v.to_str().ok()?.to_owned()))
            .collect()
    };
    for value in values(&AUTHORIZATION) {
        secret(
            value
                .split_once(' ')
                .map_or(value.as_str(), |(_, token)| token.trim()),
        );
    }
    for value in values(&COOKIE) {
        value.split("; ").for_each(cookie);
    }
    for name in ["x-api-key", "mcp-session-id"] {
        for value in values(&http::HeaderName::from_static(name)) {
            secret(&value);
        }
    }
}

/// What a client is given to prove itself with.
pub(crate) fn received(headers: &HeaderMap) {
    if RECORDER.is_none() {
        return;
    }
    for value in headers.get_all(SET_COOKIE) {
        let text = value.to_str().unwrap_or_default();
        cookie(text.split(';').next().unwrap_or_default());
    }
    if let Some(id) = headers.get("mcp-session-id") {
        secret(id.to_str().unwrap_or_default());
    }
}

/// The same in an answer's body.
pub(crate) fn given(body: &[u8]) {
    if RECORDER.is_none() {
        return;
    }
    if let Ok(Value::Object(members)) = serde_json::from_slice(body) {
        for name in MEMBERS {
            if let Some(text) = members.get(name).and_then(Value::as_str) {
                secret(text);
            }
        }
    }
}

fn cookie(pair: &str) {
    if let Some((_, value)) = pair.split_once('=') {
        secret(value);
    }
}

/// Lets a proxy write all that it can write; after a reload to where it did before.
pub(crate) fn instrument(config: &mut Config, running: Option<&Config>) {
    let Some(recorder) = &*RECORDER else { return };
    if let Some(running) = running {
        // Only what was added here: what a test itself set is its own to change.
        let file = running.audit.file.as_ref();
        if file.is_some_and(|file| file.path.starts_with(&recorder.folder)) {
            config.audit.clone_from(&running.audit);
        }
        if running.tracing.endpoint.as_ref() == Some(&recorder.collector) {
            config.tracing.clone_from(&running.tracing);
        }
        config.logging.access = true;
        return;
    }
    config.logging.access = true;
    if config.audit.sink.is_none() {
        let number = recorder.audits.fetch_add(1, Ordering::Relaxed);
        let path = recorder.folder.join(format!("audit-{number}.jsonl"));
        config.audit.sink = Some(SinkKind::File);
        config.audit.file = Some(AuditFile {
            path,
            rotate_size: ByteSize(100 << 20),
            keep: 0,
            mode: FileMode::default(),
        });
        config.audit.when_full = WhenFull::Drop;
        config.audit.identity.email = true;
        config.audit.identity.groups = true;
        config.audit.arguments.include = true;
    }
    if config.tracing.endpoint.is_none() {
        config.tracing.endpoint = Some(recorder.collector.clone());
    }
}

/// Where a proxy's access records go.
pub(crate) fn access() -> Box<dyn Write + Send> {
    match &*RECORDER {
        Some(recorder) => Box::new(recorder.append("access.log")),
        None => Box::new(io::stdout()),
    }
}

/// A line that the real binary said.
pub(crate) fn said(line: &str) {
    if let Some(recorder) = &*RECORDER {
        writeln!(recorder.append("binary.log"), "{line}").unwrap();
    }
}

/// Keeps a proxy's metrics.
pub(crate) fn metrics(running: &Running) {
    if let Some(recorder) = &*RECORDER {
        let text = running.exposition();
        recorder
            .append("metrics.txt")
            .write_all(text.as_bytes())
            .unwrap();
    }
}

impl Recorder {
    fn begin() -> Option<Self> {
        let folder = PathBuf::from(std::env::var_os("MCP_PROXY_TEST_RECORD")?);
        std::fs::create_dir_all(&folder).unwrap();
        let recorder = Self {
            secrets: Mutex::new((HashSet::new(), append(&folder, "secrets"))),
            collector: collect(append(&folder, "spans.bin")),
            audits: AtomicUsize::new(0),
            folder,
        };
        let log = Mutex::new(recorder.append("proxy.log"));
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_env_filter("info,mcp_oidc_proxy=trace")
            .with_writer(log)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        // Proof that what is written here is looked through.
        tracing::info!(target: "mcp_oidc_proxy", "planted-canary-of-the-log");
        Some(recorder)
    }

    fn append(&self, name: &str) -> File {
        append(&self.folder, name)
    }
}

fn append(folder: &Path, name: &str) -> File {
    let mut options = OpenOptions::new();
    options
        .create(true)
        .append(true)
        .open(folder.join(name))
        .unwrap()
}

/// A collector of spans for this process, which keeps what it is sent as it came.
fn collect(mut file: File) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = keep(stream, &mut file);
        }
    });
    format!("http://{address}")
}

/// One connection: requests with a `Content-Length`, each answered with an empty 200.
fn keep(stream: std::net::TcpStream, file: &mut File) -> io::Result<()> {
    use std::io::{BufRead, BufReader, Read};
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
    let mut answers = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        file.write_all(line.as_bytes())?;
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if line.trim().is_empty() {
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            file.write_all(&body)?;
            answers
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
            return Ok(());
        }
    }
}
