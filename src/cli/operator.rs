//! Asking the admin listener of a running proxy.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::{Exit, out};
use crate::config::derived::Address;

/// Longest answer that is read.
const MAX_ANSWER: usize = 1 << 20;

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Config(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Refused(String),
}

/// An answer, of whatever status.
pub(super) struct Answer {
    pub(super) status: http::StatusCode,
    pub(super) body: Value,
}

/// Does what asks a proxy, in a runtime of its own, and prints what came of it.
pub(super) fn carry_out(
    patience: Duration,
    work: impl Future<Output = Result<Value, Failed>>,
) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(async {
            tokio::time::timeout(patience, work)
                .await
                .unwrap_or_else(|_| Err(Failed::Unavailable("no answer in time".to_owned())))
        }),
        Err(error) => Err(Failed::Refused(format!(
            "the runtime cannot start: {error}"
        ))),
    };
    match outcome {
        Ok(answer) => {
            out::line(&answer.to_string());
            Exit::Ok
        }
        Err(failed) => {
            out::stderr(&format!("{failed}\n"));
            match failed {
                Failed::Usage(_) => Exit::Usage,
                Failed::Config(_) => Exit::Config,
                Failed::Unavailable(_) => Exit::Unavailable,
                Failed::Refused(_) => Exit::Failure,
            }
        }
    }
}

/// Asks, and reads the whole answer.
///
/// # Errors
/// Nothing answers there, or not as an admin listener does.
pub(super) async fn ask(
    admin: &str,
    mut request: http::Request<Full<Bytes>>,
) -> Result<Answer, Failed> {
    let stream = connect(admin).await?;
    request.headers_mut().insert(
        http::header::HOST,
        http::HeaderValue::from_static("localhost"),
    );
    let broken = |error: String| Failed::Unavailable(format!("{admin} broke off: {error}"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(error.to_string()))?;
    let exchange = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| broken(error.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| broken(error.to_string()))?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(connection, exchange);
    let (status, body) = tokio::select! {
        // First, for the answer may be there when the connection has ended.
        biased;
        outcome = &mut exchange => outcome?,
        ended = &mut connection => match (ended, exchange.await) {
            (_, Ok(answer)) => answer,
            (Err(error), Err(_)) => return Err(broken(error.to_string())),
            (Ok(()), Err(error)) => return Err(error),
        },
    };
    let body = serde_json::from_slice(&body).map_err(|_| {
        Failed::Refused(format!("{admin} does not answer as an admin listener does"))
    })?;
    Ok(Answer { status, body })
}

impl Answer {
    /// What it says went wrong.
    pub(super) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or("no reason given")
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn connect(admin: &str) -> Result<Box<dyn Stream>, Failed> {
    let cannot = |error: std::io::Error| {
        Failed::Unavailable(format!(
            "cannot connect to {admin}: {error}; is the proxy running, with admin.address set?"
        ))
    };
    match Address::parse(admin).map_err(Failed::Usage)? {
        Address::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(cannot)?)),
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), port))
                .await
                .map_err(cannot)?;
            Ok(Box::new(stream))
        }
    }
}
