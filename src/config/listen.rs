//! `listen` and `limits`: where traffic comes in, and how much of it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ByteSize, Span};

/// One traffic listener.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// `host:port`, `[v6]:port` or `unix:/path/to.sock`. Port 0 takes a free one.
    pub address: String,
    /// Serve TLS here.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Answer every request with a redirect to `public_url`: 301 for GET and HEAD, 308 otherwise.
    #[serde(default)]
    pub redirect_to_https: bool,
}

/// Certificates of a TLS listener. They are read again when their files change.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM certificate chain, leaf first. Also served when no other certificate fits the name asked for.
    pub cert_file: PathBuf,
    /// PEM private key of the leaf.
    pub key_file: PathBuf,
    /// Further certificates, chosen by the name that the client asks for (SNI).
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// Oldest protocol version that is spoken: `1.2` or `1.3`.
    #[serde(default)]
    pub min_version: TlsVersion,
}

/// One further certificate of a TLS listener.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// PEM certificate chain, leaf first.
    pub cert_file: PathBuf,
    /// PEM private key of the leaf.
    pub key_file: PathBuf,
}

/// A TLS protocol version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V1_3,
}

/// Bounds for connections and requests.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections open at once over all traffic listeners; further ones wait in the kernel's queue.
    pub max_connections: u32,
    /// Time for a TLS handshake.
    pub handshake_timeout: Span,
    /// Time from the first byte of a request to the end of its headers.
    pub header_timeout: Span,
    /// Time that a request body may pause between two pieces.
    pub body_timeout: Span,
    /// Time that a connection may wait for its next request.
    pub idle_timeout: Span,
    /// Bytes of request line and headers together; more is 431.
    pub max_header_bytes: ByteSize,
    /// Number of header fields; more is 431.
    pub max_headers: usize,
    /// Requests at once on one HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// Bytes of a request body on routes of kind `http`; more is 413. Unset: no bound.
    pub max_body: Option<ByteSize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            handshake_timeout: Span::secs(10),
            header_timeout: Span::secs(15),
            body_timeout: Span::secs(30),
            idle_timeout: Span::secs(120),
            max_header_bytes: ByteSize(32 << 10),
            max_headers: 100,
            max_concurrent_streams: 250,
            max_body: None,
        }
    }
}

/// One plain listener on all interfaces, port 8080.
pub(crate) fn default_listeners() -> Vec<Listener> {
    vec![Listener {
        address: "0.0.0.0:8080".to_owned(),
        tls: None,
        redirect_to_https: false,
    }]
}
