//! The proxy under test: a configuration put together from pieces, started in this process or as the real binary.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mcp_oidc_proxy::app::{Running, StartError};
use mcp_oidc_proxy::clock::Ambient;
use mcp_oidc_proxy::config::{Sources, load};
use tempfile::TempDir;
use tokio::time::timeout;
use url::Url;

use super::client::{PATIENCE, get};
use super::parts::Part;
use super::record;

/// A configuration in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    oidc: String,
    backends: String,
    routes: String,
    rest: String,
}

/// Starts a configuration; ports are free ones, the session store is memory.
pub(crate) fn proxy() -> Setup {
    Setup::default()
}

impl Setup {
    /// The identity provider, with a client that authenticates with a secret.
    pub(crate) fn oidc(self, issuer: &str, client_id: &str, secret: &str) -> Self {
        record::secret(secret);
        self.oidc_yaml(&format!(
            "issuer: \"{issuer}\"\nclient_id: {client_id}\nclient_secret: \"{secret}\"\n"
        ))
    }

    /// The identity provider, or more about it: the keys of `oidc:`, not indented.
    pub(crate) fn oidc_yaml(mut self, yaml: &str) -> Self {
        self.oidc.push_str(&indent(yaml, "  "));
        self
    }

    /// A backend and the route that leads to it; `more` is the route's further keys, not indented.
    pub(crate) fn route(self, path: &str, upstream: &str, more: &str) -> Self {
        self.yaml_backend(path, &format!("upstream: \"{upstream}\""), more)
    }

    /// The same with the backend's own keys, not indented.
    pub(crate) fn yaml_backend(mut self, path: &str, backend: &str, more: &str) -> Self {
        let name = format!("b{}", self.backends.matches("- name:").count());
        let _ = write!(
            self.backends,
            "  - name: {name}\n{}",
            indent(backend, "    ")
        );
        let _ = write!(
            self.routes,
            "  - path: \"{path}\"\n    backend: {name}\n{}",
            indent(more, "    ")
        );
        self
    }

    /// More keys of the backend that was added last, not indented.
    pub(crate) fn backend(mut self, yaml: &str) -> Self {
        self.backends.push_str(&indent(yaml, "    "));
        self
    }

    /// More keys of the backend that was named last, not indented.
    pub(crate) fn backend_more(mut self, yaml: &str) -> Self {
        self.backends.push_str(&indent(yaml, "    "));
        self
    }

    /// Further top-level keys, as they stand in a file.
    pub(crate) fn yaml(mut self, yaml: &str) -> Self {
        self.rest.push_str(yaml.trim_end());
        self.rest.push('\n');
        self
    }

    /// Sessions in a Redis on this port, and a key that all replicas have.
    pub(crate) fn on_redis(self, port: u16) -> Self {
        self.yaml(&format!(
            "secret_keys: [\"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I=\"]\nsessions:\n  store: redis\n  redis: {{ url: \"redis://127.0.0.1:{port}\" }}\n"
        ))
    }

    /// The whole file.
    pub(crate) fn text(&self) -> String {
        let mut text = "version: 1\n".to_owned();
        text.push_str("listen:\n  - address: \"127.0.0.1:0\"\n");
        if !self.rest.contains("metrics:") {
            text.push_str("metrics: { enabled: false }\n");
        }
        // Access records would fill the output of tests.
        text.push_str("logging: { access: false }\n");
        if !self.rest.contains("shutdown:") {
            text.push_str("shutdown: { delay: 0s, timeout: 2s, stream_grace: 0s }\n");
        }
        for (key, section) in [
            ("oidc", &self.oidc),
            ("backends", &self.backends),
            ("routes", &self.routes),
        ] {
            if !section.is_empty() {
                let _ = write!(text, "{key}:\n{section}");
            }
        }
        text + &self.rest
    }

    /// Starts in this process, and waits until the identity provider was discovered, when there is one. Fails
    /// when it does not start.
    pub(crate) async fn start(&self) -> Proxy {
        self.start_in(Ambient::system()).await
    }

    /// The same with a clock and a source of randomness of the test's own.
    pub(crate) async fn start_in(&self, ambient: Ambient) -> Proxy {
        let proxy = Box::pin(self.try_start_in(ambient))
            .await
            .unwrap_or_else(|e| panic!("{e}\n{}", self.text()));
        if !self.oidc.is_empty() {
            proxy.provider_is_ready().await;
        }
        proxy
    }

    /// Starts two replicas. Both have the address of the first, so the second is reached by its port only.
    pub(crate) async fn start_two(&self) -> (Proxy, Proxy) {
        let first = self.start().await;
        let public = first.base().as_str().trim_end_matches('/').to_owned();
        let second = self.clone().yaml(&format!("public_url: \"{public}\""));
        let second = second.try_start().await.unwrap();
        (first, second)
    }

    /// Starts in this process.
    pub(crate) async fn try_start(&self) -> Result<Proxy, StartError> {
        self.try_start_in(Ambient::system()).await
    }

