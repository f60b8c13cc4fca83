//! A proxy with an audit log, a provider and backends, and the log as it was written.

use std::path::{Path, PathBuf};

use mcp_oidc_proxy::audit::verify::{Options, PublicKey, Report, verify};
use mcp_oidc_proxy::clock::Ambient;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::browser::Browser;
use crate::harness::client::{Answer, post};
use crate::harness::echo::Echo;
use crate::harness::idp::{CLIENT_ID, CLIENT_SECRET, Idp};
use crate::harness::numbered::Numbered;
use crate::harness::oauth::{App, Tokens};
use crate::harness::proxy::{Proxy, Setup, proxy};

/// 32 bytes of 7.
pub(super) const SEED: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
pub(super) const API_KEY: &str = "key-of-the-build-robot-0001";

pub(super) struct World {
    pub(super) idp: Idp,
    _backend: Numbered,
    pub(super) landing: Echo,
    pub(super) proxy: Proxy,
    folder: TempDir,
}

/// The records of a log.
pub(super) struct Log(Vec<Value>);

impl World {
    pub(super) async fn new(more: &str) -> Self {
        Self::with(more, |setup| setup).await
    }

    /// `/mcp` with tools that may be called but for `forbidden`; `more` are further keys of `audit`.
    pub(super) async fn with(more: &str, change: impl FnOnce(Setup) -> Setup) -> Self {
        let idp = Idp::start(Ambient::system()).await;
        let backend = Numbered::start().await;
        let landing = Echo::start().await;
        let folder = tempfile::tempdir().unwrap();
        let setup = proxy()
            .oidc(&idp.issuer(), CLIENT_ID, CLIENT_SECRET)
            .route(
                "/mcp",
                backend.url(),
                "name: sample\nallow: { any_user: true }\ntools:\n  - { name: never, match: forbidden, deny: true }\n  - { name: rest, match: \"*\" }",
            )
            .route(
                "/app/*",
                landing.url(),
                "name: app\nkind: http\nallow: { any_user: true }",
            )
            .yaml(&format!(
                "admin: {{ address: \"unix:{0}/admin.sock\" }}\nauth: {{ api_keys: [{{ name: robot, key: {API_KEY} }}] }}\naudit:\n  sink: file\n  file: {{ path: \"{0}/audit.jsonl\" }}\n  signing_key: \"{SEED}\"\n{more}",
                folder.path().display()
            ));
        let proxy = change(setup).start().await;
        Self {
            idp,
            _backend: backend,
            landing,
            proxy,
            folder,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    /// Somebody's app, from nothing but the URL.
    pub(super) async fn app(&self, login: &str) -> (App, Tokens) {
        let callback = format!("{}/callback", self.landing.url());
        let app = App::discover(&self.proxy.url("/mcp"), &callback).await;
        let tokens = app.sign_in(&mut Browser::default(), login).await;
        (app, tokens)
    }

    /// A message of the handshake's revision.
    pub(super) async fn say(&self, bearer: &str, session: Option<&str>, body: &Value) -> Answer {
        let mut ask = post(&self.proxy.url("/mcp"))
            .bearer(bearer)
            .header("mcp-protocol-version", "2025-11-25")
            .header("accept", "application/json, text/event-stream");
        if let Some(session) = session {
            ask = ask.header("mcp-session-id", session);
        }
        ask.json(body).send().await
    }

    /// Opens an MCP session; gives the id that the client is given.
    pub(super) async fn initialize(&self, bearer: &str) -> String {
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
        let answer = self.say(bearer, None, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("mcp-session-id").to_owned()
    }

    /// Ends the proxy in order; gives its log, which is intact.
    pub(super) async fn end(self) -> Log {
        let path = self.path();
        self.proxy.stop().await;
        let report = verified(&path);
        assert!(report.is_intact(), "{}", report.text());
        assert!(report.notes.is_empty(), "{:?}", report.notes);
        Log::read(&path)
    }
}

/// What a tool call says.
pub(super) fn call(tool: &str, arguments: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": tool, "arguments": arguments } })
}

pub(super) fn public_key() -> PublicKey {
    PublicKey::parse(&mcp_oidc_proxy::audit::public_key(&[7; 32]).unwrap()).unwrap()
}

pub(super) fn verified(path: &Path) -> Report {
    let options = Options {
        keys: vec![public_key()],
        ..Options::default()
    };
    verify(&[path.to_owned()], &options).unwrap()
}

impl Log {
    pub(super) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        Self(
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect(),
        )
    }

    pub(super) fn all(&self) -> &[Value] {
        &self.0
    }

    pub(super) fn text(&self) -> String {
        let lines: Vec<String> = self.0.iter().map(Value::to_string).collect();
        lines.join("\n")
    }

    /// Records of a kind.
    pub(super) fn of(&self, kind: &str) -> Vec<&Value> {
        self.0
            .iter()
            .filter(|record| record["kind"] == kind)
            .collect()
    }

    /// The only record of a kind.
    pub(super) fn only(&self, kind: &str) -> &Value {
        let found = self.of(kind);
        assert_eq!(found.len(), 1, "{kind}: {found:#?}");
        found[0]
    }

    /// The records of a kind about a tool.
    pub(super) fn about(&self, kind: &str, tool: &str) -> Vec<&Value> {
        self.of(kind)
            .into_iter()
            .filter(|record| record["what"]["tool"] == tool)
            .collect()
    }
}
