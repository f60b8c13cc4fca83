//! A connection, or a share of one, lent to one request.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::Either;
use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::sync::OwnedSemaphorePermit;

use super::pool::{H1, H2, Pool};
use crate::http::RequestBody;

/// A connection lent to one request. Dropping it ends the exchange: an HTTP/1.1 connection is closed, an HTTP/2
/// stream is reset once its answer's body is dropped too.
pub(crate) struct Lease {
    line: Option<Line>,
    reused: bool,
    pool: Arc<Pool>,
}

/// What became of a request that was handed to a connection.
pub(super) type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

pub(super) enum Line {
    H1 {
        sender: H1,
        permit: OwnedSemaphorePermit,
    },
    H2 {
        sender: H2,
        streams: Arc<AtomicUsize>,
    },
}

impl Lease {
    pub(super) fn new(line: Line, reused: bool, pool: &Arc<Pool>) -> Self {
        pool.meters.active.increment(1.0);
        Self {
            line: Some(line),
            reused,
            pool: Arc::clone(pool),
        }
    }

    /// Whether other requests went over this connection before.
    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends a request whose URI has a path and query only; `Host` is set. The request is handed over at once, so
    /// that the future does not hold it.
    pub(super) fn send(
        &mut self,
        request: Request<RequestBody>,
        scheme: &Scheme,
        authority: &Authority,
    ) -> impl Future<Output = Sent> + use<> {
        match &mut self.line {
            Some(Line::H1 { sender, .. }) => {
                Either::Left(Either::Left(sender.try_send_request(request)))
            }
            Some(Line::H2 { sender, .. }) => {
                let request = for_h2(request, scheme, authority);
                Either::Left(Either::Right(sender.try_send_request(request)))
            }
            // Unreachable by construction: only `finish` and `drop` take the line, and both end the lease.
            None => Either::Right(std::future::pending()),
        }
    }

    /// The answer was read to its end, and so was the request: the connection may serve another.
    pub(crate) fn finish(mut self) {
        self.release(true);
    }

    fn release(&mut self, whole: bool) {
        let Some(line) = self.line.take() else { return };
        self.pool.meters.active.decrement(1.0);
        match line {
            Line::H1 { sender, permit } => {
                if whole {
                    // Before the permit: whoever waits for it shall find this connection.
                    self.pool.give_back(sender);
                }
                drop(permit);
            }
            Line::H2 { streams, .. } => {
                streams.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.release(false);
    }
}

/// HTTP/2 says in `:scheme` and `:authority` what HTTP/1.1 says in `Host` (RFC 9113 section 8.3.1).
fn for_h2(
    mut request: Request<RequestBody>,
    scheme: &Scheme,
    authority: &Authority,
) -> Request<RequestBody> {
    let authority = match request.headers_mut().remove(HOST) {
        Some(host) if host.as_bytes() != authority.as_str().as_bytes() => {
            Authority::try_from(host.as_bytes()).unwrap_or_else(|_| authority.clone())
        }
        _ => authority.clone(),
    };
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(scheme.clone());
    parts.authority = Some(authority);
    // Scheme, authority and path are all there, so this does not fail.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    *request.version_mut() = Version::HTTP_2;
    request
}
