//! Several providers: people choose, and each login stays with its own.

use http::{Method, StatusCode};
use serde_json::json;

use super::world::{Answer, PUBLIC, Person, SESSION, Two};
use crate::harness::idp::{AnswerIssuer, Reply};

fn failed(answer: &Answer) -> bool {
    answer.status.is_client_error() && answer.code.is_some()
}

#[tokio::test]
async fn people_choose_and_each_login_stays_with_its_provider() {
    let two = Two::new(json!({})).await;
    let world = &two.main;
    let mut person = Person::default();
    // Nobody is sent anywhere unasked.
    let start = world.get(&mut person, "/oauth2/start?rd=%2Fhome").await;
    assert_eq!(start.location(), "/oauth2/sign_in?rd=%2Fhome");
    let page = world.get(&mut person, start.location()).await;
    assert_eq!(page.status, StatusCode::OK);
    for text in [
        "/oauth2/start?provider=main&amp;rd=%2Fhome",
        "/oauth2/start?provider=partners&amp;rd=%2Fhome",
        "Partner companies",
    ] {
        assert!(
            page.body.contains(text) || page.body.contains(&text.replace("&amp;", "&#38;")),
            "{text}: {}",
            page.body
        );
    }
    let choices: Vec<_> = world.proxy.choices().collect();
    assert_eq!(
        choices,
        [("main", "127.0.0.1"), ("partners", "Partner companies")]
    );

    let to = "/oauth2/start?provider=partners&rd=%2Fhome";
    let start = world.get(&mut person, to).await;
    assert!(
        start.location().starts_with(&two.partner.issuer()),
        "{start:?}"
    );
    let callback = world.at_provider(&start).await;
    let done = world.arrive(&mut person, &callback).await;
    assert_eq!((done.status, done.location()), (StatusCode::FOUND, "/home"));
    let session = world.session(&person).await.unwrap().unwrap();
    assert_eq!(*session.claims.subject.issuer, two.partner.issuer());
    // The partner's `engineering` is not ours.
    assert!(
        session.claims.groups.is_empty(),
        "{:?}",
        session.claims.groups
    );

    // Refresh and sign-out go to the partner alone.
    world.idp.script(|script| script.token = Reply::Hang);
    world.clock.advance(std::time::Duration::from_secs(245));
    world.session(&person).await.unwrap().unwrap();
    assert_eq!(two.partner.calls("/token").len(), 2);
    let own = [("sec-fetch-site", "same-origin")];
    let out = world
        .send(&mut person, Method::POST, "/oauth2/sign_out", &own, "")
        .await;
    assert!(out.location().starts_with(&two.partner.issuer()), "{out:?}");
    assert!(world.idp.calls("/token").is_empty());
}

#[tokio::test]
async fn groups_of_a_further_provider_count_where_they_are_written() {
    let two = Two::new(json!({"claims": {"groups": ["groups"]}})).await;
    let person = two.signed_in("partners").await;
    let session = two.main.session(&person).await.unwrap().unwrap();
    assert_eq!(session.claims.groups, ["engineering"]);
    let person = two.signed_in("main").await;
    let session = two.main.session(&person).await.unwrap().unwrap();
    assert_eq!(session.claims.groups, ["engineering"]);
}

#[tokio::test]
async fn an_unknown_provider_is_nobody() {
    let two = Two::new(json!({})).await;
    for query in ["provider=evil", "provider=", "provider=MAIN"] {
        let path = format!("/oauth2/start?{query}");
        let answer = two.main.get(&mut Person::default(), &path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
    }
    // Twice is not once.
    let twice = "/oauth2/start?provider=main&provider=partners";
    let answer = two.main.get(&mut Person::default(), twice).await;
    assert!(answer.location().starts_with("/oauth2/sign_in"));
}

/// RFC 9207 section 4: an answer of one provider must not be taken to another one's token endpoint.
#[tokio::test]
async fn attack_s20_an_answer_of_another_provider_is_not_redeemed() {
    for (chosen, other_is_main) in [("main", false), ("partners", true)] {
        let two = Two::new(json!({})).await;
        let world = &two.main;
        let (asked, other) = if other_is_main {
            (&two.partner, &world.idp)
        } else {
            (&world.idp, &two.partner)
        };
        let mut person = Person::default();
        let path = format!("/oauth2/start?provider={chosen}");
        let start = world.get(&mut person, &path).await;
        // The answer says that it is the other provider's, as an honest one under attack does.
        let issuer = other.issuer();
        asked.script(|script| script.answer_issuer = AnswerIssuer::Other(issuer));
        let callback = world.at_provider(&start).await;
        let answer = world.arrive(&mut person, &callback).await;
        assert!(failed(&answer), "{answer:?}");
        assert!(asked.calls("/token").is_empty() && other.calls("/token").is_empty());
        assert!(!person.jar.contains_key(SESSION));

        // It leaves `iss` out, though its document promises it.
        let start = world.get(&mut person, &path).await;
        asked.script(|script| script.answer_issuer = AnswerIssuer::Absent);
        let callback = world.at_provider(&start).await;
        assert!(failed(&world.arrive(&mut person, &callback).await));
        assert!(asked.calls("/token").is_empty() && other.calls("/token").is_empty());

        // A code of the other provider, on the state of this one, with a good `iss`.
        let theirs = world
            .get(
                &mut person,
                &format!(
                    "/oauth2/start?provider={}",
                    if other_is_main { "main" } else { "partners" }
                ),
            )
            .await;
        let theirs = world.at_provider(&theirs).await;
        let code = url::Url::parse(&format!("{PUBLIC}{theirs}"))
            .unwrap()
            .query_pairs()
            .find(|(name, _)| name == "code")
            .unwrap()
            .1
            .into_owned();
        let start = world.get(&mut person, &path).await;
        let state = url::Url::parse(start.location())
            .unwrap()
            .query_pairs()
            .find(|(name, _)| name == "state")
            .unwrap()
            .1
            .into_owned();
        let mixed = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("state", &state)
            .append_pair("code", &code)
            .append_pair("iss", &asked.issuer())
            .finish();
        let answer = world
            .arrive(&mut person, &format!("/oauth2/callback?{mixed}"))
            .await;
        assert!(failed(&answer), "{answer:?}");
        // Asked was only the one that the login was begun at.
        assert!(other.calls("/token").is_empty());
        assert!(!person.jar.contains_key(SESSION));
    }
}
