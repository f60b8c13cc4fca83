use super::*;

#[tokio::test]
async fn algorithms_of_a_listed_issuer_can_be_narrowed() {
    let world =
        World::with(|config, _| config["auth"]["issuers"][0]["algorithms"] = json!(["RS256"]))
            .await;
    assert_eq!(world.refusal(|_| {}).await.as_deref(), Some("algorithm"));
}

#[tokio::test]
async fn a_rotated_key_works_at_once_and_a_removed_one_no_longer() {
    let world = World::new().await;
    let old = world.signer.token(&world.claims());
    assert!(world.bearer("/a/mcp", &old).await.is_ok());
    let next = Signer::new("k2");
    world.web.put("/jwks", 200, &json!({"keys": [next.jwk()]}));
    assert!(
        world.bearer("/a/mcp", &old).await.is_ok(),
        "remembered until somebody learns of the rotation"
    );
    assert!(
        world
            .bearer("/a/mcp", &next.token(&world.claims()))
            .await
            .is_ok()
    );
    let reject = world.bearer("/a/mcp", &old).await.unwrap_err();
    assert_eq!(
        reject.reason(),
        Some("unknown_kid"),
        "what the removed key signed is forgotten"
    );
}

#[tokio::test]
async fn advisory_cve_2025_64527_keys_that_cannot_be_read_are_503() {
    for (status, body) in [
        (500, json!({})),
        (200, json!("garbage")),
        (200, json!({"keys": []})),
        (302, json!({})),
        (404, json!({})),
    ] {
        let world = World::new().await;
        world.web.put("/jwks", status, &body);
        let reject = world
            .bearer("/a/mcp", &world.signer.token(&world.claims()))
            .await
            .unwrap_err();
        assert_eq!(
            (reject.status().as_u16(), reject.code()),
            (503, Code::KeysUnavailable),
            "{status} {body}"
        );
        let names: Vec<_> = reject
            .headers()
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(
            names,
            ["retry-after"],
            "no challenge: nobody has to sign in again"
        );
        world.metric("result=\"error\",reason=\"keys_unavailable\"} 1");
    }
}

#[tokio::test]
async fn groups_of_a_listed_issuer_count_only_when_mapped() {
    let with_groups = |c: &mut Value| c["groups"] = json!(["admins"]);
    for (map, expected) in [
        (json!(null), &[][..]),
        (json!({"email": "mail"}), &[]),
        (json!({"groups": ["groups"]}), &["admins".to_owned()]),
    ] {
        let world =
            World::with(|config, _| config["auth"]["issuers"][0]["claims"] = map.clone()).await;
        let mut claims = world.claims();
        with_groups(&mut claims);
        let identity = world
            .bearer("/a/mcp", &world.signer.token(&claims))
            .await
            .unwrap();
        assert_eq!(identity.claims().groups, expected, "{map}");
    }
}