    async fn try_start_in(&self, ambient: Ambient) -> Result<Proxy, StartError> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let file = write(folder.path(), &self.text());
        let mut loaded =
            load(&Sources::file(&file)).unwrap_or_else(|e| panic!("{e}\n{}", self.text()));
        record::instrument(&mut loaded.config, None);
        let running = Box::pin(Running::start_writing(loaded, ambient, record::access())).await?;
        let base = base(running.addresses());
        Ok(Proxy {
            running: Some(running),
            base,
            file,
            _folder: folder,
        })
    }

    /// Starts the real binary, with further environment.
    pub(crate) async fn start_process(&self, env: &[(&str, &str)]) -> Process {
        let folder = tempfile::tempdir().unwrap();
        let file = write(folder.path(), &self.text());
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-oidc-proxy"));
        command
            .env_clear()
            .envs(crate::harness::parts::measured())
            .arg("--config")
            .arg(&file)
            .envs(env.iter().copied());
        let mut part = Part::spawn("mcp-oidc-proxy", command);
        let line = part.wait_for(|line| line.contains("\"listening\"")).await;
        let after = line.split("127.0.0.1:").nth(1);
        let after = after.unwrap_or_else(|| panic!("no address in {line}"));
        let number: String = after.chars().take_while(char::is_ascii_digit).collect();
        let base = Url::parse(&format!("http://localhost:{number}")).unwrap();
        Process {
            part,
            file,
            base,
            _folder: folder,
        }
    }
}

/// A proxy in this process.
pub(crate) struct Proxy {
    /// There until the end.
    running: Option<Running>,
    base: Url,
    file: PathBuf,
    _folder: TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            record::metrics(running);
        }
    }
}

impl Proxy {
    fn running(&self) -> &Running {
        self.running.as_ref().expect("it was not stopped")
    }

    /// Its public address, `http://localhost:port`.
    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// The address of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        self.base.join(path).unwrap().into()
    }

    /// The port of its first listener.
    pub(crate) fn port(&self) -> u16 {
        self.running().address().expect("a TCP listener").port()
    }

    /// The address of its admin listener.
    pub(crate) fn admin(&self) -> &str {
        self.running().admin_address().expect("an admin listener")
    }

    /// The address of its metrics, where they are on.
    pub(crate) fn metrics(&self) -> String {
        let address = self
            .running()
            .metrics_address()
            .expect("a metrics listener");
        format!("http://{address}/metrics")
    }

    /// The configuration file that it was started with.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Waits until people can sign in.
    pub(crate) async fn provider_is_ready(&self) {
        let ready = async {
            while get(&self.url("/oauth2/start")).send().await.status == 503 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, ready)
            .await
            .expect("the provider is not discovered");
    }

    /// Loads another configuration, as SIGHUP does.
    pub(crate) async fn reload(&self, setup: &Setup) -> Result<Vec<&'static str>, String> {
        self.reload_text(&setup.text()).await
    }

    /// The same with the text of a whole file.
    pub(crate) async fn reload_text(&self, text: &str) -> Result<Vec<&'static str>, String> {
        std::fs::write(&self.file, text).unwrap();
        let mut loaded =
            load(&Sources::file(&self.file)).map_err(|problems| problems.to_string())?;
        record::instrument(&mut loaded.config, Some(&self.running().config()));
        Box::pin(self.running().reload(loaded))
            .await
            .map_err(|error| error.to_string())
    }

    /// Ends in order.
    pub(crate) async fn stop(mut self) {
        let running = self.running.take().expect("it was not stopped");
        record::metrics(&running);
        Box::pin(running.stop()).await;
    }
}

/// Sends a signal to a part.
pub(crate) fn signal(part: &Part, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(part.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// The real binary, running.
pub(crate) struct Process {
    pub(crate) part: Part,
    file: PathBuf,
    base: Url,
    _folder: TempDir,
}

impl Process {
    /// The address of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        self.base.join(path).unwrap().into()
    }

    /// The port of its first listener.
    pub(crate) fn port(&self) -> u16 {
        self.base.port().unwrap()
    }

    /// Its configuration file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Replaces its configuration file; it takes that over at SIGHUP.
    pub(crate) fn rewrite(&self, text: &str) {
        std::fs::write(&self.file, text).unwrap();
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        self::signal(&self.part, signal);
    }
}

fn base(addresses: &[String]) -> Url {
    let port = addresses[0].rsplit(':').next().unwrap();
    Url::parse(&format!("http://localhost:{port}")).unwrap()
}

fn write(folder: &Path, text: &str) -> PathBuf {
    let file = folder.join("config.yaml");
    std::fs::write(&file, text).unwrap();
    file
}

fn indent(yaml: &str, by: &str) -> String {
    yaml.lines()
        .filter(|line| !line.trim().is_empty())
        .fold(String::new(), |text, line| text + by + line + "\n")
}
