use http::Request;

use super::*;

fn edge(public_url: &str) -> Edge {
    let config: Config = serde_json::from_str(
        r#"{"version": 1, "allowed_hosts": ["proxy.internal:8080"], "mcp": {"allowed_origins": ["https://inspector.example.com/", "vscode-webview://x"]}}"#,
    )
    .unwrap();
    Edge::new(&config, &PublicUrl::parse(public_url).unwrap())
}

fn parts(uri: &str, headers: &[(&'static str, &str)]) -> Parts {
    let mut request = Request::get(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn host(edge: &Edge, uri: &str, hosts: &[&str]) -> u16 {
    let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
    edge.host(&parts(uri, &headers))
        .map_or_else(|reject| reject.status().as_u16(), |()| 200)
}

#[test]
fn attack_s15_only_our_own_host_is_answered() {
    let edge = edge("https://mcp.example.com");
    for (uri, hosts, status) in [
        ("/", &["mcp.example.com"][..], 200),
        ("/", &["MCP.Example.com:443"], 200),
        ("/", &["proxy.internal:8080"], 200),
        ("https://mcp.example.com/", &[], 200),
        ("https://mcp.example.com/", &["mcp.example.com"], 200),
        ("https://mcp.example.com/", &["evil.test"], 400),
        ("https://evil.test/", &["evil.test"], 421),
        ("/", &["evil.test"], 421),
        ("/", &["mcp.example.com.evil.test"], 421),
        ("/", &["mcp.example.com:8443"], 421),
        ("/", &["x@mcp.example.com"], 421),
        ("/", &["mcp.example.com."], 421),
        ("/", &["localhost"], 421),
        ("/", &["proxy.internal"], 421),
        ("/", &[""], 421),
        ("/", &[], 400),
        ("/", &["mcp.example.com", "mcp.example.com"], 400),
    ] {
        assert_eq!(host(&edge, uri, hosts), status, "{uri} {hosts:?}");
    }
}

#[test]
fn loopback_answers_under_every_loopback_name() {
    let edge = edge("http://localhost:8080");
    for (name, status) in [
        ("localhost:8080", 200),
        ("127.0.0.1:9000", 200),
        ("[::1]:8080", 200),
        ("localhost", 200),
        ("LocalHost:1", 200),
        ("localhost:", 200),
        ("127.1:80", 200),
        ("[::1]", 200),
        ("localhost:65536", 421),
        ("localhost:+80", 421),
        ("localhost:80.evil.test", 421),
        ("localhost:80@evil.test", 421),
        ("localhost8080", 421),
        ("[::1].evil.test", 421),
        ("localhost.evil.test:8080", 421),
        ("127.0.0.1.evil.test", 421),
        ("169.254.169.254", 421),
    ] {
        assert_eq!(host(&edge, "/", &[name]), status, "{name}");
    }
}

#[test]
fn attack_s15_foreign_origins_are_refused() {
    let edge = edge("https://mcp.example.com");
    for (origins, good) in [
        (&[][..], true),
        (&["https://mcp.example.com"], true),
        (&["https://inspector.example.com"], true),
        (&["vscode-webview://x"], true),
        (&["http://localhost:6274"], true),
        (&["http://127.0.0.1"], true),
        (&["http://[::1]:5173"], true),
        (&["https://evil.test"], false),
        (&["null"], false),
        (&[""], false),
        (&["http://localhost.evil.test"], false),
        (&["http://[::1].evil"], false),
        (&["http://localhost@evil.test"], false),
        (&["http://127.0.0.1.evil.test"], false),
        (&["http://127.1"], false),
        (&["http://localhost:80"], false),
        (&["http://localhost/"], false),
        (&["https://mcp.example.com.evil.test"], false),
        (&["http://mcp.example.com"], false),
        (&["https://MCP.example.com"], false),
        (&["file://localhost"], false),
        (&["https://mcp.example.com https://evil.test"], false),
        (
            &["https://mcp.example.com", "https://mcp.example.com"],
            false,
        ),
        (&["https://mcp.example.com", "https://evil.test"], false),
    ] {
        let headers: Vec<_> = origins.iter().map(|origin| ("origin", *origin)).collect();
        let judged = edge.origin(&parts("/", &headers).headers);
        assert_eq!(judged.is_ok(), good, "{origins:?}");
        if let Err(reject) = judged {
            assert_eq!(
                (reject.status().as_u16(), reject.code()),
                (403, Code::OriginRefused)
            );
        }
    }
}

#[test]
fn web_sockets_are_for_our_own_pages() {
    let edge = edge("https://mcp.example.com");
    for (origin, good) in [
        ("https://mcp.example.com", true),
        ("http://localhost:1", false),
        ("null", false),
        ("https://evil.test", false),
    ] {
        assert_eq!(
            edge.websocket(&parts("/", &[("origin", origin)]).headers)
                .is_ok(),
            good,
            "{origin}"
        );
    }
    assert!(edge.websocket(&HeaderMap::new()).is_ok());
}

#[test]
fn preflights_are_answered_with_what_was_asked_for() {
    let edge = edge("https://mcp.example.com");
    let mut asked = parts(
        "/mcp",
        &[
            ("origin", "http://localhost:6274"),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization,mcp-param-region",
            ),
        ],
    );
    let origin = edge.origin(&asked.headers).unwrap();
    assert!(
        edge.preflight(&asked, &origin).is_none(),
        "a GET is no preflight"
    );
    asked.method = Method::OPTIONS;
    assert!(edge.preflight(&asked, &Origin::Absent).is_none());
    let response = edge.preflight(&asked, &origin).unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(
        header("access-control-allow-origin"),
        "http://localhost:6274"
    );
    assert_eq!(
        header("access-control-allow-methods"),
        "GET, POST, DELETE, OPTIONS"
    );
    assert_eq!(
        header("access-control-allow-headers"),
        "authorization,mcp-param-region"
    );
    assert_eq!(header("access-control-max-age"), "600");
    assert!(
        !response
            .headers()
            .contains_key("access-control-allow-credentials")
    );
    let vary: Vec<_> = response.headers().get_all("vary").iter().collect();
    assert_eq!(vary, ["Origin", "Access-Control-Request-Headers"]);
    asked.headers.insert(
        "access-control-request-headers",
        HeaderValue::from_static("a\"b"),
    );
    let response = edge.preflight(&asked, &origin).unwrap();
    assert!(
        response.headers()["access-control-allow-headers"]
            .to_str()
            .unwrap()
            .starts_with("Authorization, ")
    );
}

#[test]
fn answers_expose_what_browser_clients_read() {
    let mut headers = HeaderMap::new();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        ACCESS_CONTROL_ALLOW_CREDENTIALS,
        HeaderValue::from_static("true"),
    );
    cors(
        &Origin::Allowed(HeaderValue::from_static("http://localhost:1")),
        &mut headers,
    );
    assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "http://localhost:1");
    assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
    for name in ["WWW-Authenticate", "Mcp-Session-Id", "MCP-Protocol-Version"] {
        assert!(
            headers[ACCESS_CONTROL_EXPOSE_HEADERS]
                .to_str()
                .unwrap()
                .contains(name)
        );
    }
    let mut headers = HeaderMap::new();
    open_cors(&Method::GET, &HeaderMap::new(), &mut headers);
    assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
}
