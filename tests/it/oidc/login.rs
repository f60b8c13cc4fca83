use http::{Method, StatusCode};
use jsonwebtoken::Algorithm;
use mcp_oidc_proxy::reject::Code;
use serde_json::json;

use super::world::{Answer, Person, SESSION, World};
use crate::harness::idp::{AnswerIssuer, CLIENT_SECRET, Reply};

#[tokio::test]
async fn a_person_signs_in_and_is_known() {
    let world = World::new().await;
    let mut person = Person::default();
    let start = world
        .get(&mut person, "/oauth2/start?rd=%2Fhome%3Fa%3Db")
        .await;
    let url = url::Url::parse(start.location()).unwrap();
    let asked: std::collections::HashMap<_, _> = url.query_pairs().into_owned().collect();
    assert_eq!(asked["scope"], "openid email profile offline_access");
    assert_eq!(
        asked["redirect_uri"],
        "https://mcp.example.com/oauth2/callback"
    );
    assert_eq!(
        (
            asked["response_type"].as_str(),
            asked["code_challenge_method"].as_str()
        ),
        ("code", "S256")
    );
    assert_eq!(person.jar.len(), 1);

    let callback = world.at_provider(&start).await;
    let answer = world.arrive(&mut person, &callback).await;
    assert_eq!(
        (answer.status, answer.location()),
        (StatusCode::FOUND, "/home?a=b")
    );
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers["referrer-policy"], "no-referrer");
    // The flow's cookie is gone, the session's is there.
    assert_eq!(person.jar.keys().collect::<Vec<_>>(), [SESSION]);

    let who = world.get(&mut person, "/oauth2/userinfo").await.json();
    let expected = json!({
        "issuer": world.idp.issuer(), "sub": "subject-of-ann", "email": "ann@example.com", "name": "Ann Example",
        "preferred_username": "ann", "groups": ["engineering"],
    });
    assert_eq!(who, expected);
    let times = world.get(&mut person, "/oauth2/session").await.json();
    assert_eq!(times["ends_in_seconds"], 8 * 3600);
    assert!(times["refresh_due"].is_string());
}

#[tokio::test]
async fn advisory_cve_2024_39315_no_answer_holds_a_token() {
    let world = World::new().await;
    let mut person = world.signed_in().await;
    for path in ["/oauth2/userinfo", "/oauth2/session", "/oauth2/sign_in"] {
        let body = world.get(&mut person, path).await.body;
        for secret in world.idp.secrets() {
            assert!(!body.contains(&secret), "{path}");
        }
        assert!(!body.contains("eyJ"), "{path}: {body}");
    }
}

#[tokio::test]
async fn claims_come_from_userinfo_when_they_are_missing() {
    let world = World::with(json!({"claims": {"groups": ["realm.roles"]}})).await;
    world.idp.script(|script| {
        script.claims.remove("email");
        script.userinfo_claims = json!({"email": "ann@corp.example", "realm": {"roles": ["admins"]}, "iss": "https://evil"})
            .as_object()
            .unwrap()
            .clone();
    });
    let person = world.signed_in().await;
    let session = world.session(&person).await.unwrap().unwrap();
    assert_eq!(session.claims.email.as_deref(), Some("ann@corp.example"));
    assert_eq!(session.claims.groups, ["admins"]);
    assert_eq!(*session.claims.subject.issuer, *world.idp.issuer());
}

#[tokio::test]
async fn userinfo_about_somebody_else_or_in_trouble_is_no_login() {
    let world = World::with(json!({"userinfo": "always"})).await;
    world.idp.script(|script| {
        script.userinfo_claims = json!({"sub": "bob"}).as_object().unwrap().clone();
    });
    refused(&world, Code::LoginFailed).await;
    world.idp.script(|script| {
        script.userinfo_claims.clear();
        script.userinfo = Reply::Status(500, "");
    });
    refused(&world, Code::ProviderUnavailable).await;
}

#[tokio::test]
async fn userinfo_is_not_asked_when_it_is_switched_off() {
    let world = World::with(json!({"userinfo": "never"})).await;
    world.idp.script(|script| script.claims.clear());
    world.signed_in().await;
    assert!(world.idp.calls("/userinfo").is_empty());
}

