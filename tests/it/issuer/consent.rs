//! Consent: who is asked, what they see, and that an answer counts once and for the one session that it was asked of.

use std::time::Duration;

use super::visit::{World, field, is_consent, own_page, parameter};
use crate::harness::browser::Browser;
use crate::harness::client::get;
use crate::harness::oauth::Returned;

#[tokio::test]
async fn the_page_says_what_a_decision_needs() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let mut browser = Browser::default();
    let page = app.consent_page(&mut browser, "ann").await;
    is_consent(&page);
    let text = page.text();
    for part in [
        "<bdi>Test App</bdi>",
        "This is not verified.",
        "You will be sent to an app on this computer",
        "127.0.0.1",
        "Only continue if you started this yourself a moment ago.",
        "Ann Example",
        "ann@example.com",
        "Account of 127.0.0.1",
        "Use another account",
        "files",
        "mcp",
        "read",
        "It keeps access while you are away, until",
        "Allow access",
        "Deny",
        &app.redirect_uri,
        &app.resource,
        "can be answered for 15 minutes",
        "– ACME</title>",
        "help@acme.example",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(
        !text.contains("autofocus") && !text.contains("<script"),
        "{text}"
    );
    assert!(!text.contains("name=\"remember\""), "it is not switched on");
    let csp = page.answer.header("content-security-policy");
    assert_eq!(
        csp,
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    assert_eq!(page.answer.header("referrer-policy"), "same-origin");
    assert_eq!(page.answer.header("x-frame-options"), "DENY");
    assert_eq!(page.answer.header("cache-control"), "no-store");
    assert!(page.text().len() < 40 << 10);
}

#[tokio::test]
async fn approve_and_deny_go_back_to_the_app() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let mut browser = world.ann().await;
    let page = app.consent_page(&mut browser, "ann").await;
    let denied = browser
        .submit(page.form_to("/oauth2/consent").fill("decision", "deny"))
        .await;
    let denied = Returned::of(&denied);
    assert_eq!(denied.get("error").as_deref(), Some("access_denied"));
    assert_eq!(denied.get("state").as_deref(), Some("a-state"));
    assert_eq!(denied.get("iss"), Some(world.origin()));
    assert_eq!(denied.get("code"), None);
    // Nothing was stored, so the same page can still be answered.
    let allowed = browser
        .submit(page.form_to("/oauth2/consent").fill("decision", "approve"))
        .await;
    let allowed = Returned::of(&allowed);
    assert!(allowed.code().starts_with("mcpc_"));
    assert_eq!(allowed.get("state").as_deref(), Some("a-state"));
    assert_eq!(allowed.get("iss"), Some(world.origin()));
    assert!(allowed.url.as_str().starts_with(&app.redirect_uri));
}

#[tokio::test]
async fn an_answer_counts_once_whatever_the_tab() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let mut browser = world.ann().await;
    let one = app.consent_page(&mut browser, "ann").await;
    let two = app.consent_page(&mut browser, "ann").await;
    assert_ne!(field(&one.text(), "request"), field(&two.text(), "request"));
    let approve = |page: &crate::harness::browser::Page| {
        page.form_to("/oauth2/consent").fill("decision", "approve")
    };
    Returned::of(&browser.submit(approve(&one)).await).code();
    for page in [&two, &one] {
        let again = browser.submit(approve(page)).await;
        assert_eq!(again.status(), 400);
        assert!(again.text().contains("This page was already used"));
        assert_eq!(again.url.path(), "/oauth2/consent");
    }
    // Another request of the same app is another question.
    let page = app
        .consent_page_for(&mut browser, "ann", &[("state", "another")])
        .await;
    Returned::of(&browser.submit(approve(&page)).await).code();
}

#[tokio::test]
async fn a_page_that_waited_too_long_can_be_had_again() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let mut browser = world.ann().await;
    let page = app.consent_page(&mut browser, "ann").await;
    world.clock.advance(Duration::from_secs(15 * 60));
    let approve = page.form_to("/oauth2/consent").fill("decision", "approve");
    let late = browser.submit(approve).await;
    assert_eq!(late.status(), 400);
    assert!(
        late.text().contains("This page has expired"),
        "{}",
        late.text()
    );
    let again = field(&page.text(), "again");
    assert!(late.text().contains(&again.replace('&', "&#38;")));
    let page = browser.open(&world.url(&again)).await;
    is_consent(&page);
    let approve = page.form_to("/oauth2/consent").fill("decision", "approve");
    Returned::of(&browser.submit(approve).await).code();
}

