//! Signing out: here, and at the provider (OpenID Connect RP-Initiated Logout 1.0).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use super::browser::{Browser, add_cookies, only, redirect, store_unavailable};
use super::login::return_address;
use super::profile::SignOut as AtProvider;
use super::provider::{Provider, Ready};
use super::site::Site;
use crate::audit::{Event, Kind};
use crate::http::pages::{Account, SignOut, SignedOut, View};
use crate::http::{Inbound, Request, Response};
use crate::paths::Own;
use crate::reject::{Code, Fault, Reject};
use crate::secret::Secret;
use crate::urls::ReturnTo;

/// What an errand is sealed for.
const ERRAND: &[u8] = b"sign-out";

/// `/oauth2/sign_out?rd=…`: ends this browser's session.
///
/// At once when our own page or the person asks; a link from elsewhere gets a page that asks first. Without a
/// session it is the page that the provider sends people back to.
pub(super) async fn sign_out(
    browser: &Browser,
    inbound: &Inbound,
    request: Request,
) -> Result<Response, Reject> {
    only(&request, "GET, POST")?;
    let post = request.method() == Method::POST;
    let site = browser.site(request.headers());
    // A browser that says nothing sends `Origin` with a form of another site, but nothing with a link.
    let meant = match site {
        Site::Own => post || is_navigation(request.headers()),
        Site::Silent => post,
        Site::Foreign => false,
    };
    if post && !meant {
        return Err(Reject::new(
            StatusCode::FORBIDDEN,
            Code::OriginRefused,
            Fault::Client,
            "Another site asked to sign you out, so nothing was done. Open the sign-out page of this service instead.",
        ));
    }
    let back = returned(browser, request.uri().query().unwrap_or_default());
    let here = browser.paths.path(Own::SignOut);
    let (headers, return_to) = return_address(request).await?;
    let view = browser.pages.view(&headers, None, Some(&here));
    let Some(ticket) = browser.ticket(&headers) else {
        return signed_out(
            browser,
            &view,
            back.or(return_to.filter(|_| meant)).as_ref(),
            Vec::new(),
        );
    };
    if !meant {
        return confirm(browser, &view, &ticket, return_to.as_ref()).await;
    }
    let before = browser
        .sessions
        .find(&ticket)
        .await
        .map_err(|error| store_unavailable(&error))?;
    let tokens = browser
        .sessions
        .end(&ticket)
        .await
        .map_err(|error| store_unavailable(&error))?;
    browser.count(
        "logout",
        "success",
        if tokens.is_some() {
            "none"
        } else {
            "no_session"
        },
    );
    if let Some(session) = &before {
        for (kind, why) in [(Kind::Logout, "asked"), (Kind::SessionEnded, "signed_out")] {
            browser.audit.note_with(|audit| {
                let who = audit.who(&session.claims).with_session(&*session.id);
                Event::ok(kind).because(why).by(who).at(inbound.place())
            });
        }
    }
    let mut cookies = browser.tabs.forget_all(&headers);
    cookies.extend(browser.names.clear_cookie(browser.names.session()));
    let provider = before.and_then(|session| {
        let found = browser.provider_of(&session.claims.subject.issuer);
        found.map(Arc::clone)
    });
    let Some((provider, tokens)) = provider.zip(tokens) else {
        return signed_out(browser, &view, return_to.as_ref(), cookies);
    };
    // A sign-out right after the start still leads to the provider's own.
    provider.settled().await;
    match at_provider(
        browser,
        &provider,
        tokens.id_token.as_ref(),
        return_to.as_ref(),
    ) {
        Some(url) => redirect(found(post), url.as_str(), cookies),
        None => signed_out(browser, &view, return_to.as_ref(), cookies),
    }
}

/// Whether a GET is the person going there: no image, no script, nothing fetched in advance.
fn is_navigation(headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| headers.get(name).is_none_or(|said| said == value);
    is("sec-fetch-mode", "navigate")
        && is("sec-fetch-dest", "document")
        && !headers.contains_key("sec-purpose")
}