#[tokio::test]
async fn every_way_of_client_authentication_works() {
    for method in ["client_secret_basic", "client_secret_post"] {
        // Chosen by the provider's metadata alone.
        let world = World::undiscovered(json!({}), |idp| {
            idp.script(|script| script.client_auth = method);
        })
        .await;
        world.discovered().await;
        world.signed_in().await;
        let call = world.idp.calls("/token").remove(0);
        assert_eq!(
            call.form.contains_key("client_secret"),
            method == "client_secret_post"
        );
    }
    let none = World::undiscovered(json!({"client_secret": null}), |idp| {
        idp.script(|script| script.client_auth = "none");
    })
    .await;
    none.discovered().await;
    none.signed_in().await;

    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let section =
        json!({"client_secret": null, "private_key": key.serialize_pem(), "private_key_id": "k1"});
    let world = World::undiscovered(section, |idp| {
        idp.script(|script| {
            script.client_auth = "private_key_jwt";
            script.client_key = Some(key.public_key_pem());
        });
    })
    .await;
    world.discovered().await;
    world.signed_in().await;
    let call = world.idp.calls("/token").remove(0);
    assert_eq!(call.authorization, None);
    assert!(!call.form.values().any(|value| value == CLIENT_SECRET));
}

#[tokio::test]
async fn both_kinds_of_keys_and_a_rotation_work() {
    let world = World::new().await;
    world.signed_in().await;
    world.idp.rotate_keys();
    world.signed_in().await;
    world
        .idp
        .script(|script| script.algorithm = Algorithm::ES256);
    world.signed_in().await;
}

#[tokio::test]
async fn a_forged_id_token_is_no_login() {
    let world = World::new().await;
    let now = 1_750_000_000;
    for forge in [
        json!({"iss": "https://evil.example"}),
        json!({"iss": null}),
        json!({"aud": "other"}),
        json!({"aud": null}),
        json!({"azp": "other"}),
        json!({"nonce": "other"}),
        json!({"nonce": null}),
        json!({"exp": now - 31}),
        json!({"exp": null}),
        json!({"iat": now + 3600}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}),
        json!({"aud": ["proxy", "other"]}),
    ] {
        world
            .idp
            .script(|script| script.forge = forge.as_object().unwrap().clone());
        refused(&world, Code::LoginFailed).await;
    }
    world.idp.script(|script| {
        script.forge.clear();
        script.unpublished_key = true;
    });
    refused(&world, Code::LoginFailed).await;
    world.idp.script(|script| {
        script.unpublished_key = false;
        script.id_token = false;
    });
    refused(&world, Code::LoginFailed).await;
    world.idp.script(|script| script.id_token = true);
    world.signed_in().await;
}

#[tokio::test]
async fn attack_s20_an_answer_of_another_issuer_redeems_no_code() {
    let world = World::new().await;
    for issuer in [
        AnswerIssuer::Other("https://evil.example".into()),
        AnswerIssuer::Absent,
    ] {
        world.idp.script(|script| script.answer_issuer = issuer);
        refused(&world, Code::LoginFailed).await;
    }
    assert!(world.idp.calls("/token").is_empty());
}

#[tokio::test]
async fn a_refusal_is_told_without_the_providers_words() {
    let world = World::new().await;
    for (error, status, code) in [
        ("access_denied", 403, Code::LoginFailed),
        ("invalid_scope", 502, Code::LoginFailed),
        ("temporarily_unavailable", 503, Code::ProviderUnavailable),
    ] {
        world.idp.script(|script| script.refuse = Some(error));
        let answer = refused(&world, code).await;
        assert_eq!(answer.status.as_u16(), status, "{error}");
        assert!(
            !answer.body.contains("words of the provider") && !answer.body.contains(error),
            "{}",
            answer.body
        );
    }
}

#[tokio::test]
async fn a_callback_counts_once_and_a_reload_goes_home() {
    let world = World::new().await;
    let mut person = Person::default();
    let start = world.get(&mut person, "/oauth2/start?rd=%2Fhome").await;
    let before = person.clone();
    let callback = world.at_provider(&start).await;
    world.arrive(&mut person, &callback).await;
    // Reload, signed in.
    let again = world.arrive(&mut person, &callback).await;
    assert_eq!((again.status, again.location()), (StatusCode::FOUND, "/"));
    // The same with the cookies of before: the flow is used up.
    let mut replay = before;
    let answer = world.arrive(&mut replay, &callback).await;
    assert_eq!(
        (answer.status, answer.code),
        (StatusCode::BAD_REQUEST, Some(Code::LoginExpired))
    );
    assert!(!replay.jar.contains_key(SESSION));
    assert_eq!(world.idp.calls("/token").len(), 1);
}

