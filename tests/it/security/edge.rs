//! Host, Origin and CORS: judged before authentication and before the backend.

use serde_json::json;

use super::world::{API_KEY, World};
use crate::harness::client::{Ask, get, post};

#[tokio::test(flavor = "multi_thread")]
async fn attack_s15_a_foreign_host_is_not_ours() {
    let world = World::start().await;
    for host in [
        "evil.test",
        "localhost.evil.test",
        "evil.test:80",
        "user@localhost",
        "localhost:1@evil.test",
    ] {
        let head = format!(
            "GET /mcp HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {API_KEY}\r\nConnection: close\r\n\r\n"
        );
        let (code, _) = world.raw(head.as_bytes()).await;
        assert!(matches!(code, 400 | 421), "{host}: {code}");
    }
    let authority = world.proxy.base().authority();
    let two = format!(
        "GET /mcp HTTP/1.1\r\nHost: {authority}\r\nHost: evil.test\r\nX-API-Key: {API_KEY}\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(world.raw(two.as_bytes()).await.0, 400);
    let absolute = format!(
        "GET http://evil.test/mcp HTTP/1.1\r\nHost: {authority}\r\nX-API-Key: {API_KEY}\r\nConnection: close\r\n\r\n"
    );
    assert!(matches!(world.raw(absolute.as_bytes()).await.0, 400 | 421));
    world.nothing_arrived();
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_s15_a_foreign_origin_is_refused_before_anything_else() {
    let world = World::start().await;
    for origin in [
        "https://evil.test",
        "null",
        "http://localhost.evil.test",
        "http://[::1].evil",
        "https://localhost:x",
        "file://",
    ] {
        let ask = post(&world.proxy.url("/mcp"))
            .header("x-api-key", API_KEY)
            .header("origin", origin);
        let answer = ask.body("{}").send().await;
        assert_eq!(answer.status, 403, "{origin}");
        assert!(
            answer.headers.get("access-control-allow-origin").is_none(),
            "{origin}"
        );
    }
    let own = world.proxy.base().as_str().trim_end_matches('/').to_owned();
    let twice = post(&world.proxy.url("/mcp"))
        .header("origin", &own)
        .header("origin", "https://evil.test");
    assert_eq!(twice.header("x-api-key", API_KEY).send().await.status, 403);
    world.nothing_arrived();
    let answer = post(&world.proxy.url("/mcp"))
        .header("x-api-key", API_KEY)
        .header("origin", &own)
        .rpc(&json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }))
        .send()
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_needs_no_credential_and_refusals_can_be_read() {
    let world = World::with(|setup| {
        setup.yaml("mcp: { allowed_origins: [\"https://inspector.example\"] }")
    })
    .await;
    let url = world.proxy.url("/mcp");
    let preflight = Ask::new(http::Method::OPTIONS, &url)
        .header("origin", "https://inspector.example")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization, mcp-param-region",
        )
        .send()
        .await;
    assert_eq!(preflight.status, 204);
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        "https://inspector.example"
    );
    assert!(
        preflight
            .header("access-control-allow-headers")
            .contains("mcp-param-region")
    );
    let answer = get(&url)
        .header("origin", "https://inspector.example")
        .send()
        .await;
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "https://inspector.example"
    );
    assert!(
        answer
            .header("access-control-expose-headers")
            .contains("WWW-Authenticate")
    );
    world.nothing_arrived();
}

#[tokio::test(flavor = "multi_thread")]
async fn advisory_cve_2025_31492_nothing_of_the_backend_is_in_a_refusal() {
    let world = World::start().await;
    for path in ["/mcp", "/app/page"] {
        for accept in ["text/html", "*/*"] {
            let answer = get(&world.proxy.url(path))
                .header("accept", accept)
                .send()
                .await;
            assert!(
                matches!(answer.status.as_u16(), 302 | 401),
                "{path} {accept}: {}",
                answer.status
            );
            assert!(!answer.text().contains("Backend"), "{path} {accept}");
        }
    }
    // An mcp route never redirects: a person's browser gets a page that says what this address is.
    let answer = get(&world.proxy.url("/mcp"))
        .header("accept", "text/html")
        .send()
        .await;
    assert_eq!(answer.status, 401);
    assert!(answer.header("content-type").starts_with("text/html"));
    world.nothing_arrived();
}

#[tokio::test(flavor = "multi_thread")]
async fn advisory_cve_2025_3891_odd_bodies_of_nobody_are_401() {
    let world = World::start().await;
    let authority = world.proxy.base().authority().to_owned();
    for body in [
        "Content-Length: 0\r\n\r\n",
        "\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Content-Type: \r\nContent-Length: 2\r\n\r\n{}",
        "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        let head =
            format!("POST /mcp HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{body}");
        assert_eq!(world.raw(head.as_bytes()).await.0, 401, "{body:?}");
    }
    world.nothing_arrived();
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_s30_a_body_beyond_the_bound_is_413() {
    let world = World::with(|setup| setup.yaml("mcp: { max_body: 64KiB }")).await;
    let ask = |size: usize| {
        post(&world.proxy.url("/mcp"))
            .header("x-api-key", API_KEY)
            .header("content-type", "application/json")
            .body({
                let ping = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}";
                ping.to_owned() + &" ".repeat(size - ping.len())
            })
            .send()
    };
    assert_eq!(ask(64 << 10).await.status, 200);
    assert_eq!(ask((64 << 10) + 1).await.status, 413);
}

