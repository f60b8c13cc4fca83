//! Fetching from addresses that strangers name: a name is resolved once, every address that it stands for is judged,
//! and a judged address itself is dialled, so that no second answer of the resolver can lead elsewhere.
//!
//! https with the host's own certificate, port 443, no redirects, no encodings, a few seconds, a few kilobytes. The
//! addresses of RFC 6890 are refused, but for networks that the operator listed, and for loopback where the proxy
//! itself is reached on loopback (then nobody else can be asking).

mod special;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::StatusCode;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING};
use ipnet::IpNet;
use tokio::sync::Semaphore;
use url::Url;

use super::connect::Address;
use super::fetch::{Fetch, FetchError};
use crate::secret::Digest;

/// For a fetch as a whole: waiting for its turn, name, connection, answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an answer.
pub(crate) const MAX_BYTES: usize = 16 << 10;

/// Fetches under way.
const AT_ONCE: usize = 64;

/// The only port that strangers may name.
const PORT: u16 = 443;

type Resolve = dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync;

/// Fetches small documents under guard.
#[derive(Clone)]
pub(crate) struct Guarded {
    fetch: Fetch,
    /// What is in the CA file.
    trust: Option<Digest>,
    resolve: Arc<Resolve>,
    private: Arc<[IpNet]>,
    loopback: bool,
    turns: Arc<Semaphore>,
    timeout: Duration,
}

/// Why nothing was fetched: for logs only. Outside, all of them look alike, or they would tell strangers what
/// there is in our networks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuardError {
    /// Not https, or a port that is not for documents.
    #[error("the address is not allowed: {0}")]
    Address(&'static str),
    /// The name stands for nothing.
    #[error("the name was not resolved: {0}")]
    Resolve(io::Error),
    /// One of the addresses behind the name is special.
    #[error("it leads to {address}, which is {purpose}; no connection was made")]
    Special {
        /// The address.
        address: IpAddr,
        /// What it is for.
        purpose: &'static str,
    },
    /// No answer.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// Anything but 200, redirects too.
    #[error("the answer is {0}, not 200")]
    Status(StatusCode),
    /// An encoding that was not asked for.
    #[error("the answer is compressed, which was not asked for")]
    Encoded,
}

impl Guarded {
    /// `private`: networks that may be fetched from though they are not public; `loopback`: whether this machine may
    /// be. The error names the CA file.
    pub(crate) fn new(
        ca_file: Option<&Path>,
        private: &[IpNet],
        loopback: bool,
    ) -> Result<Self, String> {
        // Before the file is used: if it changes between the two, the next reload finds another digest.
        let trust = ca_file
            .and_then(|file| std::fs::read(file).ok())
            .map(Digest::of);
        Ok(Self {
            trust,
            fetch: Fetch::new(ca_file, TIMEOUT, MAX_BYTES)?,
            resolve: Arc::new(system),
            private: private.into(),
            loopback,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            timeout: TIMEOUT,
        })
    }

    /// With another resolver.
    #[cfg(test)]
    pub(crate) fn resolving(
        mut self,
        resolve: impl Fn(String, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        self.resolve = Arc::new(move |host, port| std::future::ready(resolve(host, port)).boxed());
        self
    }

    /// Whether another one refuses the same addresses and trusts the same CA, by what is in its file.
    pub(crate) fn allows_as(&self, other: &Self) -> bool {
        self.private == other.private
            && self.loopback == other.loopback
            && self.trust == other.trust
    }

    /// The answer of an address: 200, not encoded, of at most [`MAX_BYTES`].
    pub(crate) async fn get(
        &self,
        url: &Url,
        accept: &'static str,
    ) -> Result<http::Response<Bytes>, GuardError> {
        let answer = tokio::time::timeout(self.timeout, self.exchange(url, accept).boxed())
            .await
            .unwrap_or(Err(FetchError::Timeout(self.timeout).into()))?;
        if answer.status() != StatusCode::OK {
            return Err(GuardError::Status(answer.status()));
        }
        if answer
            .headers()
            .get(CONTENT_ENCODING)
            .is_some_and(|encoding| encoding != "identity")
        {
            return Err(GuardError::Encoded);
        }
        Ok(answer)
    }

    async fn exchange(
        &self,
        url: &Url,
        accept: &'static str,
    ) -> Result<http::Response<Bytes>, GuardError> {
        if url.scheme() != "https" {
            return Err(GuardError::Address("it is not https"));
        }
        let request = http::Request::get(url.as_str())
            .header(ACCEPT, accept)
            .header(ACCEPT_ENCODING, "identity")
            .body(Bytes::new())
            .map_err(|error| FetchError::Address(error.to_string()))?;
        let (connector, request) = self.fetch.prepare(request)?;
        let Address::Tcp(host, port) = connector.address() else {
            return Err(GuardError::Address("it has no host"));
        };
        // Nobody closes it.
        let _turn = self.turns.acquire().await;
        let addresses = (self.resolve)(host.to_string(), *port)
            .await
            .map_err(GuardError::Resolve)?;
        self.judge(&addresses, *port)?;
        let io = connector
            .connect_to(addresses)
            .await
            .map_err(|error| FetchError::Connect(error.to_string()))?;
        Ok(self.fetch.over(io, request).await?)
    }

    /// All addresses have to be good: of a name that stands for a public and a private one, the resolver's order
    /// would decide.
    fn judge(&self, addresses: &[SocketAddr], port: u16) -> Result<(), GuardError> {
        let is_own = |address: &SocketAddr| self.loopback && address.ip().is_loopback();
        for each in addresses.iter().filter(|each| !is_own(each)) {
            let address = each.ip();
            if let Some(purpose) = special::purpose(address)
                && !self
                    .private
                    .iter()
                    .any(|network| network.contains(&address))
            {
                return Err(GuardError::Special { address, purpose });
            }
        }
        if port != PORT && !addresses.iter().all(is_own) {
            return Err(GuardError::Address("its port is not 443"));
        }
        Ok(())
    }
}

impl std::fmt::Debug for Guarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guarded")
            .field("private", &self.private)
            .field("loopback", &self.loopback)
            .finish_non_exhaustive()
    }
}

/// The system's resolver. IP addresses in any notation come out as what would be dialled.
fn system(host: String, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
    async move {
        let found = tokio::net::lookup_host((host.as_str(), port)).await?;
        Ok(found.collect())
    }
    .boxed()
}

#[cfg(test)]
pub(crate) mod tests;
