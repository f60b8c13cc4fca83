//! A provider, a backend that tells what it was sent, and a proxy with one guarded route between them.

use mcp_oidc_proxy::clock::Ambient;
use serde_json::{Value, json};

use crate::harness::client::{Answer, Ask, post};
use crate::harness::echo::Echo;
use crate::harness::idp::Idp;
use crate::harness::proxy::{Proxy, Setup, proxy};

/// The key of `robot`, who is in `bots`.
pub(crate) const KEY: &str = "key-of-the-build-robot-0001";

pub(crate) struct World {
    pub(crate) idp: Idp,
    pub(crate) echo: Echo,
    pub(crate) proxy: Proxy,
}

impl World {
    /// `route` holds the keys of the route besides path and backend.
    pub(crate) async fn start(route: &str) -> Self {
        Self::with(route, "").await
    }

    /// The same with further keys of the backend.
    pub(crate) async fn with(route: &str, backend: &str) -> Self {
        let idp = Idp::start(Ambient::system()).await;
        let echo = Echo::start().await;
        let proxy = setup(&idp, &echo, route, backend).start().await;
        Self { idp, echo, proxy }
    }

    /// Puts another route in force, as a reload does.
    pub(crate) async fn reload(&self, route: &str) {
        let setup = setup(&self.idp, &self.echo, route, "");
        self.proxy.reload(&setup).await.unwrap();
    }

    /// A token of a member of `engineering`, with further claims.
    pub(crate) fn token(&self, more: &Value) -> String {
        let mut claims = json!({ "groups": ["engineering"] });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.idp
            .access_token("ann", &self.proxy.url("/mcp"), &claims)
    }

    /// Sends a message with a token of `engineering`.
    pub(crate) async fn send(&self, message: &Value) -> Seen {
        self.by(&json!({}), message).await
    }

    /// Sends a message with a token that has further claims.
    pub(crate) async fn by(&self, claims: &Value, message: &Value) -> Seen {
        let token = self.token(claims);
        self.ask(post(&self.proxy.url("/mcp")).bearer(&token).rpc(message))
            .await
    }

    /// Sends a message with the API key.
    pub(crate) async fn robot(&self, message: &Value) -> Seen {
        self.ask(
            post(&self.proxy.url("/mcp"))
                .header("x-api-key", KEY)
                .rpc(message),
        )
        .await
    }

    /// Sends a request, and tells whether the backend was asked.
    pub(crate) async fn ask(&self, ask: Ask) -> Seen {
        let before = self.arrived();
        let answer = ask.send().await;
        Seen {
            forwarded: self.arrived() > before,
            answer,
        }
    }

    fn arrived(&self) -> usize {
        let seen = self.echo.seen();
        seen.iter()
            .filter(|asked| asked.target.starts_with("/mcp"))
            .count()
    }

    /// Whether a line stands in the metrics.
    pub(crate) async fn measures(&self, line: &str) -> bool {
        let metrics = crate::harness::client::get(&self.proxy.metrics())
            .send()
            .await
            .text();
        metrics.contains(line)
    }
}

fn setup(idp: &Idp, echo: &Echo, route: &str, backend: &str) -> Setup {
    proxy()
        .oidc(&idp.issuer(), "mcp-proxy", "a-secret-of-the-client")
        .route("/mcp", &format!("{}/mcp", echo.url()), &format!("name: r\n{route}"))
        .backend(backend)
        .yaml(&format!(
            "metrics: {{ address: '127.0.0.1:0' }}\nauth: {{ api_keys: [{{ name: robot, key: {KEY}, groups: [bots] }}] }}"
        ))
}

/// An answer, and whether the backend gave it.
pub(crate) struct Seen {
    pub(crate) answer: Answer,
    pub(crate) forwarded: bool,
}

impl Seen {
    /// Fails unless the backend was asked.
    pub(crate) fn passed(&self, why: &str) {
        assert!(
            self.forwarded && self.answer.status == 200,
            "{why}: {} {}",
            self.answer.status,
            self.answer.text()
        );
    }

    /// Fails unless it was denied within the protocol; gives the error.
    pub(crate) fn denied(&self, why: &str) -> Value {
        assert!(
            !self.forwarded && self.answer.status == 200,
            "{why}: {} {}",
            self.answer.status,
            self.answer.text()
        );
        let body = self.answer.json();
        assert_eq!(body["jsonrpc"], "2.0", "{why}: {body}");
        body["error"].clone()
    }

    /// Fails unless more scopes were asked for; gives the challenge.
    pub(crate) fn stepped_up(&self) -> String {
        assert!(
            !self.forwarded && self.answer.status == 403,
            "{} {}",
            self.answer.status,
            self.answer.text()
        );
        self.answer.header("www-authenticate").to_owned()
    }
}

/// A request of the older revisions.
pub(crate) fn request(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params })
}

/// A call of a tool.
pub(crate) fn tool(name: &str) -> Value {
    tool_with(name, &json!({}))
}

/// A call of a tool with arguments.
pub(crate) fn tool_with(name: &str, arguments: &Value) -> Value {
    request(
        "tools/call",
        &json!({ "name": name, "arguments": arguments }),
    )
}

/// The same request as 2026-07-28 has it, for `url`.
pub(crate) fn modern(url: &str, mut message: Value) -> Ask {
    message["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let mut ask = post(url)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", message["method"].as_str().unwrap());
    let params = &message["params"];
    if let Some(name) = params["name"].as_str().or_else(|| params["uri"].as_str()) {
        ask = ask.header("mcp-name", name);
    }
    ask.rpc(&message)
}
