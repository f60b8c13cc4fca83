//! A function with what it needs around it.

use std::process::Command;

use mcp_oidc_proxy::clock::Ambient;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use url::Url;

use super::event::{Answered, Asks, Sender, URL_HOST};
use super::platform::Platform;
use crate::harness::client::get;
use crate::harness::echo::Echo;
use crate::harness::idp::{CLIENT_ID, CLIENT_SECRET, Idp};
use crate::harness::mcp::Mcp;
use crate::harness::parts::Part;
use crate::harness::proxy::{Setup, proxy};
use crate::harness::redis::Server;

/// The address of the function.
pub(crate) const PUBLIC: &str = "https://mcp.example.com";
/// A root secret.
pub(crate) const KEY: &str = "secret_keys: [\"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\"]\n";

/// The running binary and its platform.
pub(crate) struct Function {
    pub(crate) platform: Platform,
    pub(crate) part: Part,
    _folder: TempDir,
}

impl Function {
    /// Starts it with a bundled configuration.
    pub(crate) async fn start(setup: &Setup, env: &[(&str, &str)]) -> Self {
        let mut function = Self::spawn(Some(&setup.text()), env).await;
        function.is_up().await;
        function
    }

    /// Waits until it asks for events.
    pub(crate) async fn is_up(&mut self) {
        self.part
            .wait_for(|line| line.contains("waiting for events"))
            .await;
    }

    /// Starts it, and waits for nothing.
    pub(crate) async fn spawn(config: Option<&str>, env: &[(&str, &str)]) -> Self {
        let platform = Platform::start().await;
        let folder = tempfile::tempdir().unwrap();
        if let Some(config) = config {
            std::fs::write(folder.path().join("config.yaml"), config).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-oidc-proxy-lambda"));
        command
            .env_clear()
            .envs(crate::harness::parts::measured())
            .env("AWS_LAMBDA_RUNTIME_API", platform.address())
            .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
            .env("LAMBDA_TASK_ROOT", folder.path())
            .envs(env.iter().copied());
        let part = Part::spawn("mcp-oidc-proxy-lambda", command);
        Self {
            platform,
            part,
            _folder: folder,
        }
    }

    /// Asks and waits for all of the answer. Function URLs are answered piece by piece.
    pub(crate) async fn ask(&self, asks: &Asks) -> Answered {
        let mut delivery = self.platform.invoke(asks.event()).await;
        if asks.sender() != Sender::Url {
            return Answered::of(asks.sender(), &delivery.whole().await, None);
        }
        let (head, first) = delivery.head().await;
        let ended = delivery.end().await;
        assert!(ended.whole && ended.trailers.is_none(), "{ended:?}");
        Answered::of(asks.sender(), &head, Some(&(first + &ended.rest)))
    }

    /// Lets the process stand still (`true`) or go on.
    pub(crate) fn freeze(&self, still: bool) {
        let pid = i32::try_from(self.part.pid()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let signal = if still { Signal::STOP } else { Signal::CONT };
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

/// A provider, Redis, an MCP server at `/mcp` and a web server at `/web`.
pub(crate) struct World {
    pub(crate) idp: Idp,
    pub(crate) redis: Server,
    pub(crate) mcp: Mcp,
    pub(crate) echo: Echo,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self {
            idp: Idp::start(Ambient::system()).await,
            redis: Server::plain().await,
            mcp: Mcp::start().await,
            echo: Echo::start().await,
        }
    }

    /// The function's configuration.
    pub(crate) fn setup(&self) -> Setup {
        proxy()
            .oidc(&self.idp.issuer(), CLIENT_ID, CLIENT_SECRET)
            .route("/mcp", self.mcp.url(), "allow: { any_user: true }")
            .route("/web/*", self.echo.url(), "kind: http\nallow: { any_user: true }")
            .yaml(&format!("public_url: \"{PUBLIC}\"\nallowed_hosts: [\"{URL_HOST}\"]\n{KEY}"))
            .yaml(&format!(
                "sessions: {{ store: redis, recently_seen: 60s, redis: {{ url: \"redis://127.0.0.1:{}/\" }} }}",
                self.redis.port
            ))
    }

    pub(crate) async fn function(&self) -> Function {
        Function::start(&self.setup(), &[]).await
    }

    /// An access token for the MCP server.
    pub(crate) fn token(&self, subject: &str) -> String {
        let audience = format!("{PUBLIC}/mcp");
        self.idp.access_token(subject, &audience, &json!({}))
    }

    /// Signs somebody in; gives the session's cookies.
    pub(crate) async fn sign_in(&self, function: &Function, sender: Sender) -> Vec<String> {
        let page = sender
            .get("/web/page?x=1&y=a%26b")
            .header("accept", "text/html")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document");
        let away = function.ask(&page).await;
        assert_eq!(away.status, 302, "{sender:?}: {}", away.text());
        let jar = pairs(&away.cookies);
        assert!(!jar.is_empty(), "{sender:?}");
        let authorize = away.header("location").to_owned();
        assert!(authorize.starts_with(&self.idp.issuer()), "{authorize}");
        let answer = get(&authorize).send().await;
        let back = Url::parse(answer.header("location")).unwrap();
        assert!(back.as_str().starts_with(PUBLIC), "{back}");
        let target = format!("{}?{}", back.path(), back.query().unwrap());
        let home = function.ask(&sender.get(&target).cookies(&jar)).await;
        assert!(
            matches!(home.status, 302 | 303),
            "{sender:?}: {}",
            home.text()
        );
        assert_eq!(
            home.header("location"),
            "/web/page?x=1&y=a%26b",
            "{sender:?}"
        );
        let living: Vec<String> = home
            .cookies
            .iter()
            .filter(|cookie| !cookie.contains("Max-Age=0"))
            .cloned()
            .collect();
        let jar = pairs(&living);
        assert!(
            jar.iter()
                .any(|cookie| cookie.starts_with("__Host-mcp_session=")),
            "{jar:?}"
        );
        jar
    }
}

/// `name=value` of each.
fn pairs(set: &[String]) -> Vec<String> {
    set.iter()
        .map(|cookie| cookie.split(';').next().unwrap().to_owned())
        .collect()
}
