//! What keeps a function from starting, and who is told.

use super::world::{Function, KEY, World};
use crate::harness::proxy::proxy;

const ROUTE: &str = "allow: { any_user: true }";

/// Waits for the end of the process; gives its exit code and what the platform was told, which was printed too.
async fn refused(config: &str, env: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut function = Function::spawn(Some(config), env).await;
    function
        .part
        .wait_for(|line| line.starts_with("mcp-oidc-proxy-lambda: "))
        .await;
    let code = function.part.ended().await;
    let errors = function.platform.init_errors();
    let [(head, error)] = errors.as_slice() else {
        panic!("{errors:?}")
    };
    assert_eq!(
        head["lambda-runtime-function-error-type"],
        error["errorType"].as_str().unwrap()
    );
    assert_eq!(function.platform.asked(), 0);
    (code, error["errorMessage"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn the_memory_store_is_refused_where_people_sign_in() {
    let world = World::new().await;
    let text = world
        .setup()
        .text()
        .replace("store: redis", "store: memory");
    let (code, why) = refused(&text, &[]).await;
    assert_eq!(code, Some(78), "{why}");
    assert!(
        why.contains("sessions.store") && why.contains("redis"),
        "{why}"
    );
}

#[tokio::test]
async fn with_api_keys_alone_nothing_is_kept_and_memory_will_do() {
    let setup = proxy().route("/mcp", "http://127.0.0.1:9/mcp", ROUTE).yaml(
        "public_url: \"https://mcp.example.com\"\nauth: { api_keys: [{ name: ci, key: { env: CI_KEY } }] }\n",
    );
    let env = [("CI_KEY", "0123456789abcdef0123456789abcdef")];
    let (code, why) = refused(&setup.text(), &env).await;
    assert_eq!(code, Some(78), "{why}");
    assert!(why.contains("secret_keys"), "{why}");
    Function::start(&setup.yaml(KEY), &env).await;
}

#[tokio::test]
async fn what_cannot_be_in_a_function_is_said_at_once() {
    let world = World::new().await;
    let text = world.setup().text();
    for (config, env, code, word) in [
        (
            text.replace("public_url", "# public_url"),
            None,
            78,
            "public_url",
        ),
        (
            text.clone() + "audit: { sink: journald }\n",
            None,
            78,
            "audit.sink",
        ),
        (
            text.clone(),
            Some(("MCP_PROXY_LAMBDA_RESPONSE", "yes")),
            78,
            "MCP_PROXY_LAMBDA_RESPONSE",
        ),
        (
            text.clone(),
            Some(("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")),
            2,
            "SnapStart",
        ),
    ] {
        let env: Vec<_> = env.into_iter().collect();
        let (exit, why) = refused(&config, &env).await;
        assert_eq!(exit, Some(code), "{why}");
        assert!(why.contains(word), "{word}: {why}");
    }
}

#[tokio::test]
async fn the_environment_alone_is_enough() {
    let world = World::new().await;
    let redis = format!("redis://127.0.0.1:{}/", world.redis.port);
    let env = [
        (
            "OIDC_DISCOVERY_URL",
            world.idp.issuer() + "/.well-known/openid-configuration",
        ),
        ("OIDC_CLIENT_ID", crate::harness::idp::CLIENT_ID.to_owned()),
        (
            "OIDC_CLIENT_SECRET",
            crate::harness::idp::CLIENT_SECRET.to_owned(),
        ),
        ("PUBLIC_URL", super::world::PUBLIC.to_owned()),
        (
            "MCP_ENCRYPTION_KEY",
            "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".to_owned(),
        ),
        ("SESSION_STORE", "redis".to_owned()),
        ("REDIS_URL", redis),
        ("MCP_TARGET_HOST", "127.0.0.1".to_owned()),
        ("MCP_TARGET_PORT", "9".to_owned()),
    ];
    let env: Vec<(&str, &str)> = env
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    let mut function = Function::spawn(None, &env).await;
    function.is_up().await;
    let answer = function
        .ask(&super::event::Sender::HttpApi.get("/health"))
        .await;
    assert_eq!(answer.status, 200);
}
