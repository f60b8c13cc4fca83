//! The provider sends the browser back: a code becomes tokens, tokens become claims, claims a session.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::browser::{Browser, add_cookies, only, redirect, store_unavailable};
use super::id_token::{self, Expected, IdTokenError, VerifiedIdToken};
use super::login::{Wish, begin_at, redirect_uri};
use super::provider::{Provider, Ready, unavailable};
use super::token::{TokenError, Tokens, is_temporary, loggable};
use super::userinfo::{self, Question, UserinfoError};
use crate::audit::{Event, Kind, Who};
use crate::claims::Claims;
use crate::http::{Inbound, Request, Response};
use crate::ids::Subject;
use crate::reject::{Code, Fault, Reject};
use crate::secret::Secret;
use crate::session::{Flow, NewLogin, ProviderTokens, Session};
use crate::telemetry::metrics::Name;
use crate::urls::ReturnTo;

/// What the provider put into the address (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Debug)]
struct Answer {
    state: String,
    issuer: Option<String>,
    outcome: Result<Secret, Refusal>,
}

#[derive(Debug)]
struct Refusal {
    code: String,
    description: String,
}

/// `/oauth2/callback`: finishes a login.
pub(super) async fn callback(
    browser: &Browser,
    inbound: &Inbound,
    request: &Request,
) -> Result<Response, Reject> {
    only(request, "GET")?;
    let started = Instant::now();
    let mut at = browser.providers.first();
    let outcome = finish(browser, inbound, request, &mut at).await;
    let (result, reason) = match &outcome {
        Ok((_, reason)) => ("success", *reason),
        Err(reject) => ("failure", reject.code().as_str()),
    };
    let label = match at {
        Some(provider) => {
            browser.count_at(provider, "code", result, reason);
            provider.label()
        }
        None => "none",
    };
    browser
        .metrics
        .histogram(
            Name::AuthCallbackDuration,
            &[("provider", label), ("result", result)],
        )
        .record(started.elapsed().as_secs_f64());
    if let Err(reject) = &outcome {
        browser
            .audit
            .note_with(|_| Event::rejected(Kind::Login, reject).at(inbound.place()));
    }
    outcome.map(|(response, _)| response)
}

/// `at` becomes the provider that the login was begun at, once that is known.
async fn finish<'b>(
    browser: &'b Browser,
    inbound: &Inbound,
    request: &Request,
    at: &mut Option<&'b Arc<Provider>>,
) -> Result<(Response, &'static str), Reject> {
    browser.provider()?;
    let answer = read(request.uri().query().unwrap_or_default())?;
    let headers = request.headers();
    let Some(known) = browser.tabs.recognise(&answer.state, headers) else {
        return over(browser, headers, "no cookie of this browser fits the state").await;
    };
    let Some(provider) = browser.provider_named(&known.provider) else {
        let why = "the provider that it was begun at is no longer configured";
        return over(browser, headers, why).await;
    };
    *at = Some(provider);
    // Before the flow is used up, so that an outage costs nobody a login.
    let ready = provider.ready().await?;
    let Some(flow) = browser
        .tabs
        .take(&known)
        .await
        .map_err(|error| store_unavailable(&error))?
    else {
        return over(
            browser,
            headers,
            "the flow was used already, or its time is over",
        )
        .await;
    };
    check_issuer(&answer, &flow, &ready)?;
    let code = match answer.outcome {
        Ok(code) => code,
        Err(refusal) if knows_no_choice(&refusal, &flow) => {
            return anew(browser, provider, headers, &flow, &known.cookie).await;
        }
        Err(refusal) => return Err(refused(&refusal)),
    };
    let login = redeem(browser, provider, &ready, &flow, &code).await?;

    // A new session id at every login; what the browser had before ends (GHSA-f24x-5g9q-753f).
    let (session, ticket) = browser
        .sessions
        .create_since(login, flow.started)
        .await
        .map_err(|error| store_unavailable(&error))?;
    recorded(browser, inbound, &session);
    if let Some(old) = browser.ticket(headers) {
        match browser.sessions.end(&old).await {
            Ok(None) => {}
            Ok(Some(_)) => browser.audit.note_with(|_| {
                Event::ok(Kind::SessionEnded)
                    .because("signed_in_again")
                    .by(Who::default().with_session(&*old.session_id()))
                    .at(inbound.place())
            }),
            Err(error) => {
                tracing::warn!(%error, "the browser's former session could not be ended; it lives until it is idle");
            }
        }
    }
    tracing::info!(
        request_id = %inbound.id,
        issuer = %session.claims.subject.issuer,
        subject = %session.claims.subject.subject,
        "signed in"
    );
    let set = browser.names.set_cookie(
        browser.names.session(),
        &ticket.to_cookie_value(),
        browser.session_life,
    );
    let cookies = set
        .into_iter()
        .chain(browser.names.clear_cookie(&known.cookie))
        .collect();
    // Checked when the flow began; the record was sealed since.
    let to = ReturnTo::parse(&flow.return_to).unwrap_or_else(ReturnTo::root);
    Ok((redirect(StatusCode::FOUND, to.as_str(), cookies)?, "none"))
}

