//! What is asked of the process itself: `POST /-/reload`, `/-/drain`, `/-/quit`; `GET /-/status`, `/-/drained`.

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Control;
use super::answer::{by, given, is_json, only, refuse};
use crate::admin::Health;
use crate::http::Response;

/// The configuration in force, as operators see it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Loaded {
    /// When it was loaded (RFC 3339).
    pub at: String,
    /// The files that it was read from; none when it came from the environment alone.
    pub files: Vec<String>,
    /// Number of its routes.
    pub routes: usize,
    /// Keys that changed since the start and hold only after a restart.
    pub needs_restart: Vec<&'static str>,
}

/// Answers, or gives `None` when nothing of the process is asked for.
pub(super) async fn to(
    parts: &Parts,
    control: &Control,
    private: bool,
    until: &CancellationToken,
) -> Option<Response> {
    let by = by(private);
    let path = parts.uri.path();
    let answer = match (path, &parts.method) {
        // Orders have no body. A form of a page has one, whatever else the browser says or does not say.
        ("/-/reload" | "/-/drain" | "/-/quit", &Method::POST)
            if parts.headers.contains_key(CONTENT_TYPE) && !is_json(parts) =>
        {
            refuse(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "invalid_request",
                "Send no body, or application/json.",
            )
        }
        ("/-/reload", &Method::POST) => match control.orders.reload(by).await {
            Some(Ok(taken)) => given(StatusCode::OK, &taken),
            Some(Err(refused)) => given(StatusCode::UNPROCESSABLE_ENTITY, &refused),
            None => nobody(),
        },
        ("/-/drain" | "/-/quit", &Method::POST) => {
            match control.orders.end(path == "/-/quit", by).await {
                Some(times) => given(StatusCode::ACCEPTED, &times),
                None => nobody(),
            }
        }
        ("/-/drained", &Method::GET) if control.health.is_draining() => {
            until.cancelled().await;
            given(StatusCode::OK, &json!({ "drained": true }))
        }
        ("/-/drained", &Method::GET) => refuse(
            StatusCode::CONFLICT,
            "not_draining",
            "The process was not told to end. POST /-/drain does that.",
        ),
        ("/-/status", &Method::GET) => given(StatusCode::OK, &status(control, &control.health)),
        ("/-/reload" | "/-/drain" | "/-/quit", _) => only("POST"),
        ("/-/drained" | "/-/status", _) => only("GET"),
        _ => return None,
    };
    Some(answer)
}

fn status(control: &Control, health: &Health) -> serde_json::Value {
    let checks: serde_json::Map<_, _> = health
        .checks()
        .into_iter()
        .map(|check| (check.name, json!(check.status)))
        .collect();
    json!({
        "version": crate::build::VERSION,
        "pid": std::process::id(),
        "started": String::from_utf8_lossy(&health.started().rfc3339()),
        "draining": health.is_draining(),
        "config": **control.loaded.load(),
        "checks": checks,
    })
}

fn nobody() -> Response {
    refuse(
        StatusCode::SERVICE_UNAVAILABLE,
        "busy",
        "Nobody carries out orders just now: the process begins or ends, or too many orders wait.",
    )
}
