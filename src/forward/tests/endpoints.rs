//! Backends with several endpoints.

use std::fmt::Write as _;
use tokio::io::AsyncReadExt;

use super::harness::{Backend, Front, OK, all, config, read_chunk, read_head, read_request, say};

const POST: &str =
    "POST /mcp HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
const GET: &str = "GET /app/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

fn several(endpoints: &[std::net::SocketAddr], more_of_backend: &str) -> crate::config::Config {
    let urls: Vec<_> = endpoints
        .iter()
        .map(|address| format!("'http://{address}/base'"))
        .collect();
    config(&format!(
        "backends: [{{ name: b, endpoints: [{}]{more_of_backend} }}]\n\
         routes:\n\
         - {{ path: /mcp, backend: b, public: true }}\n\
         - {{ path: /sse/*, backend: b, public: true }}\n\
         - {{ path: /app/*, backend: b, kind: http, public: true }}\n",
        urls.join(", ")
    ))
}

/// An address where nobody listens.
fn nobody() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn each_in_turn_gets_requests_under_its_own_host() {
    let (one, two) = (Backend::answering(OK).await, Backend::answering(OK).await);
    let front = Front::start(several(
        &[one.address, two.address],
        ", balance: round_robin",
    ))
    .await;
    for _ in 0..6 {
        assert_eq!(front.ask(POST).await.status, 200);
    }
    for backend in [&one, &two] {
        let seen = backend.seen();
        assert_eq!(seen.len(), 3);
        for request in seen {
            assert_eq!(all(&request, "host"), [backend.address.to_string()]);
        }
    }
}

