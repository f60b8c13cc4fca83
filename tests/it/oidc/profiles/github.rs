//! OAuth without OIDC.

use super::*;

#[tokio::test]
async fn github_is_asked_who_somebody_is() {
    let world = before("github", json!({}), |_, _| ()).await;
    let mut person = world.signed_in().await;
    let first = session(&world, &person).await;
    let claims = &first.claims;
    assert_eq!(&*claims.subject.issuer, world.idp.issuer());
    assert_eq!(&*claims.subject.subject, "4711");
    assert_eq!(claims.email.as_deref(), Some("ann@example.com"));
    assert_eq!(claims.preferred_username.as_deref(), Some("ann"));
    // All pages of the list.
    assert_eq!(claims.groups.len(), 102);
    for group in ["org-1", "engineering", "corp/sre"] {
        assert!(claims.groups.iter().any(|each| each == group), "{group}");
    }
    // Another sign-in a moment later costs the long lists not once more.
    let lists = || world.idp.calls("/api/v3/user/orgs").len();
    assert_eq!(lists(), 2);
    world.signed_in().await;
    assert_eq!(lists(), 2);
    // A GitHub App's tokens expire: groups are read again with the new one.
    world.idp.script(|script| {
        script.claims.insert("groups".into(), json!(["moved"]));
    });
    world.clock.advance(DUE);
    let groups = session(&world, &person).await.claims.groups.clone();
    assert!(groups.iter().any(|group| group == "moved"));
    assert!(!groups.iter().any(|group| group == "engineering"));
    // It is in trouble: nobody is signed out. It refuses: it is over.
    world
        .idp
        .script(|script| script.token = Reply::Status(502, "x"));
    world.clock.advance(DUE);
    session(&world, &person).await;
    world.idp.script(|script| script.token = Reply::Normal);
    world.clock.advance(Duration::from_secs(65));
    world.idp.revoke_all();
    assert!(world.session(&person).await.unwrap().is_none());
    // Signing out is ours alone.
    person = world.signed_in().await;
    let out = sign_out(&world, &mut person).await;
    assert_eq!(out.status, StatusCode::OK);
}

#[tokio::test]
async fn an_oauth_app_of_github_gives_a_session_without_refresh() {
    let world = before("github", json!({}), |script, _| {
        script.refresh_tokens = false;
    })
    .await;
    let person = world.signed_in().await;
    assert_eq!(session(&world, &person).await.refresh_due, None);
    // A code that does not count is refused with status 200.
    let answer = world.get(&mut Person::default(), "/oauth2/start").await;
    assert!(answer.location().contains("/login/oauth/authorize?"));
    world
        .idp
        .script(|script| script.userinfo = Reply::Status(500, "x"));
    let answer = world.login(&mut Person::default()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    world
        .idp
        .script(|script| script.userinfo = Reply::Json(401, "{}"));
    let answer = world.login(&mut Person::default()).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    world
        .idp
        .script(|script| script.token = Reply::Json(200, r#"{"error":"bad_verification_code"}"#));
    let answer = world.login(&mut Person::default()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}
