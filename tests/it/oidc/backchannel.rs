use std::time::Duration;

use http::{Method, StatusCode};
use mcp_oidc_proxy::session::Session;
use serde_json::{Value, json};

use super::world::{Answer, Person, World};
use crate::harness::idp::{CLIENT_ID, Reply};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

fn merge(into: &mut Value, change: &Value) {
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(name);
        } else {
            into[name] = value.clone();
        }
    }
}

/// A logout token for everything that Ann has, changed.
fn claims(world: &World, jti: &str, change: &Value) -> Value {
    let now = mcp_oidc_proxy::clock::Clock::now(&*world.clock).as_secs();
    let mut claims = json!({
        "iss": world.idp.issuer(), "aud": CLIENT_ID, "iat": now, "exp": now + 120, "jti": jti,
        "sub": "subject-of-ann", "events": { EVENT: {} },
    });
    merge(&mut claims, change);
    claims
}

async fn send(world: &World, token: &str) -> Answer {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("logout_token", token)
        .finish();
    post(world, &form).await
}

async fn post(world: &World, form: &str) -> Answer {
    let typed = [("content-type", "application/x-www-form-urlencoded")];
    let path = "/oauth2/backchannel-logout";
    let mut nobody = Person::default();
    let answer = world
        .send(&mut nobody, Method::POST, path, &typed, form)
        .await;
    assert_eq!(answer.headers["cache-control"], "no-store", "{answer:?}");
    answer
}

async fn logout(world: &World, jti: &str, change: &Value) -> StatusCode {
    let token = world.idp.sign(&claims(world, jti, change));
    send(world, &token).await.status
}

async fn lives(world: &World, person: &Person) -> bool {
    world.session(person).await.unwrap().is_some()
}

