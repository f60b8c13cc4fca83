//! The authorization endpoint: what is refused on a page of ours, what is told to the app, who is asked to sign in,
//! and who is refused.

use http::Method;

use super::visit::{World, is_consent, parameter};
use crate::harness::browser::Browser;
use crate::harness::client::{Ask, post};

/// An authorization request without a session, not followed.
pub(super) async fn ask(world: &World, url: &str) -> crate::harness::client::Answer {
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
