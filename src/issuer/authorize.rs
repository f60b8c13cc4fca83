//! The authorization endpoint (RFC 6749 section 3.1): what was asked is checked, the person is signed in, and the
//! consent page is shown. Nothing that could be redeemed exists before its form comes back.
//!
//! Until the redirect URI is known to be one of the client's, errors stay on a page of ours. Afterwards they go to
//! the client; but a client that the operator does not know could use that to send people anywhere on the web, so
//! then a page asks first (RFC 9700 section 4.11.2).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::header::ALLOW;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::client::{Client, ClientError, Place, RedirectUri, Standing};
use super::desk::{Desk, Visit, name_of, server_of, where_to};
use super::error::{OAuthCode, OAuthError};
use super::form::Form;
use super::prompt::Prompt;
use super::{consent, handoff, wanted};
use crate::config::issuer::GrantType;
use crate::http::pages::{Account, Failed, Refused, Stop, Stopped, View, of_ui_locales};
use crate::http::{Request, Response};
use crate::oidc::Wish;
use crate::paths::Own;
use crate::reject::{Code, Fault, Reject};
use crate::route::{Table, Target};
use crate::scope::ScopeSet;
use crate::urls::ReturnTo;

/// Bytes of a posted request.
const MAX_FORM: usize = 16 << 10;

/// Time to send it.
const FORM_TIME: Duration = Duration::from_secs(10);

/// What a client asked for, after all checks.
pub(super) struct Asked {
    pub(super) client: Arc<Client>,
    pub(super) redirect_uri: RedirectUri,
    pub(super) state: Option<String>,
    /// `code_challenge`, method S256.
    pub(super) challenge: String,
    pub(super) target: Target,
    /// What it gets: asked for and permitted.
    pub(super) scopes: ScopeSet,
    pub(super) prompt: Prompt,
    /// The address of this request, as it is come back to.
    pub(super) again: String,
}

/// `/oauth2/authorize`.
pub(crate) async fn answer(
    desk: &Desk,
    visit: Visit<'_>,
    request: Request,
) -> Result<Response, Reject> {
    let (head, body) = request.into_parts();
    if is_framed(&head.headers) {
        return Err(Reject::new(
            StatusCode::FORBIDDEN,
            Code::OriginRefused,
            Fault::Client,
            "This page is not shown inside of another one. Open it in a window of its own.",
        ));
    }
    let query = match head.method {
        Method::GET => Cow::Borrowed(head.uri.query().unwrap_or_default().as_bytes()),
        Method::POST => {
            let body = body.collect(MAX_FORM, FORM_TIME).await?;
            return posted(desk, visit, &head.headers, &body);
        }
        _ => return Err(other_method()),
    };
    let form = match Form::parse(&query) {
        Ok(form) => form,
        Err(error) => return Ok(unreadable(desk, visit, &head.headers, &error)),
    };
    let view = desk.view(&head.headers, form.get("ui_locales"), None);
    let (client, redirect_uri) = match whose(desk, visit, &view, &form).await? {
        Ok(found) => found,
        Err(stopped) => return Ok(stopped),
    };
    let back = Back {
        client: &client,
        redirect_uri: &redirect_uri,
        state: form.get("state"),
    };
    let asked = match check(desk, visit.routes, &client, &redirect_uri, &form) {
        Ok(asked) => asked,
        Err(error) => return back.failed(desk, &view, &error),
    };
    go_on(desk, visit, &head.headers, &form, view, asked).await
}

/// A form of another site comes without cookies (they are `SameSite=Lax`), so it goes on as an address.
fn posted(
    desk: &Desk,
    visit: Visit<'_>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Reject> {
    let form = match Form::of_body(headers, body) {
        Ok(form) => form,
        Err(error) => return Ok(unreadable(desk, visit, headers, &error)),
    };
    let again = address(desk, &form, None);
    if again.len() > ReturnTo::MAX {
        return Ok(unreadable(desk, visit, headers, &too_long()));
    }
    handoff::redirect(&again)
}

