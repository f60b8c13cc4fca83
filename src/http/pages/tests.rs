use super::*;

fn page(code: Code, message: &str) -> String {
    error(&ErrorPage {
        prefix: "/oauth2",
        status: StatusCode::FORBIDDEN,
        code,
        message,
        request_id: RequestId::new([7; 16]),
        at: Timestamp::from_secs(1_700_000_000),
    })
}

#[test]
fn advisory_cve_2021_32792_what_is_shown_is_escaped() {
    let html = page(Code::Forbidden, "<script>alert(1)</script> & \"'");
    assert!(!html.contains("<script"), "{html}");
    assert!(html.contains("&#60;script&#62;"), "{html}");
    let html = render(&SignOut {
        prefix: "/oauth2",
        host: "h",
        account: "<img src=x>",
        action: "/oauth2/sign_out",
        return_to: "/a\"onclick=\"x",
    });
    assert!(
        !html.contains("<img") && !html.contains("\"onclick"),
        "{html}"
    );
}

#[test]
fn an_error_page_says_what_a_person_needs() {
    let html = page(
        Code::Forbidden,
        "Your groups do not open this. Ask for access.",
    );
    for part in [
        "<html lang=\"en\">",
        "<h1>You do not have access</h1>",
        "Your groups do not open this. Ask for access.",
        "07070707070707070707070707070707",
        "2023-11-14T22:13:20Z",
        "forbidden",
        "href=\"/oauth2/sign_out\"",
        "href=\"/oauth2/style.css\"",
    ] {
        assert!(html.contains(part), "{part} in {html}");
    }
    assert_eq!(html.matches("<h1>").count(), 1);
    assert!(!html.contains("maximum-scale") && !html.contains("user-scalable"));
}

#[test]
fn pages_have_no_script_inline_style_or_foreign_address() {
    let pages = [
        page(Code::Internal, "x"),
        render(&SignIn {
            prefix: "/oauth2",
            host: "h",
            provider: "p",
            start: "/oauth2/start?rd=%2F",
        }),
        render(&SignOut {
            prefix: "/oauth2",
            host: "h",
            account: "a",
            action: "/oauth2/sign_out",
            return_to: "",
        }),
        render(&SignedOut {
            prefix: "/oauth2",
            host: "h",
            at_provider: false,
            sign_in: "/oauth2/sign_in",
        }),
    ];
    for html in pages {
        for bad in ["<script", "style=", " on", "http:", "https:", "javascript:"] {
            let found = html
                .split('<')
                .skip(1)
                .filter_map(|tag| tag.split('>').next())
                .any(|tag| tag.contains(bad));
            assert!(!found, "{bad} in {html}");
        }
    }
}

#[test]
fn every_page_forbids_framing_scripts_and_caching() {
    for kind in [PageKind::Plain, PageKind::Form] {
        let answer = response(StatusCode::OK, kind, String::new());
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
        assert!(csp.starts_with("default-src 'none'"));
        assert!(csp.contains("frame-ancestors 'none'") && csp.contains("base-uri 'none'"));
        assert!(!csp.contains("script-src") && !csp.contains("unsafe"));
        assert_eq!(csp.contains("form-action"), kind == PageKind::Plain);
        assert_eq!(
            get("referrer-policy"),
            if kind == PageKind::Form {
                "same-origin"
            } else {
                "no-referrer"
            }
        );
        assert_eq!(get("cache-control"), "no-store");
        assert_eq!(get("x-content-type-options"), "nosniff");
    }
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
