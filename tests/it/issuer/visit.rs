//! A proxy with a few clients and servers, a provider that signs people in at once, and clocks that are stepped.

use std::sync::Arc;

use http::Method;
use mcp_oidc_proxy::clock::{Ambient, ManualClock, SystemRandom, Timestamp};
use serde_json::{Value, json};
use url::Url;

use crate::harness::browser::{Browser, Page};
use crate::harness::client::{Answer, Ask, post};
use crate::harness::echo::Echo;
use crate::harness::idp::{CLIENT_ID, CLIENT_SECRET, Idp};
use crate::harness::oauth::App;
use crate::harness::proxy::{Proxy, proxy};

/// Everything but the browser.
pub(crate) struct World {
    pub(crate) idp: Idp,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) proxy: Proxy,
    /// Where apps on this computer wait.
    pub(crate) landing: Echo,
}

const CLIENTS: &str = r#"
  clients:
    - client_id: portal
      name: Portal
      redirect_uris: ["https://portal.example/cb"]
    - client_id: editor
      name: "The Editor"
      redirect_uris: ["cursor://anysphere.cursor-mcp/oauth/callback"]
    - client_id: machine
      secret: "a-secret-of-a-machine-0123456789abcdef"
      redirect_uris: ["http://127.0.0.1/cb"]
      grant_types: [client_credentials]
    - client_id: narrow
      redirect_uris: ["http://127.0.0.1/cb"]
      scopes: [read]
      routes: [files]
"#;

impl World {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// With more keys of `authorization_server`, indented by two.
    pub(crate) async fn with(more: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_790_000_000)));
        let ambient = Ambient::new(Arc::clone(&clock) as _, Arc::new(SystemRandom));
        let idp = Idp::start(ambient.clone()).await;
        let landing = Echo::start().await;
        let backend = format!("{}/mcp", landing.url());
        let proxy = proxy()
            .oidc_yaml(&format!(
                "issuer: \"{}\"\nclient_id: {CLIENT_ID}\nclient_secret: \"{CLIENT_SECRET}\"\n",
                idp.issuer()
            ))
            .route(
                "/files/mcp",
                &backend,
                "name: files\nallow: { groups: [engineering] }\nscopes: [mcp, read]",
            )
            .route("/notes/mcp", &backend, "allow: { any_user: true }")
            .yaml("pages: { name: ACME, support_contact: help@acme.example }")
            .yaml(&format!("authorization_server:{CLIENTS}{more}"))
            .start_in(ambient)
            .await;
        Self {
            idp,
            clock,
            proxy,
            landing,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.proxy.url(path)
    }

    pub(crate) fn origin(&self) -> String {
        self.url("/").trim_end_matches('/').to_owned()
    }

    /// Seconds on the clock of proxy and provider.
    pub(crate) fn clock_now(&self) -> i64 {
        mcp_oidc_proxy::clock::Clock::now(&*self.clock).as_secs()
    }

    /// Somebody who is signed in.
    pub(crate) async fn ann(&self) -> Browser {
        let mut browser = Browser::default();
        let page = browser
            .open(&self.url("/oauth2/start?rd=/oauth2/session"))
            .await;
        assert_eq!(page.status(), 200, "{}", page.text());
        browser
    }

    /// Who the provider signs in from now on.
    pub(crate) fn next_is_bob(&self) {
        self.idp.script(|script| {
            "subject-of-bob".clone_into(&mut script.subject);
            let bob = json!({ "email": "bob@example.com", "name": "Bob", "groups": ["sales"] });
            script.claims.clone_from(bob.as_object().unwrap());
        });
    }

    /// An app that registers itself, for the server `files`.
    pub(crate) async fn app(&self, name: &str, redirect_uris: &[&str]) -> App {
        let answer = self.register(name, redirect_uris).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        self.app_of(
            answer.json()["client_id"].as_str().unwrap(),
            redirect_uris[0],
        )
    }

    /// An app on this computer.
    pub(crate) async fn local_app(&self, name: &str) -> App {
        let redirect = format!("{}/callback", self.landing.url());
        self.app(name, &[&redirect]).await
    }

    pub(crate) async fn register(&self, name: &str, redirect_uris: &[&str]) -> Answer {
        post(&self.url("/oauth2/register"))
            .json(&json!({
                "client_name": name,
                "redirect_uris": redirect_uris,
                "grant_types": ["authorization_code", "refresh_token"],
                "token_endpoint_auth_method": "none",
            }))
            .send()
            .await
    }

    /// A client of the configuration.
    pub(crate) fn app_of(&self, client_id: &str, redirect_uri: &str) -> App {
        let server: Value = json!({
            "issuer": self.origin(),
            "authorization_endpoint": self.url("/oauth2/authorize"),
            "token_endpoint": self.url("/oauth2/token"),
        });
        App {
            server,
            client_id: client_id.to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            resource: self.url("/files/mcp"),
        }
    }

    /// A form of ours, sent by hand and not followed, with the headers that a browser adds on our own page.
    pub(crate) async fn send(
        &self,
        browser: &Browser,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Answer {
        self.send_as(browser, path, fields, &own_page(&self.origin()))
            .await
    }

    /// The same with other headers.
    pub(crate) async fn send_as(
        &self,
        browser: &Browser,
        path: &str,
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Answer {
        let url = self.url(path);
        let fields: Vec<(String, String)> = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut ask = post(&url)
            .header("accept", "text/html,*/*;q=0.8")
            .header("cookie", &browser.cookies_for(&Url::parse(&url).unwrap()));
        for (name, value) in headers {
            ask = ask.header(name, value);
        }
        ask.form(&fields).send().await
    }

    /// An address opened and not followed, as a navigation of `site`; `None` leaves the header out.
    pub(crate) async fn open_as(&self, browser: &Browser, url: &str, site: Option<&str>) -> Answer {
        let mut ask = Ask::new(Method::GET, url)
            .header("accept", "text/html,*/*;q=0.8")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
            .header("cookie", &browser.cookies_for(&Url::parse(url).unwrap()));
        if let Some(site) = site {
            ask = ask.header("sec-fetch-site", site);
        }
        ask.send().await
    }
}

/// What a browser says about a form of our own page.
pub(crate) fn own_page(origin: &str) -> [(&'static str, &str); 4] {
    [
        ("origin", origin),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ]
}

/// A hidden field of a page.
pub(crate) fn field(html: &str, name: &str) -> String {
    let at = html
        .find(&format!("name=\"{name}\" value=\""))
        .unwrap_or_else(|| panic!("no field {name} in {html}"));
    let value = html[at..].split("value=\"").nth(1).unwrap();
    value
        .split('"')
        .next()
        .unwrap()
        .replace("&#38;", "&")
        .replace("&#39;", "'")
        .replace("&#34;", "\"")
}

/// The parameters of an address.
pub(crate) fn parameter(url: &str, name: &str) -> Option<String> {
    Url::parse(url)
        .unwrap_or_else(|e| panic!("{url}: {e}"))
        .query_pairs()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.into_owned())
}

/// The consent page; asserts that it is one.
pub(crate) fn is_consent(page: &Page) {
    assert_eq!(page.status(), 200, "{}", page.text());
    assert!(page.text().contains("name=\"decision\""), "{}", page.text());
}
