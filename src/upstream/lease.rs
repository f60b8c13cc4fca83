//! A connection, or a share of one, lent to one request.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::Either;
use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::sync::OwnedSemaphorePermit;

use super::endpoint::Endpoint;
use super::pool::{Claim, H1, H2};
use crate::http::RequestBody;

/// A connection lent to one request. Dropping it ends the exchange: an HTTP/1.1 connection is closed, an HTTP/2
/// stream is reset once its answer's body is dropped too.
pub(crate) struct Lease {
    line: Option<Line>,
    reused: bool,
    claim: Claim,
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
    pub(super) fn new(line: Line, reused: bool, claim: Claim) -> Self {
        claim.pool().meters.active.increment(1.0);
        Self {
            line: Some(line),
            reused,
            claim,
        }
    }

    /// Whether other requests went over this connection before.
    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends a request whose URI has a path and query only, under the endpoint's `Host` or, where there is none, the
    /// one that is set. The request is handed over at once, so that the future does not hold it.
    pub(super) fn send(
        &mut self,
        mut request: Request<RequestBody>,
        to: &Endpoint,
    ) -> impl Future<Output = Sent> + use<> {
        if let Some(host) = to.host() {
            request.headers_mut().insert(HOST, host.clone());
        }
        match &mut self.line {
            Some(Line::H1 { sender, .. }) => {
                Either::Left(Either::Left(sender.try_send_request(request)))
            }
            Some(Line::H2 { sender, .. }) => {
                let request = for_h2(request, &to.place.scheme, &to.place.authority);
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
        self.claim.pool().meters.active.decrement(1.0);
        match line {
            Line::H1 { sender, permit } => {
                if whole {
                    // Before the permit: whoever waits for it shall find this connection.
                    self.claim.pool().give_back(sender);
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

/// Undoes what was written for HTTP/2 on a request that came back unsent: it may go over a connection of the other
/// kind next, or to another endpoint.
pub(super) fn plain(request: &mut Request<RequestBody>) {
    if request.version() != Version::HTTP_2 {
        return;
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = None;
    let authority = parts.authority.take();
    if let Some(host) = authority.and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        request.headers_mut().insert(HOST, host);
    }
    // A path alone is always a URI.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    *request.version_mut() = Version::HTTP_11;
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
