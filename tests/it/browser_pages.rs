//! What people see, with Chromium: sign-in, return-to, several tabs, refusal, sign-out, error pages.

use serde_json::json;

use crate::harness::echo::Echo;
use crate::harness::parts;
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::proxy;

#[tokio::test]
async fn pages_in_a_real_browser() {
    let provider = RealProvider::start(&json!({})).await;
    let backend = Echo::start().await;
    let proxy = proxy()
        .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
        .route(
            "/app/*",
            &format!("{}/app", backend.url()),
            "kind: http\nallow: { any_user: true }",
        )
        .route(
            "/engineering/*",
            backend.url(),
            "kind: http\nallow: { groups: [engineering] }",
        )
        .route("/tools/mcp", backend.url(), "allow: { any_user: true }")
        .start()
        .await;
    let base = proxy.url("").trim_end_matches('/').to_owned();
    let screenshots = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    let _place = parts::heavy().await;
    let mut command = parts::node("browser/pages.mjs");
    command.arg(&base).arg(&screenshots);
    let seen = parts::run_json(command).await;

    assert_eq!(seen["failure"], json!(null), "{seen:#}");
    assert_eq!(seen["at_provider"], "Test provider");
    assert_eq!(seen["returned"], format!("{base}/app/reports?year=2026"));
    assert_eq!(seen["backend"], "Backend page");
    assert_eq!(seen["second_tab"], format!("{base}/app/second"));
    let session = json!({ "name": "mcp_session", "httpOnly": true, "sameSite": "Lax", "path": "/", "domain": "localhost" });
    assert_eq!(
        seen["cookies"],
        json!([session]),
        "one cookie, and none of finished login flows"
    );

    assert!(
        seen["signed_out"].as_str().unwrap().contains("signed out"),
        "{seen:#}"
    );
    assert_eq!(seen["cookies_after"], json!([]));
    assert_eq!(seen["after_sign_out"], "Test provider");
    assert_eq!(
        seen["both_tabs"],
        json!([format!("{base}/app/one"), format!("{base}/app/two")])
    );
    assert_eq!(seen["from_button"], format!("{base}/app/from-button"));
    assert_eq!(seen["refused"]["status"], 403);
    assert_eq!(seen["nothing"]["status"], 404);
    assert_eq!(seen["out_of_the_blue"]["status"], 400);
    assert_eq!(seen["mcp"]["status"], 401, "an MCP address never redirects");
    assert!(
        seen["mcp"]["type"]
            .as_str()
            .unwrap()
            .starts_with("text/html"),
        "{seen:#}"
    );
    assert_eq!(
        seen["complaints"],
        json!([]),
        "the browser has nothing to complain about"
    );
    for (page, width) in seen["widths"].as_object().unwrap() {
        assert!(
            width.as_u64().unwrap() <= 320,
            "{page} sticks out on a phone: {width}"
        );
    }
}