/// The client and its redirect URI, or the page that says that there is none.
async fn whose(
    desk: &Desk,
    visit: Visit<'_>,
    view: &View,
    form: &Form,
) -> Result<Result<(Arc<Client>, RedirectUri), Response>, Reject> {
    let stop = |why: Stop<'_>| {
        tracing::info!(request_id = %visit.inbound.id, ?why, "an authorization request was stopped");
        let page = Stopped {
            why,
            request_id: visit.inbound.id,
            at: visit.inbound.received,
        };
        Ok(Err(desk.pages().stopped(view, &page)))
    };
    let Some(id) = form.get("client_id") else {
        return stop(Stop::Request {
            detail: "client_id is missing",
        });
    };
    let client = match desk.clients.find(id, visit.inbound.client).await {
        Ok(client) => client,
        Err(ClientError::Unavailable(why)) => {
            return Err(Reject::unavailable(
                Code::StoreUnavailable,
                Fault::Proxy,
                "What this app says about itself cannot be read just now. Try again in a moment.",
            )
            .because(why));
        }
        Err(error @ ClientError::Limited(seconds)) => {
            return Err(Reject::new(
                StatusCode::TOO_MANY_REQUESTS,
                Code::TooManyRequests,
                Fault::Client,
                "What this app says about itself cannot be read just now, because too much of the kind was asked for. Try again in a moment.",
            )
            .retry_after(Duration::from_secs(seconds))
            .because(error.to_string()));
        }
        Err(ClientError::Unknown(detail)) => {
            let host = host_of(id);
            return stop(Stop::UnknownApp {
                host: host.as_deref(),
                detail: &detail,
            });
        }
        Err(ClientError::Unproven(detail) | ClientError::Malformed(detail)) => {
            return stop(Stop::UnknownApp { host: None, detail });
        }
    };
    let asked = form.get("redirect_uri");
    let Some(redirect_uri) = client.redirect_uris.find(asked) else {
        let name = name_of(&client);
        let host = asked.and_then(host_of);
        return stop(Stop::Redirect {
            app: name.as_deref(),
            host: host.as_deref(),
        });
    };
    Ok(Ok((client, redirect_uri)))
}

/// The host of an https address, as far as it is one, for pages.
fn host_of(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    matches!(url.scheme(), "http" | "https")
        .then(|| url.host_str().map(|host| host.chars().take(253).collect()))?
}

/// Everything that is checked before anybody is asked to sign in. The order matters only for which error comes first.
fn check(
    desk: &Desk,
    routes: &Table,
    client: &Arc<Client>,
    redirect_uri: &RedirectUri,
    form: &Form,
) -> Result<Asked, OAuthError> {
    let invalid = OAuthError::invalid_request;
    match form.get("response_type") {
        Some("code") => {}
        Some(_) => {
            return Err(OAuthError::new(
                OAuthCode::UnsupportedResponseType,
                "response_type has to be code",
            ));
        }
        None => return Err(invalid("response_type is missing")),
    }
    if form.get("request").is_some() || form.get("request_uri").is_some() {
        return Err(invalid("request objects are not supported"));
    }
    if form
        .get("response_mode")
        .is_some_and(|mode| mode != "query")
    {
        return Err(invalid("response_mode has to be query"));
    }
    if !client.may(GrantType::AuthorizationCode) {
        return Err(OAuthError::new(
            OAuthCode::UnauthorizedClient,
            "this client is not registered for authorization_code",
        ));
    }
    let challenge = challenge(form)?;
    let prompt = Prompt::parse(form.get("prompt").unwrap_or_default())
        .ok_or_else(|| invalid("prompt=none cannot stand with others"))?;
    let target = wanted::resource(routes, desk.default_route.as_deref(), client, form)?;
    let scopes = wanted::scopes(client, &target, form.get("scope"))?;
    let again = address(desk, form, prompt.once());
    if again.len() > ReturnTo::MAX || ReturnTo::parse(&again).is_none() {
        return Err(too_long());
    }
    Ok(Asked {
        client: Arc::clone(client),
        redirect_uri: redirect_uri.clone(),
        state: form.get("state").map(str::to_owned),
        challenge,
        target,
        scopes,
        prompt,
        again,
    })
}

