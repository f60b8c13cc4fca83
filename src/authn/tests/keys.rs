use super::*;

#[tokio::test]
async fn more_than_one_credential_is_ambiguous() {
    let world = World::new().await;
    let token = format!("Bearer {}", world.signer.token(&world.claims()));
    for headers in [
        [("authorization", &*token), ("authorization", &*token)],
        [("authorization", &*token), ("authorization", "Basic eA==")],
        [
            ("authorization", &*token),
            ("x-api-key", "0123456789abcdef"),
        ],
        [
            ("x-api-key", "0123456789abcdef"),
            ("x-api-key", "0123456789abcdef"),
        ],
    ] {
        assert_eq!(
            world.ask("/a/mcp", &headers).await.unwrap_err().status(),
            400,
            "{headers:?}"
        );
    }
    let two_in_one = format!("{token}, {token}");
    assert_eq!(
        world
            .ask("/a/mcp", &[("authorization", &two_in_one)])
            .await
            .unwrap_err()
            .status(),
        401
    );
    assert!(
        world
            .ask(
                "/a/mcp",
                &[("authorization", &token.replace("Bearer ", "bEARER   "))]
            )
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn api_keys_are_principals() {
    let world = World::new().await;
    let Ok(Caller::Known(identity)) = world
        .ask("/a/mcp", &[("x-api-key", "0123456789abcdef")])
        .await
    else {
        panic!("a live key")
    };
    assert_eq!(identity.claims().groups, ["bots"]);
    assert_eq!(identity.credential(), &Credential::ApiKey);
    let reject = world
        .ask("/a/mcp", &[("x-api-key", "0123456789abcdeX")])
        .await
        .unwrap_err();
    assert_eq!(
        (reject.status().as_u16(), reject.code()),
        (401, Code::Unauthenticated)
    );
    assert!(
        !challenge(&reject).contains("error="),
        "no token was presented"
    );
    let bearer = world
        .bearer("/a/mcp", "0123456789abcdef")
        .await
        .unwrap_err();
    assert_eq!(
        bearer.reason(),
        Some("malformed"),
        "a key is no bearer token"
    );
    world.metric("flow=\"api_key\",result=\"denied\",reason=\"unknown_api_key\"} 1");
}

#[tokio::test]
async fn with_api_keys_alone_no_token_is_asked_for() {
    let world = World::with(|config, _| config["auth"]["issuers"] = json!([])).await;
    assert_eq!(
        challenge(&world.ask("/a/mcp", &[]).await.unwrap_err()),
        "ApiKey header=\"X-API-Key\""
    );
    let target = world.target("/.well-known/oauth-protected-resource/a/mcp");
    let answer =
        world
            .authn
            .resource_metadata(&world.inbound(), &target, &Method::GET, &HeaderMap::new());
    assert_eq!(answer.unwrap_err().status(), 404);
}

#[tokio::test]
async fn bypass_is_one_fixed_user_and_is_seen() {
    let world = World::with(|config, _| config["auth"]["mode"] = json!("bypass")).await;
    let Ok(Caller::Known(identity)) = world.ask("/a/mcp", &[("authorization", "Bearer x")]).await
    else {
        panic!("everybody is in")
    };
    assert_eq!(
        (&*identity.claims().subject.subject, identity.credential()),
        ("bypass-user", &Credential::Bypass)
    );
    world.metric("mcp_proxy_auth_bypass 1");
}
