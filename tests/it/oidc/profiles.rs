//! Each product's peculiarities, imitated: a sign-in, a refresh and a sign-out that do not honour them fail.

mod github;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use mcp_oidc_proxy::session::Session;
use serde_json::{Value, json};

use super::world::{Answer, PUBLIC, Person, World};
use crate::harness::idp::{AnswerIssuer, CLIENT_ID, Product, Reply, Script};

const DUE: Duration = Duration::from_secs(245);
const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

/// A proxy before a product.
async fn before(kind: &str, oidc: Value, prepare: impl FnOnce(&mut Script, &str)) -> World {
    let mut section = json!({ "provider": kind });
    for (name, value) in oidc.as_object().unwrap() {
        section[name] = value.clone();
    }
    let world = World::undiscovered(section, |idp| {
        let issuer = idp.issuer();
        idp.script(|script| prepare(script, &issuer));
    })
    .await;
    world.discovered().await;
    world
}

#[expect(clippy::needless_pass_by_value, reason = "made where it is passed")]
fn set(script: &mut Script, document: Value, claims: Value) {
    script
        .document
        .extend(document.as_object().unwrap().clone());
    script.claims.extend(claims.as_object().unwrap().clone());
}

async fn session(world: &World, person: &Person) -> Arc<Session> {
    world.session(person).await.unwrap().expect("a session")
}

/// Signs in, refreshes with changed groups, signs out; gives the first session and where the sign-out leads.
async fn round(world: &World) -> (Arc<Session>, String) {
    let mut person = world.signed_in().await;
    let first = session(world, &person).await;
    assert!(first.refresh_due.is_some(), "there is a refresh token");
    let tokens = world.idp.calls("/token").len();
    world.clock.advance(DUE);
    let second = session(world, &person).await;
    assert_eq!(world.idp.calls("/token").len(), tokens + 1);
    assert_eq!(second.claims.subject, first.claims.subject);
    assert_eq!(second.claims.groups, first.claims.groups);
    let out = sign_out(world, &mut person).await;
    let to = out.location().to_owned();
    assert_eq!(out.status, StatusCode::SEE_OTHER, "{out:?}");
    // The provider takes the address, and sends the person back to us.
    let back = world.visit(&to).await;
    assert!(back.location().starts_with(PUBLIC), "{to} {back:?}");
    (first, to)
}

async fn sign_out(world: &World, person: &mut Person) -> Answer {
    let own = [("sec-fetch-site", "same-origin")];
    world
        .send(person, Method::POST, "/oauth2/sign_out", &own, "")
        .await
}

#[tokio::test]
async fn entra_signs_in_people_of_many_tenants() {
    let world = before("entra", json!({
        "issuer": "/organizations/v2.0",
        "authorization_params": {"resource": "https://mcp.example.com", "domain_hint": "corp"},
    }), |script, issuer| {
        set(
            script,
            json!({
                "issuer": format!("{issuer}/{{tenantid}}/v2.0"), "code_challenge_methods_supported": null,
                "scopes_supported": ["openid", "profile", "email"],
                "authorization_response_iss_parameter_supported": null,
            }),
            json!({"tid": TENANT}),
        );
        script.forge.insert("iss".into(), format!("{issuer}/{TENANT}/v2.0").into());
        script.answer_issuer = AnswerIssuer::Absent;
        // An access token that is not for Graph.
        script.userinfo = Reply::Status(401, "no");
        script.claims.remove("preferred_username");
        script.product = Product {
            refuses_parameters: &["resource"],
            offline_scope: Some("offline_access"),
            ..Product::default()
        };
    })
    .await;
    let (session, _) = round(&world).await;
    let issuer = format!("{}/{TENANT}/v2.0", world.idp.issuer());
    assert_eq!(&*session.claims.subject.issuer, issuer);
    assert!(world.idp.calls("/userinfo").is_empty());
    // The tenant's own logout token ends it.
    let person = world.signed_in().await;
    let now = mcp_oidc_proxy::clock::Clock::now(&*world.clock).as_secs();
    let token = world.idp.sign(&json!({
        "iss": issuer, "aud": CLIENT_ID, "iat": now, "jti": "1", "sub": "subject-of-ann",
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    }));
    let form = format!("logout_token={token}");
    let typed = [("content-type", "application/x-www-form-urlencoded")];
    let path = "/oauth2/backchannel-logout";
    let mut nobody = Person::default();
    let answer = world
        .send(&mut nobody, Method::POST, path, &typed, &form)
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(world.session(&person).await.unwrap().is_none());
    // An issuer that is no tenant's, or another tenant's than the token says.
    for (iss, tid) in [
        (format!("{}/common/v2.0", world.idp.issuer()), TENANT),
        (issuer, "11111111-2222-3333-4444-555555555555"),
        (format!("https://evil.example/{TENANT}/v2.0"), TENANT),
    ] {
        world.idp.script(|script| {
            script.forge.insert("iss".into(), iss.clone().into());
            script.forge.insert("tid".into(), tid.into());
        });
        let answer = world.login(&mut Person::default()).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{iss} {tid}");
    }
}

