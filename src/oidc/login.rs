//! Beginning a login: authorization code with PKCE S256, `state` and `nonce` (OpenID Connect Core section 3.1.2.1).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use oauth2::{CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope};
use url::Url;

use super::browser::{Browser, only, redirect, store_unavailable};
use super::client_auth::Proof;
use super::provider::{Provider, Ready};
use super::token::oauth_client;
use crate::http::{Request, Response};
use crate::paths::Own;
use crate::reject::Reject;
use crate::secret::Secret;
use crate::session::Flow;
use crate::urls::ReturnTo;

/// Bytes of a form that are read; they hold one return address.
const MAX_FORM: usize = 20 << 10;

/// Time to send such a form.
const FORM_TIME: Duration = Duration::from_secs(10);

/// What a sign-in shall be like, besides what is configured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// `prompt` for the provider (OpenID Connect Core section 3.1.2.1); it wins over a configured one.
    pub prompt: Option<&'a str>,
    /// `ui_locales` for the provider, the person's language.
    pub ui_locales: Option<&'a str>,
}

/// `/oauth2/start?rd=…&provider=…`: begins a login and sends the browser to the provider.
pub(super) async fn start(browser: &Browser, request: Request) -> Result<Response, Reject> {
    only(&request, "GET, POST")?;
    let query = request.uri().query().unwrap_or_default().to_owned();
    let prompt = one(&query, "prompt").filter(|prompt| PROMPTS.contains(&&**prompt));
    let wish = Wish {
        prompt: prompt.as_deref(),
        ..Wish::default()
    };
    let named = one(&query, "provider");
    let (headers, return_to) = return_address(request).await?;
    let to = return_to.as_ref().map_or("/", ReturnTo::as_str);
    let Some(named) = named else {
        return begin(browser, &headers, to, wish).await;
    };
    browser.provider()?;
    let provider = browser.provider_named(&named).ok_or_else(|| {
        Reject::bad_request("The parameter `provider` names no identity provider of this service.")
    })?;
    begin_at(browser, provider, &headers, to, wish).await
}

/// What our own pages may wish for in an address.
pub(super) const PROMPTS: [&str; 3] = ["login", "select_account", "login select_account"];

/// A parameter of a query that is there once.
pub(super) fn one(query: &str, wanted: &str) -> Option<String> {
    let mut found =
        url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == wanted);
    match (found.next(), found.next()) {
        (Some((_, value)), None) => Some(value.into_owned()),
        _ => None,
    }
}

/// Begins a login after which the browser goes to `return_to`, or to `/` when that could lead elsewhere. Where there are
/// several providers, the person chooses first.
pub(super) async fn begin(
    browser: &Browser,
    headers: &HeaderMap,
    return_to: &str,
    wish: Wish<'_>,
) -> Result<Response, Reject> {
    let provider = browser.provider()?;
    if browser.providers.len() == 1 {
        return begin_at(browser, provider, headers, return_to, wish).await;
    }
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("rd", return_to);
    if let Some(prompt) = wish.prompt.filter(|prompt| PROMPTS.contains(prompt)) {
        query.append_pair("prompt", prompt);
    }
    let page = browser.paths.path(Own::SignIn);
    redirect(
        StatusCode::FOUND,
        &format!("{page}?{}", query.finish()),
        Vec::new(),
    )
}

pub(super) async fn begin_at(
    browser: &Browser,
    provider: &Provider,
    headers: &HeaderMap,
    return_to: &str,
    wish: Wish<'_>,
) -> Result<Response, Reject> {
    let ready = provider.ready().await?;
    let return_to = ReturnTo::parse(return_to).unwrap_or_else(ReturnTo::root);
    let random = || URL_SAFE_NO_PAD.encode(browser.ambient.random::<32>());
    let flow = Flow {
        nonce: random(),
        verifier: random(),
        return_to: return_to.as_str().to_owned(),
        issuer: ready.issuer.to_string(),
        started: browser.ambient.now(),
        prompt: wish
            .prompt
            .and_then(|wished| taken(wished, ready.metadata.prompt_values.as_deref())),
    };
    let begun = browser
        .tabs
        .begin(&flow, provider.name(), headers)
        .await
        .map_err(|error| store_unavailable(&error))?;
    let url = authorization_url(
        provider,
        &ready,
        &redirect_uri(browser),
        &flow,
        &begun.state,
        wish,
    )?;
    browser.count_at(provider, "code", "started", "none");
    redirect(StatusCode::FOUND, url.as_str(), begun.cookies)
}

/// Our redirect URI, as it is registered at the provider.
pub(super) fn redirect_uri(browser: &Browser) -> String {
    browser.public.join(&browser.paths.path(Own::Callback))
}