#[tokio::test]
async fn attack_s3_a_callback_in_another_browser_is_no_login() {
    let world = World::new().await;
    let mut attacker = Person::default();
    let start = world.get(&mut attacker, "/oauth2/start").await;
    let callback = world.at_provider(&start).await;
    let mut victim = Person::default();
    world.get(&mut victim, "/oauth2/start").await;
    let answer = world.arrive(&mut victim, &callback).await;
    assert_eq!(answer.code, Some(Code::LoginExpired));
    assert!(!victim.jar.contains_key(SESSION));
    assert!(world.idp.calls("/token").is_empty());
}

#[tokio::test]
async fn advisory_ghsa_f24x_5g9q_753f_a_planted_session_ends_at_login() {
    let world = World::new().await;
    let planted = world.signed_in().await;
    world.idp.script(|script| script.subject = "bob".to_owned());
    let mut victim = planted.clone();
    let answer = world.login(&mut victim).await;
    assert_eq!(answer.status, StatusCode::FOUND);
    assert_ne!(victim.jar[SESSION], planted.jar[SESSION]);
    assert!(world.session(&planted).await.unwrap().is_none());
    let session = world.session(&victim).await.unwrap().unwrap();
    assert_eq!(&*session.claims.subject.subject, "bob");
}

#[tokio::test]
async fn advisory_cve_2022_29228_incomplete_callbacks_are_400() {
    let world = World::new().await;
    let mut person = Person::default();
    let start = world.get(&mut person, "/oauth2/start").await;
    let callback = world.at_provider(&start).await;
    let (_, query) = callback.split_once('?').unwrap();
    let pairs: Vec<&str> = query.split('&').collect();
    for mask in 0..(1 << pairs.len()) - 1 {
        let some: Vec<&str> = (0..pairs.len())
            .filter(|i| mask & (1 << i) != 0)
            .map(|i| pairs[i])
            .collect();
        // Everything but `iss` is a case of RFC 9207, below.
        if some.len() == 2 && some.iter().all(|pair| !pair.starts_with("iss=")) {
            continue;
        }
        let answer = world
            .arrive(&mut person, &format!("/oauth2/callback?{}", some.join("&")))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{some:?}");
    }
    let doubled = format!("{callback}&{}", pairs[0]);
    assert_eq!(
        world.arrive(&mut person, &doubled).await.status,
        StatusCode::BAD_REQUEST
    );
    // None of it has used the flow up.
    assert_eq!(
        world.arrive(&mut person, &callback).await.status,
        StatusCode::FOUND
    );
}

#[tokio::test]
async fn a_provider_that_is_down_at_start_is_waited_for() {
    let world = World::undiscovered(json!({}), |idp| {
        idp.script(|script| script.discovery = Reply::Status(500, "x"));
    })
    .await;
    let mut person = Person::default();
    let answer = world.get(&mut person, "/oauth2/start").await;
    assert_eq!(
        (answer.status, answer.code),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            Some(Code::ProviderUnavailable)
        )
    );
    assert!(answer.headers.contains_key("retry-after"));
    assert!(person.jar.is_empty());
    world.idp.script(|script| script.discovery = Reply::Normal);
    world.discovered().await;
    world.signed_in().await;
}

