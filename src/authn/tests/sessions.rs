use super::*;
use crate::ids::Subject;

async fn session_cookie(world: &World) -> String {
    let subject = Subject {
        issuer: "https://idp.example".into(),
        subject: "bob".into(),
    };
    let login = NewLogin {
        claims: Claims::read(
            subject,
            serde_json::Map::new(),
            &crate::config::oidc::ClaimMap::default(),
        ),
        tokens: ProviderTokens {
            access_token: Secret::new("a"),
            access_expires: None,
            refresh_token: None,
            id_token: None,
            provider_session: None,
        },
    };
    let (_, ticket) = world.sessions.create(login).await.unwrap();
    format!(
        "__Host-mcp_session={}",
        ticket.to_cookie_value().expose_secret()
    )
}

#[tokio::test]
async fn a_session_counts_where_the_page_is_ours() {
    let world = World::new().await;
    let cookie = session_cookie(&world).await;
    let who = async |path: &str, more: &[(&str, &str)]| {
        let headers = [&[("cookie", cookie.as_str())], more].concat();
        match world.ask(path, &headers).await {
            Ok(Caller::Known(identity)) => {
                assert_eq!(identity.credential(), &Credential::Session);
                identity.claims().subject.subject.to_string()
            }
            Ok(Caller::Anonymous) => "nobody".to_owned(),
            Err(reject) => reject.status().as_u16().to_string(),
        }
    };
    let navigation = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    for (path, headers, expected) in [
        ("/page", &[][..], "bob"),
        ("/a/mcp", &[], "bob"),
        ("/open", &[], "bob"),
        ("/page", &[("sec-fetch-site", "same-origin")], "bob"),
        ("/page", &navigation, "bob"),
        ("/a/mcp", &navigation, "401"),
        ("/page", &[("sec-fetch-site", "same-site")], "401"),
        ("/open", &[("sec-fetch-site", "cross-site")], "nobody"),
        ("/page", &[("origin", "https://evil.test")], "401"),
        ("/page", &[("origin", PUBLIC)], "bob"),
        ("/page", &[("upgrade", "websocket")], "401"),
        (
            "/page",
            &[("upgrade", "websocket"), ("origin", PUBLIC)],
            "bob",
        ),
        ("/page", &[("authorization", "Bearer x")], "401"),
        ("/page", &[("x-api-key", "wrong")], "401"),
    ] {
        assert_eq!(who(path, headers).await, expected, "{path} {headers:?}");
    }
    world.metric("flow=\"session\",result=\"ok\",reason=\"none\"} 7");
}

#[tokio::test]
async fn forward_auth_without_a_route_is_for_sessions() {
    let world = World::new().await;
    let cookie = HeaderValue::from_str(&session_cookie(&world).await).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("cookie", cookie);
    assert_eq!(
        &*world
            .authn
            .signed_in(&headers)
            .await
            .unwrap()
            .claims()
            .subject
            .subject,
        "bob"
    );
    let target = world.table.named("/page").unwrap();
    assert!(matches!(
        world
            .authn
            .authenticate_forwarded(&world.inbound(), &target, &headers)
            .await,
        Ok(Caller::Known(_))
    ));
    for (name, value) in [
        (
            "authorization",
            format!("Bearer {}", world.signer.token(&world.claims())),
        ),
        ("x-api-key", "0123456789abcdef".to_owned()),
    ] {
        let mut headers = headers.clone();
        headers.insert(name, value.parse().unwrap());
        assert_eq!(
            world.authn.signed_in(&headers).await.unwrap_err().status(),
            401,
            "{name} without a route"
        );
    }
    let mut headers = HeaderMap::new();
    headers.insert(
        "authorization",
        format!("Bearer {}", world.signer.token(&world.claims()))
            .parse()
            .unwrap(),
    );
    let target = world.table.named("/a/mcp").unwrap();
    assert!(
        world
            .authn
            .authenticate_forwarded(&world.inbound(), &target, &headers)
            .await
            .is_ok()
    );
    let target = world.table.named("/b/mcp").unwrap();
    assert_eq!(
        world
            .authn
            .authenticate_forwarded(&world.inbound(), &target, &headers)
            .await
            .unwrap_err()
            .status(),
        401
    );
}

#[tokio::test]
async fn broken_session_cookies_are_never_a_way_in() {
    let world = World::new().await;
    for cookie in [
        "__Host-mcp_session=",
        "__Host-mcp_session=x",
        "__Host-mcp_session=AAAA.BBBB",
        "mcp_session=x",
        ";;=",
        "__Host-mcp_session=%00",
    ] {
        assert_eq!(
            world
                .ask("/page", &[("cookie", cookie)])
                .await
                .unwrap_err()
                .status(),
            401,
            "{cookie}"
        );
        let mut headers = HeaderMap::new();
        headers.insert("cookie", HeaderValue::from_str(cookie).unwrap());
        assert_eq!(
            world.authn.signed_in(&headers).await.unwrap_err().status(),
            401,
            "{cookie}"
        );
    }
}
