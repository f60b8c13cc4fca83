//! A front that permits everything, and backends that say exactly what a test wants.

mod backend;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::authn::{Caller, Identity};
use crate::authz::{Permit, Policy};
use crate::claims::Claims;
use crate::clock::Ambient;
use crate::config::Config;
use crate::config::oidc::ClaimMap;
use crate::forward::{Assertions, Errand, Follow, Forwarder};
use crate::http::inbound::TrustedProxies;
use crate::http::{Body, Inbound, Request, RequestBody, Response};
use crate::ids::Subject;
use crate::keys::KeyRing;
use crate::mcp::learned::Learned;
use crate::mcp::{Message, Tally};
use crate::peer::{Conn, Peer, TokenMemo};
use crate::revocation::Revocations;
use crate::route::{Matched, Table};
use crate::signing::{SigningKeys, Signs};
use crate::store::memory::MemoryStore;
use crate::telemetry::metrics::Metrics;
use crate::upstream::Upstream;
use crate::urls::PublicUrl;

pub(super) use self::backend::{Backend, OK, read_request, say};

pub(super) const PUBLIC: &str = "https://mcp.example.com";

/// A proxy's forwarding half behind a real listener on loopback.
pub(super) struct Front {
    pub(super) address: SocketAddr,
    pub(super) drain: tokio_util::sync::CancellationToken,
    pub(super) metrics: Arc<Metrics>,
    pub(super) upstreams: Vec<Arc<Upstream>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Front {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Who asks: the `X-Test-Caller` header names the subject, its absence means nobody.
fn caller(request: &http::Request<hyper::body::Incoming>) -> Caller {
    let Some(name) = request.headers().get("x-test-caller") else {
        return Caller::Anonymous;
    };
    let name = name.to_str().unwrap();
    let mut all = serde_json::Map::new();
    all.insert("email".into(), format!("{name}@example.com").into());
    if name == "ann" {
        all.insert("groups".into(), serde_json::json!(["dev", "ops,x"]));
        all.insert("department".into(), "R&D".into());
    }
    let subject = Subject {
        issuer: "https://idp.example".into(),
        subject: name.into(),
    };
    Caller::Known(Identity::for_test(Arc::new(Claims::read(
        subject,
        all,
        &ClaimMap::default(),
    ))))
}

pub(super) fn config(yaml: &str) -> Config {
    serde_yaml::from_str(&format!("version: 1\n{yaml}")).unwrap()
}

/// A route `/mcp` of kind `mcp` and a subtree `/app/*` of kind `http`, both to one backend.
pub(super) fn simple(address: SocketAddr, more_of_backend: &str, more: &str) -> Config {
    config(&format!(
        "backends: [{{ name: b, upstream: 'http://{address}/base'{more_of_backend} }}]\n\
         routes:\n\
         - {{ path: /mcp, backend: b, public: true }}\n\
         - {{ path: /sse/*, backend: b, public: true }}\n\
         - {{ path: /app/*, backend: b, kind: http, public: true }}\n{more}"
    ))
}

fn news() -> Arc<Revocations> {
    let sessions = crate::config::session::Sessions::default();
    let store = MemoryStore::new(&sessions, Ambient::system());
    Revocations::new(Arc::new(store), Ambient::system())
}

async fn assertions(config: &Config, public: &PublicUrl, keys: &KeyRing) -> Assertions {
    let store = MemoryStore::new(
        &crate::config::session::Sessions::default(),
        Ambient::system(),
    );
    let signing = SigningKeys::new(
        Signs::Assertions,
        &[],
        Arc::new(store),
        keys,
        Ambient::system(),
    );
    let signing = signing.unwrap();
    signing.renew().await.unwrap();
    Assertions::new(config, public, signing, Ambient::system())
}

impl Front {
    pub(super) async fn start(config: Config) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let metrics = Metrics::new();
        let public = PublicUrl::parse(PUBLIC).unwrap();
        let upstreams: Vec<_> = config
            .backends
            .iter()
            .map(|backend| Upstream::new(backend, &metrics).unwrap())
            .collect();
        let drain = tokio_util::sync::CancellationToken::new();
        let keys = KeyRing::ephemeral(Ambient::system());
        let assertions = assertions(&config, &public, &keys).await;
        let forwarder = Arc::new(Forwarder::new(
            &config,
            &public,
            upstreams.clone(),
            Some(assertions),
            &keys,
            &news(),
            drain.clone(),
        ));
        let table = Arc::new(Table::compile(&config, &public));
        let judges = Arc::new(Judges::of(&config, &metrics));
        let trusted = TrustedProxies::new(&config.trusted_proxies);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                let (forwarder, table, trusted, judges) = (
                    forwarder.clone(),
                    table.clone(),
                    trusted.clone(),
                    judges.clone(),
                );
                let conn = Arc::new(Conn {
                    peer: Peer::Tcp(peer),
                    listener: "test".into(),
                    tls: None,
                    memo: TokenMemo::default(),
                });
                let service = service_fn(move |request| {
                    let (forwarder, table, judges) =
                        (forwarder.clone(), table.clone(), judges.clone());
                    let inbound = Inbound::new(
                        &Ambient::system(),
                        conn.clone(),
                        request_headers(&request),
                        &trusted,
                    );
                    async move {
                        Ok::<_, std::convert::Infallible>(
                            handle(&forwarder, &table, &judges, inbound, request).await,
                        )
                    }
                });
                connections.spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = server
                        .serve_connection_with_upgrades(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            drain,
            metrics,
            upstreams,
            tasks: vec![task],
        }
    }

    /// One HTTP/1.1 exchange over a connection of its own: what is sent, and the answer until its end.
    pub(super) async fn ask(&self, request: &str) -> Reply {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        Reply::read(&mut stream).await
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

fn request_headers(request: &http::Request<hyper::body::Incoming>) -> &http::HeaderMap {
    request.headers()
}

/// Rules, where a test has some, and what is learned of the backends.
struct Judges {
    policy: Option<Policy>,
    learned: Vec<Arc<Learned>>,
}

impl Judges {
    fn of(config: &Config, metrics: &Arc<Metrics>) -> Self {
        let rules = config.routes.iter().any(|route| !route.tools.is_empty());
        let learned = |backend: &crate::config::backend::Backend| {
            Learned::new(metrics, &config.metrics, backend.name.as_str())
        };
        Self {
            policy: rules.then(|| Policy::compile(config, metrics)),
            learned: config.backends.iter().map(learned).collect(),
        }
    }
}

async fn handle(
    forwarder: &Forwarder,
    table: &Table,
    judges: &Judges,
    inbound: Inbound,
    request: http::Request<hyper::body::Incoming>,
) -> Response {
    let caller = caller(&request);
    let target = match table.find(request.method(), request.uri()) {
        Ok(Matched::Backend(target)) => target,
        Ok(_) => panic!("not a backend's"),
        Err(reject) => return refused(&reject),
    };
    let is_mcp = target.route().kind == crate::config::route::Kind::Mcp;
    let (head, body) = request.into_parts();
    let mut message = Message::default();
    let body = if is_mcp {
        match RequestBody::Incoming(body)
            .collect(4 << 20, std::time::Duration::from_secs(5))
            .await
        {
            Ok(body) => {
                // Many tests post what is no message; it goes on as it is.
                message = Message::read(&head.headers, &body).unwrap_or_default();
                RequestBody::full(body)
            }
            Err(reject) => return refused(&reject),
        }
    } else {
        RequestBody::Incoming(body)
    };
    let request: Request = Request::from_parts(head, body);
    let learned = &judges.learned[target.route().backend_index];
    let tally = if is_mcp {
        Tally::begin(learned, &message, None)
    } else {
        None
    };
    let errand = Errand {
        session: None,
        message: &message,
        follow: is_mcp.then_some(Follow {
            learned,
            tally: tally.as_ref(),
        }),
        trace: None,
        leave: &|| None,
    };
    let permit = match &judges.policy {
        None => Permit::for_test(target, caller),
        Some(policy) => policy.decide(caller, target, &message).unwrap(),
    };
    let sending = forwarder.send(permit, &inbound, request, errand);
    // It lives inside every connection's task, beside everything else that one request needs.
    if size_of_val(&sending) > 3072 {
        let mut response = Response::new(Body::full(format!(
            "{} bytes of future",
            size_of_val(&sending)
        )));
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        return response;
    }
    match sending.await {
        Ok(response) => response,
        Err(reject) => refused(&reject),
    }
}

fn refused(reject: &crate::reject::Reject) -> Response {
    let mut response = Response::new(Body::full(reject.code().as_str()));
    *response.status_mut() = reject.status();
    response
}

/// An answer, as text.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    /// Reads a whole answer: by its length, its chunks, or the end of the connection.
    pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Self {
        let mut seen = Vec::new();
        let head = read_head(stream, &mut seen).await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let lower = head.to_ascii_lowercase();
        let length = lower
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map(|length| length.trim().parse::<usize>().unwrap());
        let body = if matches!(status, 204 | 304 | 101) {
            Vec::new()
        } else if let Some(length) = length {
            while seen.len() < length {
                if stream.read_buf(&mut seen).await.unwrap() == 0 {
                    break;
                }
            }
            seen
        } else if lower.contains("transfer-encoding: chunked") {
            read_chunks(stream, &mut seen).await
        } else {
            stream.read_to_end(&mut seen).await.unwrap();
            seen
        };
        Self {
            status,
            head,
            body: String::from_utf8(body).unwrap(),
        }
    }

    /// All values of a header.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        all(&self.head, name)
    }
}

pub(super) fn all(head: &str, name: &str) -> Vec<String> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.to_owned())
        .collect()
}