#[tokio::test]
async fn trouble_at_the_token_endpoint_is_no_login_and_no_harm() {
    let world = World::new().await;
    for (reply, code) in [
        (Reply::Status(503, "busy"), Code::ProviderUnavailable),
        (
            Reply::Status(403, "<html>firewall</html>"),
            Code::ProviderUnavailable,
        ),
        (Reply::Status(302, ""), Code::ProviderUnavailable),
        (Reply::Json(429, "{}"), Code::ProviderUnavailable),
        (Reply::Hang, Code::ProviderUnavailable),
        (Reply::Flood(50 << 20), Code::ProviderUnavailable),
        (Reply::Json(200, "{}"), Code::LoginFailed),
        (Reply::Json(200, "garbage"), Code::LoginFailed),
        (Reply::Status(200, "<html>"), Code::LoginFailed),
        (
            Reply::Json(401, r#"{"error":"invalid_client"}"#),
            Code::LoginFailed,
        ),
        (
            Reply::Json(400, r#"{"error":"invalid_grant"}"#),
            Code::LoginFailed,
        ),
        (
            Reply::Json(
                200,
                r#"{"access_token":"a","token_type":"Bearer","id_token":"x.y.z"}"#,
            ),
            Code::LoginFailed,
        ),
    ] {
        world.idp.script(|script| script.token = reply);
        let answer = refused(&world, code).await;
        assert_eq!(
            answer.headers.contains_key("retry-after"),
            code == Code::ProviderUnavailable,
            "{reply:?}"
        );
    }
    world.idp.script(|script| script.token = Reply::Normal);
    world.signed_in().await;
}

#[tokio::test]
async fn no_return_address_leads_away() {
    let world = World::new().await;
    for rd in [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/%5cevil.example",
        "/%2f%2fevil.example",
        "\\\\evil",
        "/\tevil",
        "javascript:alert(1)",
        "/%0d%0aLocation:%20https://evil",
        "https:evil.example",
        "/.//evil",
        " //evil",
    ] {
        let query: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("rd", rd)
            .finish();
        let mut person = Person::default();
        let start = world
            .get(&mut person, &format!("/oauth2/start?{query}"))
            .await;
        let callback = world.at_provider(&start).await;
        assert_eq!(
            world.arrive(&mut person, &callback).await.location(),
            "/",
            "{rd}"
        );
        let page = world
            .get(&mut person, &format!("/oauth2/sign_in?{query}"))
            .await;
        assert!(!page.body.contains("/oauth2/start?"), "{rd}");
        assert!(!page.body.contains("evil"), "{rd}");
    }
}

#[tokio::test]
async fn wrong_methods_are_told_which_are_right() {
    let world = World::new().await;
    for (path, allow) in [
        ("/oauth2/callback?state=a&code=b", "GET"),
        ("/oauth2/sign_in", "GET, HEAD"),
        ("/oauth2/start", "GET, POST"),
        ("/oauth2/sign_out", "GET, POST"),
        ("/oauth2/userinfo", "GET, HEAD"),
        ("/oauth2/session", "GET, HEAD"),
        ("/oauth2/style.css", "GET, HEAD"),
    ] {
        let answer = world
            .send(&mut Person::default(), Method::DELETE, path, &[], "")
            .await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(answer.headers["allow"], allow, "{path}");
        let head = world
            .send(&mut Person::default(), Method::HEAD, path, &[], "")
            .await;
        // Nothing happens by asking for the head alone.
        assert_eq!(
            head.status == StatusCode::METHOD_NOT_ALLOWED,
            !allow.contains("HEAD"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn nobody_is_401_and_another_site_is_nobody() {
    let world = World::new().await;
    let nobody = world.get(&mut Person::default(), "/oauth2/userinfo").await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    let mut person = world.signed_in().await;
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil")],
    ] {
        let answer = world
            .send(&mut person, Method::GET, "/oauth2/userinfo", headers, "")
            .await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{headers:?}");
    }
}

/// A login that must not work: the code, no session, and no trace of the attempt in the cookie jar's session.
async fn refused(world: &World, code: Code) -> Answer {
    let mut person = Person::default();
    let answer = world.login(&mut person).await;
    assert_eq!(answer.code, Some(code), "{answer:?}");
    assert!(!person.jar.contains_key(SESSION));
    answer
}

#[tokio::test]
async fn advisory_cve_2024_47616_a_providers_token_is_no_session() {
    let world = World::new().await;
    let mut person = world.signed_in().await;
    let good = person.jar[SESSION].clone();
    let flipped = format!(
        "{}{}",
        &good[..good.len() - 2],
        if good.ends_with("AA") { "BB" } else { "AA" }
    );
    for value in [
        world
            .idp
            .access_token("subject-of-ann", super::world::PUBLIC, &json!({})),
        world.idp.secrets().remove(1),
        good[..good.len() / 2].to_owned(),
        flipped,
        String::new(),
    ] {
        person.jar.insert(SESSION.to_owned(), value);
        assert!(world.session(&person).await.unwrap().is_none());
    }
    person.jar.insert(SESSION.to_owned(), good);
    assert!(world.session(&person).await.unwrap().is_some());
}
