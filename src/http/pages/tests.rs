use std::sync::Arc;

use http_body_util::BodyExt;

use super::*;
use crate::claims::Claims;
use crate::config::oidc::ClaimMap;
use crate::ids::{RequestId, Subject};
use crate::reject::Code;
use crate::scope::ScopeSet;

const HOSTILE: &str = "<script>alert(1)</script>\u{202e}\"' onclick=x";

fn pages_of(section: &str) -> Pages {
    let config: Config =
        serde_json::from_str(&format!(r#"{{"version": 1, "pages": {section}}}"#)).unwrap();
    Pages::new(
        &config,
        &PublicUrl::parse("https://mcp.example.com").unwrap(),
    )
}

fn pages() -> Pages {
    pages_of(
        r#"{"name": "ACME", "support_contact": "help@acme.example",
            "notice": {"en": "Be kind.", "ja": "お知らせ"}}"#,
    )
}

fn view(pages: &Pages, language: &'static str) -> View {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static(language));
    pages.view(&headers, None, Some("/here?a=b&c=d"))
}

fn account() -> Account {
    let all = serde_json::json!({ "email": "ann@example.org", "name": HOSTILE });
    let subject = Subject {
        issuer: "https://idp.example/realm".into(),
        subject: "ann".into(),
    };
    let serde_json::Value::Object(all) = all else {
        panic!("an object")
    };
    Account::of(&Claims::read(subject, all, &ClaimMap::default()))
}

async fn html(response: Response) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// Every page, with the name of it.
#[expect(clippy::too_many_lines, reason = "a list")]
fn all(pages: &Pages, view: &View) -> Vec<(&'static str, Response)> {
    let (request_id, at) = (RequestId::new([7; 16]), Timestamp::from_secs(1_700_000_000));
    let account = account();
    let scopes = ScopeSet::of(["mcp", "read"]);
    let app = shown(HOSTILE);
    let error = |code, status| {
        let page = ErrorPage {
            status,
            code,
            message: HOSTILE,
            request_id,
            at,
            account: Some(&account),
        };
        pages.error(view, &page)
    };
    let consent = |trust, destination| {
        let page = Consent {
            app: app.as_deref(),
            trust,
            destination,
            server: "files",
            account: account.clone(),
            scopes: &scopes,
            until: at,
            keeps: true,
            may_remember: true,
            client_id: HOSTILE,
            redirect_uri: HOSTILE,
            resource: "https://mcp.example.com/files",
            minutes: 15,
            action: "/oauth2/consent",
            request: "sealed",
            again: "/oauth2/authorize?x=y",
        };
        pages.consent(view, &page)
    };
    let stopped = |why| {
        let page = Stopped {
            why,
            request_id,
            at,
        };
        pages.stopped(view, &page)
    };
    let mut found = vec![
        ("forbidden", error(Code::Forbidden, StatusCode::FORBIDDEN)),
        (
            "internal",
            error(Code::Internal, StatusCode::INTERNAL_SERVER_ERROR),
        ),
        (
            "sign-in",
            pages.sign_in(
                view,
                &SignIn {
                    choices: vec![Choice {
                        label: HOSTILE.to_owned(),
                        href: "/oauth2/start?rd=%2F".to_owned(),
                    }],
                },
            ),
        ),
        (
            "sign-out",
            pages.sign_out(
                view,
                &SignOut {
                    account: account.clone(),
                    action: "/oauth2/sign_out",
                    return_to: "/a\"onclick=\"x",
                },
            ),
        ),
        (
            "signed-out",
            pages.signed_out(
                view,
                &SignedOut {
                    at_provider: false,
                    sign_in: "/oauth2/sign_in",
                },
            ),
        ),
        (
            "consent-web",
            consent(Trust::Host("claude.ai"), Destination::Web("claude.ai")),
        ),
        (
            "consent-loopback",
            consent(Trust::Nobody, Destination::Loopback("127.0.0.1")),
        ),
        (
            "consent-app",
            consent(Trust::Operator, Destination::App("cursor")),
        ),
        (
            "hand-off",
            pages.hand_off(
                view,
                &HandOff {
                    app: app.as_deref(),
                    href: "cursor://x/y?code=\"><script>",
                    allowed: true,
                    at_once: true,
                },
            ),
        ),
        (
            "failed",
            pages.failed(
                view,
                &Failed {
                    app: app.as_deref(),
                    host: "app.example",
                    href: "https://app.example/cb?error=x",
                    code: "invalid_request",
                    description: "d",
                },
            ),
        ),
        (
            "unknown-app",
            stopped(Stop::UnknownApp {
                host: Some("app.example"),
                detail: HOSTILE,
            }),
        ),
        (
            "redirect",
            stopped(Stop::Redirect {
                app: app.as_deref(),
                host: Some("evil.example"),
            }),
        ),
        (
            "refused",
            pages.refused(
                view,
                &Refused {
                    app: app.as_deref(),
                    server: "files",
                    account: account.clone(),
                    again: "/oauth2/authorize?x=y",
                    href: "https://app.example/cb?error=access_denied",
                    host: "app.example",
                    request_id,
                    at,
                },
            ),
        ),
    ];
    for (name, who) in [
        ("help", None),
        ("help-signed-in", Some((account.clone(), true))),
        ("help-other-account", Some((account.clone(), false))),
    ] {
        let page = Help {
            name: Some("files"),
            url: "https://mcp.example.com/files",
            who,
            login: true,
        };
        found.push((name, pages.help(view, &page)));
    }
    for (name, why) in [
        ("used", Unanswered::Used),
        ("expired", Unanswered::Expired),
        ("other-session", Unanswered::OtherSession),
        ("other-site", Unanswered::OtherSite),
    ] {
        let page = Unanswerable {
            why,
            again: Some("/oauth2/authorize?x=y"),
            status: StatusCode::BAD_REQUEST,
            request_id,
            at,
        };
        found.push((name, pages.unanswerable(view, &page)));
    }
    found
}

#[tokio::test]
async fn advisory_cve_2021_32792_what_is_shown_is_escaped() {
    let pages = pages();
    for language in ["en", "ja"] {
        for (name, response) in all(&pages, &view(&pages, language)) {
            let html = html(response).await;
            assert!(
                !html.contains("<script") && !html.contains("\"onclick"),
                "{name}: {html}"
            );
        }
    }
}

#[tokio::test]
async fn pages_have_no_script_inline_style_or_foreign_resource() {
    let pages = pages();
    for (name, response) in all(&pages, &view(&pages, "en")) {
        let html = html(response).await;
        for tag in html
            .split('<')
            .skip(1)
            .filter_map(|tag| tag.split('>').next())
        {
            let attributes = tag.replace("&#34;", "");
            assert!(
                !tag.starts_with("script") && !tag.starts_with("iframe"),
                "{name}: {tag}"
            );
            assert!(!attributes.contains(" style=\""), "{name}: {tag}");
            assert!(!attributes.contains("javascript:"), "{name}: {tag}");
            if !tag.starts_with("a ") && !tag.starts_with("meta ") && !tag.starts_with("input ") {
                assert!(
                    !tag.contains("http:") && !tag.contains("https:"),
                    "{name}: {tag}"
                );
            }
        }
        assert_eq!(html.matches("<h1").count(), 1, "{name}");
        assert!(html.contains("<main>"), "{name}");
        assert!(!html.contains("maximum-scale") && !html.contains("user-scalable"));
        assert!(!html.contains("autofocus>\n<button") && !html.contains("<button autofocus"));
    }
}

#[tokio::test]
async fn every_page_forbids_framing_scripts_and_caching_and_names_its_language() {
    let pages = pages();
    for (language, tag) in [("en", "en"), ("ja-JP", "ja"), ("fr", "en")] {
        for (name, answer) in all(&pages, &view(&pages, language)) {
            let get = |name: &str| {
                answer
                    .headers()
                    .get(name)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned()
            };
            let csp = get("content-security-policy");
            assert!(csp.starts_with("default-src 'none'"), "{name}");
            assert!(csp.contains("frame-ancestors 'none'") && csp.contains("base-uri 'none'"));
            assert!(!csp.contains("script-src") && !csp.contains("unsafe"));
            let has_form = ["forbidden", "sign-in", "sign-out", "refused"].contains(&name)
                || name.starts_with("consent");
            if has_form {
                // With it Chromium would stop the redirects that the form leads to.
                assert!(!csp.contains("form-action"), "{name}");
                assert_eq!(get("referrer-policy"), "same-origin", "{name}");
            }
            if name == "hand-off" {
                assert_eq!(get("referrer-policy"), "no-referrer");
                assert!(!csp.contains("img-src"));
            }
            assert_eq!(get("x-frame-options"), "DENY");
            assert_eq!(get("cache-control"), "no-store");
            assert_eq!(get("x-content-type-options"), "nosniff");
            assert_eq!(get("content-language"), tag);
            let vary: Vec<_> = answer.headers().get_all("vary").iter().collect();
            assert_eq!(vary, ["accept-language", "cookie"]);
            assert!(
                html(answer)
                    .await
                    .contains(&format!("<html lang=\"{tag}\">"))
            );
        }
    }
}

/// No tokens, codes or inner text where they do not belong, and none of the texts of the other language.
#[tokio::test]
async fn japanese_pages_are_japanese() {
    let pages = pages();
    for (name, response) in all(&pages, &view(&pages, "ja")) {
        let html = html(response).await;
        let text: String = html
            .split('<')
            .skip(1)
            .filter(|part| {
                !part.starts_with("title")
                    && !part.starts_with("code")
                    && !part.starts_with("bdi")
                    && !part.starts_with("time")
                    && !part.contains("lang=\"en\"")
                    && !part.starts_with("footer")
            })
            .filter_map(|part| part.split_once('>').map(|(_, text)| text))
            .collect();
        for word in ["the ", "You", "Sign", "access", "page", "Nothing"] {
            assert!(!text.contains(word), "{name}: {word} in {text}");
        }
        assert!(
            html.contains("お知らせ") && html.contains(">English</a>"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_error_page_says_what_a_person_needs() {
    let pages = pages();
    let account = account();
    let page = ErrorPage {
        status: StatusCode::FORBIDDEN,
        code: Code::Forbidden,
        message: "Your groups do not open this. Ask for access.",
        request_id: RequestId::new([7; 16]),
        at: Timestamp::from_secs(1_700_000_000),
        account: Some(&account),
    };
    let view = view(&pages, "en");
    let shown = html(pages.error(&view, &page)).await;
    for part in [
        "<title>You do not have access – ACME</title>",
        "<h1>You do not have access</h1>",
        "Your groups do not open this. Ask for access.",
        "07070707070707070707070707070707",
        "2023-11-14T22:13:20Z",
        "forbidden",
        "ann@example.org",
        "idp.example",
        "action=\"/oauth2/switch_account\"",
        "name=\"rd\" value=\"/here?a=b&#38;c=d\"",
        "/oauth2/style.css?v=",
        "mailto:help@acme.example",
        "Be kind.",
        "/oauth2/language?to=ja&#38;rd=%2Fhere%3Fa%3Db%26c%3Dd",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[test]
fn the_language_is_the_persons_then_the_apps_then_the_browsers_then_the_operators() {
    let pages = pages_of(r#"{"default_language": "ja"}"#);
    let mut headers = HeaderMap::new();
    let language = |headers: &HeaderMap, ui: Option<&str>| pages.view(headers, ui, None).language();
    assert_eq!(language(&headers, None), Language::Ja);
    headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static("en"));
    assert_eq!(language(&headers, None), Language::En);
    assert_eq!(language(&headers, Some("fr ja")), Language::Ja);
    assert_eq!(language(&headers, Some("fr")), Language::En);
    headers.insert(
        COOKIE,
        HeaderValue::from_static("__Host-mcp_session_language=en"),
    );
    assert_eq!(language(&headers, Some("ja")), Language::En);
    headers.insert(
        COOKIE,
        HeaderValue::from_static("__Host-mcp_session_language=xx"),
    );
    assert_eq!(language(&headers, Some("ja")), Language::Ja);
}

#[test]
fn the_operators_colour_is_behind_the_style_sheet() {
    let pages = pages_of(r##"{"accent": "#7a0019"}"##);
    assert!(pages.style().contains("--accent: #7a0019"));
    let plain = pages_of("{}");
    assert_eq!(plain.style(), STYLE);
    assert_ne!(pages.style_href, plain.style_href);
    assert_eq!(
        Arc::from(plain.brand()),
        Arc::<str>::from("mcp.example.com")
    );
}

#[test]
fn pages_are_light() {
    assert!(STYLE.len() <= 20 << 10);
}

/// WCAG 2.2, 1.4.3 (text, 4.5 to 1) and 1.4.11 (controls, 3 to 1), computed from the style sheet's own colours.
#[test]
fn colours_have_enough_contrast_in_both_themes() {
    let (light, dark) = STYLE
        .split_once("@media (prefers-color-scheme: dark)")
        .unwrap();
    for theme in [light, dark] {
        let colour = |name: &str| {
            let at = theme
                .find(&format!("--{name}: #"))
                .unwrap_or_else(|| panic!("{name}"))
                + name.len()
                + 5;
            let channel = |i: usize| {
                let value =
                    f64::from(u8::from_str_radix(&theme[at + 2 * i..at + 2 * i + 2], 16).unwrap())
                        / 255.0;
                if value <= 0.04045 {
                    value / 12.92
                } else {
                    ((value + 0.055) / 1.055).powf(2.4)
                }
            };
            0.2126 * channel(0) + 0.7152 * channel(1) + 0.0722 * channel(2)
        };
        let contrast = |a: &str, b: &str| {
            let (a, b) = (colour(a), colour(b));
            (a.max(b) + 0.05) / (a.min(b) + 0.05)
        };
        for (text, ground) in [
            ("text", "card"),
            ("muted", "card"),
            ("accent", "card"),
            ("on-accent", "accent"),
            ("muted", "page"),
            ("accent", "page"),
            ("text", "caution-ground"),
            ("caution", "caution-ground"),
        ] {
            assert!(
                contrast(text, ground) >= 4.5,
                "{text} on {ground}: {}",
                contrast(text, ground)
            );
        }
        assert!(contrast("line", "card") >= 3.0 && contrast("focus", "card") >= 3.0);
    }
}