/// Somebody signed in.
fn recorded(browser: &Browser, inbound: &Inbound, session: &Session) {
    browser.audit.note_with(|audit| {
        let who = audit.who(&session.claims);
        Event::ok(Kind::Login).by(who).at(inbound.place())
    });
    browser.audit.note_with(|audit| {
        let who = audit.who(&session.claims).with_session(&*session.id);
        Event::ok(Kind::SessionCreated).by(who).at(inbound.place())
    });
}

/// Whether a provider refused a request because it cannot let people choose the account. Some answer so to a `prompt` that
/// they do not know, and do not say before which they know.
fn knows_no_choice(refusal: &Refusal, flow: &Flow) -> bool {
    let choice = flow
        .prompt
        .as_deref()
        .is_some_and(|prompt| prompt.contains("select_account"));
    choice && refusal.code == "invalid_request"
}

/// The same sign-in once more, now with a new login in place of a choice.
async fn anew(
    browser: &Browser,
    provider: &Provider,
    headers: &HeaderMap,
    flow: &Flow,
    cookie: &str,
) -> Result<(Response, &'static str), Reject> {
    let wish = Wish {
        prompt: Some("login"),
        ui_locales: None,
    };
    let mut response =
        Box::pin(begin_at(browser, provider, headers, &flow.return_to, wish)).await?;
    let gone = browser.names.clear_cookie(cookie);
    add_cookies(&mut response, gone.into_iter().collect());
    Ok((response, "other_prompt"))
}

/// A state that leads nowhere. Somebody who is signed in just went back or reloaded: they go on to the start
/// page. Nothing was changed, so this is safe whoever made the address.
async fn over(
    browser: &Browser,
    headers: &HeaderMap,
    why: &'static str,
) -> Result<(Response, &'static str), Reject> {
    if browser.session(headers).await?.is_some() {
        return Ok((redirect(StatusCode::FOUND, "/", Vec::new())?, "repeated"));
    }
    let reject = Reject::new(
        StatusCode::BAD_REQUEST,
        Code::LoginExpired,
        Fault::Client,
        "This sign-in was already used, took too long, or was begun in another browser. Sign in again from here.",
    );
    Err(reject.because(why))
}

/// Reads the answer. What is there twice cannot be judged (RFC 6749 section 3.1) and is refused.
fn read(query: &str) -> Result<Answer, Reject> {
    let mut slots: [(&str, Option<Cow<'_, str>>); 5] = [
        ("state", None),
        ("code", None),
        ("iss", None),
        ("error", None),
        ("error_description", None),
    ];
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let Some((_, slot)) = slots.iter_mut().find(|(slot, _)| *slot == name) else {
            continue;
        };
        if slot.replace(value).is_some() {
            return Err(malformed("a parameter is there twice"));
        }
    }
    let [state, code, issuer, error, description] =
        slots.map(|(_, value)| value.filter(|value| !value.is_empty()));
    let state = state
        .ok_or_else(|| malformed("`state` is missing"))?
        .into_owned();
    let outcome = match (code, error) {
        (Some(code), None) => Ok(Secret::new(code)),
        (None, Some(code)) => Err(Refusal {
            code: loggable(&code),
            description: loggable(description.as_deref().unwrap_or_default()),
        }),
        (Some(_), Some(_)) => return Err(malformed("both `code` and `error` are there")),
        (None, None) => return Err(malformed("neither `code` nor `error` is there")),
    };
    Ok(Answer {
        state,
        issuer: issuer.map(Cow::into_owned),
        outcome,
    })
}

