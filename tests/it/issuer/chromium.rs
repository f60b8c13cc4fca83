//! The authorization flow in a real Chromium: every kind of app, two people, keys, languages, phones, axe.

use serde_json::{Value, json};

use super::visit::parameter;
use crate::harness::client::post;
use crate::harness::echo::Echo;
use crate::harness::oauth::challenge;
use crate::harness::parts;
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::{Proxy, proxy};

const VERIFIER: &str = "another-verifier-that-is-long-enough-for-rfc-7636";

struct Asker<'a> {
    proxy: &'a Proxy,
    landing: String,
    local: String,
    unverified: String,
}

impl Asker<'_> {
    fn url(&self, client: &str, redirect: &str, state: &str, server: &str) -> String {
        let mut url = url::Url::parse(&self.proxy.url("/oauth2/authorize")).unwrap();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", client)
            .append_pair("redirect_uri", redirect)
            .append_pair("state", state)
            .append_pair("code_challenge", &challenge(VERIFIER))
            .append_pair("code_challenge_method", "S256")
            .append_pair("resource", &self.proxy.url(server));
        url.into()
    }

    /// A request of the app on this computer.
    fn local(&self, state: &str) -> String {
        let redirect = format!("{}/callback", self.landing);
        self.url(&self.local, &redirect, state, "/files/mcp")
    }

    fn requests(&self) -> Value {
        let files = "/files/mcp";
        let notes = format!("{}/callback", self.landing);
        json!({
            "loopback": self.local("loopback"),
            "web": self.url("web", "https://web.example/cb", "web", files),
            "hop": self.url("hop", "https://hop.example/cb", "hop", files),
            "scheme": self.url("native", "testapp://callback", "scheme", files),
            "tabs": self.local("tabs"),
            "keys": self.local("keys"),
            "phone": self.local("phone"),
            "unverified": self.local("unverified"),
            "stolen": self.local("stolen"),
            "framed": self.local("framed"),
            "notes": self.url(&self.local, &notes, "notes", "/notes/mcp"),
            "switched": self.url(&self.local, &notes, "switched", "/notes/mcp"),
            "stopped": self.url("web", "https://evil.example/cb", "x", files),
            "failed": self.url(&self.unverified, "https://unverified.example/cb", "x", files)
                .replace("response_type=code", "response_type=token"),
        })
    }
}

