//! Calls to the provider: bounded, counted, never following a redirect.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use metrics::{Counter, Histogram};
use tokio::time::Instant;

use crate::telemetry::metrics::{Metrics, Name};
use crate::upstream::fetch::{Fetch, FetchError};

/// Which of the provider's endpoints is called: a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Discovery,
    Token,
    Userinfo,
    Introspection,
}

impl Endpoint {
    const ALL: [Self; 4] = [
        Self::Discovery,
        Self::Token,
        Self::Userinfo,
        Self::Introspection,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Token => "token",
            Self::Userinfo => "userinfo",
            Self::Introspection => "introspection",
        }
    }
}

/// The provider gave no answer that says anything about our request: try again later.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No answer at all.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// An answer of a server in trouble, or of something in between (a firewall's page, a redirect).
    #[error("it answered with status {0}")]
    Status(u16),
}

/// Sends requests to one provider.
#[derive(Clone)]
pub(crate) struct Calls {
    fetch: Fetch,
    meters: Arc<[Meter; 4]>,
}

struct Meter {
    success: Counter,
    refused: Counter,
    failed: Counter,
    duration: Histogram,
}

impl Calls {
    pub(crate) fn new(fetch: Fetch, provider: &str, metrics: &Metrics) -> Self {
        let meters = Endpoint::ALL.map(|endpoint| {
            let counter = |result: &str| {
                let labels = [
                    ("provider", provider),
                    ("endpoint", endpoint.as_str()),
                    ("result", result),
                ];
                metrics.counter(Name::IdpRequests, &labels)
            };
            let labels = [("provider", provider), ("endpoint", endpoint.as_str())];
            Meter {
                success: counter("success"),
                refused: counter("refused"),
                failed: counter("failed"),
                duration: metrics.histogram(Name::IdpDuration, &labels),
            }
        });
        Self {
            fetch,
            meters: Arc::new(meters),
        }
    }

    /// Sends a request and counts what became of it.
    pub(crate) async fn send(
        &self,
        endpoint: Endpoint,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, FetchError> {
        let meter = &self.meters[endpoint as usize];
        let started = Instant::now();
        let answer = self.fetch.send(request).await;
        meter.duration.record(started.elapsed().as_secs_f64());
        match &answer {
            Ok(answer) if answer.status().is_success() => meter.success.increment(1),
            Ok(answer) if answer.status().is_client_error() => meter.refused.increment(1),
            _ => meter.failed.increment(1),
        }
        answer
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Calls")
    }
}

/// The token endpoint, as the `oauth2` crate calls it. Only a success or a typed OAuth error comes through;
/// whatever else was answered says nothing about the grant and becomes a [`CallError`].
pub(crate) struct TokenEndpoint<'a>(pub(crate) &'a Calls);

impl<'c> oauth2::AsyncHttpClient<'c> for TokenEndpoint<'_> {
    type Error = CallError;
    type Future =
        Pin<Box<dyn Future<Output = Result<oauth2::HttpResponse, CallError>> + Send + 'c>>;

    fn call(&'c self, request: oauth2::HttpRequest) -> Self::Future {
        Box::pin(async move {
            let answer = self
                .0
                .send(Endpoint::Token, request.map(Bytes::from))
                .await?;
            let status = answer.status();
            // GitHub says what it refuses with 200.
            if status.is_success() && is_oauth_error(answer.body()) {
                let mut answer = answer.map(|body| body.to_vec());
                *answer.status_mut() = http::StatusCode::BAD_REQUEST;
                return Ok(answer);
            }
            if status.is_success()
                || (status.is_client_error() && status != 429 && is_oauth_error(answer.body()))
            {
                return Ok(answer.map(|body| body.to_vec()));
            }
            Err(CallError::Status(status.as_u16()))
        })
    }
}

/// Whether a body is an OAuth error (RFC 6749 section 5.2). A firewall's 403 with a page is none.
fn is_oauth_error(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Form {
        error: String,
    }
    serde_json::from_slice::<Form>(body).is_ok_and(|form| !form.error.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firewall_page_is_no_oauth_error() {
        assert!(is_oauth_error(br#"{"error":"invalid_grant"}"#));
        for other in [
            &b"<html>403</html>"[..],
            b"",
            b"{}",
            br#"{"error":7}"#,
            br#"{"error":""}"#,
            b"\"x\"",
        ] {
            assert!(!is_oauth_error(other));
        }
    }
}
