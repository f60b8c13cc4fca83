use super::*;

#[tokio::test]
async fn rfc_6750_and_9728_challenges() {
    let world = World::new().await;
    let nobody = world.ask("/a/mcp", &[]).await.unwrap_err();
    assert_eq!(
        (
            nobody.status().as_u16(),
            nobody.code(),
            nobody.wants_login()
        ),
        (401, Code::Unauthenticated, false)
    );
    assert_eq!(
        challenge(&nobody),
        "Bearer resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/a/mcp\", scope=\"mcp:use\""
    );
    let bad = world.bearer("/t/deep/x", "x").await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidToken);
    assert_eq!(
        challenge(&bad),
        "Bearer error=\"invalid_token\", error_description=\"The token is not a signed JWT\", resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/t/deep/x\""
    );
    let http = world.ask("/page", &[]).await.unwrap_err();
    assert_eq!(challenge(&http), "Bearer");
    assert!(!http.wants_login());
    assert_eq!(
        challenge(&world.bearer("/page", "x").await.unwrap_err()),
        "Bearer error=\"invalid_token\", error_description=\"The token is not a signed JWT\""
    );
}

#[tokio::test]
async fn only_navigations_on_http_routes_lead_to_login() {
    let world = World::with(|config, web| {
        config["oidc"] = json!({"issuer": web.url(""), "client_id": "c"});
    })
    .await;
    let navigation = [
        ("sec-fetch-site", "none"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    assert!(
        world
            .ask("/page", &navigation)
            .await
            .unwrap_err()
            .wants_login()
    );
    assert!(!world.ask("/page", &[]).await.unwrap_err().wants_login());
    assert!(
        !world
            .ask("/a/mcp", &navigation)
            .await
            .unwrap_err()
            .wants_login(),
        "an mcp route never redirects"
    );
    assert!(
        world
            .ask("/a/mcp", &navigation)
            .await
            .unwrap_err()
            .message()
            .contains("/a/mcp to an MCP client")
    );
    let with_token = [navigation.as_slice(), &[("authorization", "Bearer x")]].concat();
    assert!(
        !world
            .ask("/page", &with_token)
            .await
            .unwrap_err()
            .wants_login()
    );
}

#[tokio::test]
async fn advisory_cve_2021_21378_a_bad_credential_on_a_public_route_is_not_nobody() {
    let world = World::new().await;
    assert!(matches!(
        world.ask("/open", &[]).await,
        Ok(Caller::Anonymous)
    ));
    for headers in [
        ("authorization", "Bearer x"),
        ("authorization", "Basic eDp5"),
        ("authorization", "Bearer"),
        ("authorization", ""),
        ("x-api-key", "wrong"),
        ("x-api-key", ""),
    ] {
        assert_eq!(
            world.ask("/open", &[headers]).await.unwrap_err().status(),
            401,
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn advisory_cve_2022_29226_and_s32_presence_is_nothing_and_the_query_is_not_read() {
    let world = World::new().await;
    assert_eq!(
        world
            .ask("/a/mcp", &[("authorization", "Bearer x")])
            .await
            .unwrap_err()
            .status(),
        401
    );
    let token = world.signer.token(&world.claims());
    let path = format!("/a/mcp?access_token={token}");
    assert_eq!(
        world.ask(&path, &[]).await.unwrap_err().code(),
        Code::Unauthenticated
    );
}

#[tokio::test]
async fn advisory_cve_2026_34457_a_user_agent_opens_nothing() {
    let world = World::new().await;
    for agent in ["GoogleHC/1.0", "kube-probe/1.30", "ELB-HealthChecker/2.0"] {
        assert_eq!(
            world
                .ask("/a/mcp", &[("user-agent", agent)])
                .await
                .unwrap_err()
                .status(),
            401,
            "{agent}"
        );
    }
}

#[tokio::test]
async fn metadata_can_be_read_by_everybody_and_changed_by_nobody() {
    let world = World::new().await;
    let target = world.target("/.well-known/oauth-protected-resource/b/mcp");
    let ask = |method: Method| {
        let mut headers = HeaderMap::new();
        headers.insert(
            "access-control-request-headers",
            HeaderValue::from_static("mcp-protocol-version"),
        );
        world
            .authn
            .resource_metadata(&world.inbound(), &target, &method, &headers)
    };
    let options = ask(Method::OPTIONS).unwrap();
    assert_eq!(
        (
            options.status().as_u16(),
            &options.headers()["access-control-allow-headers"]
        ),
        (204, &HeaderValue::from_static("mcp-protocol-version"))
    );
    assert_eq!(ask(Method::HEAD).unwrap().status(), 200);
    assert_eq!(ask(Method::POST).unwrap_err().status(), 405);
    let body = ask(Method::GET)
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(
        !text.contains("null") && !text.contains("scopes_supported"),
        "{text}"
    );
}
