use std::time::Duration;

use mcp_oidc_proxy::clock::Ambient;
use mcp_oidc_proxy::config::oidc::Oidc;
use mcp_oidc_proxy::oidc::discovery::{DiscoveryError, probe};
use serde_json::{Value, json};

use super::world::World;
use crate::harness::idp::{AnswerIssuer, Idp, Reply};

fn section(issuer: &str) -> Oidc {
    serde_json::from_value(json!({"issuer": issuer, "client_id": "proxy", "timeout": "1s"}))
        .unwrap()
}

async fn idp() -> Idp {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Idp::start(Ambient::system()).await
}

fn object(value: &Value) -> serde_json::Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[tokio::test]
async fn a_good_provider_is_summed_up_by_either_address() {
    let idp = idp().await;
    for issuer in [
        idp.issuer(),
        format!("{}/.well-known/openid-configuration", idp.issuer()),
    ] {
        let summary = probe(&section(&issuer)).await.unwrap();
        assert_eq!(summary.issuer, idp.issuer());
        assert!(summary.sign_out && summary.offline_access);
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_with_the_address() {
    let idp = idp().await;
    let issuer = idp.issuer();
    let document = format!("{issuer}/.well-known/openid-configuration");

    idp.script(|script| script.discovery = Reply::Status(404, "<html>"));
    let error = probe(&section(&issuer)).await.unwrap_err().to_string();
    assert!(
        error.contains(&document) && error.contains("404"),
        "{error}"
    );

    idp.script(|script| script.discovery = Reply::Status(200, "<html>"));
    let error = probe(&section(&issuer)).await.unwrap_err().to_string();
    assert!(error.contains("not a JSON object"), "{error}");

    idp.script(|script| {
        script.discovery = Reply::Normal;
        script.document = object(&json!({"issuer": "https://other.example/realm"}));
    });
    let error = probe(&section(&issuer)).await.unwrap_err();
    assert!(matches!(error, DiscoveryError::IssuerMismatch { .. }));
    let error = error.to_string();
    assert!(
        error.contains(&issuer) && error.contains("https://other.example/realm"),
        "{error}"
    );

    idp.script(|script| {
        script.document = object(&json!({"authorization_endpoint": "javascript:alert(1)"}));
    });
    let error = probe(&section(&issuer)).await.unwrap_err().to_string();
    assert!(
        error.contains("authorization_endpoint") && error.contains("javascript"),
        "{error}"
    );

    for reply in [Reply::Hang, Reply::Flood(8 << 20)] {
        idp.script(|script| script.discovery = reply);
        assert!(matches!(
            probe(&section(&issuer)).await,
            Err(DiscoveryError::Unreachable { .. })
        ));
    }
    drop(idp);
    let error = probe(&section("http://127.0.0.1:1"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("cannot be reached") && error.contains("127.0.0.1:1"),
        "{error}"
    );
}

#[tokio::test]
async fn a_final_slash_of_the_issuer_is_accepted_and_then_binds() {
    let world = World::undiscovered(json!({}), |idp| {
        let slash = format!("{}/", idp.issuer());
        idp.script(|script| script.document = object(&json!({ "issuer": slash })));
    })
    .await;
    world.discovered().await;
    let slash = format!("{}/", world.idp.issuer());
    assert_eq!(world.provider.issuer().as_deref(), Some(slash.as_str()));
    world.idp.script(|script| {
        script.answer_issuer = AnswerIssuer::Other(slash.clone());
        script.forge = object(&json!({ "iss": slash }));
    });
    world.signed_in().await;
}

#[tokio::test]
async fn a_sign_in_right_after_the_start_waits_for_discovery() {
    let world = World::undiscovered(json!({}), |idp| {
        idp.script(|script| script.discovery = Reply::Late(Duration::from_millis(200)));
    })
    .await;
    assert!(world.provider.issuer().is_none());
    world.signed_in().await;
}
