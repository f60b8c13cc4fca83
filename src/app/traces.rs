//! Traces: where spans go, if they go anywhere.

use std::sync::Arc;

use super::StartError;
use crate::clock::Ambient;
use crate::config::Config;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::trace::Traces;

/// Sets traces up; off without an endpoint.
pub(super) fn start(
    config: &Config,
    ambient: &Ambient,
    metrics: &Arc<Metrics>,
) -> Result<Arc<Traces>, StartError> {
    match config.tracing.endpoint.as_deref() {
        Some(endpoint) if config.tracing.enabled => {
            export(config, endpoint, ambient, metrics).map_err(StartError::Config)
        }
        Some(_) | None => Ok(Traces::off(ambient.clone())),
    }
}

#[cfg(not(feature = "otel"))]
fn export(
    _config: &Config,
    _endpoint: &str,
    _ambient: &Ambient,
    _metrics: &Arc<Metrics>,
) -> Result<Arc<Traces>, String> {
    Err("tracing.endpoint: this program was built without traces (feature `otel`); remove the key, or use a release build".to_owned())
}

#[cfg(feature = "otel")]
fn export(
    config: &Config,
    endpoint: &str,
    ambient: &Ambient,
    metrics: &Arc<Metrics>,
) -> Result<Arc<Traces>, String> {
    let collector = collector::Collector::new(config.tracing.ca_file.as_deref(), metrics)
        .map_err(|error| format!("tracing.ca_file: {error}"))?;
    crate::telemetry::trace::otlp::traces(&config.tracing, endpoint, collector, ambient.clone())
}

#[cfg(feature = "otel")]
mod collector {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use http::{Request, Response};
    use metrics::Counter;
    use opentelemetry_http::{HttpClient, HttpError};
    use tokio::runtime::Handle;

    use crate::telemetry::metrics::{Metrics, Name};
    use crate::upstream::fetch::Fetch;

    /// Time for one batch of spans.
    const TIMEOUT: Duration = Duration::from_secs(10);

    /// What a collector may answer, in bytes.
    const MAX_ANSWER: usize = 64 << 10;

    /// Our way to the collector: the same TLS as everywhere. The exporter asks from a thread of its own, which has no
    /// runtime, so the exchange runs on ours.
    pub(super) struct Collector {
        fetch: Fetch,
        runtime: Handle,
        sent: Counter,
        failed: Counter,
        away: AtomicBool,
    }

    impl Collector {
        pub(super) fn new(ca_file: Option<&Path>, metrics: &Metrics) -> Result<Self, String> {
            let count = |result| metrics.counter(Name::TraceExports, &[("result", result)]);
            Ok(Self {
                fetch: Fetch::new(ca_file, TIMEOUT, MAX_ANSWER)?,
                runtime: Handle::current(),
                sent: count("ok"),
                failed: count("error"),
                away: AtomicBool::new(false),
            })
        }

        async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
            let fetch = self.fetch.clone();
            let answer = self
                .runtime
                .spawn(async move { fetch.send(request).await })
                .await;
            let answer: Result<Response<Bytes>, HttpError> = match answer {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(error)) => Err(error.into()),
                Err(error) => Err(error.into()),
            };
            let problem = match &answer {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(format!("it answered {}", answer.status())),
                Err(error) => Some(error.to_string()),
            };
            match &problem {
                None => self.sent.increment(1),
                Some(_) => self.failed.increment(1),
            }
            // Said once for each time that it goes away: requests do not depend on it.
            if self.away.swap(problem.is_some(), Ordering::Relaxed) != problem.is_some() {
                if let Some(problem) = problem {
                    tracing::warn!(
                        problem,
                        "the trace collector does not take spans; they are lost until it does"
                    );
                } else {
                    tracing::info!("the trace collector takes spans again");
                }
            }
            answer
        }
    }

    impl std::fmt::Debug for Collector {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Collector")
        }
    }

    impl HttpClient for Collector {
        fn send_bytes<'a, 'b>(
            &'a self,
            request: Request<Bytes>,
        ) -> BoxFuture<'b, Result<Response<Bytes>, HttpError>>
        where
            'a: 'b,
            Self: 'b,
        {
            self.send(request).boxed()
        }
    }
}
