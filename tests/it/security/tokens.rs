//! Tokens that are not for us, not of us, or not tokens.

use serde_json::json;

use super::world::{API_KEY, World};
use crate::harness::client::get;
use crate::harness::idp::Reply;

#[tokio::test(flavor = "multi_thread")]
async fn attack_s9_a_token_is_good_for_its_audience_only() {
    let world = World::start().await;
    let url = world.proxy.url("/mcp");
    let engineering = json!({"groups": ["engineering"]});
    let ask = |token: String| get(&url).bearer(&token);
    let good = world.idp.access_token("ann", &url, &engineering);
    assert_eq!(ask(good).send().await.status, 200);
    for audience in [
        world.proxy.url("/other"),
        world.proxy.base().as_str().trim_end_matches('/').to_owned(),
        world.proxy.base().to_string(),
        "mcp-proxy".to_owned(),
        format!("{url}x"),
        "https://elsewhere.example/mcp".to_owned(),
        String::new(),
    ] {
        let token = world.idp.access_token("ann", &audience, &engineering);
        let answer = ask(token).send().await;
        assert_eq!(answer.status, 401, "{audience}");
        assert!(
            answer
                .header("www-authenticate")
                .contains("error=\"invalid_token\""),
            "{audience}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn advisory_cve_2022_29226_any_token_is_not_a_token() {
    let world = World::start().await;
    let good = world.token();
    let (head, rest) = good.split_once('.').unwrap();
    let bad = [
        "x".to_owned(),
        "a.b.c".to_owned(),
        String::new(),
        format!("{good}x"),
        format!("eyJhbGciOiJub25lIn0.{rest}"),
        format!("{head}.eyJzdWIiOiJhbm4ifQ."),
        "A".repeat(20_000),
    ];
    for token in bad {
        let answer = get(&world.proxy.url("/mcp"))
            .header("authorization", &format!("Bearer {token}"))
            .send()
            .await;
        assert!(
            matches!(answer.status.as_u16(), 400 | 401 | 431),
            "{}: {}",
            &token[..token.len().min(40)],
            answer.status
        );
    }
    world.nothing_arrived();
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_s32_a_token_in_the_query_is_none() {
    let world = World::start().await;
    let url = format!("{}?access_token={}", world.proxy.url("/mcp"), world.token());
    assert_eq!(get(&url).send().await.status, 401);
    world.nothing_arrived();
}

#[tokio::test(flavor = "multi_thread")]
async fn advisory_ghsa_652x_groups_are_enforced() {
    let world = World::start().await;
    let outsider = world.token_with(&json!({"groups": ["sales"]}));
    let answer = get(&world.proxy.url("/mcp")).bearer(&outsider).send().await;
    assert_eq!(answer.status, 403);
    assert!(
        answer.headers.get("www-authenticate").is_none(),
        "a denial is no challenge"
    );
    for groups in [
        json!({}),
        json!({"groups": "engineering2"}),
        json!({"groups": {"engineering": true}}),
    ] {
        assert_eq!(
            get(&world.proxy.url("/mcp"))
                .bearer(&world.token_with(&groups))
                .send()
                .await
                .status,
            403
        );
    }
    world.nothing_arrived();
}

#[tokio::test(flavor = "multi_thread")]
async fn advisory_cve_2021_21378_a_bad_token_is_not_nobody_on_a_public_route() {
    let world = World::start().await;
    assert_eq!(get(&world.proxy.url("/open/x")).send().await.status, 200);
    assert_eq!(
        get(&world.proxy.url("/open/x"))
            .bearer("rubbish")
            .send()
            .await
            .status,
        401
    );
    assert_eq!(
        get(&world.proxy.url("/open/x"))
            .header("x-api-key", "wrong-key-wrong-key")
            .send()
            .await
            .status,
        401
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_two_credentials_at_once_are_refused() {
    let world = World::start().await;
    let answer = get(&world.proxy.url("/mcp"))
        .bearer(&world.token())
        .header("x-api-key", API_KEY)
        .send()
        .await;
    assert_eq!(answer.status, 400);
    let answer = get(&world.proxy.url("/mcp"))
        .bearer(&world.token())
        .bearer("other")
        .send()
        .await;
    assert_eq!(answer.status, 400);
    world.nothing_arrived();
}

#[tokio::test(flavor = "multi_thread")]
async fn advisory_cve_2025_64527_unreadable_keys_are_an_outage_and_not_a_denial() {
    let world = World::start().await;
    // A key that the proxy has not seen yet, at a provider that cannot be asked for it.
    world
        .idp
        .script(|script| script.jwks = Reply::Status(500, "broken"));
    world.idp.rotate_keys();
    let answer = get(&world.proxy.url("/mcp"))
        .bearer(&world.token())
        .send()
        .await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(
        get(&world.proxy.url("/mcp"))
            .header("x-api-key", API_KEY)
            .send()
            .await
            .status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn key_rotation_is_met_at_once() {
    let world = World::start().await;
    assert_eq!(
        get(&world.proxy.url("/mcp"))
            .bearer(&world.token())
            .send()
            .await
            .status,
        200
    );
    world.idp.rotate_keys();
    assert_eq!(
        get(&world.proxy.url("/mcp"))
            .bearer(&world.token())
            .send()
            .await
            .status,
        200
    );
}
