//! What people are asked and shown on the way, and that it stays theirs to answer.

use std::time::Duration;

use http::Method;

use super::authorize::ask;
use super::visit::{World, field, is_consent, own_page, parameter};
use crate::harness::browser::Browser;
use crate::harness::client::{Ask, get};
use crate::harness::oauth::Returned;

#[tokio::test]
async fn who_may_not_use_it_is_told_so_and_can_be_somebody_else() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    world.next_is_bob();
    let mut browser = Browser::default();
    let page = app.consent_page(&mut browser, "bob").await;
    assert_eq!(page.status(), 403);
    let text = page.text();
    for part in [
        "You do not have access to <bdi>files</bdi>",
        "bob@example.com",
        "<bdi>Test App</bdi>",
        "Use another account",
        "mailto:help@acme.example?subject=Reference%20",
        page.answer.header("x-request-id"),
        "error=access_denied",
        &format!("{}?", app.redirect_uri),
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(world.landing.seen().is_empty());
    let cookie = browser
        .cookie("localhost", "mcp_session")
        .unwrap()
        .to_owned();

    // Another account: the provider is asked to let the person choose, and the same request goes on.
    world.idp.script(|script| {
        script.subject = "subject-of-ann".to_owned();
        script.claims =
            serde_json::json!({ "email": "ann@example.com", "groups": ["engineering"] })
                .as_object()
                .unwrap()
                .clone();
    });
    let page = browser.submit(page.form_to("/oauth2/switch_account")).await;
    is_consent(&page);
    assert!(page.text().contains("ann@example.com"));
    let asked = world.idp.calls("/authorize").pop().unwrap();
    assert_eq!(asked.query["prompt"], "select_account");
    let mut old = Browser::default();
    std::mem::swap(&mut old, &mut browser);
    let answer = get(&world.url("/oauth2/session"))
        .header("cookie", &format!("mcp_session={cookie}"))
        .send()
        .await;
    assert_eq!(answer.status, 401, "bob's session is over");
}

#[tokio::test]
async fn the_account_is_changed_by_our_own_page_only() {
    let world = World::new().await;
    let browser = world.ann().await;
    for headers in [
        &[][..],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
    ] {
        let answer = world
            .send_as(&browser, "/oauth2/switch_account", &[("rd", "/")], headers)
            .await;
        assert_eq!(answer.status, 403, "{headers:?}");
    }
    let url = world.url("/oauth2/switch_account");
    assert_eq!(get(&url).send().await.status, 405);
    let session = world
        .open_as(&browser, &world.url("/oauth2/session"), Some("none"))
        .await;
    assert_eq!(session.status, 200, "still signed in");
}

#[tokio::test]
async fn prompt_and_language_reach_the_provider() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let mut browser = world.ann().await;
    for (prompt, at_provider) in [
        ("login", "login"),
        ("select_account", "select_account"),
        ("login consent", "login"),
    ] {
        let before = world.idp.calls("/authorize").len();
        let more = [("prompt", prompt), ("ui_locales", "fr ja")];
        let page = app.consent_page_for(&mut browser, "ann", &more).await;
        is_consent(&page);
        let calls = world.idp.calls("/authorize");
        assert_eq!(
            calls.len(),
            before + 1,
            "once, and not again on the way back"
        );
        assert_eq!(calls[before].query["prompt"], at_provider);
        assert_eq!(calls[before].query["ui_locales"], "fr ja");
        assert_eq!(page.answer.header("content-language"), "ja");
    }
    let before = world.idp.calls("/authorize").len();
    let page = app
        .consent_page_for(&mut browser, "ann", &[("prompt", "consent")])
        .await;
    is_consent(&page);
    assert_eq!(world.idp.calls("/authorize").len(), before);
    let page = browser
        .open(&app.authorize_url(&[("prompt", "none")]))
        .await;
    let error = Returned::of(&page).get("error");
    assert_eq!(error.as_deref(), Some("consent_required"));
}

