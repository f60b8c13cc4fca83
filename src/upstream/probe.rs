//! Active checks of a backend's endpoints, on connections of their own so that a full pool does not look like a dead server.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::connect::{ConnectError, Io};
use super::{Endpoint, Upstream};
use crate::config::Span;
use crate::http::RequestBody;

const AGENT: HeaderValue = HeaderValue::from_static(concat!(
    "mcp-oidc-proxy/",
    env!("CARGO_PKG_VERSION"),
    " health"
));

/// Time between two connects when no check is configured.
const CONNECT_INTERVAL: Duration = Duration::from_secs(10);

/// Why a check failed. Names the address; for logs and for `check-config`.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("no answer within {0}")]
    Slow(Span),
    #[error("the exchange broke off: {0}")]
    Broken(#[from] hyper::Error),
    #[error("it answered with status {0}")]
    Status(StatusCode),
    #[error("`{0}` is not a path")]
    Path(String),
}

impl Upstream {
    /// Runs health checks until cancelled, and lets idle connections go.
    pub async fn watch(self: Arc<Self>, until: CancellationToken) {
        let every = self
            .check
            .as_ref()
            .map_or(CONNECT_INTERVAL, |check| check.interval.0);
        let mut checks = ticks(every);
        let mut reaps = ticks((self.timeouts.keep_alive.0 / 2).min(Duration::from_secs(30)));
        let mut known: Vec<Option<bool>> = vec![None; self.endpoints.len()];
        loop {
            tokio::select! {
                () = until.cancelled() => return,
                _ = reaps.tick() => self.endpoints.iter().for_each(|each| each.pool.reap()),
                _ = checks.tick() => {
                    let all = self.endpoints.iter().zip(&mut known);
                    let all = join_all(all.map(|(endpoint, known)| self.check(endpoint, known)));
                    tokio::select! {
                        () = until.cancelled() => return,
                        _ = all => {}
                    }
                }
            }
        }
    }

    /// Connects to each endpoint and asks once, for `check-config --online`. Each result comes with its address.
    pub async fn probe(&self) -> Vec<(String, Result<(), String>)> {
        join_all(self.endpoints.iter().map(|endpoint| async move {
            let result = match &self.check {
                Some(check) => self
                    .ask(endpoint, &check.path, check.timeout)
                    .await
                    .and_then(judge),
                // Whatever it answers: it is there and speaks HTTP.
                None => self
                    .ask(endpoint, endpoint.place.base(), self.timeouts.connect)
                    .await
                    .map(|_| ()),
            };
            (
                endpoint.place.address.to_string(),
                result.map_err(|error| error.to_string()),
            )
        }))
        .await
    }

    /// Checks once. `known` is what was logged last: what requests found in between is logged too.
    async fn check(&self, endpoint: &Endpoint, known: &mut Option<bool>) {
        let health = &endpoint.health;
        let result = if let Some(check) = &self.check {
            let result = self
                .ask(endpoint, &check.path, check.timeout)
                .await
                .and_then(judge);
            health.checked(result.is_ok());
            result
        } else {
            let result = connect(endpoint, self.timeouts.connect).await.map(drop);
            health.connected(result.is_ok());
            result
        };
        match &result {
            Ok(()) => self.meters.checks_good.increment(1),
            Err(_) => self.meters.checks_bad.increment(1),
        }
        self.show();
        let is = health.is_up();
        if *known == is {
            return;
        }
        *known = is;
        let address = &endpoint.place.address;
        match (is, result) {
            (Some(true), _) => {
                tracing::info!(backend = %self.name, endpoint = %address, "The backend answers.");
            }
            (_, Err(error)) => {
                tracing::warn!(backend = %self.name, endpoint = %address, %error, "The backend does not answer.");
            }
            (_, Ok(())) => {
                tracing::warn!(backend = %self.name, endpoint = %address, "The backend takes connections, but requests fail.");
            }
        }
    }

    async fn ask(
        &self,
        endpoint: &Endpoint,
        path: &str,
        within: Span,
    ) -> Result<StatusCode, ProbeError> {
        let asking = Box::pin(self.ask_unbounded(endpoint, path, within));
        timeout(within.0, asking)
            .await
            .unwrap_or(Err(ProbeError::Slow(within)))
    }

    async fn ask_unbounded(
        &self,
        endpoint: &Endpoint,
        path: &str,
        within: Span,
    ) -> Result<StatusCode, ProbeError> {
        let io = connect(endpoint, within).await?;
        let h2 = endpoint.pool.is_h2(&io);
        let place = &endpoint.place;
        let host = endpoint
            .host()
            .map_or(place.authority.as_str().as_bytes(), HeaderValue::as_bytes);
        let uri = http::Uri::builder().path_and_query(path);
        let uri = if h2 {
            uri.scheme(place.scheme.clone()).authority(host)
        } else {
            uri
        };
        let mut request = Request::new(RequestBody::Empty);
        *request.uri_mut() = uri.build().map_err(|_| ProbeError::Path(path.to_owned()))?;
        request.headers_mut().insert(USER_AGENT, AGENT);
        for (name, value) in &self.headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        let io = TokioIo::new(io);
        let response = if h2 {
            *request.version_mut() = http::Version::HTTP_2;
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            tokio::select! {
                response = sender.send_request(request) => response?,
                ended = connection => { ended?; return Err(ProbeError::Slow(within)) }
            }
        } else {
            if let Ok(host) = HeaderValue::from_bytes(host) {
                request.headers_mut().insert(HOST, host);
            }
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            let asking = sender.send_request(request);
            tokio::pin!(asking, connection);
            tokio::select! {
                biased;
                response = &mut asking => response?,
                // The connection ended; what it delivered is still to be taken.
                _ = &mut connection => asking.await?,
            }
        };
        Ok(response.status())
    }
}

async fn connect(endpoint: &Endpoint, within: Span) -> Result<Io, ProbeError> {
    timeout(within.0, endpoint.pool.connector().connect())
        .await
        .map_err(|_| ProbeError::Slow(within))?
        .map_err(Into::into)
}

/// Below 500 is up, 404 too: the server answers, whether it knows the path or not.
fn judge(status: StatusCode) -> Result<(), ProbeError> {
    if status.is_server_error() {
        Err(ProbeError::Status(status))
    } else {
        Ok(())
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every.max(Duration::from_millis(100)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