/// Reads up to the end of a head; what was read beyond it stays in `seen`.
pub(super) async fn read_head<S: AsyncRead + Unpin>(stream: &mut S, seen: &mut Vec<u8>) -> String {
    loop {
        if let Some(end) = seen.windows(4).position(|w| w == b"\r\n\r\n") {
            let rest = seen.split_off(end + 4);
            let head = std::mem::replace(seen, rest);
            return String::from_utf8(head).unwrap();
        }
        assert_ne!(
            stream.read_buf(seen).await.unwrap(),
            0,
            "ended inside a head: {}",
            String::from_utf8_lossy(seen)
        );
    }
}

/// Reads chunks to their end; panics when the stream breaks off.
pub(super) async fn read_chunks<S: AsyncRead + Unpin>(
    stream: &mut S,
    seen: &mut Vec<u8>,
) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(chunk) = read_chunk(stream, seen).await {
        out.extend_from_slice(&chunk);
    }
    out
}

/// One chunk, or `None` at the last one.
pub(super) async fn read_chunk<S: AsyncRead + Unpin>(
    stream: &mut S,
    seen: &mut Vec<u8>,
) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = seen.windows(2).position(|w| w == b"\r\n") {
            let length =
                usize::from_str_radix(std::str::from_utf8(&seen[..end]).unwrap(), 16).unwrap();
            if seen.len() >= end + 2 + length + 2 {
                let rest = seen.split_off(end + 2 + length + 2);
                let chunk = seen[end + 2..end + 2 + length].to_vec();
                *seen = rest;
                return (length > 0).then_some(chunk);
            }
        }
        assert_ne!(
            stream.read_buf(seen).await.unwrap(),
            0,
            "ended inside a chunk"
        );
    }
}