/// PKCE, method S256 and no other (RFC 7636 section 4.3): SHA-256 in base64url has 43 characters.
fn challenge(form: &Form) -> Result<String, OAuthError> {
    let invalid = OAuthError::invalid_request;
    let challenge = form
        .get("code_challenge")
        .ok_or_else(|| invalid("code_challenge is missing; PKCE is required"))?;
    // Without a method it would be `plain`.
    if form.get("code_challenge_method") != Some("S256") {
        return Err(invalid("code_challenge_method has to be S256"));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if challenge.len() != 43 || !challenge.bytes().all(plain) {
        return Err(invalid("code_challenge is no SHA-256 in base64url"));
    }
    Ok(challenge.to_owned())
}

/// The address of a request, spelt anew. `prompt` stands in for the one of the request.
fn address(desk: &Desk, form: &Form, prompt: Option<&str>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in form.iter() {
        match prompt {
            Some(instead) if name == "prompt" => query.append_pair(name, instead),
            _ => query.append_pair(name, value),
        };
    }
    format!("{}?{}", desk.path(Own::Authorize), query.finish())
}

async fn go_on(
    desk: &Desk,
    visit: Visit<'_>,
    headers: &HeaderMap,
    form: &Form,
    view: View,
    asked: Asked,
) -> Result<Response, Reject> {
    let back = Back {
        client: &asked.client,
        redirect_uri: &asked.redirect_uri,
        state: asked.state.as_deref(),
    };
    let session = desk.browser.session(headers).await?;
    if asked.prompt.none {
        let error = match session {
            None => OAuthError::new(OAuthCode::LoginRequired, "nobody is signed in"),
            Some(_) => OAuthError::new(OAuthCode::ConsentRequired, "the person has to be asked"),
        };
        return back.failed(desk, &view, &error);
    }
    let session = match session {
        Some(session) if asked.prompt.at_provider().is_none() => session,
        _ => {
            let asked_for = form
                .get("ui_locales")
                .filter(|list| of_ui_locales(list).is_some());
            let chosen = desk
                .pages()
                .chosen(headers)
                .map(super::super::config::pages::Language::tag);
            let wish = Wish {
                prompt: asked.prompt.at_provider(),
                ui_locales: chosen.or(asked_for),
            };
            return desk
                .browser
                .login_redirect(visit.inbound, headers, &asked.again, wish)
                .await;
        }
    };
    // Where the language changes, nobody may be spared the question.
    let view = view.at(Some(&with_consent(&asked.again)));
    if !(visit.admits)(&session.claims, &asked.target) {
        tracing::info!(request_id = %visit.inbound.id, client = %asked.client.digest, "somebody may not use what an app asked for");
        return Ok(back.refused(desk, visit, &view, &asked, &session.claims));
    }
    consent::ask(desk, visit, headers, &view, asked, &session).await
}

/// The same address, for which the question is always asked.
pub(super) fn with_consent(address: &str) -> String {
    if address.contains("&prompt=") || address.contains("?prompt=") {
        address.to_owned()
    } else {
        format!("{address}&prompt=consent")
    }
}

/// Where answers to a client go.
pub(super) struct Back<'a> {
    pub(super) client: &'a Client,
    pub(super) redirect_uri: &'a RedirectUri,
    pub(super) state: Option<&'a str>,
}

impl Back<'_> {
    /// An error, before a person was asked anything.
    fn failed(&self, desk: &Desk, view: &View, error: &OAuthError) -> Result<Response, Reject> {
        let href = handoff::error(desk, self.redirect_uri, self.state, error);
        let place = self.redirect_uri.place();
        match (place, &self.client.standing) {
            (Place::Web(_), Standing::Configured) | (Place::Loopback(_), _) => {
                handoff::redirect(&href)
            }
            (Place::Web(_) | Place::App(_), _) => Ok(desk.pages().failed(
                view,
                &Failed {
                    app: name_of(self.client).as_deref(),
                    host: where_to(place),
                    href: &href,
                    code: error.code.as_str(),
                    description: error.description,
                },
            )),
        }
    }

    pub(super) fn refused(
        &self,
        desk: &Desk,
        visit: Visit<'_>,
        view: &View,
        asked: &Asked,
        claims: &crate::claims::Claims,
    ) -> Response {
        let denied = OAuthError::new(
            OAuthCode::AccessDenied,
            "this account may not use the resource",
        );
        desk.pages().refused(
            view,
            &Refused {
                app: name_of(self.client).as_deref(),
                server: &server_of(&asked.target),
                account: Account::of(claims),
                again: &asked.again,
                href: &handoff::error(desk, self.redirect_uri, self.state, &denied),
                host: where_to(self.redirect_uri.place()),
                request_id: visit.inbound.id,
                at: visit.inbound.received,
            },
        )
    }
}

fn unreadable(desk: &Desk, visit: Visit<'_>, headers: &HeaderMap, error: &OAuthError) -> Response {
    let view = desk.view(headers, None, None);
    let page = Stopped {
        why: Stop::Request {
            detail: error.description,
        },
        request_id: visit.inbound.id,
        at: visit.inbound.received,
    };
    desk.pages().stopped(&view, &page)
}

/// Whether another page wants to show this one inside of itself. None of ours would be shown there; but nobody is to be
/// sent on to the provider there either.
fn is_framed(headers: &HeaderMap) -> bool {
    headers
        .get("sec-fetch-dest")
        .is_some_and(|dest| matches!(dest.as_bytes(), b"iframe" | b"frame" | b"embed" | b"object"))
}

fn too_long() -> OAuthError {
    OAuthError::invalid_request("the request is too long")
}

fn other_method() -> Reject {
    Reject::new(
        StatusCode::METHOD_NOT_ALLOWED,
        Code::MethodNotAllowed,
        Fault::Client,
        "Open this address in a browser.",
    )
    .header(ALLOW, HeaderValue::from_static("GET, POST"))
}
