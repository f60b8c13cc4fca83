//! An MCP client's side of OAuth by hand: discovery, registration, authorization, tokens. For tests that look at
//! single steps; whole visits are made by the official clients.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcp_oidc_proxy::secret::Digest;
use serde_json::{Value, json};
use url::Url;

use super::browser::{Browser, Page};
use super::client::{Answer, get, post};

/// A PKCE verifier; tests need no secret one.
pub(crate) const VERIFIER: &str = "a-verifier-that-is-long-enough-for-rfc-7636-and-its-43";

/// A registered client of an authorization server.
#[derive(Clone, Debug)]
pub(crate) struct App {
    /// Metadata of the authorization server.
    pub(crate) server: Value,
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    /// The MCP URL.
    pub(crate) resource: String,
}

/// What a token request gave.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: Option<String>,
    pub(crate) all: Value,
}

/// The S256 challenge of a verifier.
pub(crate) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Digest::of(verifier).as_bytes())
}

impl App {
    /// Starts with nothing but the MCP URL: 401, resource metadata, server metadata, registration.
    pub(crate) async fn discover(mcp: &str, redirect_uri: &str) -> Self {
        let server = server_of(mcp).await;
        let answer = post(server["registration_endpoint"].as_str().unwrap())
            .json(&json!({
                "client_name": "Test App",
                "redirect_uris": [redirect_uri],
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
                "token_endpoint_auth_method": "none",
                "application_type": "native",
            }))
            .send()
            .await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        Self {
            client_id: answer.json()["client_id"].as_str().unwrap().to_owned(),
            server,
            redirect_uri: redirect_uri.to_owned(),
            resource: mcp.to_owned(),
        }
    }

    /// The authorization request, with further or other parameters; an empty value leaves one out.
    pub(crate) fn authorize_url(&self, more: &[(&str, &str)]) -> String {
        let challenge = challenge(VERIFIER);
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", &self.redirect_uri),
            ("state", "a-state"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("resource", &self.resource),
        ];
        for (name, value) in more {
            parameters.retain(|(known, _)| known != name);
            if !value.is_empty() {
                parameters.push((name, value));
            }
        }
        let mut url = Url::parse(self.server["authorization_endpoint"].as_str().unwrap()).unwrap();
        url.query_pairs_mut().extend_pairs(parameters);
        url.into()
    }

    /// Goes to the consent page, signing in at the provider when it asks.
    pub(crate) async fn consent_page(&self, browser: &mut Browser, login: &str) -> Page {
        self.consent_page_for(browser, login, &[]).await
    }

    /// The same with other parameters.
    pub(crate) async fn consent_page_for(
        &self,
        browser: &mut Browser,
        login: &str,
        more: &[(&str, &str)],
    ) -> Page {
        let url = self.authorize_url(more);
        let page = browser.open(&url).await;
        let ours = Url::parse(&url).unwrap().origin();
        if page.url.origin() == ours {
            page
        } else {
            browser.sign_in(page, login).await
        }
    }

    /// Signs in, approves, and gives the answer that the app gets.
    pub(crate) async fn approve(&self, browser: &mut Browser, login: &str) -> Returned {
        let page = self.consent_page(browser, login).await;
        let form = page.form_to("/oauth2/consent").fill("decision", "approve");
        Returned::of(&browser.submit(form).await)
    }

    /// Approves once more in the same browser: each request has a state of its own, for the answer to one counts
    /// once.
    pub(crate) async fn approve_again(&self, browser: &mut Browser, login: &str) -> Returned {
        static REQUESTS: AtomicUsize = AtomicUsize::new(0);
        let state = format!("state-{}", REQUESTS.fetch_add(1, Ordering::Relaxed));
        let page = self
            .consent_page_for(browser, login, &[("state", &state)])
            .await;
        let form = page.form_to("/oauth2/consent").fill("decision", "approve");
        Returned::of(&browser.submit(form).await)
    }

    /// Sends a form to the token endpoint.
    pub(crate) async fn token(&self, parameters: &[(&str, &str)]) -> Answer {
        let fields: Vec<(String, String)> = parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        post(self.server["token_endpoint"].as_str().unwrap())
            .form(&fields)
            .send()
            .await
    }

    /// Redeems a code.
    pub(crate) async fn redeem(&self, code: &str) -> Answer {
        self.token(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("client_id", &self.client_id),
            ("code_verifier", VERIFIER),
            ("resource", &self.resource),
        ])
        .await
    }

    /// Presents a refresh token.
    pub(crate) async fn refresh(&self, refresh: &str) -> Answer {
        self.token(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh),
            ("client_id", &self.client_id),
        ])
        .await
    }

    /// The whole way to tokens, once more in the same browser.
    pub(crate) async fn sign_in_again(&self, browser: &mut Browser, login: &str) -> Tokens {
        let returned = self.approve_again(browser, login).await;
        Tokens::of(&self.redeem(&returned.code()).await)
    }

    /// The whole way to tokens.
    pub(crate) async fn sign_in(&self, browser: &mut Browser, login: &str) -> Tokens {
        let returned = self.approve(browser, login).await;
        Tokens::of(&self.redeem(&returned.code()).await)
    }
}

/// The metadata of the authorization server behind an MCP URL, found as clients find it.
pub(crate) async fn server_of(mcp: &str) -> Value {
    let challenge = post(mcp).json(&json!({})).send().await;
    assert_eq!(challenge.status, 401, "{}", challenge.text());
    let told = challenge.header("www-authenticate").to_owned();
    let metadata = told
        .split("resource_metadata=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or_else(|| panic!("no resource metadata in {told}"));
    let resource = get(metadata).send().await.json();
    let issuer = resource["authorization_servers"][0]
        .as_str()
        .unwrap()
        .to_owned();
    let server = get(&format!("{issuer}/.well-known/oauth-authorization-server"))
        .send()
        .await
        .json();
    assert_eq!(server["issuer"], issuer, "byte for byte");
    server
}

/// What came back to the redirect URI.
#[derive(Debug)]
pub(crate) struct Returned {
    pub(crate) url: Url,
}

impl Returned {
    /// Of the page at which a browser ended.
    pub(crate) fn of(page: &Page) -> Self {
        Self {
            url: page.url.clone(),
        }
    }

    /// A parameter of the answer.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.url
            .query_pairs()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.into_owned())
    }

    /// The code; there has to be one.
    pub(crate) fn code(&self) -> String {
        self.get("code")
            .unwrap_or_else(|| panic!("no code in {}", self.url))
    }
}

impl Tokens {
    /// Of a token endpoint's answer, which has to be a good one.
    pub(crate) fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("cache-control"), "no-store");
        let all = answer.json();
        Self {
            access: all["access_token"].as_str().unwrap().to_owned(),
            refresh: all["refresh_token"].as_str().map(str::to_owned),
            all,
        }
    }

    /// The claims of the access token, not verified.
    pub(crate) fn claims(&self) -> Value {
        let payload = self.access.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    }
}