#[tokio::test]
async fn s2_consent_to_one_app_is_none_to_another() {
    let world = World::new().await;
    let (first, second) = (
        world.local_app("First").await,
        world.local_app("Second").await,
    );
    let mut browser = world.ann().await;
    first.approve(&mut browser, "ann").await.code();
    for app in [&second, &first] {
        let page = app.consent_page(&mut browser, "ann").await;
        is_consent(&page);
        assert!(world.landing.seen().len() == 1, "no code without an answer");
    }
    let page = second.consent_page(&mut browser, "ann").await;
    assert!(page.text().contains("<bdi>Second</bdi>") && !page.text().contains("First"));
}

#[tokio::test]
async fn s3_nobody_else_can_answer_what_was_asked_of_a_session() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    // Browser 1 comes to the provider, and to its own consent page.
    let mut one = Browser::default();
    let begun = world
        .open_as(&one, &app.authorize_url(&[]), Some("none"))
        .await;
    let at_provider = begun.header("location").to_owned();
    assert!(
        at_provider.starts_with(&world.idp.issuer()),
        "{at_provider}"
    );
    let page = app.consent_page(&mut one, "ann").await;
    is_consent(&page);

    // Browser 2 is somebody who is signed in too.
    world.next_is_bob();
    let mut two = world.ann().await;
    // The provider's address of browser 1: no cookie of browser 2 fits the state.
    let mut stranger = Browser::default();
    let arrived = stranger.open(&at_provider).await;
    assert_eq!(arrived.status(), 400, "{}", arrived.text());
    assert_eq!(arrived.url.path(), "/oauth2/callback");
    // The address of the consent page asks browser 2 for itself.
    let own = two.open(page.url.as_str()).await;
    assert_eq!(own.status(), 403, "bob may not use it: {}", own.text());
    // And its answer is not taken, whether somebody is signed in or not.
    let sealed = field(&page.text(), "request");
    let again = field(&page.text(), "again");
    for browser in [&two, &stranger] {
        for decision in ["approve", "deny"] {
            let fields = [
                ("request", &*sealed),
                ("again", &*again),
                ("decision", decision),
            ];
            let answer = world.send(browser, "/oauth2/consent", &fields).await;
            assert_eq!(answer.status, 403, "{}", answer.text());
            assert_eq!(answer.header("location"), "");
            assert!(
                answer
                    .text()
                    .contains("This page belongs to another sign-in")
            );
        }
    }
    assert!(world.landing.seen().is_empty(), "no code for anybody");
    // Browser 1 still can.
    let approve = page.form_to("/oauth2/consent").fill("decision", "approve");
    Returned::of(&one.submit(approve).await).code();
}

#[tokio::test]
async fn s3_a_session_that_is_over_or_new_answers_nothing_of_the_one_before() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let mut browser = world.ann().await;
    let page = app.consent_page(&mut browser, "ann").await;
    let before = browser.clone();
    // The same person signs in again: another session.
    browser
        .open(&world.url("/oauth2/start?rd=/oauth2/session"))
        .await;
    let (sealed, again) = (field(&page.text(), "request"), field(&page.text(), "again"));
    let fields = [
        ("request", &*sealed),
        ("again", &*again),
        ("decision", "approve"),
    ];
    for browser in [&browser, &before] {
        let answer = world.send(browser, "/oauth2/consent", &fields).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(answer.text().contains("Open the page again"));
    }
    assert!(world.landing.seen().is_empty());
}

#[tokio::test]
async fn s5_nothing_exists_before_the_answer_that_could_be_used() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let browser = Browser::default();
    let begun = world
        .open_as(&browser, &app.authorize_url(&[]), Some("none"))
        .await;
    assert_eq!(begun.status, 302);
    // Nothing of the client's request goes to the provider.
    let at_provider = begun.header("location");
    for secret in ["a-state", &app.client_id, &app.redirect_uri] {
        assert!(!at_provider.contains(secret), "{at_provider}");
    }
    let state = parameter(at_provider, "state").unwrap();
    let callback = world.url(&format!("/oauth2/callback?code=x&state={state}"));
    // Without the cookie nothing is accepted; the flow stays for the browser that has it.
    let answer = get(&callback).header("accept", "text/html").send().await;
    assert_eq!(answer.status, 400);
    // A callback gives a session and nothing else.
    let mut browser = Browser::default();
    let page = app.consent_page(&mut browser, "ann").await;
    is_consent(&page);
    let trail: Vec<&str> = page.trail.iter().map(url::Url::path).collect();
    assert_eq!(
        trail,
        [
            "/oauth2/authorize",
            "/authorize",
            "/oauth2/callback",
            "/oauth2/authorize"
        ]
    );
    assert!(page.answer.headers.get("set-cookie").is_none());
    assert!(world.landing.seen().is_empty());
}

