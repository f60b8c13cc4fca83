//! `Inbound`: the facts about one request that every later step may need, worked out once.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::ids::RequestId;
use crate::peer::Conn;

/// Facts about one request.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// Names the request in logs, answers and towards the backend. Always our own.
    pub id: RequestId,
    /// Time of day at which its head was read.
    pub received: Timestamp,
    /// The same moment on the monotonic clock.
    pub started: Instant,
    /// The connection it came on.
    pub conn: Arc<Conn>,
    /// The client's address: the peer's, or what a trusted proxy said. `None` on a unix socket.
    pub client: Option<IpAddr>,
    /// The scheme that the client used: the listener's, or what a trusted proxy said.
    pub https: bool,
    /// Prefix of our own endpoints (`/oauth2`), for links on error pages.
    pub own_prefix: Arc<str>,
}
