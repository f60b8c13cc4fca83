//! Clients that register themselves, over the wire.

use http::Method;
use serde_json::{Value, json};

use super::visit::World;
use crate::harness::browser::Browser;
use crate::harness::client::{Answer, Ask, get, post};
use crate::harness::proxy::proxy;

fn metadata() -> Value {
    json!({
        "client_name": "Cursor",
        "redirect_uris": [
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "http://localhost:8787/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
        ],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "web",
        "logo_uri": "https://cursor.com/logo.png",
    })
}

async fn register(url: &str, said: &Value) -> Answer {
    post(url).json(said).send().await
}

#[tokio::test]
async fn a_client_gets_back_what_it_said() {
    let world = World::new().await;
    for path in ["/oauth2/register", "/register"] {
        let answer = register(&world.url(path), &metadata()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        for (name, value) in metadata().as_object().unwrap() {
            assert_eq!(&answer.json()[name], value, "{path} {name}");
        }
        assert!(!answer.text().contains("null"), "{}", answer.text());
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("content-type"), "application/json");
        let id = answer.json()["client_id"].as_str().unwrap().to_owned();
        assert!(id.len() < 1536 && !id.starts_with("https://"));
    }
    let preflight = Ask::new(Method::OPTIONS, &world.url("/oauth2/register"))
        .header("origin", "https://inspector.example")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "content-type, mcp-protocol-version",
        )
        .send()
        .await;
    assert!(preflight.status.is_success(), "{}", preflight.status);
    assert_eq!(preflight.header("access-control-allow-origin"), "*");
    let allowed = preflight.header("access-control-allow-headers");
    assert!(allowed.contains("mcp-protocol-version"), "{allowed}");
}

/// S6: what may never be redirected to is not registered, and the client is told which and why.
#[tokio::test]
async fn attack_s6_bad_redirect_uris_are_not_registered() {
    let world = World::new().await;
    for bad in [
        "http://evil.example/cb",
        "https://good.example@evil.example/cb",
        "https://evil.example/cb#x",
        "https://Evil.example/cb",
        "https://evil.example/a/../cb",
        "https://evil.example/%0d%0aSet-Cookie:x",
        "https://evil.example\\@good.example/cb",
        " https://evil.example/cb",
        "javascript:alert(1)",
        "JaVaScript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "vbscript:x",
        "blob:https://evil.example/x",
        "about:blank",
        "unlisted://cb",
        "http://localhost.evil.example/cb",
        "//evil.example/cb",
        "",
    ] {
        let mut said = metadata();
        said["redirect_uris"] = json!(["http://127.0.0.1/cb", bad]);
        let answer = register(&world.url("/oauth2/register"), &said).await;
        assert_eq!(answer.status, 400, "{bad}: {}", answer.text());
        assert_eq!(answer.json()["error"], "invalid_redirect_uri", "{bad}");
        let why = answer.json()["error_description"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            why.contains(&*bad.escape_default().to_string()),
            "{bad}: {why}"
        );
    }
}

/// S19: markup in a name is text, and huge bodies are not read.
#[tokio::test]
async fn attack_s19_names_are_text_and_bodies_have_an_end() {
    let world = World::new().await;
    let name = "<script>alert(1)</script><img src=x onerror=alert(1)>";
    let app = world.local_app(name).await;
    let page = app.consent_page(&mut Browser::default(), "ann").await;
    assert!(!page.text().contains("<script") && !page.text().contains("<img src=x"));
    let policy = page.answer.header("content-security-policy");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    let mut said = metadata();
    said["client_uri"] = json!("x".repeat(1 << 20));
    let answer = register(&world.url("/oauth2/register"), &said).await;
    assert_eq!(answer.status, 413, "{}", answer.text());
}

/// S19: one source has its share, and who it is is said by proxies that are trusted, and by nobody else.
#[tokio::test]
async fn attack_s19_a_flood_ends_and_other_sources_go_on() {
    let limited = |trusted: &str| {
        proxy()
            .oidc("http://127.0.0.1:1", "proxy", "a-long-client-secret")
            .route(
                "/mcp",
                "http://127.0.0.1:1/mcp",
                "allow: { any_user: true }",
            )
            .yaml("authorization_server: { registration: { per_hour: 3 } }")
            .yaml(trusted)
    };
    for (trusted, second_source) in [
        ("trusted_proxies: [127.0.0.0/8, '::1/128']", 201),
        ("", 429),
    ] {
        let setup = limited(trusted);
        let proxy = setup.try_start().await.unwrap();
        let send = async |client: &str| {
            post(&proxy.url("/oauth2/register"))
                .header("x-forwarded-for", client)
                .json(&metadata())
                .send()
                .await
        };
        for n in 0..3 {
            let answer = send("198.51.100.7").await;
            assert_eq!(answer.status, 201, "{n}: {}", answer.text());
        }
        let answer = send("198.51.100.7").await;
        assert_eq!(answer.status, 429, "{}", answer.text());
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=1200).contains(&wait), "{wait}");
        assert_eq!(
            send("198.51.100.8").await.status,
            second_source,
            "{trusted}"
        );
        // A reload forgets nothing.
        proxy.reload(&setup).await.unwrap();
        assert_eq!(send("198.51.100.7").await.status, 429);
    }
}

#[tokio::test]
async fn a_closed_door_is_not_advertised() {
    let proxy = proxy()
        .oidc("http://127.0.0.1:1", "proxy", "a-long-client-secret")
        .route("/mcp", "http://127.0.0.1:1/mcp", "allow: { any_user: true }")
        .yaml("authorization_server: { registration: { enabled: false }, client_metadata_documents: { enabled: false } }")
        .try_start()
        .await
        .unwrap();
    let metadata_of = get(&proxy.url("/.well-known/oauth-authorization-server"))
        .send()
        .await;
    let document = metadata_of.json();
    assert!(document["token_endpoint"].is_string(), "{document}");
    assert!(
        document.get("registration_endpoint").is_none(),
        "{document}"
    );
    assert_ne!(
        document["client_id_metadata_document_supported"], true,
        "{document}"
    );
    for path in ["/oauth2/register", "/register"] {
        let answer = register(&proxy.url(path), &metadata()).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert!(!answer.text().contains("client_id\""), "{}", answer.text());
    }
}