fn malformed(why: &'static str) -> Reject {
    Reject::new(
        StatusCode::BAD_REQUEST,
        Code::LoginFailed,
        Fault::Client,
        "This address does not hold a complete answer of the identity provider. Sign in again from here.",
    )
    .because(why)
}

/// RFC 9207: the answer has to come from the provider that the login was begun with.
fn check_issuer(answer: &Answer, flow: &Flow, ready: &Ready) -> Result<(), Reject> {
    let why = match &answer.issuer {
        _ if flow.issuer != *ready.issuer => "the login was begun with another issuer",
        Some(issuer) if !ready.is_issuer(issuer) => "`iss` names another issuer",
        None if ready.metadata.response_has_issuer => {
            "`iss` is missing, though the provider promises it"
        }
        _ => return Ok(()),
    };
    Err(failed(StatusCode::BAD_REQUEST, why.to_owned()))
}

fn refused(refusal: &Refusal) -> Reject {
    let Refusal { code, description } = refusal;
    tracing::warn!(error = %code, %description, "the identity provider refused a sign-in");
    if is_temporary(code) {
        return unavailable().because(format!("the provider answered `{code}`"));
    }
    // RFC 6749 section 4.1.2.1 and OpenID Connect Core section 3.1.2.6: these are about the person.
    let person = matches!(
        code.as_str(),
        "access_denied"
            | "login_required"
            | "interaction_required"
            | "consent_required"
            | "account_selection_required"
    );
    let status = if person {
        StatusCode::FORBIDDEN
    } else {
        StatusCode::BAD_GATEWAY
    };
    Reject::new(
        status,
        Code::LoginFailed,
        if person { Fault::Client } else { Fault::Provider },
        "The identity provider did not let this sign-in through. Try again, perhaps with another account; if it goes on, ask for access.",
    )
    .because(format!("the provider answered `{code}`"))
}

fn failed(status: StatusCode, why: String) -> Reject {
    tracing::warn!(%why, "a sign-in failed");
    let fault = if status.is_client_error() {
        Fault::Client
    } else {
        Fault::Provider
    };
    Reject::new(
        status,
        Code::LoginFailed,
        fault,
        "What the identity provider answered could not be accepted, so you are not signed in. Try again.",
    )
    .because(why)
}

async fn redeem(
    browser: &Browser,
    provider: &Provider,
    ready: &Ready,
    flow: &Flow,
    code: &Secret,
) -> Result<NewLogin, Reject> {
    let redirect_uri = redirect_uri(browser);
    let tokens = provider
        .caller(&ready.metadata)
        .redeem_code(code, &flow.verifier, &redirect_uri)
        .await
        .map_err(|error| match &error {
            TokenError::Unavailable(why) => unavailable().because(why.clone()),
            TokenError::Refused { code, .. } if code == "invalid_grant" => {
                failed(StatusCode::BAD_REQUEST, error.to_string())
            }
            TokenError::Refused { .. } | TokenError::Unusable(_) => {
                failed(StatusCode::BAD_GATEWAY, error.to_string())
            }
        })?;
    let now = browser.ambient.now();
    let (subject, mut all, provider_session) = if let Some(api) = provider.github() {
        let person = api
            .ask(provider.calls(), &tokens.access_token, &browser.ambient)
            .await
            .map_err(|error| unanswered(&error))?;
        let subject = Subject {
            issuer: Arc::clone(&ready.issuer),
            subject: person.subject.as_str().into(),
        };
        (subject, person.claims, None)
    } else {
        let verified = verified(browser, provider, ready, flow, &tokens).await?;
        let question = Question {
            provider,
            ready,
            access_token: &tokens.access_token,
            subject: &verified.subject,
            now,
            skew: browser.skew,
        };
        let mode = provider.profile().userinfo(provider.config().userinfo);
        let extra = match &ready.metadata.userinfo_endpoint {
            Some(endpoint) if userinfo::wanted(mode, &verified.claims, provider.claims()) => {
                let asked = userinfo::ask(endpoint, &question).await;
                Some(asked.map_err(|error| unanswered(&error))?)
            }
            _ => None,
        };
        let subject = Subject {
            issuer: ready.canonical(verified.issuer()),
            subject: verified.subject.as_str().into(),
        };
        let all = userinfo::join(&verified.claims, extra);
        (subject, all, verified.provider_session())
    };
    provider
        .profile()
        .complete(provider.config(), &mut all)
        .map_err(|why| failed(StatusCode::FORBIDDEN, why))?;
    Ok(NewLogin {
        claims: Claims::read(subject, all, provider.claims()),
        tokens: provider_tokens(tokens, now, provider_session),
    })
}