async fn register(proxy: &Proxy, name: &str, redirect: &str) -> String {
    let answer = post(&proxy.url("/oauth2/register"))
        .json(&json!({
            "client_name": name,
            "redirect_uris": [redirect],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "none",
        }))
        .send()
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["client_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn s3_the_consent_flow_in_chromium_with_two_people() {
    let provider = RealProvider::start(&json!({})).await;
    let landing = Echo::start().await;
    let backend = format!("{}/mcp", landing.url());
    let logo = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parts/browser/logo.svg");
    let proxy = proxy()
        .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
        .route(
            "/files/mcp",
            &backend,
            "name: files\nallow: { groups: [engineering] }\nscopes: [mcp, read]",
        )
        .route("/notes/mcp", &backend, "name: notes\nallow: { any_user: true }")
        .yaml(&format!(
            "pages:\n  name: ACME Tools\n  logo_file: \"{logo}\"\n  support_contact: help@acme.example\n  accent: \"#7a0019\"\n  notice: {{ en: \"Maintenance on Sunday.\", ja: \"日曜日に保守作業があります。\" }}"
        ))
        .yaml(
            r#"authorization_server:
  redirect_schemes: [cursor, testapp]
  clients:
    - client_id: web
      name: Web App
      redirect_uris: ["https://web.example/cb"]
    - client_id: hop
      name: Hopping App
      redirect_uris: ["https://hop.example/cb"]
    - client_id: native
      name: Native App
      redirect_uris: ["testapp://callback"]"#,
        )
        .start()
        .await;
    let local_redirect = format!("{}/callback", landing.url());
    let asker = Asker {
        local: register(&proxy, "Test App", &local_redirect).await,
        unverified: register(&proxy, "Unknown App", "https://unverified.example/cb").await,
        landing: landing.url().to_owned(),
        proxy: &proxy,
    };
    let base = proxy.url("").trim_end_matches('/').to_owned();
    let names = ["web.example", "hop.example", "evil.example"].map(str::to_owned);
    let own = rcgen::generate_simple_self_signed(names).unwrap();
    let plan = json!({
        "base": base,
        "landing": asker.landing,
        "requests": asker.requests(),
        "certificate": own.cert.pem(),
        "key": own.signing_key.serialize_pem(),
    });
    let screenshots = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("consent");
    let _place = parts::heavy().await;
    let mut command = parts::node("browser/consent.mjs");
    command.arg(plan.to_string()).arg(&screenshots);
    let seen = parts::run_json(command).await;
    assert_eq!(seen["failure"], json!(null), "{seen:#}");
    answers_arrived(&seen, &base);
    people_are_kept_apart(&seen, &base);
    pages_are_fit_for_everybody(&seen);
}

/// Whatever hops came between: `form-action` on the consent page would have stopped them.
fn answers_arrived(seen: &Value, base: &str) {
    let answers = seen["answers"].as_object().unwrap();
    for (name, url) in answers {
        let url = url.as_str().unwrap();
        let get = |wanted: &str| parameter(url, wanted);
        if name.starts_with("deny") {
            assert_eq!(
                get("error").as_deref(),
                Some("access_denied"),
                "{name}: {url}"
            );
            assert_eq!(get("code"), None, "{name}");
        } else {
            assert!(
                get("code").is_some_and(|code| code.starts_with("mcpc_")),
                "{name}: {url}"
            );
        }
        assert_eq!(get("iss").as_deref(), Some(base), "{name}");
        let state = name.rsplit(' ').next().unwrap();
        assert_eq!(get("state").as_deref(), Some(state), "{name}");
    }
    assert_eq!(answers.len(), 11, "{answers:#?}");
}

fn people_are_kept_apart(seen: &Value, base: &str) {
    assert_eq!(
        seen["focused"], "BODY",
        "Enter right after load approves nothing"
    );
    assert_eq!(seen["after_enter"], "/oauth2/authorize");
    assert_eq!(seen["after_back"], json!({ "status": 400, "code": false }));
    assert_eq!(seen["second_tab"], "This page was already used");
    assert_eq!(seen["heading_has_focus"], "H1");
    assert_eq!(
        seen["hand_off"]["path"], "/oauth2/consent",
        "no code in the history"
    );
    assert_eq!(seen["hand_off"]["button"], "Open “Native App”");
    assert_eq!(seen["focus_is_seen"], "solid");
    assert_eq!(
        seen["japanese"],
        "「Test App」に files の利用を許可しますか?"
    );
    assert_eq!(seen["bob"]["status"], 403);
    assert!(
        seen["bob"]["text"]
            .as_str()
            .unwrap()
            .contains("bob@example.org")
    );
    assert_eq!(seen["stolen"]["status"], 403, "{seen:#}");
    assert_eq!(seen["stolen"]["url"], format!("{base}/oauth2/consent"));
    assert_eq!(
        seen["stolen"]["title"],
        "This page belongs to another sign-in"
    );
    let framed = seen["framed"].as_str().unwrap();
    assert!(
        framed.is_empty() || framed.contains("refused to connect"),
        "{framed}"
    );
    assert!(
        seen["switched"]
            .as_str()
            .unwrap()
            .contains("ann@example.com"),
        "{}",
        seen["switched"]
    );
    assert_eq!(seen["frame_refused"], true);
    assert_eq!(seen["cross_site"], 403);
    assert!(
        seen["stopped"]["url"].as_str().unwrap().starts_with(base),
        "the address bar is ours"
    );
    assert!(
        seen["failed"]["url"].as_str().unwrap().starts_with(base),
        "the address bar is ours"
    );
    let links = seen["help"]["links"].to_string();
    for part in [
        "claude.ai/customize",
        "cursor://anysphere",
        "vscode:mcp/install",
    ] {
        assert!(links.contains(part), "{links}");
    }
}

fn pages_are_fit_for_everybody(seen: &Value) {
    let none = json!([]);
    assert_eq!(
        seen["complaints"], none,
        "the browser has nothing to complain about"
    );
    assert_eq!(seen["foreign"], none, "nothing is loaded from elsewhere");
    assert_eq!(
        seen["violations"], none,
        "axe has nothing to complain about"
    );
    assert_eq!(seen["left"], none);
    assert!(
        seen["axed"].as_array().unwrap().len() >= 30,
        "{}",
        seen["axed"]
    );
    for (page, width) in seen["widths"].as_object().unwrap() {
        assert!(
            width.as_u64().unwrap() <= 320,
            "{page} sticks out on a phone: {width}"
        );
    }
    // What a screen reader reads, in its order, is enough to decide.
    let tree = seen["tree"].as_str().unwrap();
    let mut rest = tree;
    for part in [
        "Allow “Test App” to use files?",
        "This is not verified.",
        "You will be sent to an app on this computer",
        "You are signed in as",
        "ann@example.com",
        "Use another account",
        "What it gets",
        "It keeps access while you are away",
        "Allow access",
        "Deny",
    ] {
        let at = rest
            .find(part)
            .unwrap_or_else(|| panic!("{part} in its place in {tree}"));
        rest = &rest[at..];
    }
}
