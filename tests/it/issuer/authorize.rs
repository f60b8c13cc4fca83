//! The authorization endpoint: what is refused on a page of ours, what is told to the app, who is asked to sign in,
//! and who is refused.

use std::time::Duration;

use http::Method;

use super::visit::{World, field, is_consent, own_page, parameter};
use crate::harness::browser::Browser;
use crate::harness::client::{Ask, get, post};
use crate::harness::oauth::Returned;

/// An authorization request without a session, not followed.
async fn ask(world: &World, url: &str) -> crate::harness::client::Answer {
    world.open_as(&Browser::default(), url, Some("none")).await
}

#[tokio::test]
async fn s6_what_is_no_registered_redirect_uri_gets_a_page() {
    let world = World::new().await;
    let good = "https://good.example/cb";
    let app = world
        .app("<b>Test</b>", &[good, "http://127.0.0.1/cb"])
        .await;
    for bad in [
        "https://evil.example/cb",
        "https://good.example/other",
        "https://good.example/cb/",
        "https://good.example/cb?x=1",
        "https://good.example/cb#fragment",
        "https://good.example@evil.example/cb",
        "https://GOOD.example/cb\\@evil.example",
        "http://good.example/cb",
        "JaVaScript:alert(1)",
        "javascript:alert(1)",
        "data:text/html,x",
        " https://good.example/cb",
        "\thttps://good.example/cb",
        "\nhttps://good.example/cb",
        "https://good.example/cb\r\nLocation: https://evil.example",
        "https://g\u{43e}\u{43e}d.example/cb",
        "http://127.0.0.1.evil.example/cb",
        "http://127.0.0.1:80@evil.example/cb",
        "http://127.0.0.1:4711/other",
        "//good.example/cb",
        "cursor://evil/cb",
    ] {
        let answer = ask(&world, &app.authorize_url(&[("redirect_uri", bad)])).await;
        assert_eq!(answer.status, 400, "{bad:?}: {}", answer.text());
        assert_eq!(answer.header("location"), "", "{bad:?}");
        assert!(answer.text().contains("We stopped this request"), "{bad:?}");
        assert!(!answer.text().contains("href=\"https://evil"), "{bad:?}");
        assert!(!answer.text().contains("<b>"), "{bad:?}");
    }
    // Two are registered, so one has to be named.
    let answer = ask(&world, &app.authorize_url(&[("redirect_uri", "")])).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("location")),
        (400, "")
    );
}

#[tokio::test]
async fn an_unknown_app_gets_a_page_that_says_what_to_do() {
    let world = World::new().await;
    let mut app = world.local_app("Test App").await;
    for id in ["unknown", "mcpd_AAAA", &format!("{}x", app.client_id)] {
        app.client_id = id.to_owned();
        let answer = ask(&world, &app.authorize_url(&[])).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location")),
            (400, ""),
            "{id}"
        );
        let text = answer.text();
        assert!(
            text.contains("remove this server there, and add it again"),
            "{text}"
        );
        assert!(text.contains(answer.header("x-request-id")), "{text}");
    }
    // A document that cannot be had names its host.
    app.client_id = "https://client.example.invalid/app.json".to_owned();
    let answer = ask(&world, &app.authorize_url(&[])).await;
    assert!(
        matches!(answer.status.as_u16(), 400 | 503),
        "{}",
        answer.text()
    );
    assert_eq!(answer.header("location"), "");
    let answer = ask(&world, &app.authorize_url(&[("client_id", "")])).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("location")),
        (400, "")
    );
}