/// The return address of a request: `rd` of the query, or of a posted form. Duplicates and what could lead off
/// our origin count as absent.
pub(super) async fn return_address(
    request: Request,
) -> Result<(HeaderMap, Option<ReturnTo>), Reject> {
    let (head, body) = request.into_parts();
    let form = if head.method == Method::POST {
        body.collect(MAX_FORM, FORM_TIME).await?
    } else {
        Bytes::new()
    };
    let query = head.uri.query().unwrap_or_default();
    let mut found = url::form_urlencoded::parse(query.as_bytes())
        .chain(url::form_urlencoded::parse(&form))
        .filter(|(name, _)| name == "rd");
    let return_to = match (found.next(), found.next()) {
        (Some((_, value)), None) => ReturnTo::parse(&value),
        _ => None,
    };
    Ok((head.headers, return_to))
}

fn authorization_url(
    provider: &Provider,
    ready: &Ready,
    redirect_uri: &str,
    flow: &Flow,
    state: &Secret,
    wish: Wish<'_>,
) -> Result<Url, Reject> {
    let config = provider.config();
    let redirect = RedirectUrl::new(redirect_uri.to_owned())
        .map_err(|error| Reject::internal().because(error.to_string()))?;
    let client =
        oauth_client(&config.client_id, &ready.metadata, &Proof::Public).set_redirect_uri(redirect);
    let challenge =
        PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(flow.verifier.clone()));
    let state = state.expose_secret().to_owned();
    let profile = provider.profile();
    let scopes = profile.scopes(config, &ready.metadata.scopes_supported);
    let mut request = client
        .authorize_url(|| CsrfToken::new(state))
        .set_pkce_challenge(challenge)
        .add_scopes(scopes.into_iter().map(Scope::new));
    if !profile.is_oauth_only() {
        request = request.add_extra_param("nonce", flow.nonce.as_str());
    }
    if let Some(locales) = wish.ui_locales {
        request = request.add_extra_param("ui_locales", locales);
    }
    for (name, value) in profile.parameters(config, flow.prompt.as_deref()) {
        let wished = name == "ui_locales" && wish.ui_locales.is_some();
        if !RESERVED.contains(&name.as_str()) && !wished {
            request = request.add_extra_param(name, value);
        }
    }
    Ok(request.url().0)
}

/// What a provider takes of a wish (`prompt_values_supported`, Initiating User Registration via OpenID Connect 1.0). One that
/// cannot let people choose the account lets them sign in anew, which comes to the same: many refuse a whole request for
/// a value that they do not know.
fn taken(wished: &str, supported: Option<&[String]>) -> Option<String> {
    let Some(supported) = supported else {
        return Some(wished.to_owned());
    };
    let has = |word: &str| supported.iter().any(|each| each == word);
    let mut words: Vec<&str> = Vec::new();
    for word in wished.split(' ') {
        let word = match word {
            "select_account" if !has(word) => "login",
            word => word,
        };
        if has(word) && !words.contains(&word) {
            words.push(word);
        }
    }
    (!words.is_empty()).then(|| words.join(" "))
}

/// Parameters that are ours; a configured one of the same name would undo a protection.
const RESERVED: [&str; 9] = [
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_return_address_is_taken_once_and_only_on_our_origin() {
        let find = |uri: &'static str, form: Option<&'static str>| async move {
            let request = http::Request::builder()
                .method(if form.is_some() {
                    Method::POST
                } else {
                    Method::GET
                })
                .uri(uri)
                .body(crate::http::RequestBody::Full(form.map(Bytes::from)))
                .unwrap();
            return_address(request)
                .await
                .unwrap()
                .1
                .map(|to| to.as_str().to_owned())
        };
        assert_eq!(
            find("/oauth2/start?rd=%2Fa%3Fb%3Dc", None).await.as_deref(),
            Some("/a?b=c")
        );
        assert_eq!(
            find("/oauth2/start", Some("rd=%2Fa")).await.as_deref(),
            Some("/a")
        );
        for bad in [
            "/oauth2/start?rd=https%3A%2F%2Fevil",
            "/oauth2/start?rd=%2F%2Fevil",
            "/oauth2/start?rd=%2F%5Cevil",
            "/oauth2/start?rd=%2Fa&rd=%2Fb",
            "/oauth2/start",
            "/oauth2/start?rd=",
            "/oauth2/start?rd=%2F%0d%0aX:y",
        ] {
            assert_eq!(find(bad, None).await, None, "{bad}");
        }
        assert_eq!(find("/oauth2/start?rd=%2Fa", Some("rd=%2Fb")).await, None);
    }
}
