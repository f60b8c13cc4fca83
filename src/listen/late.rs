//! The answer to a request whose head did not arrive in time. hyper has no answer for it: the connection is taken
//! from it, between two requests, and the answer is written as bytes.

use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// How long the client gets to take the answer.
const PATIENCE: Duration = Duration::from_secs(1);

const BODY: &str =
    r#"{"error":"request_timeout","message":"The head of the request did not arrive in time."}"#;

/// Writes 408 (RFC 9110 section 15.5.9) and ends the connection.
pub(super) async fn answer(mut io: impl AsyncWrite + Unpin) {
    let answer = format!(
        "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/json\r\ncache-control: no-store\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    // A client that is gone, or does not read, gets no more than this.
    let _ = timeout(PATIENCE, async {
        io.write_all(answer.as_bytes()).await?;
        io.shutdown().await
    })
    .await;
}
