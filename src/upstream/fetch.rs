//! `Fetch`: small, bounded requests of our own (discovery, keys, token endpoint). Never follows redirects.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

/// A bounded HTTP client for calls to identity providers.
#[derive(Clone, Debug)]
pub struct Fetch {
    _private: (),
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
    /// With an optional private CA, instead of the system's and the bundled roots. The error names the file.
    pub fn new(_ca_file: Option<&Path>, _timeout: Duration, _max_bytes: usize) -> Result<Self, String> {
        todo!()
    }

    /// Sends a request with an absolute URI and reads the whole answer. Redirects are answers like others.
    pub async fn send(&self, _request: http::Request<Bytes>) -> Result<http::Response<Bytes>, FetchError> {
        todo!()
    }
}