/// With a route that nobody signs in for, so that nothing but the edge refuses.
async fn with_public_route() -> World {
    World::with(|setup| {
        let echo = setup.text();
        let url = echo
            .lines()
            .find_map(|line| line.trim().strip_prefix("upstream: \""))
            .and_then(|rest| rest.strip_suffix("/mcp\""))
            .unwrap()
            .to_owned();
        setup
            .route("/public", &format!("{url}/public"), "public: true")
            .yaml("mcp: { allowed_origins: [\"https://inspector.example\"] }")
    })
    .await
}

/// Every form of a foreign page, by every method, on both kinds of answers: refused before anybody is asked who they
/// are, and before the backend. The public route shows that nothing but the edge refuses.
#[tokio::test(flavor = "multi_thread")]
async fn attack_s15_foreign_pages_are_refused_by_every_method() {
    let world = with_public_route().await;
    let authority = world.proxy.base().authority().to_owned();
    let own = format!("http://{authority}");
    let port = world.proxy.port();
    let origins = [
        "https://evil.test".to_owned(),
        "null".to_owned(),
        String::new(),
        "http://localhost.evil.test".to_owned(),
        "http://[::1].evil".to_owned(),
        "http://127.0.0.1.nip.example".to_owned(),
        "http://localhost@evil.test".to_owned(),
        "https://inspector.example.evil.test".to_owned(),
        "http://inspector.example".to_owned(),
        "https://inspector.example:8443".to_owned(),
        format!("{own}.evil.test"),
        format!("{own}/"),
        format!("{own}, https://evil.test"),
        "file://".to_owned(),
        "http://0.0.0.0:6274".to_owned(),
        "http://169.254.169.254".to_owned(),
    ];
    let mut heads: Vec<(String, u16)> = origins
        .iter()
        .map(|origin| (format!("Host: {authority}\r\nOrigin: {origin}\r\n"), 403))
        .collect();
    heads.push((
        format!("Host: {authority}\r\nOrigin: {own}\r\nOrigin: https://evil.test\r\n"),
        403,
    ));
    heads.push((
        format!("Host: {authority}\r\nOrigin: {own}\r\norigin: {own}\r\n"),
        403,
    ));
    // A name that was made to resolve to this machine: its page has our address and its own origin.
    for host in ["evil.test", "evil.test:80", "localhost.evil.test"] {
        heads.push((format!("Host: {host}:{port}\r\n"), 421));
        heads.push((
            format!("Host: {host}:{port}\r\nOrigin: http://{host}:{port}\r\n"),
            421,
        ));
    }
    for method in ["GET", "POST", "DELETE", "OPTIONS"] {
        for (head, wanted) in &heads {
            for (path, credential) in [
                ("/public", String::new()),
                ("/mcp", format!("X-API-Key: {API_KEY}\r\n")),
                ("/mcp", String::new()),
            ] {
                let preflight = if method == "OPTIONS" {
                    "Access-Control-Request-Method: POST\r\n"
                } else {
                    ""
                };
                let request = format!(
                    "{method} {path} HTTP/1.1\r\n{head}{credential}{preflight}Connection: close\r\nContent-Length: 0\r\n\r\n"
                );
                let (code, text) = world.raw(request.as_bytes()).await;
                let bad_host = *wanted == 421 && code == 400;
                assert!(code == *wanted || bad_host, "{request}{text}");
                assert!(
                    !text
                        .to_ascii_lowercase()
                        .contains("access-control-allow-origin"),
                    "{request}{text}"
                );
            }
        }
    }
    world.nothing_arrived();
}

/// No origin, ours, a loopback page, a listed one: normal, with the headers that pages may read.
#[tokio::test(flavor = "multi_thread")]
async fn pages_that_may_ask_are_answered_by_every_method() {
    let world = with_public_route().await;
    let authority = world.proxy.base().authority().to_owned();
    let own = format!("http://{authority}");
    for origin in [
        "",
        &own,
        "http://localhost:6274",
        "https://inspector.example",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let line = if origin.is_empty() {
                String::new()
            } else {
                format!("Origin: {origin}\r\n")
            };
            let body = if method == "POST" {
                "Content-Type: application/json\r\nContent-Length: 40\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}"
            } else {
                "\r\n"
            };
            let request = format!(
                "{method} /public HTTP/1.1\r\nHost: {authority}\r\n{line}Connection: close\r\n{body}"
            );
            let (code, text) = world.raw(request.as_bytes()).await;
            assert_eq!(code, 200, "{request}{text}");
            if !origin.is_empty() {
                let lower = text.to_ascii_lowercase();
                assert!(
                    lower.contains(&format!("access-control-allow-origin: {origin}")),
                    "{text}"
                );
                for exposed in ["mcp-session-id", "www-authenticate", "mcp-protocol-version"] {
                    assert!(lower.contains(exposed), "{exposed}: {text}");
                }
            }
        }
    }
}

/// What browsers ask before a modern call: every `Mcp-Param-*`, whatever its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_allows_whatever_mcp_clients_send() {
    let world = World::start().await;
    let asked = "authorization, content-type, mcp-method, mcp-name, mcp-param-region, mcp-param-x-y, mcp-protocol-version, mcp-session-id, last-event-id, traceparent";
    for method in ["POST", "GET", "DELETE"] {
        let answer = Ask::new(http::Method::OPTIONS, &world.proxy.url("/mcp"))
            .header("origin", "http://localhost:6274")
            .header("access-control-request-method", method)
            .header("access-control-request-headers", asked)
            .send()
            .await;
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("access-control-allow-headers"), asked);
        assert!(
            answer
                .header("access-control-allow-methods")
                .contains(method)
        );
    }
    world.nothing_arrived();
}
