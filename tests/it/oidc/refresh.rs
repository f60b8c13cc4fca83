use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use mcp_oidc_proxy::oidc::Refreshed;
use mcp_oidc_proxy::reject::Code;
use mcp_oidc_proxy::session::Session;
use serde_json::json;

use super::world::{Person, World};
use crate::harness::idp::{Idp, Reply};

/// Access tokens live 300 s, so a refresh is due after 240.
const DUE: Duration = Duration::from_secs(245);
const PAST_THE_END: Duration = Duration::from_secs(310);

fn refreshes(idp: &Idp) -> usize {
    let calls = idp.calls("/token");
    calls
        .iter()
        .filter(|call| {
            call.form
                .get("grant_type")
                .is_some_and(|kind| kind == "refresh_token")
        })
        .count()
}

async fn session(world: &World, person: &Person) -> Arc<Session> {
    world
        .session(person)
        .await
        .unwrap()
        .expect("a living session")
}

#[tokio::test]
async fn advisory_cve_2021_41230_changed_groups_count_at_the_next_request() {
    let world = World::new().await;
    let person = world.signed_in().await;
    world.idp.script(|script| {
        script.claims.insert("groups".into(), json!(["nobody"]));
    });
    assert_eq!(
        session(&world, &person).await.claims.groups,
        ["engineering"]
    );
    world.clock.advance(DUE);
    assert_eq!(session(&world, &person).await.claims.groups, ["nobody"]);
    assert_eq!(refreshes(&world.idp), 1);
    // The rotated token is the one that is used next.
    for _ in 0..3 {
        world.clock.advance(DUE);
        session(&world, &person).await;
    }
    assert_eq!(refreshes(&world.idp), 4);
}

#[tokio::test]
async fn without_a_new_id_token_userinfo_is_asked() {
    let world = World::new().await;
    let person = world.signed_in().await;
    world.idp.script(|script| {
        script.id_token_at_refresh = false;
        script
            .userinfo_claims
            .insert("groups".into(), json!(["from-userinfo"]));
    });
    world.clock.advance(DUE);
    let session = session(&world, &person).await;
    assert_eq!(session.claims.groups, ["from-userinfo"]);
    assert_eq!(session.claims.email.as_deref(), Some("ann@example.com"));
}

#[tokio::test]
async fn many_requests_on_two_replicas_make_one_refresh() {
    let world = World::new().await;
    let person = world.signed_in().await;
    let other = world.replica();
    world.clock.advance(PAST_THE_END);
    world
        .idp
        .script(|script| script.token = Reply::Late(Duration::from_millis(200)));
    let headers = person.headers();
    let requests = (0..20).map(|i| {
        let proxy = if i % 2 == 0 { &world.proxy } else { &other };
        proxy.session(&headers)
    });
    for found in futures_util::future::join_all(requests).await {
        assert!(found.unwrap().is_some());
    }
    assert_eq!(refreshes(&world.idp), 1);
}