#[tokio::test]
async fn entra_without_a_list_of_groups_gives_none_and_says_so() {
    let world = before("entra", json!({"issuer": format!("/{TENANT}/v2.0")}), |script, issuer| {
        let own = format!("{issuer}/{TENANT}/v2.0");
        set(
            script,
            json!({"issuer": own, "authorization_response_iss_parameter_supported": null}),
            json!({
                "tid": TENANT, "_claim_names": {"groups": "src1"},
                "_claim_sources": {"src1": {"endpoint": "https://graph.example/me/getMemberObjects"}},
            }),
        );
        script.claims.remove("groups");
        script.forge.insert("iss".into(), own.into());
        script.answer_issuer = AnswerIssuer::Absent;
    })
    .await;
    let (session, _) = round(&world).await;
    assert!(session.claims.groups.is_empty());
    assert_eq!(session.claims.all["groups_overage"], true);
}

fn google(script: &mut Script, _: &str) {
    set(
        script,
        json!({
            "scopes_supported": ["openid", "email", "profile"], "end_session_endpoint": null,
            "authorization_response_iss_parameter_supported": null,
        }),
        json!({"hd": "corp.example"}),
    );
    script.claims.remove("groups");
    script.claims.remove("preferred_username");
    script.answer_issuer = AnswerIssuer::Absent;
    // A refresh token once for each consent, and the same one all the time.
    script.rotate = false;
    script.product = Product {
        refuses_scopes: &["offline_access", "groups"],
        offline_parameters: &[("access_type", "offline"), ("prompt", "consent")],
        ..Product::default()
    };
}

