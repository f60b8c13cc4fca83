//! What stands behind the proxy in the demo: an MCP server that speaks both families of revisions, and two pages.
//! Neither knows anything of OAuth; who is calling they read from headers that only the proxy can set.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, StatusCode};
use rmcp::handler::server::tool::Extension;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    Implementation, ProgressNotificationParam, RequestMetaObject, ServerCapabilities, ServerConfig,
};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, Peer, RoleServer, ServerHandler, schemars, tool, tool_handler, tool_router};
use tokio_util::sync::CancellationToken;

use crate::web::{self, Reply, escape};

const MAX_STEPS: u32 = 100;
const MAX_ECHO: usize = 10_000;
const STEP: Duration = Duration::from_millis(200);

#[derive(Clone, Debug)]
struct Tools;

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Echo {
    /// What to send back.
    text: String,
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Add {
    /// The first number.
    a: f64,
    /// The second number.
    b: f64,
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Count {
    /// How far to count, at most 100.
    to: u32,
}

#[tool_router]
impl Tools {
    #[tool(description = "Sends the text back")]
    fn echo(Parameters(Echo { text }): Parameters<Echo>) -> String {
        text.chars().take(MAX_ECHO).collect()
    }

    #[tool(description = "Adds two numbers")]
    fn add(Parameters(Add { a, b }): Parameters<Add>) -> String {
        (a + b).to_string()
    }

    #[tool(description = "Tells who is calling, as the proxy says")]
    fn whoami(Extension(parts): Extension<http::request::Parts>) -> String {
        let mut lines = String::new();
        for (label, header) in IDENTITY {
            let value = header_text(&parts.headers, header).unwrap_or("(not sent)");
            let _ = writeln!(lines, "{label}: {value}");
        }
        let token = if parts.headers.contains_key("authorization") {
            "reached this server"
        } else {
            "stayed with the proxy"
        };
        let _ = write!(lines, "the caller's token: {token}");
        lines
    }

    #[tool(description = "Counts slowly, and reports each step while it does")]
    async fn count(
        Parameters(Count { to }): Parameters<Count>,
        meta: RequestMetaObject,
        client: Peer<RoleServer>,
    ) -> Result<String, ErrorData> {
        if to > MAX_STEPS {
            return Err(ErrorData::invalid_params(
                format!("count to {MAX_STEPS} at most"),
                None,
            ));
        }
        let token = meta.get_progress_token();
        for step in 1..=to {
            tokio::time::sleep(STEP).await;
            if let Some(token) = &token {
                let progress = ProgressNotificationParam::new(token.clone(), f64::from(step))
                    .with_total(f64::from(to));
                if client.notify_progress(progress).await.is_err() {
                    // The caller has gone.
                    break;
                }
            }
        }
        Ok(format!("counted to {to}"))
    }
}

#[tool_handler]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new(
                "demo-server",
                env!("CARGO_PKG_VERSION"),
            ))
            .with_instructions("Tools to try the proxy with: echo, add, whoami, count.")
    }
}

const IDENTITY: [(&str, &str); 4] = [
    ("user", "x-forwarded-user"),
    ("e-mail", "x-forwarded-email"),
    ("groups", "x-forwarded-groups"),
    ("issuer", "x-forwarded-issuer"),
];

/// The server: MCP at `/mcp`, pages elsewhere.
#[derive(Clone)]
pub(crate) struct Sample {
    mcp: Arc<StreamableHttpService<Tools, LocalSessionManager>>,
}

impl Sample {
    /// A server whose sessions and streams end when cancelled.
    pub(crate) fn new(until: &CancellationToken) -> Self {
        let config =
            StreamableHttpServerConfig::default().with_cancellation_token(until.child_token());
        let sessions = Arc::new(LocalSessionManager::default());
        Self {
            mcp: Arc::new(StreamableHttpService::new(|| Ok(Tools), sessions, config)),
        }
    }

    /// Answers one request.
    pub(crate) async fn handle(self, request: Request<Incoming>) -> Reply {
        match request.uri().path() {
            "/mcp" => {
                let (parts, body) = self.mcp.handle(request).await.into_parts();
                Response::from_parts(parts, body.boxed())
            }
            "/app" | "/app/" => {
                web::html(StatusCode::OK, page("You are signed in", request.headers()))
            }
            "/engineering" | "/engineering/" => web::html(
                StatusCode::OK,
                page("The engineering room", request.headers()),
            ),
            _ => web::html(
                StatusCode::NOT_FOUND,
                "<!doctype html><title>Not found</title><p>There is no such page here.".to_owned(),
            ),
        }
    }
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn page(title: &str, headers: &HeaderMap) -> String {
    let mut rows = String::new();
    for (label, header) in IDENTITY {
        let value = escape(header_text(headers, header).unwrap_or("(not sent)"));
        let _ = write!(rows, "<tr><th>{label}</th><td>{value}</td></tr>");
    }
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem}}th{{text-align:left;padding-right:1rem}}\
         td{{overflow-wrap:anywhere}}</style></head><body><h1>{title}</h1><p>This page comes from a server that knows nothing of OAuth. \
         The proxy told it who you are:</p><table>{rows}</table>\
         <p><a href=\"/engineering\">The engineering room</a> (ann may enter, bob may not) · <a href=\"/oauth2/sign_out\">Sign out</a></p></body></html>"
    )
}