#[tokio::test]
async fn trouble_at_the_provider_ends_no_session() {
    let world = World::new().await;
    for reply in [
        Reply::Status(500, "x"),
        Reply::Status(403, "<html>firewall</html>"),
        Reply::Json(429, "{}"),
        Reply::Hang,
        Reply::Json(400, r#"{"error":"temporarily_unavailable"}"#),
        Reply::Json(200, "garbage"),
    ] {
        world.idp.script(|script| script.token = Reply::Normal);
        let person = world.signed_in().await;
        world.idp.script(|script| script.token = reply);
        world.clock.advance(DUE);
        // The access token lives: served.
        session(&world, &person).await;
        // And again within the pause: without asking.
        let asked = refreshes(&world.idp);
        session(&world, &person).await;
        assert_eq!(refreshes(&world.idp), asked, "{reply:?}");
        world.clock.advance(Duration::from_secs(65));
        // It ended: nobody knows, which is not "signed out".
        let error = world.session(&person).await.unwrap_err();
        assert_eq!(
            (error.status(), error.code()),
            (StatusCode::SERVICE_UNAVAILABLE, Code::ProviderUnavailable),
            "{reply:?}"
        );
        assert!(
            error
                .headers()
                .iter()
                .any(|(name, _)| name == "retry-after")
        );
        // It comes back.
        world.idp.script(|script| script.token = Reply::Normal);
        world.clock.advance(Duration::from_secs(65));
        session(&world, &person).await;
    }
}

#[tokio::test]
async fn a_conclusive_refusal_ends_the_login() {
    let world = World::new().await;
    let person = world.signed_in().await;
    world.idp.revoke_all();
    world.clock.advance(DUE);
    assert!(world.session(&person).await.unwrap().is_none());
    world.idp.script(|script| script.token = Reply::Normal);
    assert!(world.session(&person).await.unwrap().is_none());
}

#[tokio::test]
async fn a_refreshed_id_token_of_somebody_else_is_dropped() {
    let world = World::new().await;
    let person = world.signed_in().await;
    for forge in [
        json!({"sub": "bob"}),
        json!({"iss": "https://evil.example"}),
        json!({"aud": "other"}),
    ] {
        world.idp.script(|script| {
            script.forge_at_refresh = forge.as_object().unwrap().clone();
            script.claims.insert("groups".into(), json!(["admins"]));
        });
        world.clock.advance(DUE);
        let session = session(&world, &person).await;
        assert_eq!(
            &*session.claims.subject.subject, "subject-of-ann",
            "{forge}"
        );
        assert_eq!(session.claims.groups, ["engineering"], "{forge}");
    }
    assert_eq!(refreshes(&world.idp), 3);
}

#[tokio::test]
async fn a_key_rotation_before_the_refresh_costs_one_grant_and_no_session() {
    let world = World::new().await;
    let person = world.signed_in().await;
    world.idp.rotate_keys();
    world.idp.script(|script| {
        script.claims.insert("groups".into(), json!(["new"]));
    });
    world.clock.advance(DUE);
    assert_eq!(session(&world, &person).await.claims.groups, ["new"]);
    assert_eq!(refreshes(&world.idp), 1);
}

#[tokio::test]
async fn a_client_that_leaves_takes_no_rotated_token_along() {
    let world = World::new().await;
    let person = world.signed_in().await;
    world.clock.advance(PAST_THE_END);
    world
        .idp
        .script(|script| script.token = Reply::Late(Duration::from_millis(300)));
    let headers = person.headers();
    let gone =
        tokio::time::timeout(Duration::from_millis(100), world.proxy.session(&headers)).await;
    assert!(
        gone.is_err(),
        "the client left before the provider answered"
    );
    session(&world, &person).await;
    assert_eq!(refreshes(&world.idp), 1);
    // The rotated token was kept: strict rotation would end the family otherwise.
    world.idp.script(|script| script.token = Reply::Normal);
    world.clock.advance(DUE);
    session(&world, &person).await;
    assert_eq!(refreshes(&world.idp), 2);
}

#[tokio::test]
async fn without_a_refresh_token_a_session_lives_until_its_own_end() {
    let world = World::new().await;
    world.idp.script(|script| script.refresh_tokens = false);
    let person = world.signed_in().await;
    world.clock.advance(Duration::from_secs(7 * 3600));
    session(&world, &person).await;
    assert_eq!(refreshes(&world.idp), 0);
    world.clock.advance(Duration::from_secs(8 * 3600));
    assert!(world.session(&person).await.unwrap().is_none());
}

#[tokio::test]
async fn finishing_waits_for_refreshes_under_way() {
    let world = World::new().await;
    let person = world.signed_in().await;
    world.clock.advance(DUE);
    world
        .idp
        .script(|script| script.token = Reply::Late(Duration::from_millis(300)));
    let headers = person.headers();
    let _ = tokio::time::timeout(Duration::from_millis(100), world.proxy.session(&headers)).await;
    world.proxy.finish().await;
    assert_eq!(refreshes(&world.idp), 1);
    let due = session(&world, &person).await.refresh_due.unwrap();
    assert!(due > mcp_oidc_proxy::clock::Clock::now(&*world.clock));
}

#[tokio::test]
async fn a_lost_answer_under_strict_rotation_asks_for_a_login_and_no_more() {
    let world = World::new().await;
    let person = world.signed_in().await;
    world.clock.advance(DUE);
    world.idp.script(|script| script.token = Reply::Lost);
    session(&world, &person).await;
    world.proxy.finish().await;
    world.idp.script(|script| script.token = Reply::Normal);
    world.clock.advance(Duration::from_secs(65));
    // The provider takes the repeated token for a stolen one, as it should.
    assert!(world.session(&person).await.unwrap().is_none());
}

#[tokio::test]
async fn a_login_is_refreshed_by_its_id() {
    let world = World::new().await;
    let person = world.signed_in().await;
    let login = Arc::clone(&session(&world, &person).await.login);
    let refresh = || world.proxy.refresh_login(&login);
    assert_eq!(refresh().await.unwrap(), Refreshed::Living);
    assert_eq!(refreshes(&world.idp), 0, "not due");
    world.clock.advance(DUE);
    assert_eq!(refresh().await.unwrap(), Refreshed::Living);
    assert_eq!(refreshes(&world.idp), 1);
    // The session sees it.
    session(&world, &person).await;
    assert_eq!(refreshes(&world.idp), 1);

    world
        .idp
        .script(|script| script.token = Reply::Status(500, "x"));
    world.clock.advance(PAST_THE_END);
    assert_eq!(
        refresh().await.unwrap_err().code(),
        Code::ProviderUnavailable
    );
    world.idp.script(|script| script.token = Reply::Normal);
    world.clock.advance(Duration::from_secs(65));
    world.idp.revoke_all();
    assert_eq!(refresh().await.unwrap(), Refreshed::Over);
    assert_eq!(refresh().await.unwrap(), Refreshed::Over);
    let nobody: Arc<str> = "not a login".into();
    let found = world.proxy.refresh_login(&nobody).await.unwrap();
    assert_eq!(found, Refreshed::Over);
}

#[tokio::test]
async fn what_the_provider_says_about_us_ends_no_login() {
    let world = World::new().await;
    for body in [
        r#"{"error":"invalid_client"}"#,
        r#"{"error":"unauthorized_client"}"#,
        r#"{"error":"invalid_request"}"#,
        r#"{"error":"invalid_scope"}"#,
    ] {
        world.idp.script(|script| script.token = Reply::Normal);
        let person = world.signed_in().await;
        world
            .idp
            .script(|script| script.token = Reply::Json(401, body));
        world.clock.advance(DUE);
        session(&world, &person).await;
        world.clock.advance(Duration::from_secs(65));
        let error = world.session(&person).await.unwrap_err();
        assert_eq!(error.code(), Code::ProviderUnavailable, "{body}");
        world.idp.script(|script| script.token = Reply::Normal);
        world.clock.advance(Duration::from_secs(65));
        session(&world, &person).await;
    }
}

/// A replica stands still in the middle of a refresh until its lease is over, and another one refreshes meanwhile.
#[tokio::test]
async fn who_has_lost_the_lease_overwrites_nothing() {
    for rotate in [true, false] {
        let world = World::new().await;
        world.idp.script(|script| {
            script.rotate = rotate;
            script.reuse = true;
        });
        let person = world.signed_in().await;
        let other = world.replica();
        world.clock.advance(PAST_THE_END);
        let groups = |group: &'static str, token: Reply| {
            world.idp.script(|script| {
                script.claims.insert("groups".into(), json!([group]));
                script.token = token;
            });
        };
        groups("old", Reply::Late(Duration::from_secs(1)));
        let headers = person.headers();
        let slow = other.session(&headers);
        let fast = async {
            while refreshes(&world.idp) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            groups("new", Reply::Normal);
            world.clock.advance(Duration::from_secs(16));
            session(&world, &person).await
        };
        let (slow, fast) = futures_util::future::join(slow, fast).await;
        assert_eq!(fast.claims.groups, ["new"]);
        assert_eq!(slow.unwrap().unwrap().claims.groups, ["new"]);
        other.finish().await;
        assert_eq!(refreshes(&world.idp), 2);
        assert_eq!(session(&world, &person).await.claims.groups, ["new"]);
        // The tokens that were kept are the newer ones, and good.
        world.clock.advance(DUE);
        session(&world, &person).await;
        assert_eq!(refreshes(&world.idp), 3);
    }
}
