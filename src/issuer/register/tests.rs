use std::sync::Arc;

use http_body_util::BodyExt;

use super::*;
use crate::http::RequestBody;
use crate::ids::RequestId;
use crate::issuer::client::tests::{Fixture, START};
use crate::peer::{Conn, Peer, TokenMemo};

fn inbound(client: [u8; 4]) -> Inbound {
    Inbound {
        id: RequestId::new([1; 16]),
        received: Timestamp::from_secs(START),
        started: tokio::time::Instant::now(),
        conn: Arc::new(Conn {
            peer: Peer::Unix,
            listener: "test".into(),
            tls: None,
            memo: TokenMemo::default(),
        }),
        client: Some(client.into()),
        https: true,
    }
}

async fn send(clients: &Clients, method: Method, body: impl Into<String>) -> (Response, Value) {
    send_from(clients, [192, 0, 2, 1], method, body).await
}

async fn send_from(
    clients: &Clients,
    client: [u8; 4],
    method: Method,
    body: impl Into<String>,
) -> (Response, Value) {
    let request = http::Request::builder()
        .method(method)
        .uri("/oauth2/register")
        .body(RequestBody::full(body.into()))
        .unwrap();
    let (parts, body) = register(clients, &Audit::default(), &inbound(client), request)
        .await
        .into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    (Response::from_parts(parts, Body::Empty), json)
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.iter().any(has_null),
        Value::Object(map) => map.values().any(has_null),
        _ => false,
    }
}

#[tokio::test]
async fn all_metadata_comes_back() {
    let clients = Fixture::new().clients("{}");
    let said = json!({
        "redirect_uris": ["http://127.0.0.1/", "http://127.0.0.1:33418/", "https://vscode.dev/redirect"],
        "client_name": "Visual Studio Code",
        "client_name#ja": "コード",
        "client_uri": "https://code.visualstudio.com",
        "logo_uri": null,
        "contacts": ["a@b.example"],
        "application_type": "native",
        "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "scope": "read write",
        "software_id": "x",
        "something_else": true,
    });
    let (response, answer) = send(&clients, Method::POST, said.to_string()).await;
    assert_eq!(response.status(), StatusCode::CREATED, "{answer}");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    for name in [
        "redirect_uris",
        "client_name",
        "client_name#ja",
        "client_uri",
        "contacts",
        "application_type",
        "response_types",
        "token_endpoint_auth_method",
        "scope",
        "software_id",
    ] {
        assert_eq!(answer[name], said[name], "{name}");
    }
    assert_eq!(
        answer["grant_types"],
        json!(["authorization_code", "refresh_token"])
    );
    assert_eq!(answer["client_id_issued_at"], START);
    assert!(!has_null(&answer), "{answer}");
    for absent in [
        "client_secret",
        "client_secret_expires_at",
        "something_else",
        "logo_uri",
    ] {
        assert!(answer.get(absent).is_none(), "{absent}");
    }
    let client = clients
        .find(answer["client_id"].as_str().unwrap(), None)
        .await
        .unwrap();
    assert_eq!(client.name.as_deref(), Some("Visual Studio Code"));
}