#[tokio::test]
async fn answers_come_from_our_own_page_only() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let mut browser = world.ann().await;
    let page = app.consent_page(&mut browser, "ann").await;
    let (sealed, again) = (field(&page.text(), "request"), field(&page.text(), "again"));
    let fields = [
        ("request", &*sealed),
        ("again", &*again),
        ("decision", "approve"),
    ];
    let origin = world.origin();
    let own = own_page(&origin);
    for headers in [
        &[][..],
        &[("origin", "null")],
        &[
            ("origin", "https://evil.example"),
            ("sec-fetch-site", "cross-site"),
        ],
        &[
            ("origin", "https://evil.example"),
            ("sec-fetch-site", "same-origin"),
        ],
        &[
            ("sec-fetch-site", "same-site"),
            ("origin", "http://localhost:1"),
        ],
        &[("sec-fetch-site", "none")],
        &[own[0], ("sec-fetch-site", "cross-site")],
        &[own[0], ("origin", "https://evil.example")],
    ] {
        let answer = world
            .send_as(&browser, "/oauth2/consent", &fields, headers)
            .await;
        assert_eq!(answer.status, 403, "{headers:?}");
        assert_eq!(answer.header("location"), "");
    }
    assert!(world.landing.seen().is_empty());
    // What is not whole is not guessed at.
    for bad in [
        &[("request", &*sealed), ("decision", "maybe")][..],
        &[("request", &*sealed)],
        &[("decision", "approve")],
        &[("request", "AAAA"), ("decision", "approve")],
        &[
            ("request", &*sealed),
            ("request", "x"),
            ("decision", "approve"),
        ],
    ] {
        let answer = world.send(&browser, "/oauth2/consent", bad).await;
        assert!(matches!(answer.status.as_u16(), 400 | 403), "{bad:?}");
    }
    assert_eq!(get(&world.url("/oauth2/consent")).send().await.status, 405);
    // Nothing of that used the answer up.
    let answer = world.send(&browser, "/oauth2/consent", &fields).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
}

#[tokio::test]
async fn the_way_back_leads_nowhere_but_to_us() {
    let world = World::new().await;
    let browser = world.ann().await;
    for bad in [
        "https://evil.example/",
        "//evil.example",
        "/oauth2/sign_out?x=y",
        "/oauth2/authorizex?y",
        "javascript:alert(1)",
        "/oauth2/authorize/../evil?x",
    ] {
        let fields = [("request", "AAAA"), ("again", bad), ("decision", "approve")];
        let answer = world.send(&browser, "/oauth2/consent", &fields).await;
        assert_eq!(answer.status, 403);
        assert!(!answer.text().contains(bad), "{}", answer.text());
    }
}

#[tokio::test]
async fn s18_apps_on_this_computer_are_warned_of() {
    let world = World::new().await;
    let mut browser = world.ann().await;
    let warned = "Only continue if you started this yourself a moment ago.";
    for (app, place, warns) in [
        (world.local_app("Claude").await, "127.0.0.1", true),
        (
            world.app_of("editor", "cursor://anysphere.cursor-mcp/oauth/callback"),
            "cursor",
            true,
        ),
        (
            world.app_of("portal", "https://portal.example/cb"),
            "portal.example",
            false,
        ),
    ] {
        let page = app.consent_page(&mut browser, "ann").await;
        is_consent(&page);
        assert!(
            page.text().contains(&format!("<bdi>{place}</bdi>")),
            "{}",
            page.text()
        );
        assert_eq!(page.text().contains(warned), warns, "{place}");
    }
    let page = world
        .app("Somebody", &["https://app.example/cb"])
        .await
        .consent_page(&mut browser, "ann")
        .await;
    assert!(
        page.text()
            .contains("Only continue if you know this address")
    );
}

#[tokio::test]
async fn s19_a_name_is_text_cut_and_quoted() {
    let world = World::new().await;
    let mut browser = world.ann().await;
    for name in [
        "<script>alert(1)</script><img src=x onerror=alert(2)>".to_owned(),
        "safe\u{202e}gpj\u{200b}\u{2066}".to_owned(),
        "x".repeat(200),
    ] {
        let redirect = format!("{}/callback", world.landing.url());
        let answer = world.register(&name, &[&redirect]).await;
        if answer.status != 201 {
            assert_eq!(answer.status, 400, "{}", answer.text());
            continue;
        }
        let app = world.app_of(answer.json()["client_id"].as_str().unwrap(), &redirect);
        let page = app.consent_page(&mut browser, "ann").await;
        is_consent(&page);
        let text = page.text();
        assert!(
            !text.contains("<script") && !text.contains("<img"),
            "{text}"
        );
        assert!(
            !text.contains(['\u{202e}', '\u{200b}', '\u{2066}']),
            "{text}"
        );
        assert!(!text.contains(&"x".repeat(65)), "{text}");
    }
}
