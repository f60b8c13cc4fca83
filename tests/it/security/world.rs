//! A provider, a backend that tells what it was sent, and a proxy between them.

use mcp_oidc_proxy::clock::Ambient;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::client::PATIENCE;
use crate::harness::echo::Echo;
use crate::harness::idp::Idp;
use crate::harness::proxy::{Proxy, Setup, proxy};

pub(super) const API_KEY: &str = "key-of-the-build-robot-0001";

pub(super) struct World {
    pub(super) idp: Idp,
    pub(super) echo: Echo,
    pub(super) proxy: Proxy,
}

impl World {
    /// `/mcp` for members of `engineering`, `/other` for all, `/app/*` for people, `/open/*` for everybody.
    pub(super) async fn start() -> Self {
        Self::with(|setup| setup).await
    }

    pub(super) async fn with(more: impl FnOnce(Setup) -> Setup) -> Self {
        let idp = Idp::start(Ambient::system()).await;
        let echo = Echo::start().await;
        let url = echo.url();
        let setup = proxy()
            .oidc(&idp.issuer(), "mcp-proxy", "a-secret-of-the-client")
            .route(
                "/mcp",
                &format!("{url}/mcp"),
                "allow: { groups: [engineering] }",
            )
            .route(
                "/other",
                &format!("{url}/other"),
                "allow: { any_user: true }",
            )
            .route(
                "/app/*",
                &format!("{url}/app"),
                "kind: http\nallow: { any_user: true }",
            )
            .route(
                "/open/*",
                &format!("{url}/open"),
                "kind: http\npublic: true",
            )
            .yaml(&format!(
                "auth: {{ api_keys: [{{ name: robot, key: {API_KEY}, groups: [engineering] }}] }}"
            ));
        let proxy = more(setup).start().await;
        Self { idp, echo, proxy }
    }

    /// A token of a member of `engineering` for `/mcp`.
    pub(super) fn token(&self) -> String {
        self.token_with(&json!({ "groups": ["engineering"] }))
    }

    pub(super) fn token_with(&self, more: &Value) -> String {
        self.idp.access_token("ann", &self.proxy.url("/mcp"), more)
    }

    /// Sends raw bytes, and gives the status line's code and everything that came back.
    pub(super) async fn raw(&self, bytes: &[u8]) -> (u16, String) {
        let base = self.proxy.base();
        let mut socket = TcpStream::connect((base.host_str().unwrap(), base.port().unwrap()))
            .await
            .unwrap();
        socket.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, socket.read_to_end(&mut answer))
            .await
            .expect("the proxy closes");
        let text = String::from_utf8_lossy(&answer).into_owned();
        let code = text
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0);
        (code, text)
    }

    /// A GET of a raw request-target with further header lines, on a connection of its own.
    pub(super) async fn target(&self, target: &str, lines: &str) -> (u16, String) {
        let authority = self.proxy.base().authority();
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{lines}\r\n"
        );
        self.raw(head.as_bytes()).await
    }

    /// The last thing that the backend was sent.
    pub(super) fn last(&self) -> crate::harness::echo::Asked {
        self.echo.seen().pop().expect("the backend was asked")
    }

    pub(super) fn nothing_arrived(&self) {
        let seen = self.echo.seen();
        let seen: Vec<_> = seen
            .iter()
            .filter(|asked| !asked.target.starts_with("/health"))
            .collect();
        assert!(seen.is_empty(), "the backend was asked: {seen:?}");
    }
}
