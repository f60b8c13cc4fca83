//! Host, Origin and CORS: judged before authentication and before the backend.

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
        .body("{}")
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
            .body("x".repeat(size))
            .send()
    };
    assert_eq!(ask(64 << 10).await.status, 200);
    assert_eq!(ask((64 << 10) + 1).await.status, 413);
}
