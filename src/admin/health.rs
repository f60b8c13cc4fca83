//! Health of the process, from what background work has seen; asking never causes a call to anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use serde::Serialize;

use crate::clock::{Ambient, Timestamp};
use crate::config::service::{Health as HealthConfig, HealthDetail};
use crate::http::{Body, Response};

/// How one thing, or all of it, is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Works.
    Healthy,
    /// Works in part, or is not yet known.
    Degraded,
    /// Does not work.
    Unhealthy,
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub struct Check {
    /// `backend:github`, `provider`, `session_store`.
    pub name: String,
    /// How it is doing.
    pub status: Status,
    /// `/ready` fails with it.
    pub needed_for_ready: bool,
}

/// The source of checks: reads what is known, waits for nothing.
pub type Checks = dyn Fn() -> Vec<Check> + Send + Sync;

/// The process's health.
pub struct Health {
    started: Timestamp,
    ambient: Ambient,
    full: AtomicBool,
    ready: AtomicBool,
    draining: AtomicBool,
    checks: ArcSwap<Box<Checks>>,
}

/// Which question was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// `/health`: how is everything.
    Health,
    /// `/health/live`: does the process run.
    Live,
    /// `/health/ready`, `/ready`: may traffic come.
    Ready,
    /// `/health/startup`: has it started.
    Startup,
}

#[derive(Serialize)]
struct Report<'a> {
    status: Status,
    timestamp: &'a str,
    uptime: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<std::collections::BTreeMap<&'a str, Status>>,
}

impl Health {
    /// Of a process that starts now: not ready yet, nothing to check.
    pub fn new(ambient: Ambient) -> Arc<Self> {
        Arc::new(Self {
            started: ambient.now(),
            ambient,
            full: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            checks: ArcSwap::from_pointee(Box::new(Vec::new)),
        })
    }

    /// Takes over a configuration and the things to look at.
    pub fn configure(&self, config: &HealthConfig, checks: Box<Checks>) {
        self.full
            .store(config.public == HealthDetail::Full, Ordering::Relaxed);
        self.checks.store(Arc::new(checks));
    }

    /// Configuration and keys are loaded, listeners are bound.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::SeqCst);
    }

    /// The process is about to end.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// When the process started.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// What is known of each thing that is looked at.
    pub fn checks(&self) -> Vec<Check> {
        (self.checks.load())()
    }

    /// The answer on the traffic listener, which tells as much as `health.public` allows.
    pub fn public(&self, question: Question, method: &Method) -> Response {
        self.answer(question, method, self.full.load(Ordering::Relaxed))
    }

    /// The answer on the metrics listener, which tells all.
    pub fn detailed(&self, question: Question, method: &Method) -> Response {
        self.answer(question, method, true)
    }

    fn answer(&self, question: Question, method: &Method, full: bool) -> Response {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = http::Response::new(Body::Empty);
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let checks = (self.checks.load())();
        let ready = self.ready.load(Ordering::SeqCst);
        let worst = checks
            .iter()
            .map(|check| check.status)
            .max()
            .unwrap_or(Status::Healthy);
        // What is outside of the process degrades it: it still answers, and says what is missing.
        let status = match question {
            Question::Live => Status::Healthy,
            _ if !ready => Status::Unhealthy,
            Question::Startup => Status::Healthy,
            Question::Health => worst.min(Status::Degraded),
            Question::Ready => {
                let missing = checks
                    .iter()
                    .any(|check| check.needed_for_ready && check.status == Status::Unhealthy);
                if missing || self.draining.load(Ordering::SeqCst) {
                    Status::Unhealthy
                } else {
                    worst.min(Status::Degraded)
                }
            }
        };
        let now = self.ambient.now();
        let timestamp = now.rfc3339();
        let report = Report {
            status,
            timestamp: std::str::from_utf8(&timestamp).unwrap_or_default(),
            uptime: now.since(self.started).as_secs(),
            version: full.then_some(env!("CARGO_PKG_VERSION")),
            checks: (full && question != Question::Live).then(|| {
                checks
                    .iter()
                    .map(|check| (check.name.as_str(), check.status))
                    .collect()
            }),
        };
        let mut response =
            http::Response::new(Body::full(serde_json::to_vec(&report).unwrap_or_default()));
        if status == Status::Unhealthy {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Health")
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn check(name: &str, status: Status, needed_for_ready: bool) -> Check {
        Check {
            name: name.to_owned(),
            status,
            needed_for_ready,
        }
    }

    async fn ask(health: &Health, question: Question) -> (u16, serde_json::Value) {
        let response = health.detailed(question, &Method::GET);
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn an_outage_elsewhere_degrades_and_does_not_fail() {
        let health = Health::new(Ambient::system());
        assert_eq!(ask(&health, Question::Ready).await.0, 503);
        assert_eq!(ask(&health, Question::Live).await.0, 200);
        assert_eq!(ask(&health, Question::Startup).await.0, 503);
        health.set_ready();
        health.configure(
            &HealthConfig::default(),
            Box::new(|| {
                vec![
                    check("backend:a", Status::Healthy, false),
                    check("session_store", Status::Unhealthy, false),
                ]
            }),
        );
        let (status, body) = ask(&health, Question::Health).await;
        assert_eq!((status, body["status"].as_str()), (200, Some("degraded")));
        assert_eq!(body["checks"]["session_store"], "unhealthy");
        assert_eq!(ask(&health, Question::Ready).await.0, 200);
    }

    #[tokio::test]
    async fn ready_fails_while_draining_and_without_what_it_needs() {
        let health = Health::new(Ambient::system());
        health.set_ready();
        let needs = || vec![check("session_store", Status::Unhealthy, true)];
        health.configure(&HealthConfig::default(), Box::new(needs));
        assert_eq!(ask(&health, Question::Ready).await.0, 503);
        health.configure(&HealthConfig::default(), Box::new(Vec::new));
        assert_eq!(ask(&health, Question::Ready).await.0, 200);
        health.set_draining();
        assert_eq!(ask(&health, Question::Ready).await.0, 503);
        assert_eq!(ask(&health, Question::Health).await.0, 200);
    }

    #[tokio::test]
    async fn the_traffic_listener_tells_little_unless_asked_to() {
        let health = Health::new(Ambient::system());
        health.set_ready();
        let body = health
            .public(Question::Health, &Method::GET)
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["status"], "healthy");
        assert!(body["timestamp"].is_string() && body["uptime"].is_u64());
        assert!(body.get("version").is_none() && body.get("checks").is_none());
        assert_eq!(health.public(Question::Health, &Method::POST).status(), 405);
    }
}