#[tokio::test]
async fn a_client_that_asks_for_a_secret_can_use_it() {
    let clients = Fixture::new().clients("{}");
    let said = json!({ "redirect_uris": ["https://a.example/cb"], "token_endpoint_auth_method": "client_secret_post" });
    let (_, answer) = send(&clients, Method::POST, said.to_string()).await;
    assert_eq!(answer["client_secret_expires_at"], 0);
    assert_eq!(
        answer["grant_types"],
        json!(["authorization_code", "refresh_token"])
    );
    let text = |name: &str| answer[name].as_str().unwrap();
    let secret = text("client_secret");
    assert!(
        secret
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    );
    let form = |secret: &str| {
        let text = format!("client_id={}&client_secret={secret}", text("client_id"));
        super::super::form::Form::parse(text.as_bytes()).unwrap()
    };
    let none = http::HeaderMap::new();
    clients
        .authenticate(&none, &form(secret), None)
        .await
        .unwrap();
    assert!(clients.authenticate(&none, &form("x"), None).await.is_err());
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let clients = Fixture::new().clients("{}");
    let uri = json!(["https://a.example/cb"]);
    for (said, code, says) in [
        (
            json!({}),
            "invalid_redirect_uri",
            "redirect_uris is missing",
        ),
        (
            json!({ "redirect_uris": [] }),
            "invalid_redirect_uri",
            "redirect_uris is missing",
        ),
        (
            json!({ "redirect_uris": "x" }),
            "invalid_redirect_uri",
            "list of texts",
        ),
        (
            json!({ "redirect_uris": ["https://a.example/cb", "http://b.example/cb"] }),
            "invalid_redirect_uri",
            "http://b.example/cb is not accepted: http is only for",
        ),
        (
            json!({ "redirect_uris": ["https://a.example/\u{1f600}\n"] }),
            "invalid_redirect_uri",
            "\\u{1f600}\\n is not accepted",
        ),
        (
            json!({ "redirect_uris": uri, "token_endpoint_auth_method": "tls_client_auth" }),
            "invalid_client_metadata",
            "has to be one of none",
        ),
        (
            json!({ "redirect_uris": uri, "token_endpoint_auth_method": "private_key_jwt" }),
            "invalid_client_metadata",
            "jwks_uri or jwks",
        ),
        (
            json!({ "redirect_uris": uri, "grant_types": ["client_credentials"] }),
            "invalid_client_metadata",
            "registered by the operator",
        ),
        (
            json!({ "redirect_uris": uri, "grant_types": "x" }),
            "invalid_client_metadata",
            "list of texts",
        ),
        (
            json!({ "redirect_uris": uri, "response_types": ["token"] }),
            "invalid_client_metadata",
            "response_types",
        ),
        (
            json!({ "redirect_uris": uri, "client_name": 5 }),
            "invalid_client_metadata",
            "client_name has to be a text",
        ),
        (
            json!({ "redirect_uris": uri, "client_name": "x".repeat(100), "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": format!("https://a.example/{}", "k".repeat(1000)) }),
            "invalid_client_metadata",
            "too much",
        ),
    ] {
        let (response, answer) = send(&clients, Method::POST, said.to_string()).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{said}");
        assert_eq!(answer["error"], code, "{said}: {answer}");
        let description = answer["error_description"].as_str().unwrap();
        assert!(
            description.contains(says) && description.is_ascii(),
            "{said}: {description}"
        );
        assert!(answer.get("client_id").is_none());
    }
    for body in ["", "x", "[]", "5", "\"x\"", "{"] {
        let (response, answer) = send(&clients, Method::POST, body).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answer["error"], "invalid_client_metadata", "{body}");
    }
}

/// S19: bodies have an end, floods have an end, and nothing is stored.
#[tokio::test]
async fn attack_s19_floods_and_huge_bodies_end() {
    let fixture = Fixture::new();
    let clients = fixture.clients("{ registration: { per_hour: 1000 } }");
    let (response, _) = send(&clients, Method::POST, " ".repeat(1 << 20)).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let good = json!({ "redirect_uris": ["https://a.example/cb"], "client_name": "<script>alert(1)</script>" }).to_string();
    for n in 1..1000 {
        let (response, _) = send(&clients, Method::POST, &*good).await;
        assert_eq!(response.status(), StatusCode::CREATED, "{n}");
    }
    let (response, answer) = send(&clients, Method::POST, &*good).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "{answer}");
    assert!(
        response.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 0
    );
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    // Others are let in; a reload does not forget.
    let (response, _) = send_from(&clients, [192, 0, 2, 2], Method::POST, &*good).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let reloaded = fixture.after("{ registration: { per_hour: 1000 } }", Some(&clients));
    let (response, _) = send(&reloaded, Method::POST, &*good).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    for space in [
        crate::store::Space::Grant,
        crate::store::Space::Replay,
        crate::store::Space::Consent,
    ] {
        assert!(
            matches!(fixture.store.count(space).await, Ok(None | Some(0))),
            "{space:?}"
        );
    }
}

#[tokio::test]
async fn other_methods_and_a_closed_door() {
    let clients = Fixture::new().clients("{}");
    let (response, _) = send(&clients, Method::GET, "").await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()["allow"], "POST, OPTIONS");
    let (response, _) = send(&clients, Method::OPTIONS, "").await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert!(
        response
            .headers()
            .contains_key("access-control-allow-headers")
    );
    let closed = Fixture::new().clients("{ registration: { enabled: false } }");
    let said = json!({ "redirect_uris": ["https://a.example/cb"] });
    let (response, answer) = send(&closed, Method::POST, said.to_string()).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(answer.get("client_id").is_none());
}