#[tokio::test]
async fn google_gives_a_refresh_token_only_when_asked_its_way() {
    let params = json!({"authorization_params": {"hd": "corp.example"}});
    let world = before("google", params, google).await;
    let mut person = world.signed_in().await;
    let first = session(&world, &person).await;
    assert!(first.refresh_due.is_some());
    assert_eq!(&*first.claims.subject.issuer, world.idp.issuer());
    assert_eq!(
        first.claims.preferred_username.as_deref(),
        Some("ann@example.com")
    );
    for _ in 0..2 {
        world.clock.advance(DUE);
        session(&world, &person).await;
    }
    assert_eq!(world.idp.calls("/token").len(), 3);
    assert_eq!(world.idp.calls("/authorize")[0].query["hd"], "corp.example");
    // Somebody who leaves the organisation is out at the next refresh.
    let colleague = world.signed_in().await;
    world.idp.script(|script| {
        script.claims.remove("hd");
    });
    world.clock.advance(DUE);
    assert!(world.session(&colleague).await.unwrap().is_none());
    let answer = world.login(&mut Person::default()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    // There is no address for signing out: a page of ours.
    world.idp.script(|script| {
        script.claims.insert("hd".into(), "corp.example".into());
    });
    person = world.signed_in().await;
    let out = sign_out(&world, &mut person).await;
    assert_eq!(out.status, StatusCode::OK);
    assert!(world.session(&person).await.unwrap().is_none());
}

#[tokio::test]
async fn okta_has_custom_servers() {
    let world = before(
        "okta",
        json!({
            "issuer": "/oauth2/default", "authorization_params": {"audience": "api://mcp"},
        }),
        |script, issuer| {
            let own = format!("{issuer}/oauth2/default");
            set(
                script,
                json!({
                    "issuer": own,
                    "scopes_supported": ["openid", "profile", "email", "offline_access", "groups"],
                    "authorization_response_iss_parameter_supported": null,
                }),
                json!({}),
            );
            script.forge.insert("iss".into(), own.into());
            script.answer_issuer = AnswerIssuer::Absent;
            script.product = Product {
                offline_scope: Some("offline_access"),
                groups_scope: Some("groups"),
                offline_parameters: &[("audience", "api://mcp")],
                ..Product::default()
            };
        },
    )
    .await;
    let (session, _) = round(&world).await;
    assert_eq!(session.claims.groups, ["engineering"]);
}

fn auth0(script: &mut Script, issuer: &str) {
    let own = format!("{issuer}/");
    set(
        script,
        json!({
            "issuer": own, "end_session_endpoint": null,
            "scopes_supported": ["openid", "profile", "email"],
            "authorization_response_iss_parameter_supported": null,
        }),
        json!({"https://corp.example/groups": ["engineering"]}),
    );
    script.claims.remove("groups");
    script.forge.insert("iss".into(), own.into());
    script.answer_issuer = AnswerIssuer::Absent;
    script.product = Product {
        offline_scope: Some("offline_access"),
        sign_out: Some(("/v2/logout", "returnTo")),
        ..Product::default()
    };
}

#[tokio::test]
async fn auth0_has_a_slash_and_names_that_are_addresses() {
    let oidc = json!({
        "issuer": "/", "claims": {"groups": ["https://corp.example/groups"]},
        "authorization_params": {"audience": "https://mcp.example.com"},
    });
    let world = before("auth0", oidc.clone(), auth0).await;
    let (session, to) = round(&world).await;
    assert_eq!(session.claims.groups, ["engineering"]);
    assert_eq!(
        *session.claims.subject.issuer,
        format!("{}/", world.idp.issuer())
    );
    assert!(
        to.contains("/v2/logout?") && to.contains("returnTo="),
        "{to}"
    );
    let asked = &world.idp.calls("/authorize")[0].query;
    assert_eq!(asked["audience"], "https://mcp.example.com");
    // A tenant whose document has an address for signing out: by the book.
    let world = before("auth0", oidc, |script, issuer| {
        auth0(script, issuer);
        script.document.insert(
            "end_session_endpoint".into(),
            format!("{issuer}/logout").into(),
        );
    })
    .await;
    let (_, to) = round(&world).await;
    assert!(to.contains("/logout?id_token_hint="), "{to}");
}

#[tokio::test]
async fn keycloak_groups_keep_their_slash_and_roles_are_found() {
    let world = before(
        "keycloak",
        json!({
            "issuer": "/realms/corp",
            "claims": {"groups": ["groups", "realm_access.roles", "resource_access.proxy.roles"]},
        }),
        |script, issuer| {
            let own = format!("{issuer}/realms/corp");
            set(
                script,
                json!({"issuer": own}),
                json!({
                    "groups": ["/engineering"], "realm_access": {"roles": ["engineering"]},
                    "resource_access": {"proxy": {"roles": ["operator"]}},
                }),
            );
            script.forge.insert("iss".into(), own.clone().into());
            script.answer_issuer = AnswerIssuer::Other(own);
        },
    )
    .await;
    let (session, _) = round(&world).await;
    assert_eq!(
        session.claims.groups,
        ["/engineering", "engineering", "operator"]
    );
}

#[tokio::test]
async fn authentik_has_an_issuer_for_each_application() {
    let world = before(
        "authentik",
        json!({"issuer": "/application/o/mcp/"}),
        |script, issuer| {
            let own = format!("{issuer}/application/o/mcp/");
            set(
                script,
                json!({"issuer": own, "authorization_response_iss_parameter_supported": null}),
                json!({}),
            );
            script.forge.insert("iss".into(), own.into());
            script.answer_issuer = AnswerIssuer::Absent;
            script.product.offline_scope = Some("offline_access");
        },
    )
    .await;
    let (session, _) = round(&world).await;
    assert!(
        session
            .claims
            .subject
            .issuer
            .ends_with("/application/o/mcp/")
    );
}

#[tokio::test]
async fn cognito_refuses_offline_access_and_signs_out_its_own_way() {
    let world = before("cognito", json!({}), |script, _| {
        set(
            script,
            json!({
                "scopes_supported": ["openid", "email", "phone", "profile"],
                "authorization_response_iss_parameter_supported": null,
            }),
            json!({"cognito:groups": ["engineering"], "cognito:username": "ann"}),
        );
        script.claims.remove("groups");
        script.claims.remove("preferred_username");
        script.answer_issuer = AnswerIssuer::Absent;
        script.rotate = false;
        script.product = Product {
            refuses_scopes: &["offline_access", "groups"],
            sign_out: Some(("/logout", "logout_uri")),
            ..Product::default()
        };
    })
    .await;
    let (session, to) = round(&world).await;
    assert_eq!(session.claims.groups, ["engineering"]);
    assert_eq!(session.claims.preferred_username.as_deref(), Some("ann"));
    assert!(to.contains("/logout?client_id=proxy&logout_uri="), "{to}");
}

#[tokio::test]
async fn dex_gives_groups_for_a_scope() {
    let world = before("dex", json!({"issuer": "/dex"}), |script, issuer| {
        let own = format!("{issuer}/dex");
        set(
            script,
            json!({
                "issuer": own,
                "scopes_supported": ["openid", "email", "groups", "profile", "offline_access"],
                "authorization_response_iss_parameter_supported": null,
            }),
            json!({}),
        );
        script.forge.insert("iss".into(), own.into());
        script.answer_issuer = AnswerIssuer::Absent;
        script.product = Product {
            offline_scope: Some("offline_access"),
            groups_scope: Some("groups"),
            ..Product::default()
        };
    })
    .await;
    let (session, _) = round(&world).await;
    assert_eq!(session.claims.groups, ["engineering"]);
}

#[tokio::test]
async fn signed_userinfo_is_verified() {
    let world = World::with(json!({"userinfo": "always"})).await;
    world.idp.script(|script| {
        script.signed_userinfo = true;
        script
            .userinfo_claims
            .insert("groups".into(), json!(["signed"]));
    });
    let person = world.signed_in().await;
    assert_eq!(session(&world, &person).await.claims.groups, ["signed"]);
    for wrong in [
        json!({"iss": "https://evil.example"}),
        json!({"aud": "another-client"}),
        json!({"exp": 1}),
        json!({"sub": "bob"}),
        json!({"aud": null}),
    ] {
        world.idp.script(|script| {
            script.userinfo_claims = wrong.as_object().unwrap().clone();
        });
        let answer = world.login(&mut Person::default()).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{wrong}");
    }
}
