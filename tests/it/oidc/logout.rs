use http::{Method, StatusCode};
use mcp_oidc_proxy::reject::Code;
use serde_json::json;

use super::world::{PUBLIC, Person, SESSION, World};

#[tokio::test]
async fn advisory_cve_2025_55162_signing_out_ends_everything() {
    let world = World::new().await;
    let mut person = world.signed_in().await;
    let kept = person.clone();
    let answer = world.get(&mut person, "/oauth2/sign_out?rd=%2Fbye").await;
    assert_eq!(answer.status, StatusCode::FOUND);
    // By a browser's rules the cookie is gone, and the session behind it is dead too.
    assert!(!person.jar.contains_key(SESSION));
    assert!(world.session(&kept).await.unwrap().is_none());

    let url = url::Url::parse(answer.location()).unwrap();
    let asked: std::collections::HashMap<_, _> = url.query_pairs().into_owned().collect();
    assert_eq!(url.path(), "/logout");
    assert!(asked["id_token_hint"].starts_with("eyJ"));
    assert_eq!(asked["client_id"], "proxy");
    assert_eq!(
        asked["post_logout_redirect_uri"],
        format!("{PUBLIC}/oauth2/sign_out")
    );

    let back = world
        .visit(answer.location())
        .await
        .location()
        .strip_prefix(PUBLIC)
        .unwrap()
        .to_owned();
    let answer = world.arrive(&mut person, &back).await;
    assert_eq!(
        (answer.status, answer.location()),
        (StatusCode::SEE_OTHER, "/bye")
    );
}

#[tokio::test]
async fn the_way_back_from_the_provider_cannot_be_forged() {
    let world = World::new().await;
    for state in ["", "aHR0cHM6Ly9ldmls", "L2V2aWw"] {
        let answer = world
            .arrive(
                &mut Person::default(),
                &format!("/oauth2/sign_out?state={state}&rd=%2Fx"),
            )
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{state}");
        assert!(answer.body.contains("You are signed out"));
    }
}

#[tokio::test]
async fn a_link_from_elsewhere_asks_first() {
    let world = World::new().await;
    let mut person = world.signed_in().await;
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-dest", "image"),
        ],
        &[
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-mode", "no-cors"),
        ],
        &[("sec-fetch-site", "none"), ("sec-purpose", "prefetch")],
        &[],
    ] {
        let page = world
            .send(
                &mut person,
                Method::GET,
                "/oauth2/sign_out?rd=%2Fx",
                headers,
                "",
            )
            .await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(
            page.body
                .contains("<form method=\"post\" action=\"/oauth2/sign_out\">"),
            "{}",
            page.body
        );
        assert!(page.body.contains("ann@example.com") && page.body.contains("value=\"/x\""));
        assert_eq!(page.headers["referrer-policy"], "same-origin");
        assert!(
            !page.headers["content-security-policy"]
                .to_str()
                .unwrap()
                .contains("form-action")
        );
    }
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
    ] {
        let answer = world
            .send(
                &mut person,
                Method::POST,
                "/oauth2/sign_out",
                headers,
                "rd=%2F",
            )
            .await;
        assert_eq!(
            (answer.status, answer.code),
            (StatusCode::FORBIDDEN, Some(Code::OriginRefused)),
            "{headers:?}"
        );
    }
    assert!(world.session(&person).await.unwrap().is_some());
    let answer = world
        .send(
            &mut person,
            Method::POST,
            "/oauth2/sign_out",
            &[("origin", PUBLIC)],
            "rd=%2Fx",
        )
        .await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert!(world.session(&person).await.unwrap().is_none());
}

#[tokio::test]
async fn without_an_endpoint_of_the_provider_it_ends_here() {
    let world = World::undiscovered(json!({}), |idp| {
        idp.script(|script| {
            script.document = json!({"end_session_endpoint": null})
                .as_object()
                .unwrap()
                .clone();
        });
    })
    .await;
    world.discovered().await;
    let mut person = world.signed_in().await;
    let page = world.get(&mut person, "/oauth2/sign_out").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(
        page.body.contains("You are signed out")
            && page.body.contains("You may still be signed in")
    );
    assert!(person.jar.is_empty());
    let mut person = world.signed_in().await;
    assert_eq!(
        world
            .get(&mut person, "/oauth2/sign_out?rd=%2F")
            .await
            .location(),
        "/"
    );
}
