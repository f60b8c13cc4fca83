//! Where a request goes is judged by the bytes that are forwarded, and by nothing else.

use super::world::{API_KEY, World};
use crate::harness::client::{Ask, get};

#[tokio::test(flavor = "multi_thread")]
async fn advisory_cve_2026_40575_forwarded_paths_choose_nothing() {
    // A trusted peer may say who the client is; it never says what is asked for.
    for trusted in ["", "trusted_proxies: [127.0.0.0/8]"] {
        let world = World::with(|setup| setup.yaml(trusted)).await;
        for header in [
            "X-Forwarded-Uri",
            "X-Original-URL",
            "X-Original-URI",
            "X-Rewrite-URL",
            "X-Forwarded-Method",
            "X-Forwarded-Prefix",
            "X-Forwarded-Path",
            "X-HTTP-Method-Override",
        ] {
            let answer = get(&world.proxy.url("/app/x"))
                .header(header, "/open/x")
                .send()
                .await;
            assert_eq!(answer.status, 401, "{header}");
        }
        let answer = get(&world.proxy.url("/app/x"))
            .header("forwarded", "for=1.2.3.4;path=/open")
            .send()
            .await;
        assert_eq!(answer.status, 401);
        world.nothing_arrived();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn advisory_cve_2026_34457_no_user_agent_is_a_health_check() {
    let world = World::start().await;
    for agent in [
        "GoogleHC/1.0",
        "kube-probe/1.30",
        "ELB-HealthChecker/2.0",
        "Amazon-Route53-Health-Check",
    ] {
        let answer = get(&world.proxy.url("/app/x"))
            .header("user-agent", agent)
            .send()
            .await;
        assert_eq!(answer.status, 401, "{agent}");
    }
    for path in ["/health/", "/healthz", "/health/x", "/ready/"] {
        assert_eq!(
            get(&world.proxy.url(path)).send().await.status,
            404,
            "{path}"
        );
    }
    world.nothing_arrived();
}

#[tokio::test(flavor = "multi_thread")]
async fn advisory_cve_2026_41059_and_cve_2023_33189_what_was_judged_is_what_arrives() {
    let world = World::start().await;
    let key = format!("X-API-Key: {API_KEY}\r\n");
    for target in [
        "/app/%23/../open",
        "/app/%2523",
        "/open/%2e%2e/app",
        "/open/..%2fapp",
        "/open//../app/x",
        "/open/%5c..%5capp",
        "/open/.%2e/app",
        "/open/x%00",
        "/open/\\app",
        "/open/;/../app",
        "/open/%c0%ae%c0%ae/app",
        "//open/x",
        "/open/./x",
    ] {
        let (code, _) = world.target(target, &key).await;
        assert!((400..500).contains(&code), "{target}: {code}");
    }
    world.nothing_arrived();
    // A raw fragment ends the target for the judge and for the backend alike.
    let (code, _) = world.target("/app#/../open", &key).await;
    assert_eq!((code, world.last().target.as_str()), (200, "/app"));
    for target in [
        "/app/a%20b/c?x=%2e%2e/%23&y=..",
        "/app/x/",
        "/app/A/b.c~d?",
        "/open/deep/er?q=/app",
    ] {
        let (code, _) = world.target(target, &key).await;
        assert_eq!(code, 200, "{target}");
        assert_eq!(world.last().target, target, "byte for byte");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn advisory_cve_2025_54576_a_query_opens_nothing() {
    let world = World::start().await;
    for target in [
        "/app/x?y=/open/z",
        "/app/x?/open/",
        "/mcp?/oauth2/start",
        "/mcp?x=/health",
    ] {
        assert_eq!(world.target(target, "").await.0, 401, "{target}");
    }
    world.nothing_arrived();
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_s22_every_method_and_path_needs_a_credential() {
    let world = World::start().await;
    for method in [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH",
    ] {
        for path in ["/mcp", "/other", "/app/x"] {
            let answer = Ask::new(method.parse().unwrap(), &world.proxy.url(path))
                .send()
                .await;
            assert_eq!(answer.status, 401, "{method} {path}");
        }
    }
    for method in ["CONNECT", "TRACE"] {
        let authority = world.proxy.base().authority();
        let head =
            format!("{method} /mcp HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
        let (code, _) = world.raw(head.as_bytes()).await;
        assert!(matches!(code, 400 | 405), "{method}: {code}");
    }
    for path in [
        "/.well-known/oauth-protected-resource-evil",
        "/.well-known/oauth-protected-resource/nope",
        "/.well-known/oauth-authorization-server/mcp",
        "/.well-known/oauth-authorization-server-evil",
        "/unknown",
        "/oauth2x",
        "/mcp2",
    ] {
        assert_eq!(
            get(&world.proxy.url(path)).send().await.status,
            404,
            "{path}"
        );
    }
    world.nothing_arrived();
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_s22_our_own_endpoints_are_never_forwarded_whatever_the_method() {
    let world = World::with(|setup| setup).await;
    for path in [
        "/oauth2/start",
        "/oauth2/callback",
        "/oauth2/session",
        "/oauth2/nothing",
        "/health",
        "/ready",
    ] {
        for method in ["PUT", "DELETE", "PATCH"] {
            let url = world.proxy.url(path);
            let answer = Ask::new(method.parse().unwrap(), &url)
                .header("x-api-key", API_KEY)
                .send()
                .await;
            assert!(
                matches!(answer.status.as_u16(), 401 | 404 | 405),
                "{method} {path}: {}",
                answer.status
            );
        }
    }
    world.nothing_arrived();
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_smuggling_ambiguous_framing_is_refused() {
    let world = World::start().await;
    let authority = world.proxy.base().authority().to_owned();
    for framing in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /open/smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: +5\r\n\r\nhello",
    ] {
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {authority}\r\nX-API-Key: {API_KEY}\r\nConnection: close\r\n{framing}"
        );
        let (code, text) = world.raw(head.as_bytes()).await;
        assert!(
            code >= 400 || !text.contains("smuggled"),
            "{framing:?}: {code}"
        );
        assert!(
            !world
                .echo
                .seen()
                .iter()
                .any(|asked| asked.target.contains("smuggled")),
            "{framing:?}"
        );
    }
}
