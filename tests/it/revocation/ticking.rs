//! A backend whose event streams never end by themselves, and that tells how many are open.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::client::PATIENCE;

/// The running server. It ends when it is dropped.
pub(super) struct Ticking {
    pub(super) url: String,
    open: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Ticking {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let open = Arc::new(AtomicUsize::new(0));
        let server = tokio::spawn(serve(listener, Arc::clone(&open)));
        Self { url, open, server }
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Waits until no stream is open any more.
    pub(super) async fn released(&self) {
        let none = async {
            while self.open() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, none).await.expect("streams stay open");
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Stream {
    first: Option<Bytes>,
    open: Arc<AtomicUsize>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => Poll::Pending,
        }
    }
}

async fn serve(listener: TcpListener, open: Arc<AtomicUsize>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let open = Arc::clone(&open);
        connections.spawn(async move {
            let service = hyper::service::service_fn(move |_: http::Request<Incoming>| {
                open.fetch_add(1, Ordering::SeqCst);
                let stream = Stream {
                    first: Some(Bytes::from_static(b"data: hello\n\n")),
                    open: Arc::clone(&open),
                };
                let response = http::Response::builder()
                    .header("content-type", "text/event-stream")
                    .body(stream);
                async move { response }
            });
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}