#[tokio::test]
async fn s7_pkce_cannot_be_left_out_or_weakened() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let forty_four = "A".repeat(44);
    for (bad, description) in [
        (&[("code_challenge", "")][..], "code_challenge is missing"),
        (
            &[("code_challenge", ""), ("code_challenge_method", "")],
            "code_challenge is missing",
        ),
        (&[("code_challenge_method", "")], "code_challenge_method"),
        (
            &[("code_challenge_method", "plain")],
            "code_challenge_method",
        ),
        (
            &[("code_challenge_method", "s256")],
            "code_challenge_method",
        ),
        (&[("code_challenge", "short")], "code_challenge is no"),
        (&[("code_challenge", &*forty_four)], "code_challenge is no"),
    ] {
        let answer = ask(&world, &app.authorize_url(bad)).await;
        let location = answer.header("location");
        assert!(
            location.starts_with(&app.redirect_uri),
            "{bad:?}: {}",
            answer.text()
        );
        let get = |name| parameter(location, name);
        assert_eq!(get("error").as_deref(), Some("invalid_request"), "{bad:?}");
        assert!(
            get("error_description").unwrap().contains(description),
            "{bad:?}"
        );
        assert_eq!(get("state").as_deref(), Some("a-state"));
        assert_eq!(
            get("iss"),
            Some(world.origin()),
            "S20: every answer names us"
        );
        assert_eq!(get("code"), None);
    }
}

#[tokio::test]
async fn a_parameter_counts_once() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    for name in [
        "client_id",
        "redirect_uri",
        "state",
        "code_challenge",
        "code_challenge_method",
        "response_type",
        "scope",
        "prompt",
    ] {
        let url = format!("{}&{name}=x&{name}=y", app.authorize_url(&[]));
        let answer = ask(&world, &url).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location")),
            (400, ""),
            "{name}"
        );
    }
    // Empty counts as left out (RFC 6749 section 3.1), and so is no repetition.
    let url = format!("{}&state=&scope=", app.authorize_url(&[]));
    let answer = ask(&world, &url).await;
    assert!(answer.header("location").starts_with(&world.idp.issuer()));
    let resources = format!(
        "{}&resource={}",
        app.authorize_url(&[]),
        world.url("/files/mcp")
    );
    let answer = ask(&world, &resources).await;
    assert!(answer.header("location").starts_with(&world.idp.issuer()));
}

#[tokio::test]
async fn what_is_wrong_is_told_to_the_app() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let (notes, nothing) = (world.url("/notes/mcp"), world.url("/nothing"));
    let many = format!("{}&resource={notes}", app.authorize_url(&[]));
    for (url, error) in [
        (
            app.authorize_url(&[("response_type", "token")]),
            "unsupported_response_type",
        ),
        (
            app.authorize_url(&[("response_type", "")]),
            "invalid_request",
        ),
        (
            app.authorize_url(&[("response_mode", "fragment")]),
            "invalid_request",
        ),
        (
            app.authorize_url(&[("request", "x.y.z")]),
            "invalid_request",
        ),
        (
            app.authorize_url(&[("resource", &nothing)]),
            "invalid_target",
        ),
        (
            app.authorize_url(&[("resource", "https://other.example/mcp")]),
            "invalid_target",
        ),
        (app.authorize_url(&[("resource", "")]), "invalid_target"),
        (many, "invalid_target"),
        (app.authorize_url(&[("scope", "a\u{7f}b")]), "invalid_scope"),
        (
            app.authorize_url(&[("prompt", "none login")]),
            "invalid_request",
        ),
        (app.authorize_url(&[("prompt", "none")]), "login_required"),
        (
            app.authorize_url(&[("state", &"s".repeat(7000))]),
            "invalid_request",
        ),
    ] {
        let answer = ask(&world, &url).await;
        let location = answer.header("location");
        assert_eq!(answer.status, 303, "{url}: {}", answer.text());
        assert!(location.starts_with(&app.redirect_uri), "{location}");
        assert_eq!(
            parameter(location, "error").as_deref(),
            Some(error),
            "{url}"
        );
        assert_eq!(parameter(location, "iss"), Some(world.origin()));
    }
    let machine = world.app_of("machine", "http://127.0.0.1:4711/cb");
    let answer = ask(&world, &machine.authorize_url(&[])).await;
    let error = parameter(answer.header("location"), "error");
    assert_eq!(error.as_deref(), Some("unauthorized_client"));
    let narrow = world.app_of("narrow", "http://127.0.0.1:4711/cb");
    let answer = ask(&world, &narrow.authorize_url(&[("resource", &notes)])).await;
    let error = parameter(answer.header("location"), "error");
    assert_eq!(error.as_deref(), Some("invalid_target"));
}