#[tokio::test]
async fn a_listed_issuer_is_found_by_its_discovery_document() {
    let world = World::with(|config, web| {
        config["auth"]["issuers"][0] = json!({"issuer": web.url("/realm")});
        web.put(
            "/realm/.well-known/openid-configuration",
            200,
            &json!({"issuer": web.url("/realm"), "jwks_uri": web.url("/jwks")}),
        );
    })
    .await;
    let mut claims = world.claims();
    claims["iss"] = json!(world.web.url("/realm"));
    let token = world.signer.token(&claims);
    tokio::time::pause();
    assert_eq!(
        world.bearer("/a/mcp", &token).await.unwrap_err().status(),
        503,
        "not discovered yet is no refusal"
    );
    tokio::time::resume();
    let until = CancellationToken::new();
    // Asked before discovery has begun, and answered when it is done.
    let found = async {
        world.bearer("/a/mcp", &token).await.unwrap();
        until.cancel();
    };
    tokio::time::timeout(
        Duration::from_secs(20),
        futures_util::future::join(found, world.authn.watch(until.clone())),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn the_main_provider_binds_by_its_own_bytes() {
    let world = World::with(|config, web| {
        // The configured issuer has no final slash, the provider's own has one, as Auth0's does.
        config["oidc"] = json!({"issuer": web.url(""), "client_id": "mcp-client"});
        config["auth"]["issuers"] = json!([]);
        web.put("/.well-known/openid-configuration", 200, &json!({
            "issuer": web.url("/"), "jwks_uri": web.url("/jwks"), "authorization_endpoint": web.url("/authorize"),
            "token_endpoint": web.url("/token"), "response_types_supported": ["code"],
        }));
    })
    .await;
    let with_issuer = |issuer: String| {
        let mut claims = world.claims();
        claims["iss"] = json!(issuer);
        claims["groups"] = json!(["eng"]);
        world.signer.token(&claims)
    };
    let (exact, bare) = (
        with_issuer(world.web.url("/")),
        with_issuer(world.web.url("")),
    );
    tokio::time::pause();
    for token in [&exact, &bare] {
        assert_eq!(
            world.bearer("/a/mcp", token).await.unwrap_err().status(),
            503,
            "not discovered yet"
        );
    }
    tokio::time::resume();
    let foreign = with_issuer("https://evil.example".to_owned());
    assert_eq!(
        world.bearer("/a/mcp", &foreign).await.unwrap_err().status(),
        401
    );
    let provider = world.authn.bearer.issuers.main().unwrap();
    let until = CancellationToken::new();
    let found = async {
        // Asked before discovery has begun, and answered when it is done.
        let identity = world.bearer("/a/mcp", &exact).await.unwrap();
        assert_eq!(identity.claims().groups, ["eng"]);
        assert_eq!(
            world.bearer("/a/mcp", &bare).await.unwrap_err().reason(),
            Some("wrong_issuer")
        );
        let mut claims = world.claims();
        claims["iss"] = json!(world.web.url("/"));
        claims["aud"] = json!("mcp-client");
        let id_token = world.signer.token(&claims);
        assert_eq!(
            world
                .bearer("/a/mcp", &id_token)
                .await
                .unwrap_err()
                .reason(),
            Some("wrong_audience"),
            "the client id is no audience"
        );
        until.cancel();
    };
    tokio::time::timeout(
        Duration::from_secs(20),
        futures_util::future::join(found, Arc::clone(&provider).watch(until.clone())),
    )
    .await
    .unwrap();
    let target = world.target("/.well-known/oauth-protected-resource/a/mcp");
    let answer = world
        .authn
        .resource_metadata(&world.inbound(), &target, &Method::GET, &HeaderMap::new())
        .unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert_eq!(answer.headers()["content-type"], "application/json");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap(),
        json!({
            "resource": "https://mcp.example.com/a/mcp",
            "authorization_servers": [world.web.url("/")],
            "scopes_supported": ["mcp:use"],
            "bearer_methods_supported": ["header"],
        })
    );
}

#[tokio::test]
async fn after_a_failed_discovery_nobody_waits() {
    let world = World::with(|config, web| {
        config["oidc"] = json!({"issuer": web.url(""), "client_id": "mcp-client"});
        config["auth"]["issuers"] = json!([]);
    })
    .await;
    let mut claims = world.claims();
    claims["iss"] = json!(world.web.url(""));
    let token = world.signer.token(&claims);
    let provider = world.authn.bearer.issuers.main().unwrap();
    let until = CancellationToken::new();
    let asked = async {
        while provider.health() == Err("discovery is under way".to_owned()) {
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        let refused = world.bearer("/a/mcp", &token).await.unwrap_err();
        assert_eq!(refused.status(), 503);
        assert_eq!(began.elapsed(), Duration::ZERO);
        until.cancel();
    };
    futures_util::future::join(asked, Arc::clone(&provider).watch(until.clone())).await;
}
