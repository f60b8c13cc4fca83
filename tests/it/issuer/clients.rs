//! Clients at the endpoints: by document and by configuration, and what proves them.

use serde_json::{Value, json};

use super::documents::Documents;
use super::visit::{World, is_consent};
use crate::harness::browser::Browser;
use crate::harness::client::{Answer, post};
use crate::harness::oauth::{Returned, Tokens, VERIFIER};

fn described(redirect: &str) -> Value {
    json!({
        "client_name": "Document App",
        "redirect_uris": [redirect],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "none",
    })
}

/// S17: the document changes while the person decides. The code goes where the page said, and the new redirect URI
/// is nothing until the document is read again.
#[tokio::test]
async fn attack_s17_a_document_that_changes_after_consent() {
    let documents = Documents::start().await;
    let world = World::with(&documents.section()).await;
    let redirect = format!("{}/callback", world.landing.url());
    documents.show(
        "/app.json",
        "Cache-Control: max-age=300\r\n",
        described(&redirect),
    );
    let app = world.app_of(&documents.url("/app.json"), &redirect);
    let mut browser = Browser::default();
    let page = app.consent_page(&mut browser, "ann").await;
    is_consent(&page);
    assert!(page.text().contains("Document App"), "{}", page.text());
    documents.show("/app.json", "", described("https://evil.example/cb"));
    world.clock.advance(std::time::Duration::from_secs(301));
    let form = page.form_to("/oauth2/consent").fill("decision", "approve");
    let returned = Returned::of(&browser.submit(form).await);
    assert!(
        returned.url.as_str().starts_with(&redirect),
        "{}",
        returned.url
    );
    let tokens = Tokens::of(&app.redeem(&returned.code()).await);
    assert_eq!(tokens.all["token_type"], "Bearer");
    // From now on the old one is not registered any more.
    let answer = world
        .open_as(&browser, &app.authorize_url(&[]), Some("none"))
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("location")),
        (400, "")
    );
    let refreshed = app.refresh(tokens.refresh.as_deref().unwrap()).await;
    assert_eq!(refreshed.status, 200, "{}", refreshed.text());
}

/// An outage of the document's host is no reason to forget a client.
#[tokio::test]
async fn a_host_that_is_away_does_not_log_its_apps_out() {
    let documents = Documents::start().await;
    let world = World::with(&documents.section()).await;
    let redirect = format!("{}/callback", world.landing.url());
    documents.show("/app.json", "", described(&redirect));
    let app = world.app_of(&documents.url("/app.json"), &redirect);
    let tokens = app.sign_in(&mut Browser::default(), "ann").await;
    documents.answer(
        "/app.json",
        "HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n",
    );
    world
        .clock
        .advance(std::time::Duration::from_secs(2 * 3600));
    let refreshed = Tokens::of(&app.refresh(tokens.refresh.as_deref().unwrap()).await);
    assert_eq!(documents.asked().len(), 2);
    // Where nothing is remembered, nobody knows: no answer that would make the app forget what it has.
    world
        .clock
        .advance(std::time::Duration::from_secs(23 * 3600));
    let answer = app.refresh(refreshed.refresh.as_deref().unwrap()).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.json()["error"], "temporarily_unavailable");
    assert_ne!(answer.header("retry-after"), "");
}

async fn token(world: &World, basic: Option<&str>, fields: &[(&str, &str)]) -> Answer {
    let fields: Vec<(String, String)> = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut ask = post(&world.url("/oauth2/token"));
    if let Some(basic) = basic {
        ask = ask.header("authorization", basic);
    }
    ask.form(&fields).send().await
}

/// S26: nobody uses a grant that it is not set up for, or another client's name.
#[tokio::test]
async fn attack_s26_clients_prove_themselves_and_do_what_they_may() {
    let documents = Documents::start().await;
    let world = World::with(&documents.section()).await;
    documents.show(
        "/signed.json",
        "",
        json!({
            "redirect_uris": ["https://a.example/cb"],
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks_uri": documents.url("/keys"),
        }),
    );
    let signed = documents.url("/signed.json");
    let secret = "a-secret-of-a-machine-0123456789abcdef";
    // `machine:<its secret>` and `machine:wrong`.
    let right = "Basic bWFjaGluZTphLXNlY3JldC1vZi1hLW1hY2hpbmUtMDEyMzQ1Njc4OWFiY2RlZg==";
    let wrong = "Basic bWFjaGluZTp3cm9uZw==";
    let resource = world.url("/files/mcp");
    let machine = [
        ("grant_type", "client_credentials"),
        ("resource", resource.as_str()),
    ];
    for (basic, fields) in [
        (Some(right), vec![]),
        (
            None,
            vec![("client_id", "machine"), ("client_secret", secret)],
        ),
    ] {
        let answer = token(&world, basic, &[&machine[..], &fields].concat()).await;
        assert_eq!(answer.status, 200, "{fields:?}: {}", answer.text());
    }
    for (basic, fields, status, error) in [
        (Some(wrong), vec![], 401, "invalid_client"),
        (None, vec![("client_id", "machine")], 401, "invalid_client"),
        (
            None,
            vec![("client_id", "machine"), ("client_secret", "wrong")],
            401,
            "invalid_client",
        ),
        (None, vec![("client_id", "nobody")], 401, "invalid_client"),
        (
            None,
            vec![("client_id", "mcpd_AAAA")],
            401,
            "invalid_client",
        ),
        (None, vec![("client_id", &signed)], 401, "invalid_client"),
        (
            None,
            vec![("client_id", &signed), ("client_secret", "x")],
            401,
            "invalid_client",
        ),
        (
            Some(right),
            vec![("client_secret", secret)],
            400,
            "invalid_request",
        ),
        (
            Some(right),
            vec![("client_id", "portal")],
            400,
            "invalid_request",
        ),
        (None, vec![], 400, "invalid_request"),
        (
            None,
            vec![("client_id", "portal")],
            400,
            "unauthorized_client",
        ),
    ] {
        let answer = token(&world, basic, &[&machine[..], &fields].concat()).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]),
            (status, &json!(error)),
            "{basic:?} {fields:?}"
        );
        assert_eq!(answer.header("cache-control"), "no-store");
        if status == 401 {
            assert!(
                answer.header("www-authenticate").starts_with("Basic"),
                "{fields:?}"
            );
        }
    }
    let code = [
        ("grant_type", "authorization_code"),
        ("code", "mcpc_x"),
        ("code_verifier", VERIFIER),
        ("redirect_uri", "https://a.example/cb"),
    ];
    let answer = token(&world, Some(right), &code).await;
    assert_eq!(
        answer.json()["error"],
        "unauthorized_client",
        "{}",
        answer.text()
    );
}
