use super::harness::{Backend, Front, OK, all, simple};

const ADDED: &str = "identity_headers: { claims: { X-Department: department } }\n";

/// CVE-2025-64484, Caddy CVE-2026-30851, GHSA-g53w-w6mj-hrpp: whatever is sent, a backend sees ours or nothing.
#[tokio::test]
async fn no_inbound_spelling_of_a_reserved_name_arrives() {
    let backend = Backend::answering(OK).await;
    let front = Front::start(simple(backend.address, "", ADDED)).await;
    let names = [
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "X-Forwarded-Groups",
        "X-Forwarded-Preferred-Username",
        "X-Forwarded-Issuer",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Uri",
        "X-Forwarded-Access-Token",
        "Forwarded",
        "X-Real-IP",
        "X-Request-Id",
        "X-Original-URL",
        "X-Rewrite-URL",
        "Authorization",
        "X-API-Key",
        "Proxy-Authorization",
        "X-Department",
        "X-Auth-Request-User",
    ];
    let asked = names.chunks(10).flat_map(|some| {
        let mut sent = String::new();
        for name in some {
            for spelling in [
                (*name).to_owned(),
                name.to_lowercase(),
                name.to_uppercase(),
                name.replace('-', "_"),
            ] {
                sent.extend([&*spelling, ": forged\r\n", &*spelling, ": forged again\r\n"]);
            }
        }
        [("/mcp", sent.clone()), ("/app/x", sent)]
    });
    for (path, sent) in asked {
        let reply = front
            .ask(&format!("GET {path} HTTP/1.1\r\nHost: h\r\nX-Test-Caller: bob\r\n{sent}Connection: close\r\n\r\n"))
            .await;
        assert_eq!(reply.status, 200);
        let seen = backend.seen().pop().unwrap();
        assert!(!seen.contains("forged"), "{seen}");
        assert_eq!(all(&seen, "x-forwarded-user"), ["bob"]);
        assert_eq!(all(&seen, "x-forwarded-email"), ["bob@example.com"]);
        assert_eq!(all(&seen, "x-forwarded-issuer"), ["https://idp.example"]);
        assert_eq!(all(&seen, "x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(all(&seen, "x-real-ip"), ["127.0.0.1"]);
        assert_eq!(all(&seen, "x-forwarded-proto"), ["https"]);
        assert_eq!(all(&seen, "x-forwarded-host"), ["mcp.example.com"]);
        assert_eq!(
            all(&seen, "forwarded"),
            ["for=127.0.0.1;host=\"mcp.example.com\";proto=https"]
        );
        assert_eq!(all(&seen, "x-request-id"), reply.all("x-request-id"));
        for none in [
            "x-forwarded-groups",
            "x-department",
            "authorization",
            "x-api-key",
            "x-forwarded-uri",
        ] {
            assert!(all(&seen, none).is_empty(), "{none}: {seen}");
        }
    }
}

/// CVE-2025-48865: listing a name in `Connection` removes what the client sent, never what we add.
#[tokio::test]
async fn connection_cannot_remove_our_headers() {
    let backend = Backend::answering(OK).await;
    let front = Front::start(simple(backend.address, "", ADDED)).await;
    let listed = "close, X-Forwarded-User, x-forwarded-groups, X-Department, X-Request-Id, X-Hop, Host, Cookie, \
                  Content-Type, Content-Length";
    front
        .ask(&format!(
            "POST /mcp HTTP/1.1\r\nHost: h\r\nX-Test-Caller: ann\r\nConnection: {listed}\r\nX-Hop: 1\r\n\
             Keep-Alive: 5\r\nTE: trailers\r\nUpgrade: h2c\r\nCookie: a=b\r\nX-End: 2\r\nContent-Length: 2\r\n\r\n{{}}"
        ))
        .await;
    let seen = backend.seen().pop().unwrap();
    assert_eq!(all(&seen, "x-forwarded-user"), ["ann"]);
    assert_eq!(all(&seen, "x-forwarded-groups"), ["dev,ops%2Cx"]);
    assert_eq!(all(&seen, "x-department"), ["R&D"]);
    assert_eq!(all(&seen, "x-end"), ["2"]);
    assert_eq!(all(&seen, "content-length"), ["2"]);
    assert_eq!(all(&seen, "host"), [backend.address.to_string()]);
    for gone in ["x-hop", "keep-alive", "te", "upgrade", "connection"] {
        assert!(all(&seen, gone).is_empty(), "{gone}: {seen}");
    }
}

#[tokio::test]
async fn what_mcp_servers_need_arrives_untouched() {
    let backend = Backend::answering(OK).await;
    let front = Front::start(simple(
        backend.address,
        ", headers: { Authorization: Bearer static }",
        "",
    ))
    .await;
    front
        .ask(
            "POST /mcp?a=%2Fb&c HTTP/1.1\r\nHost: h\r\nConnection: close\r\nMcp-Session-Id: S\r\nMcp-Method: tools/call\r\n\
             Mcp-Param-X: =?base64?eA==?=\r\nMCP-Protocol-Version: 2026-07-28\r\nAccept-Encoding: gzip\r\nOrigin: https://o\r\n\
             Cookie: a=1; __Host-mcp_session=T; mcp_session=U\r\nCookie: __Host-mcp_session_login_x=V; b=2\r\n\
             Expect: 100-continue\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
        )
        .await;
    let seen = backend.seen().pop().unwrap();
    assert!(
        seen.starts_with("POST /base?a=%2Fb&c HTTP/1.1\r\n"),
        "{seen}"
    );
    assert!(seen.ends_with("\r\n\r\n{\"a\":1}"), "{seen}");
    for (name, value) in [
        ("mcp-method", "tools/call"),
        ("mcp-param-x", "=?base64?eA==?="),
        ("mcp-protocol-version", "2026-07-28"),
        ("accept-encoding", "identity"),
        ("cookie", "a=1; b=2"),
        ("authorization", "Bearer static"),
    ] {
        assert_eq!(all(&seen, name), [value], "{name}");
    }
    assert!(
        all(&seen, "mcp-session-id").is_empty(),
        "no session was opened"
    );
    for gone in ["origin", "expect", "transfer-encoding"] {
        assert!(all(&seen, gone).is_empty(), "{gone}: {seen}");
    }
}

#[tokio::test]
async fn plain_routes_keep_encoding_and_cookies_and_join_paths() {
    let backend = Backend::answering(OK).await;
    let front = Front::start(simple(
        backend.address,
        ", forward_origin: true, host: client",
        "",
    ))
    .await;
    front
        .ask(
            "GET /app/x/%41~p?q=%20 HTTP/1.1\r\nHost: shown.example\r\nConnection: close\r\nAccept-Encoding: br\r\n\
             Origin: https://o\r\nCookie: only=this\r\n\r\n",
        )
        .await;
    let seen = backend.seen().pop().unwrap();
    assert!(
        seen.starts_with("GET /base/x/%41~p?q=%20 HTTP/1.1\r\n"),
        "{seen}"
    );
    for (name, value) in [
        ("accept-encoding", "br"),
        ("origin", "https://o"),
        ("cookie", "only=this"),
        ("host", "shown.example"),
    ] {
        assert_eq!(all(&seen, name), [value], "{name}");
    }
    assert!(all(&seen, "x-forwarded-user").is_empty());
}

#[tokio::test]
async fn a_trusted_proxys_chain_is_continued() {
    let backend = Backend::answering(OK).await;
    let trusting = simple(backend.address, "", "trusted_proxies: [127.0.0.0/8]\n");
    let front = Front::start(trusting).await;
    front
        .ask(
            "GET /app/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Forwarded-For: 1.1.1.1, 9.9.9.9\r\n\
             X-Forwarded-Proto: https\r\nX-Real-IP: 6.6.6.6\r\n\r\n",
        )
        .await;
    let seen = backend.seen().pop().unwrap();
    assert_eq!(
        all(&seen, "x-forwarded-for"),
        ["1.1.1.1, 9.9.9.9, 127.0.0.1"]
    );
    assert_eq!(all(&seen, "x-real-ip"), ["9.9.9.9"]);
}

#[tokio::test]
async fn answers_cannot_speak_for_our_origin() {
    let backend = Backend::answering(
        "HTTP/1.1 404 Nope\r\nContent-Length: 4\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
         Set-Cookie: __Host-mcp_session=evil; Path=/\r\nSet-Cookie: mcp_session_login_a=evil\r\nSet-Cookie: own=1\r\n\
         Service-Worker-Allowed: /\r\nClear-Site-Data: \"*\"\r\nAlt-Svc: h3\r\nStrict-Transport-Security: max-age=1\r\n\
         X-Forwarded-User: echo\r\nX-Request-Id: theirs\r\nMcp-Session-Id: S\r\nContent-Security-Policy: default-src 'self'\r\n\
         Access-Control-Allow-Origin: *\r\nWWW-Authenticate: Basic\r\n\r\nbody",
    )
    .await;
    let front = Front::start(simple(backend.address, "", "")).await;
    for (path, cors) in [("/mcp", 0), ("/app/", 1)] {
        let reply = front
            .ask(&format!(
                "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
            ))
            .await;
        assert_eq!((reply.status, &*reply.body), (404, "body"));
        assert_eq!(reply.all("set-cookie"), ["own=1"]);
        assert_eq!(
            reply.all("content-security-policy"),
            ["default-src 'self'", "sandbox"]
        );
        assert_eq!(reply.all("mcp-session-id"), ["S"]);
        assert_eq!(reply.all("www-authenticate"), ["Basic"]);
        assert_eq!(reply.all("access-control-allow-origin").len(), cors);
        assert_ne!(reply.all("x-request-id"), ["theirs"]);
        for gone in [
            "x-hop",
            "keep-alive",
            "service-worker-allowed",
            "clear-site-data",
            "alt-svc",
            "strict-transport-security",
            "x-forwarded-user",
        ] {
            assert!(reply.all(gone).is_empty(), "{gone}: {}", reply.head);
        }
    }
}

#[tokio::test]
async fn trusted_content_is_not_sandboxed() {
    let backend = Backend::answering(OK).await;
    let mut config = simple(backend.address, "", "");
    config.routes[2].trust_content = true;
    config.routes[0].trust_content = true;
    let front = Front::start(config).await;
    let sandbox = |path: &'static str| {
        let front = &front;
        async move {
            let reply = front
                .ask(&format!(
                    "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
                ))
                .await;
            reply.all("content-security-policy")
        }
    };
    assert!(sandbox("/app/").await.is_empty());
    assert_eq!(sandbox("/mcp").await, ["sandbox"]);
}
