//! The token and revocation endpoints as programs and browsers meet them.

use http::Method;
use serde_json::json;

use super::bearers::{refused, says, works};
use super::visit::World;
use crate::harness::client::{Ask, get, post};
use crate::harness::oauth::App;
use crate::harness::proxy::proxy;

#[tokio::test]
async fn s29_revocation_ends_the_grant_and_only_for_its_client() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let other = world.local_app("Another App").await;
    let mut ann = world.ann().await;
    let revoke = |client: &App, token: &str| {
        let fields = [
            ("token".to_owned(), token.to_owned()),
            ("client_id".to_owned(), client.client_id.clone()),
        ];
        let url = world.url("/oauth2/revoke");
        async move { post(&url).form(&fields).send().await }
    };
    let kept = app.sign_in_again(&mut ann, "ann").await;
    for by_access in [true, false] {
        let tokens = app.sign_in_again(&mut ann, "ann").await;
        let refresh = tokens.refresh.clone().unwrap();
        let token = if by_access { &tokens.access } else { &refresh };
        for (client, token) in [
            (&other, &**token),
            (&app, "x"),
            (&app, "mcpr_AAAA"),
            (&app, "a.b.c"),
        ] {
            let answer = revoke(client, token).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            works(&world, &tokens).await;
        }
        for _ in 0..2 {
            let answer = revoke(&app, token).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.header("cache-control"), "no-store");
            refused(&app.resource, &tokens.access, "revoked").await;
            says(&app.refresh(&refresh).await, "invalid_grant", "revoked");
        }
    }
    works(&world, &kept).await;
    let url = world.url("/oauth2/revoke");
    let nobody = [
        ("token".to_owned(), kept.access.clone()),
        ("client_id".to_owned(), "nobody".to_owned()),
    ];
    let answer = post(&url).form(&nobody).send().await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["error"]),
        (401, &json!("invalid_client"))
    );
    let missing = [("client_id".to_owned(), app.client_id.clone())];
    says(
        &post(&url).form(&missing).send().await,
        "invalid_request",
        "no token",
    );
}

#[tokio::test]
async fn programs_of_other_origins_may_ask_and_browsers_forms_may_not() {
    let world = World::new().await;
    let origin = "https://app.example";
    for path in [
        "/oauth2/token",
        "/token",
        "/oauth2/register",
        "/oauth2/revoke",
        "/oauth2/jwks",
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/files/mcp",
    ] {
        let answer = Ask::new(Method::OPTIONS, &world.url(path))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type")
            .send()
            .await;
        assert_eq!(answer.status, 204, "{path}: {}", answer.text());
        let may = answer.header("access-control-allow-origin");
        assert_eq!(may, "*", "{path}");
        assert_eq!(
            answer.header("access-control-allow-credentials"),
            "",
            "{path}"
        );
    }
    for path in ["/oauth2/token", "/oauth2/revoke", "/oauth2/register"] {
        // Also refusals can be read.
        let answer = post(&world.url(path))
            .header("origin", origin)
            .json(&json!([]))
            .send()
            .await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        let answer = get(&world.url(path)).send().await;
        assert_eq!(answer.status, 405, "{path}: {}", answer.text());
        assert!(answer.header("allow").contains("POST"), "{path}");
    }
    for path in ["/oauth2/authorize", "/oauth2/consent"] {
        for method in [Method::OPTIONS, Method::GET] {
            let answer = Ask::new(method, &world.url(path))
                .header("origin", origin)
                .header("access-control-request-method", "POST")
                .send()
                .await;
            for name in [
                "access-control-allow-origin",
                "access-control-allow-credentials",
            ] {
                assert_eq!(answer.header(name), "", "{path}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_switched_off_is_not_there() {
    let issuer = "http://127.0.0.1:1";
    let proxy = proxy()
        .oidc(issuer, "proxy", "a-long-client-secret")
        .route(
            "/mcp",
            "http://127.0.0.1:1/mcp",
            "allow: { any_user: true }",
        )
        .yaml("authorization_server: { enabled: false }")
        .try_start()
        .await
        .unwrap();
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/oauth2/jwks",
        "/oauth2/authorize",
        "/authorize",
    ] {
        let answer = get(&proxy.url(path)).send().await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    let fields = [("grant_type".to_owned(), "client_credentials".to_owned())];
    for path in [
        "/oauth2/token",
        "/token",
        "/oauth2/register",
        "/register",
        "/oauth2/revoke",
        "/oauth2/consent",
    ] {
        let answer = post(&proxy.url(path)).form(&fields).send().await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    let document = get(&proxy.url("/.well-known/oauth-protected-resource/mcp"))
        .send()
        .await
        .json();
    assert_eq!(document["authorization_servers"], json!([issuer]));
}