#[tokio::test]
async fn a_person_chooses_the_language_on_the_page() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let mut browser = world.ann().await;
    let page = app.consent_page(&mut browser, "ann").await;
    assert_eq!(page.answer.header("content-language"), "en");
    let text = page.text();
    let at = text.find("/oauth2/language?to=ja").unwrap();
    let href = text[at..].split('"').next().unwrap().replace("&#38;", "&");
    assert!(
        href.contains("prompt%3Dconsent"),
        "nobody is spared the question: {href}"
    );
    let page = browser.open(&world.url(&href)).await;
    is_consent(&page);
    assert!(page.text().contains("<html lang=\"ja\">") && page.text().contains("アクセスを許可"));
    // The choice beats what the app asks for.
    let page = app
        .consent_page_for(&mut browser, "ann", &[("ui_locales", "en")])
        .await;
    assert_eq!(page.answer.header("content-language"), "ja");
    for bad in ["to=xx&rd=/", "rd=/", "to=ja&to=en"] {
        let url = world.url(&format!("/oauth2/language?{bad}"));
        assert_eq!(get(&url).send().await.status, 400, "{bad}");
    }
    let answer = get(&world.url("/oauth2/language?to=ja&rd=//evil.example"))
        .send()
        .await;
    assert_eq!(answer.header("location"), "/");
}

#[tokio::test]
async fn apps_with_a_scheme_of_their_own_get_a_page_to_press() {
    let world = World::new().await;
    let app = world.app_of("editor", "cursor://anysphere.cursor-mcp/oauth/callback");
    let mut browser = world.ann().await;
    let page = app.consent_page(&mut browser, "ann").await;
    let (sealed, again) = (field(&page.text(), "request"), field(&page.text(), "again"));
    for (decision, part) in [("deny", "?error=access_denied"), ("approve", "?code=mcpc_")] {
        let fields = [
            ("request", &*sealed),
            ("again", &*again),
            ("decision", decision),
        ];
        let answer = world.send(&browser, "/oauth2/consent", &fields).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location")),
            (200, "")
        );
        let text = answer.text();
        let href = format!("href=\"cursor://anysphere.cursor-mcp/oauth/callback{part}");
        assert!(text.contains(&href), "{text}");
        assert!(text.contains("Open “<bdi>The Editor</bdi>”"), "{text}");
        assert!(
            !text.contains("<script") && !text.contains("<form"),
            "{text}"
        );
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(
            answer.header("content-security-policy"),
            "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
        );
    }
    // Sent again (the browser's back button, a reload) it gives no second code.
    let fields = [
        ("request", &*sealed),
        ("again", &*again),
        ("decision", "approve"),
    ];
    let answer = world.send(&browser, "/oauth2/consent", &fields).await;
    assert_eq!(answer.status, 400);
    assert!(!answer.text().contains("mcpc_"));
    // An error of such an app waits for a press as well.
    let answer = ask(&world, &app.authorize_url(&[("response_type", "x")])).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("location")),
        (400, "")
    );
}

