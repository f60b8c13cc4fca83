//! A relay in front of the proxy that adds a bearer token, for tools that cannot send one.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use url::Url;

/// The relay. It ends when it is dropped.
pub(crate) struct Forwarder {
    port: u16,
    server: JoinHandle<()>,
}

struct To {
    /// How the tool names the relay; replaced by the proxy's own name. Other names pass as they are.
    own: [String; 2],
    authority: String,
    bearer: HeaderValue,
}

impl Forwarder {
    pub(crate) async fn start(proxy: &Url, token: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let to = Arc::new(To {
            own: [format!("127.0.0.1:{port}"), format!("localhost:{port}")],
            authority: proxy.authority().to_owned(),
            bearer: format!("Bearer {token}").parse().unwrap(),
        });
        Self {
            port,
            server: tokio::spawn(serve(listener, to)),
        }
    }

    /// The address of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, to: Arc<To>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let to = Arc::clone(&to);
        connections.spawn(async move {
            let handler =
                hyper::service::service_fn(move |request| forward(request, Arc::clone(&to)));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), handler)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(
    mut request: Request<Incoming>,
    to: Arc<To>,
) -> std::io::Result<Response<Incoming>> {
    let headers = request.headers_mut();
    let named = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    if to.own.iter().any(|own| own == named) {
        headers.insert(
            HOST,
            HeaderValue::from_str(&to.authority).map_err(std::io::Error::other)?,
        );
    }
    headers.insert(AUTHORIZATION, to.bearer.clone());
    let socket = TcpStream::connect(to.authority.as_str()).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .map_err(std::io::Error::other)?;
    // Ends with the answer's body, or when the tool hangs up and the answer is dropped.
    tokio::spawn(connection);
    sender
        .send_request(request)
        .await
        .map_err(std::io::Error::other)
}