/// A POST, which is never repeated once it left, goes on to another endpoint when there is no connection to the first.
#[tokio::test]
async fn an_endpoint_without_connection_costs_no_request() {
    let living = Backend::answering(OK).await;
    let dead = nobody();
    let front = Front::start(several(&[dead, living.address], ", balance: round_robin")).await;
    for _ in 0..8 {
        assert_eq!(front.ask(POST).await.status, 200);
    }
    assert_eq!(living.seen().len(), 8);
    let shown = front.metrics.render();
    for line in [
        "mcp_proxy_upstream_retries_total{backend=\"b\",reason=\"other_endpoint\"} 1",
        "mcp_proxy_backend_endpoints{backend=\"b\",state=\"ejected\"} 1",
        "mcp_proxy_backend_ejections_total{backend=\"b\"} 1",
        "mcp_proxy_backend_up{backend=\"b\"} 1",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
}

#[tokio::test]
async fn when_all_are_gone_the_answer_is_502_and_the_backend_is_down() {
    let front = Front::start(several(&[nobody(), nobody(), nobody()], "")).await;
    for _ in 0..4 {
        let reply = front.ask(GET).await;
        assert_eq!((reply.status, &*reply.body), (502, "backend_unreachable"));
    }
    let shown = front.metrics.render();
    assert!(shown.contains("mcp_proxy_backend_up{backend=\"b\"} 0"));
    assert!(
        shown.contains("mcp_proxy_backend_endpoints{backend=\"b\",state=\"ejected\"} 3"),
        "{shown}"
    );
    assert_eq!(front.upstreams[0].is_up(), Some(false));
}

/// An intermediary's 503 in a row puts an endpoint out, but never the last one.
#[tokio::test]
async fn failing_answers_put_an_endpoint_out_but_never_the_last() {
    const BROKEN: &str = "HTTP/1.1 503 S\r\nContent-Length: 0\r\n\r\n";
    let (good, bad) = (
        Backend::answering(OK).await,
        Backend::answering(BROKEN).await,
    );
    let front = Front::start(several(
        &[good.address, bad.address],
        ", balance: round_robin",
    ))
    .await;
    for _ in 0..20 {
        front.ask(POST).await;
    }
    assert_eq!(bad.seen().len(), 3);
    assert_eq!(good.seen().len(), 17);

    let (one, two) = (
        Backend::answering(BROKEN).await,
        Backend::answering(BROKEN).await,
    );
    let front = Front::start(several(
        &[one.address, two.address],
        ", balance: round_robin",
    ))
    .await;
    for _ in 0..20 {
        assert_eq!(front.ask(POST).await.status, 503);
    }
    let (one, two) = (one.seen().len(), two.seen().len());
    assert!(one.min(two) == 3 && one + two == 20, "{one} {two}");
}

/// HTTP+SSE: what is posted to the URL that a stream gave goes to the endpoint that gave it, on any route shape.
#[tokio::test]
async fn posts_of_http_sse_go_to_the_endpoint_of_their_stream() {
    async fn start() -> Backend {
        Backend::serve(|mut stream, _, log| async move {
            while let Some(request) = read_request(&mut stream).await {
                if request.starts_with("GET") {
                    say(
                        &mut stream,
                        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
                         30\r\nevent: endpoint\ndata: /base/message?session=77\n\n\r\n",
                    )
                    .await;
                    let _ = stream.read(&mut [0; 1]).await;
                    return;
                }
                log.lock().unwrap().push(request);
                say(
                    &mut stream,
                    "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
                )
                .await;
            }
        })
        .await
    }
    for path in ["/mcp", "/sse/"] {
        let (one, two) = (start().await, start().await);
        let front = Front::start(several(
            &[one.address, two.address],
            ", balance: round_robin",
        ))
        .await;
        // Round robin: the first stream is at the first endpoint, the second at the second.
        for (at, backend) in [&one, &two, &one, &two].into_iter().enumerate() {
            let mut stream = front.connect().await;
            say(
                &mut stream,
                &format!("GET {path} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"),
            )
            .await;
            let mut seen = Vec::new();
            let head = read_head(&mut stream, &mut seen).await;
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            let event = read_chunk(&mut stream, &mut seen).await.unwrap();
            let event = String::from_utf8(event).unwrap();
            let url = event
                .lines()
                .nth(1)
                .unwrap()
                .strip_prefix("data: ")
                .unwrap();
            assert!(url.contains("?mcp_endpoint="), "{url}");
            let before = backend.seen().len();
            // An odd number, so that turns alone would not lead there.
            for _ in 0..3 {
                let reply = front
                    .ask(&format!(
                        "POST {url} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
                    ))
                    .await;
                assert_eq!(reply.status, 202, "{at}");
            }
            let seen = backend.seen();
            assert_eq!(seen.len(), before + 3);
            assert!(seen[before].starts_with("POST /base/message?session=77 "));
        }
    }
}

/// A dozen backends, each with two endpoints, a header, a credential and a timeout of its own.
#[tokio::test]
async fn a_dozen_backends_side_by_side() {
    let mut yaml = String::from("backends:\n");
    let mut routes = String::from("routes:\n");
    let mut servers = Vec::new();
    for n in 0..12 {
        // Every third one is silent, and only its own short time counts.
        let silent = n % 3 == 2;
        let pair: Vec<Backend> = futures_util::future::join_all((0..2).map(|_| {
            Backend::serve(move |mut stream, _, log| async move {
                while let Some(request) = read_request(&mut stream).await {
                    log.lock().unwrap().push(request);
                    if silent {
                        let _ = stream.read(&mut [0; 1]).await;
                        return;
                    }
                    say(&mut stream, OK).await;
                }
            })
        }))
        .await;
        let timeout = if silent { "50ms" } else { "60s" };
        let _ = writeln!(
            yaml,
            "- {{ name: b{n}, endpoints: ['http://{}/p{n}', 'http://{}/p{n}'], balance: round_robin, \
             headers: {{ X-Backend: 'key-{n}' }}, timeouts: {{ response: {timeout} }} }}",
            pair[0].address, pair[1].address
        );
        let _ = writeln!(routes, "- {{ path: /m{n}, backend: b{n}, public: true }}");
        servers.push((pair, silent));
    }
    let front = Front::start(config(&(yaml + &routes))).await;
    let asked = (0..12).flat_map(|n| {
        let front = &front;
        (0..4).map(move |_| async move {
            let request = format!(
                "POST /m{n} HTTP/1.1\r\nHost: h\r\nX-Backend: forged\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
            );
            (n, front.ask(&request).await.status)
        })
    });
    for (n, status) in futures_util::future::join_all(asked).await {
        assert_eq!(status, if n % 3 == 2 { 504 } else { 200 }, "{n}");
    }
    for (n, (pair, _)) in servers.iter().enumerate() {
        for backend in pair {
            let seen = backend.seen();
            assert_eq!(seen.len(), 2, "{n}");
            for request in seen {
                assert!(request.starts_with(&format!("POST /p{n} ")), "{request}");
                assert_eq!(all(&request, "x-backend"), [format!("key-{n}")]);
            }
        }
    }
}