/// RFC 9700 section 4.11.2: an app that the operator does not know cannot use errors to send people anywhere.
#[tokio::test]
async fn errors_of_unknown_web_apps_are_no_open_redirect() {
    let world = World::new().await;
    let app = world.app("Evil", &["https://evil.example/cb"]).await;
    for wrong in [
        ("response_type", "x"),
        ("code_challenge", ""),
        ("prompt", "none"),
    ] {
        let answer = ask(&world, &app.authorize_url(&[wrong])).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location")),
            (400, "")
        );
        assert!(
            answer.text().contains("https://evil.example/cb?error="),
            "a link to press"
        );
        assert!(
            !answer.text().contains("http-equiv"),
            "and nothing that goes by itself"
        );
    }
    // One that the operator registered is sent to.
    let portal = world.app_of("portal", "https://portal.example/cb");
    let answer = ask(&world, &portal.authorize_url(&[("response_type", "x")])).await;
    assert!(
        answer
            .header("location")
            .starts_with("https://portal.example/cb?error=")
    );
}

#[tokio::test]
async fn scopes_are_what_is_asked_for_and_permitted() {
    let world = World::new().await;
    let mut browser = world.ann().await;
    let app = world.local_app("Test App").await;
    let narrow = world.app_of("narrow", "http://127.0.0.1:4711/cb");
    for (app, asked, shown) in [
        (&app, "", "mcp read"),
        (&app, "read offline_access admin", "read"),
        (&app, "read mcp read", "mcp read"),
        (&narrow, "", "read"),
        (&narrow, "mcp read", "read"),
    ] {
        let page = app
            .consent_page_for(&mut browser, "ann", &[("scope", asked)])
            .await;
        is_consent(&page);
        assert!(
            page.text()
                .contains(&format!("<dt>Scopes</dt><dd><code>{shown}</code>")),
            "{asked}: {}",
            page.text()
        );
    }
    // The only route of a client is meant when it names none.
    let page = narrow
        .consent_page_for(&mut browser, "ann", &[("resource", "")])
        .await;
    is_consent(&page);
}

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
async fn a_posted_request_goes_on_as_an_address() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let browser = world.ann().await;
    let url = app.authorize_url(&[]);
    let query = url.split_once('?').unwrap().1.to_owned();
    let answer = post(&world.url("/oauth2/authorize"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(query)
        .send()
        .await;
    assert_eq!(answer.status, 303);
    let page = world
        .open_as(
            &browser,
            &world.url(answer.header("location")),
            Some("cross-site"),
        )
        .await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(page.text().contains("name=\"decision\""));
    let put = Ask::new(Method::PUT, &world.url("/oauth2/authorize"))
        .send()
        .await;
    assert_eq!(
        (put.status.as_u16(), put.header("allow")),
        (405, "GET, POST")
    );
}

#[tokio::test]
async fn s20_an_answer_of_another_issuer_is_not_taken() {
    use crate::harness::idp::AnswerIssuer;
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    world.idp.script(|script| {
        script.answer_issuer = AnswerIssuer::Other("https://other.example".to_owned());
    });
    let mut browser = Browser::default();
    let page = app.consent_page(&mut browser, "ann").await;
    assert_eq!(page.status(), 400);
    assert_eq!(page.url.path(), "/oauth2/callback");
    assert!(
        world.idp.calls("/token").is_empty(),
        "the code was not redeemed"
    );
    assert!(!page.text().contains("other.example"));
    world.idp.script(|script| {
        script.answer_issuer = AnswerIssuer::Ours;
        script.refuse = Some("access_denied");
    });
    let page = app.consent_page(&mut Browser::default(), "ann").await;
    assert_eq!(page.status(), 403);
    assert!(
        !page.text().contains("words of the provider"),
        "{}",
        page.text()
    );
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