#[tokio::test]
async fn s4_remembered_consent_serves_no_other_site() {
    let world = World::with("  consent: { remember: 1h }\n").await;
    let app = world.app_of("portal", "https://portal.example/cb");
    let mut browser = world.ann().await;
    let page = app.consent_page(&mut browser, "ann").await;
    let (sealed, again) = (field(&page.text(), "request"), field(&page.text(), "again"));
    assert!(
        page.text().contains("name=\"remember\""),
        "offered, not ticked"
    );
    assert!(!page.text().contains("checked"));
    let fields = [
        ("request", &*sealed),
        ("again", &*again),
        ("decision", "approve"),
        ("remember", "yes"),
    ];
    let origin = world.origin();
    let answer = world
        .send_as(&browser, "/oauth2/consent", &fields, &own_page(&origin))
        .await;
    assert!(
        answer
            .header("location")
            .starts_with("https://portal.example/cb?code=")
    );

    let fresh = |state: &'static str| app.authorize_url(&[("state", state)]);
    for site in [Some("cross-site"), Some("same-site"), None] {
        let answer = world.open_as(&browser, &fresh("one"), site).await;
        assert_eq!(answer.status, 200, "{site:?}");
        assert!(answer.text().contains("name=\"decision\""), "{site:?}");
    }
    for (more, site) in [
        (&[("state", "two"), ("prompt", "consent")][..], Some("none")),
        (
            &[("state", "two"), ("resource", &world.url("/notes/mcp"))],
            Some("none"),
        ),
    ] {
        let answer = world
            .open_as(&browser, &app.authorize_url(more), site)
            .await;
        assert_eq!(answer.status, 200, "{more:?}");
    }
    // The person's own start is served, once for each request.
    let answer = world.open_as(&browser, &fresh("three"), Some("none")).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert_eq!(
        parameter(answer.header("location"), "state").as_deref(),
        Some("three")
    );
    let answer = world.open_as(&browser, &fresh("three"), Some("none")).await;
    assert_eq!(answer.status, 200, "asked again");
    // Fetched in advance it is not served.
    let answer = Ask::new(Method::GET, &fresh("four"))
        .header("sec-fetch-site", "none")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document")
        .header("sec-purpose", "prefetch")
        .header(
            "cookie",
            &browser.cookies_for(&url::Url::parse(&origin).unwrap()),
        )
        .send()
        .await;
    assert_eq!(answer.status, 200);
    // Another person's answer is theirs.
    world.next_is_bob();
    let bob = world.ann().await;
    let notes = app.authorize_url(&[("state", "five"), ("resource", &world.url("/notes/mcp"))]);
    assert_eq!(world.open_as(&bob, &notes, Some("none")).await.status, 200);
    // And it ends. (Ann's claims are read again by then.)
    world.idp.script(|script| {
        script.subject = "subject-of-ann".to_owned();
        script.claims["groups"] = serde_json::json!(["engineering"]);
    });
    world.clock.advance(Duration::from_secs(3600));
    let answer = world.open_as(&browser, &fresh("six"), Some("none")).await;
    assert_eq!(answer.status, 200, "asked again");
    // An app that nobody vouches for is never remembered.
    let local = world.local_app("Somebody").await;
    let page = local.consent_page(&mut Browser::default(), "ann").await;
    is_consent(&page);
    assert!(!page.text().contains("name=\"remember\""));
}

#[tokio::test]
async fn nobody_is_asked_inside_of_another_page() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let browser = world.ann().await;
    let asked = world.idp.calls("/authorize").len();
    for dest in ["iframe", "frame", "embed", "object"] {
        for cookies in [browser.cookies_for(world.proxy.base()), String::new()] {
            let answer = get(&app.authorize_url(&[]))
                .header("sec-fetch-dest", dest)
                .header("sec-fetch-mode", "navigate")
                .header("sec-fetch-site", "cross-site")
                .header("cookie", &cookies)
                .send()
                .await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("location")),
                (403, "")
            );
            assert_eq!(answer.header("x-frame-options"), "DENY");
        }
    }
    assert_eq!(world.idp.calls("/authorize").len(), asked);
}

#[tokio::test]
async fn a_provider_that_knows_no_choice_lets_people_sign_in_anew() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    world
        .idp
        .script(|script| script.refuse = Some("invalid_request"));
    let url = app.authorize_url(&[("prompt", "select_account")]);
    let mut browser = Browser::default();
    let page = browser.open(&url).await;
    let prompts: Vec<_> = world
        .idp
        .calls("/authorize")
        .iter()
        .map(|call| call.query["prompt"].clone())
        .collect();
    assert_eq!(
        prompts,
        ["select_account", "login"],
        "once more, and not for ever"
    );
    assert_eq!(page.status(), 502, "{}", page.text());
}
