//! A sample MCP server built with `rmcp`, which speaks both families of revisions, on loopback.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rmcp::handler::server::tool::Extension;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    Implementation, ProgressNotificationParam, RequestMetaObject, ServerCapabilities, ServerConfig,
};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, Peer, RoleServer, ServerHandler, schemars, tool, tool_handler, tool_router};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The running server. It ends when it is dropped.
pub(crate) struct Mcp {
    url: String,
    seen: Seen,
    _end: DropGuard,
}

type Seen = Arc<Mutex<Vec<HeaderMap>>>;

#[derive(Clone, Debug)]
struct Tools;

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Echo {
    text: String,
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Add {
    a: i64,
    b: i64,
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Slow {
    millis: u64,
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Steps {
    steps: u32,
}

#[tool_router]
impl Tools {
    #[tool(description = "Sends the text back")]
    fn echo(Parameters(Echo { text }): Parameters<Echo>) -> String {
        text
    }

    #[tool(description = "Adds two numbers")]
    fn add(Parameters(Add { a, b }): Parameters<Add>) -> String {
        (a + b).to_string()
    }

    #[tool(description = "Answers after a while")]
    async fn slow(Parameters(Slow { millis }): Parameters<Slow>) -> String {
        tokio::time::sleep(Duration::from_millis(millis.min(10_000))).await;
        "done".to_owned()
    }

    #[tool(description = "Reports each of its steps before it answers")]
    async fn steps(
        Parameters(Steps { steps }): Parameters<Steps>,
        meta: RequestMetaObject,
        client: Peer<RoleServer>,
    ) -> Result<String, ErrorData> {
        let token = meta
            .get_progress_token()
            .ok_or_else(|| ErrorData::invalid_params("a progress token is needed", None))?;
        for step in 0..steps.min(1000) {
            let progress = ProgressNotificationParam::new(token.clone(), f64::from(step));
            client
                .notify_progress(progress)
                .await
                .map_err(|e| ErrorData::internal_error(e.to_string(), None))?;
        }
        Ok(format!("{steps} steps"))
    }

    #[tool(description = "Tells what the caller's request said about the caller")]
    fn whoami(Extension(parts): Extension<http::request::Parts>) -> String {
        let text = |name: &str| {
            parts
                .headers
                .get(name)
                .and_then(|v| v.to_str().ok().map(str::to_owned))
        };
        serde_json::json!({
            "user": text("x-forwarded-user"),
            "email": text("x-forwarded-email"),
            "groups": text("x-forwarded-groups"),
            "issuer": text("x-forwarded-issuer"),
            "authorization": text("authorization"),
            "cookie": text("cookie"),
            "api_key": text("x-api-key"),
        })
        .to_string()
    }
}

#[tool_handler]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("sample", "1.0.0"))
    }
}

impl Mcp {
    /// Starts at `/mcp` of a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let end = CancellationToken::new();
        let seen = Seen::default();
        let config =
            StreamableHttpServerConfig::default().with_cancellation_token(end.child_token());
        let sessions = Arc::new(LocalSessionManager::default());
        let service = Arc::new(StreamableHttpService::new(|| Ok(Tools), sessions, config));
        tokio::spawn(serve(listener, service, Arc::clone(&seen), end.clone()));
        Self {
            url,
            seen,
            _end: end.drop_guard(),
        }
    }

    /// The endpoint.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Headers of the requests so far.
    pub(crate) fn seen(&self) -> Vec<HeaderMap> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    listener: TcpListener,
    service: Arc<StreamableHttpService<Tools, LocalSessionManager>>,
    seen: Seen,
    end: CancellationToken,
) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let socket = tokio::select! {
            () = end.cancelled() => return,
            accepted = listener.accept() => accepted.unwrap().0,
        };
        let (service, seen) = (Arc::clone(&service), Arc::clone(&seen));
        connections.spawn(async move {
            let handler = hyper::service::service_fn(move |request: http::Request<Incoming>| {
                let service = Arc::clone(&service);
                seen.lock().unwrap().push(request.headers().clone());
                async move { Ok::<_, Infallible>(service.handle(request).await) }
            });
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), handler)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}