/// 303 makes a GET of a form's POST (RFC 9110 section 15.4.4).
fn found(post: bool) -> StatusCode {
    if post {
        StatusCode::SEE_OTHER
    } else {
        StatusCode::FOUND
    }
}

/// The page that asks first.
async fn confirm(
    browser: &Browser,
    view: &View,
    ticket: &crate::session::Ticket,
    return_to: Option<&ReturnTo>,
) -> Result<Response, Reject> {
    let session = browser
        .sessions
        .find(ticket)
        .await
        .map_err(|error| store_unavailable(&error))?;
    let Some(session) = session else {
        let cookies = browser
            .names
            .clear_cookie(browser.names.session())
            .into_iter()
            .collect();
        return signed_out(browser, view, None, cookies);
    };
    let page = SignOut {
        account: Account::of(&session.claims),
        action: &browser.paths.path(Own::SignOut),
        return_to: return_to.map_or("", ReturnTo::as_str),
    };
    Ok(browser.pages.sign_out(view, &page))
}

fn signed_out(
    browser: &Browser,
    view: &View,
    return_to: Option<&ReturnTo>,
    cookies: Vec<HeaderValue>,
) -> Result<Response, Reject> {
    if let Some(to) = return_to {
        return redirect(StatusCode::SEE_OTHER, to.as_str(), cookies);
    }
    let has_sign_out = |provider: &Arc<Provider>| {
        let ready = provider.ready_now();
        ready.is_ok_and(|ready| place(provider, &ready).is_some())
    };
    let page = SignedOut {
        at_provider: browser.providers.iter().any(has_sign_out),
        sign_in: &browser.paths.path(Own::SignIn),
    };
    let mut response = browser.pages.signed_out(view, &page);
    add_cookies(&mut response, cookies);
    Ok(response)
}

/// Where the provider of a login ends its own session. By the book the return address travels along, sealed, as `state`;
/// an address of the provider's own has no place for it.
fn at_provider(
    browser: &Browser,
    provider: &Provider,
    hint: Option<&Secret>,
    return_to: Option<&ReturnTo>,
) -> Option<Url> {
    let ready = provider.ready_now().ok()?;
    let (mut url, back_name) = place(provider, &ready)?;
    let config = provider.config();
    let back = config
        .post_logout_redirect_url
        .clone()
        .unwrap_or_else(|| browser.public.join(&browser.paths.path(Own::SignOut)));
    let mut query = url.query_pairs_mut();
    if let Some(back_name) = back_name {
        query
            .append_pair("client_id", &config.client_id)
            .append_pair(back_name, &back);
    } else {
        let errand = return_to.map_or("", ReturnTo::as_str);
        let state = URL_SAFE_NO_PAD.encode(browser.errands.seal(ERRAND, errand.as_bytes()));
        query
            .append_pair("id_token_hint", hint?.expose_secret())
            .append_pair("client_id", &config.client_id)
            .append_pair("post_logout_redirect_uri", &back)
            .append_pair("state", &state);
    }
    drop(query);
    Some(url)
}

/// The address for signing out, and what the address to come back to is called at one of the provider's own.
fn place(provider: &Provider, ready: &Ready) -> Option<(Url, Option<&'static str>)> {
    let metadata = &ready.metadata;
    let named = metadata.end_session_endpoint.clone();
    match provider.profile().sign_out {
        AtProvider::Own { path, back, always } if always || named.is_none() => {
            let mut url = metadata.authorization_endpoint.clone();
            url.set_path(path);
            url.set_query(None);
            Some((url, Some(back)))
        }
        AtProvider::Standard | AtProvider::Own { .. } => named.map(|url| (url, None)),
    }
}

/// The return address that came back from the provider; only one that we sealed counts.
fn returned(browser: &Browser, query: &str) -> Option<ReturnTo> {
    let (_, state) =
        url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "state")?;
    let sealed = URL_SAFE_NO_PAD.decode(state.as_bytes()).ok()?;
    let errand = String::from_utf8(browser.errands.open(ERRAND, &sealed).ok()?).ok()?;
    ReturnTo::parse(&errand)
}