fn provider_session(session: &Session) -> String {
    session.claims.all["sid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn attack_s29_a_logout_token_ends_every_login_of_its_subject() {
    let world = World::new().await;
    let (ann, ann_elsewhere) = (world.signed_in().await, world.signed_in().await);
    world.idp.script(|script| script.subject = "bob".into());
    let bob = world.signed_in().await;
    assert_eq!(logout(&world, "1", &json!({})).await, StatusCode::OK);
    assert!(!lives(&world, &ann).await && !lives(&world, &ann_elsewhere).await);
    assert!(lives(&world, &bob).await);
    // Nobody is left: that is what was wanted.
    assert_eq!(logout(&world, "2", &json!({})).await, StatusCode::OK);
}

#[tokio::test]
async fn a_logout_token_with_sid_ends_that_session_only() {
    let world = World::new().await;
    let (here, there, third) = (
        world.signed_in().await,
        world.signed_in().await,
        world.signed_in().await,
    );
    let sid = provider_session(&world.session(&here).await.unwrap().unwrap());
    let other = provider_session(&world.session(&third).await.unwrap().unwrap());
    let by_session = json!({ "sid": sid, "sub": null });
    assert_eq!(logout(&world, "1", &by_session).await, StatusCode::OK);
    assert!(!lives(&world, &here).await);
    assert!(lives(&world, &there).await && lives(&world, &third).await);
    let both = json!({ "sid": other });
    assert_eq!(logout(&world, "2", &both).await, StatusCode::OK);
    assert!(lives(&world, &there).await && !lives(&world, &third).await);
}

#[tokio::test]
async fn logins_on_a_session_that_nobody_knows_end_with_their_person() {
    let world = World::new().await;
    world.idp.script(|script| {
        script.forge.insert("sid".into(), Value::Null);
    });
    let person = world.signed_in().await;
    let both = json!({ "sid": "some-session" });
    assert_eq!(logout(&world, "1", &both).await, StatusCode::OK);
    assert!(!lives(&world, &person).await);
}

#[tokio::test]
async fn attack_s29_what_is_not_quite_a_logout_token_ends_nothing() {
    let world = World::new().await;
    let person = world.signed_in().await;
    let now = mcp_oidc_proxy::clock::Clock::now(&*world.clock).as_secs();
    for (number, change) in [
        json!({ "iss": "https://evil.example" }),
        json!({ "iss": null }),
        json!({ "aud": "another-client" }),
        json!({ "aud": null }),
        json!({ "iat": null }),
        json!({ "iat": now + 600 }),
        json!({ "iat": "now" }),
        json!({ "exp": now - 600 }),
        json!({ "exp": "later" }),
        json!({ "exp": null, "iat": now - 600 }),
        json!({ "iat": now - 100_000, "exp": now + 100_000 }),
        json!({ "jti": null }),
        json!({ "jti": "" }),
        json!({ "sub": null }),
        json!({ "sub": null, "sid": "" }),
        json!({ "events": null }),
        json!({ "events": {} }),
        json!({ "events": { EVENT: true } }),
        json!({ "events": [EVENT] }),
        json!({ "events": EVENT }),
        json!({ "nonce": "n" }),
        json!({ "nonce": false }),
    ]
    .iter()
    .enumerate()
    {
        let status = logout(&world, &format!("bad-{number}"), change).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{change}");
    }
    world.idp.script(|script| script.unpublished_key = true);
    let forged = logout(&world, "forged", &json!({})).await;
    assert_eq!(forged, StatusCode::BAD_REQUEST);
    world.idp.script(|script| script.unpublished_key = false);
    let unsigned = {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let payload = part(&claims(&world, "none", &json!({})));
        let header = part(&json!({"alg": "none"}));
        [
            format!("{header}.{payload}."),
            format!("{}.{payload}.AAAA", part(&json!({"alg": "HS256"}))),
        ]
    };
    for token in unsigned {
        assert_eq!(send(&world, &token).await.status, StatusCode::BAD_REQUEST);
    }
    let typed = world
        .idp
        .sign_as("at+jwt", &claims(&world, "typ", &json!({})));
    assert_eq!(send(&world, &typed).await.status, StatusCode::BAD_REQUEST);
    for form in ["", "logout_token=", "logout_token=a&logout_token=b", "x=y"] {
        assert_eq!(post(&world, form).await.status, StatusCode::BAD_REQUEST);
    }
    assert!(lives(&world, &person).await);
    let get = world
        .get(&mut Person::default(), "/oauth2/backchannel-logout")
        .await;
    assert_eq!(get.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn attack_s29_a_logout_token_counts_once() {
    let world = World::new().await;
    let token = world
        .idp
        .sign_as("logout+jwt", &claims(&world, "once", &json!({})));
    assert_eq!(send(&world, &token).await.status, StatusCode::OK);
    let person = world.signed_in().await;
    assert_eq!(send(&world, &token).await.status, StatusCode::BAD_REQUEST);
    assert!(lives(&world, &person).await);
    // One without `exp`, as older providers send it, is bounded by `iat`.
    let old = world
        .idp
        .sign(&claims(&world, "old", &json!({ "exp": null })));
    world.clock.advance(Duration::from_secs(200));
    assert_eq!(send(&world, &old).await.status, StatusCode::OK);
    assert!(!lives(&world, &person).await);
    let person = world.signed_in().await;
    assert_eq!(send(&world, &old).await.status, StatusCode::BAD_REQUEST);
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(send(&world, &old).await.status, StatusCode::BAD_REQUEST);
    assert!(lives(&world, &person).await);
}

#[tokio::test]
async fn a_logout_that_cannot_be_judged_is_asked_for_again() {
    let world = World::new().await;
    let person = world.signed_in().await;
    world.idp.rotate_keys();
    world
        .idp
        .script(|script| script.jwks = Reply::Status(500, "x"));
    let token = world.idp.sign(&claims(&world, "1", &json!({})));
    let answer = send(&world, &token).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers.contains_key("retry-after"));
    assert!(lives(&world, &person).await);
}
