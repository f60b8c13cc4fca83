//! `Fetch`: small, bounded requests of our own (discovery, keys, token endpoint). Never follows redirects.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING, USER_AGENT};
use http::uri::{PathAndQuery, Scheme};
use http::{Method, Uri};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;

use super::connect::{Address, ClientTlsSetup, Connector, Io, client_config};
use crate::config::session::ClientTls;

const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// A bounded HTTP/1.1 client for calls to identity providers. Every call has a connection of its own: they
/// are rare, and nothing of one call can reach another.
#[derive(Clone, Debug)]
pub struct Fetch {
    tls: Arc<ClientConfig>,
    timeout: Duration,
    max_bytes: usize,
}

/// Why a fetch gave no answer.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FetchError {
    #[error("the address is not usable: {0}")]
    Address(String),
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the exchange broke off: {0}")]
    Broken(String),
}

impl Fetch {
    /// With an optional private CA, instead of the system's and the bundled roots. `timeout` covers the
    /// whole of a call, `max_bytes` the answer's body. The error names the file.
    pub fn new(
        ca_file: Option<&Path>,
        timeout: Duration,
        max_bytes: usize,
    ) -> Result<Self, String> {
        let tls = ClientTls {
            ca_file: ca_file.map(Path::to_owned),
            ..ClientTls::default()
        };
        let tls = client_config(&tls, &[b"http/1.1"]).map_err(|error| error.message)?;
        Ok(Self {
            tls,
            timeout,
            max_bytes,
        })
    }

    /// Sends a request with an absolute URI and reads the whole answer. Redirects are answers like others.
    /// `Host`, `Content-Length` and `User-Agent` (unless given) are set here.
    pub async fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, FetchError> {
        // Boxed: TLS and HTTP state are large, and callers hold this future inside theirs.
        tokio::time::timeout(self.timeout, Box::pin(self.exchange(request)))
            .await
            .unwrap_or(Err(FetchError::Timeout(self.timeout)))
    }

    async fn exchange(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, FetchError> {
        let (connector, request) = self.prepare(request)?;
        let io = connector
            .connect()
            .await
            .map_err(|error| FetchError::Connect(error.to_string()))?;
        self.over(io, request).await
    }

    /// Sends a prepared request over a connection of its own.
    pub(super) async fn over(
        &self,
        io: Io,
        request: http::Request<Full<Bytes>>,
    ) -> Result<http::Response<Bytes>, FetchError> {
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(64 << 10)
            .handshake(TokioIo::new(io))
            .await
            .map_err(broken)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let (head, body) = response.into_parts();
            Ok(http::Response::from_parts(head, self.read(body).await?))
        };
        tokio::pin!(connection, answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            // The connection ended; what it delivered is still to be taken.
            _ = &mut connection => answer.await,
        }
    }

    /// Where a request goes, and what is sent there.
    pub(super) fn prepare(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<(Connector, http::Request<Full<Bytes>>), FetchError> {
        let (mut head, body) = request.into_parts();
        let wrong = |what: &str| FetchError::Address(format!("{}: {what}", head.uri));
        let authority = head
            .uri
            .authority()
            .ok_or_else(|| wrong("it has no host"))?
            .clone();
        if authority.as_str().contains('@') {
            // Not shown: it may hold a password.
            return Err(FetchError::Address(
                "it has a user or password in front of the host".to_owned(),
            ));
        }
        let host = authority.host();
        let (port, tls) = match head.uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => (80, false),
            Some(scheme) if *scheme == Scheme::HTTPS => (443, true),
            _ => return Err(wrong("it has to begin with https:// or http://")),
        };
        let tls = if tls {
            let server_name =
                super::connect::server_name(host).map_err(|error| wrong(&error.message))?;
            Some(ClientTlsSetup {
                config: Arc::clone(&self.tls),
                server_name,
            })
        } else {
            None
        };
        let connector = Connector::new(
            Address::tcp(host, authority.port_u16().unwrap_or(port)),
            tls,
        );

        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|_| wrong("its host is not usable"))?;
        head.headers.insert(HOST, host);
        head.headers.remove(TRANSFER_ENCODING);
        head.headers.remove(CONTENT_LENGTH);
        if !body.is_empty() || matches!(head.method, Method::POST | Method::PUT | Method::PATCH) {
            head.headers
                .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        head.headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(AGENT));
        head.headers
            .insert(CONNECTION, HeaderValue::from_static("close"));
        let path = head
            .uri
            .path_and_query()
            .cloned()
            .unwrap_or(PathAndQuery::from_static("/"));
        head.uri = Uri::from(path);
        head.version = http::Version::HTTP_11;
        Ok((connector, http::Request::from_parts(head, Full::new(body))))
    }

    async fn read(&self, mut body: Incoming) -> Result<Bytes, FetchError> {
        let too_large = FetchError::TooLarge(self.max_bytes);
        if body.size_hint().lower() > self.max_bytes as u64 {
            return Err(too_large);
        }
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(broken)?.into_data() else {
                continue;
            };
            if all.len() + data.len() > self.max_bytes {
                return Err(too_large);
            }
            all.extend_from_slice(&data);
        }
        Ok(all.freeze())
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn broken(error: hyper::Error) -> FetchError {
    use std::error::Error;
    let cause = error
        .source()
        .map(|source| format!(": {source}"))
        .unwrap_or_default();
    FetchError::Broken(format!("{error}{cause}"))
}

#[cfg(test)]
mod tests;
