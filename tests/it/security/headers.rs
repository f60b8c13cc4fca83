//! What backends are told about the caller cannot be said by the caller.

use serde_json::json;

use super::world::{API_KEY, World};
use crate::harness::client::{get, post};

const RESERVED: [&str; 16] = [
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Issuer",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Real-IP",
    "Forwarded",
    "X-Request-Id",
    "X-Forwarded-Access-Token",
    "X-Auth-Request-User",
    "X-Original-URL",
    "Remote-User",
    "X-Forwarded-Port",
];

#[tokio::test(flavor = "multi_thread")]
async fn advisory_cve_2025_64484_no_spelling_of_a_reserved_header_passes() {
    let world = World::start().await;
    for name in RESERVED {
        for spelling in [
            name.to_owned(),
            name.to_ascii_lowercase(),
            name.to_ascii_uppercase(),
            name.replace('-', "_"),
            name.replacen('-', "_", 1),
        ] {
            for path in ["/mcp", "/open/x"] {
                let answer = get(&world.proxy.url(path))
                    .header("x-api-key", API_KEY)
                    .header(&spelling, "evil-7361")
                    .header(&spelling, "evil-7361")
                    .send()
                    .await;
                assert_eq!(answer.status, 200, "{spelling}");
                let headers = world.last().headers;
                assert!(
                    headers
                        .values()
                        .all(|value| !value.as_bytes().windows(9).any(|w| w == b"evil-7361")),
                    "{spelling} on {path}: {headers:?}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn advisory_cve_2025_48865_connection_does_not_remove_what_the_proxy_says() {
    let world = World::start().await;
    for listed in [
        "X-Forwarded-User",
        "x-forwarded-user, close",
        "X-Forwarded-For",
        "X-Request-Id",
    ] {
        let answer = get(&world.proxy.url("/mcp"))
            .header("x-api-key", API_KEY)
            .header("connection", listed)
            .send()
            .await;
        assert_eq!(answer.status, 200);
        let headers = world.last().headers;
        assert_eq!(headers["x-forwarded-user"], "robot", "{listed}");
        assert!(
            headers.contains_key("x-forwarded-for") && headers.contains_key("x-request-id"),
            "{listed}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn advisory_cve_2026_30851_an_absent_claim_leaves_no_header() {
    let world = World::start().await;
    let token = world
        .idp
        .access_token("bob", &world.proxy.url("/other"), &json!({}));
    let answer = get(&world.proxy.url("/other"))
        .bearer(&token)
        .header("x-forwarded-groups", "admin")
        .header("X_Forwarded_Groups", "admin")
        .send()
        .await;
    assert_eq!(answer.status, 200);
    let headers = world.last().headers;
    assert_eq!(headers["x-forwarded-user"], "bob");
    assert!(
        !headers.contains_key("x-forwarded-groups") && !headers.contains_key("x_forwarded_groups")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_s10_credentials_never_reach_the_backend() {
    let world = World::start().await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let token = world.token();
    assert_eq!(
        post(&world.proxy.url("/mcp"))
            .bearer(&token)
            .rpc(&body)
            .send()
            .await
            .status,
        200
    );
    let headers = world.last().headers;
    assert!(!headers.contains_key("authorization"), "{headers:?}");
    let key = post(&world.proxy.url("/mcp")).header("x-api-key", API_KEY);
    let answer = key
        .header("cookie", "mcp_session=abc; theme=dark")
        .rpc(&body)
        .send()
        .await;
    assert_eq!(answer.status, 200);
    let headers = world.last().headers;
    assert!(!headers.contains_key("x-api-key"), "{headers:?}");
    assert!(
        headers
            .get("cookie")
            .is_none_or(|cookie| cookie == "theme=dark"),
        "{headers:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn advisory_cve_2023_36456_an_unknown_peer_does_not_say_who_the_client_is() {
    let world = World::start().await;
    let ask = || {
        get(&world.proxy.url("/mcp"))
            .header("x-api-key", API_KEY)
            .header("x-forwarded-for", "203.0.113.9")
    };
    ask().send().await;
    assert_eq!(world.last().headers["x-real-ip"], "127.0.0.1");
    let trusting = World::with(|setup| setup.yaml("trusted_proxies: [127.0.0.0/8]")).await;
    get(&trusting.proxy.url("/mcp"))
        .header("x-api-key", API_KEY)
        .header("x-forwarded-for", "203.0.113.9")
        .send()
        .await;
    assert_eq!(trusting.last().headers["x-real-ip"], "203.0.113.9");
}