/// Why nobody knows who it is.
fn unanswered(error: &UserinfoError) -> Reject {
    match error {
        UserinfoError::Unavailable(why) => unavailable().because(format!("userinfo: {why}")),
        UserinfoError::Unusable(_) => failed(StatusCode::BAD_GATEWAY, error.to_string()),
    }
}

/// The ID token of a login.
async fn verified(
    browser: &Browser,
    provider: &Provider,
    ready: &Ready,
    flow: &Flow,
    tokens: &Tokens,
) -> Result<VerifiedIdToken, Reject> {
    let id_token = tokens.id_token.as_ref().ok_or_else(|| {
        failed(
            StatusCode::BAD_GATEWAY,
            "the provider gave no ID token; is the scope `openid` allowed?".to_owned(),
        )
    })?;
    let expected = Expected {
        client_id: &provider.config().client_id,
        nonce: Some(&Secret::new(flow.nonce.as_str())),
        access_token: &tokens.access_token,
        now: browser.ambient.now(),
        skew: browser.skew,
    };
    id_token::verify(id_token, ready, &expected).await.map_err(|error| match error {
        IdTokenError::Invalid(_) => failed(StatusCode::BAD_GATEWAY, error.to_string()),
        IdTokenError::Keys(error) => {
            let message = "The identity provider's keys cannot be read just now, so nobody can be signed in. Try again in a moment.";
            Reject::unavailable(Code::KeysUnavailable, Fault::Provider, message).because(error.to_string())
        }
    })
}

fn provider_tokens(
    tokens: Tokens,
    now: crate::clock::Timestamp,
    provider_session: Option<String>,
) -> ProviderTokens {
    ProviderTokens {
        access_token: tokens.access_token,
        access_expires: tokens.expires_in.map(|life| now.plus(life)),
        refresh_token: tokens.refresh_token,
        id_token: tokens.id_token,
        provider_session,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_incomplete_or_doubled_answer_is_refused() {
        for good in [
            "state=s&code=c",
            "code=c&state=s&iss=i&session_state=x&session_state=y",
            "state=s&error=access_denied",
        ] {
            assert!(read(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "code=c",
            "state=s",
            "state=&code=c",
            "state=s&code=",
            "state=s&code=c&code=d",
            "state=s&state=s&code=c",
            "state=s&code=c&iss=a&iss=b",
            "state=s&code=c&error=e",
            "error=e",
            "state=s&error=a&error=b",
            "&&&=",
            "state",
        ] {
            let reject = read(bad).unwrap_err();
            assert_eq!(reject.status(), StatusCode::BAD_REQUEST, "{bad}");
        }
    }

    #[test]
    fn the_providers_words_are_not_shown() {
        let reject = refused(&Refusal {
            code: "access_denied".into(),
            description: "<b>call 555</b>".into(),
        });
        assert!(!reject.message().contains("555") && !reject.message().contains("access_denied"));
        assert_eq!(reject.status(), StatusCode::FORBIDDEN);
        let reject = refused(&Refusal {
            code: "temporarily_unavailable".into(),
            description: String::new(),
        });
        assert_eq!(reject.code(), Code::ProviderUnavailable);
    }

    proptest! {
        #[test]
        fn advisory_cve_2022_29228_any_query_is_read_without_harm(query in ".{0,200}") {
            let _ = read(&query);
        }
    }
}
