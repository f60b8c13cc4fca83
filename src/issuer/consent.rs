//! Consent: the page that asks, and the answer that counts once.
//!
//! The page carries the whole request, sealed for the session that it was made for. Nothing is stored before the
//! answer, so several tabs and reloads do no harm; an answer is taken once, by a record under a keyed digest of what
//! was asked. Only a page of ours in that very session can give it: another browser has another session, and
//! another site has no page of ours.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::ALLOW;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::authorize::{Asked, with_consent};
use super::client::{Client, RedirectUri, Standing};
use super::desk::{Desk, Visit, destination_of, name_of, server_of, trust_of};
use super::error::{OAuthCode, OAuthError};
use super::form::Form;
use super::grant::{About, Approval, Basis};
use super::handoff::{self, Answer};
use super::remembered;
use crate::audit::event::clip;
use crate::audit::{Event, Kind, Outcome, What};
use crate::clock::Timestamp;
use crate::config::issuer::GrantType;
use crate::http::navigation::{self, Site};
use crate::http::pages::{Account, Consent, Unanswerable, Unanswered, View};
use crate::http::{Request, Response};
use crate::keys::Purpose;
use crate::paths::Own;
use crate::reject::{Code, Fault, Reject};
use crate::route::Target;
use crate::scope::ScopeSet;
use crate::session::Session;
use crate::store::{Key, Space, Unavailable};
use crate::urls::ReturnTo;

/// How long a form may be answered (WCAG 2.2, 2.2.1 takes no offence at 15 minutes that can be had again).
const GOOD_FOR: Duration = Duration::from_secs(15 * 60);

/// How much longer an answer is remembered than its form is good, so that no clock makes it count twice.
const SLACK: Duration = Duration::from_secs(60);

/// Bytes of a form: a sealed request and its address.
const MAX_FORM: usize = 48 << 10;

/// Time to send it.
const FORM_TIME: Duration = Duration::from_secs(10);

/// A request on its way through the browser.
#[derive(Serialize, Deserialize)]
struct Transaction {
    client_id: String,
    client: String,
    name: Option<String>,
    /// The name for pages.
    app: Option<String>,
    redirect_uri: RedirectUri,
    state: Option<String>,
    challenge: String,
    resource: String,
    route: String,
    scopes: ScopeSet,
    /// Whether the client renews its access.
    keeps: bool,
    /// Whether the answer may be remembered.
    may_remember: bool,
    issued: Timestamp,
}

impl Transaction {
    fn of(asked: &Asked, may_remember: bool, now: Timestamp) -> Self {
        let client = &asked.client;
        Self {
            client_id: client.id.to_string(),
            client: client.digest.to_string(),
            name: client.name.clone(),
            app: name_of(client),
            redirect_uri: asked.redirect_uri.clone(),
            state: asked.state.clone(),
            challenge: asked.challenge.clone(),
            resource: asked.target.resource().to_string(),
            route: asked.target.route().name.to_string(),
            scopes: asked.scopes.clone(),
            keeps: client.may(GrantType::RefreshToken),
            may_remember,
            issued: now,
        }
    }

    /// What an answer is known by: everything that a code would be bound to, and the session.
    fn mark(&self, desk: &Desk, session: &Session) -> impl Iterator<Item = Key> {
        let mut data = Vec::new();
        for part in [
            "answer",
            &*session.id,
            &*session.login,
            &self.client,
            self.redirect_uri.as_str(),
            self.state.as_deref().unwrap_or_default(),
            &self.challenge,
            &self.resource,
        ] {
            // With its length before it, so that nothing can move from one part to the next.
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part.as_bytes());
        }
        desk.keys
            .macs(Purpose::Consent, &data)
            .map(|mac| Key::new(Space::Consent, URL_SAFE_NO_PAD.encode(mac)))
            .collect::<Vec<_>>()
            .into_iter()
    }
}

/// Asks the person, or answers for them where they said so before.
pub(super) async fn ask(
    desk: &Desk,
    visit: Visit<'_>,
    headers: &HeaderMap,
    view: &View,
    asked: Asked,
    session: &Session,
) -> Result<Response, Reject> {
    let now = desk.ambient.now();
    let transaction = Transaction::of(&asked, may_remember(desk, &asked.client), now);
    if transaction.may_remember
        && !asked.prompt.consent
        && started_by_the_person(headers)
        && remembered::covers(
            desk,
            &about(desk, &transaction, session),
            &transaction.redirect_uri,
        )
        .await
        .map_err(|error| store_away(&error))?
        && use_up(desk, &transaction, session)
            .await
            .map_err(|error| store_away(&error))?
    {
        return approve(desk, visit, view, &transaction, session, "remembered").await;
    }
    let again = with_consent(&asked.again);
    let page = Consent {
        app: transaction.app.as_deref(),
        trust: trust_of(&asked.client.standing),
        destination: destination_of(asked.redirect_uri.place()),
        server: &server_of(&asked.target),
        account: Account::of(&session.claims),
        scopes: &asked.scopes,
        until: ends(desk, session),
        keeps: transaction.keeps,
        may_remember: transaction.may_remember,
        client_id: &asked.client.id,
        redirect_uri: asked.redirect_uri.as_str(),
        resource: asked.target.resource(),
        minutes: GOOD_FOR.as_secs() / 60,
        action: &desk.path(Own::Consent),
        request: &seal(desk, &transaction, session),
        again: &again,
    };
    Ok(desk.pages().consent(view, &page))
}

/// `POST /oauth2/consent`: the person's answer.
pub(crate) async fn answer(
    desk: &Desk,
    visit: Visit<'_>,
    request: Request,
) -> Result<Response, Reject> {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return Err(Reject::new(
            StatusCode::METHOD_NOT_ALLOWED,
            Code::MethodNotAllowed,
            Fault::Client,
            "This address takes the answer of a page only. Go back to the app and start again.",
        )
        .header(ALLOW, HeaderValue::from_static("POST")));
    }
    let headers = &head.headers;
    if !is_our_page(headers, desk.public.as_str()) {
        return Ok(not_taken(desk, visit, headers, Unanswered::OtherSite, None));
    }
    let body = body.collect(MAX_FORM, FORM_TIME).await?;
    let form = Form::of_body(headers, &body).map_err(|error| malformed(error.description))?;
    // What shows the form anew; it comes from the page, and leads nowhere but to this endpoint.
    let again = form.get("again").filter(|again| {
        ReturnTo::parse(again).is_some()
            && again
                .strip_prefix(&*desk.path(Own::Authorize))
                .is_some_and(|rest| rest.starts_with('?'))
    });
    let other = |why| Ok(not_taken(desk, visit, headers, why, again));
    let Some(session) = desk.browser.session(headers).await? else {
        return other(Unanswered::OtherSession);
    };
    let sealed = form
        .get("request")
        .ok_or_else(|| malformed("request is missing"))?;
    let Some(transaction) = open(desk, sealed, &session) else {
        return other(Unanswered::OtherSession);
    };
    let now = desk.ambient.now();
    if now >= transaction.issued.plus(GOOD_FOR) {
        return other(Unanswered::Expired);
    }
    let view = desk.view(headers, None, again);
    match form.get("decision") {
        Some("deny") => {
            let how = (Kind::ConsentDenied, Outcome::Denied);
            note(desk, visit, &transaction, &session, how, "asked");
            deny(desk, &view, &transaction)
        }
        Some("approve") => {
            if target(visit, &transaction)
                .is_none_or(|target| !(visit.admits)(&session.claims, &target))
            {
                // Asked again, the authorization endpoint says why not.
                return match again {
                    Some(again) => handoff::redirect(again),
                    None => other(Unanswered::Expired),
                };
            }
            if !use_up(desk, &transaction, &session)
                .await
                .map_err(|error| store_away(&error))?
            {
                return other(Unanswered::Used);
            }
            if transaction.may_remember && form.get("remember") == Some("yes") {
                let about = about(desk, &transaction, &session);
                remembered::keep(desk, &about, &transaction.redirect_uri)
                    .await
                    .map_err(|error| store_away(&error))?;
            }
            approve(desk, visit, &view, &transaction, &session, "asked").await
        }
        _ => Err(malformed("decision is neither approve nor deny")),
    }
}

/// Whether a POST comes from a page of ours: the browser says so itself, by `Sec-Fetch-Site` or by `Origin`. One that
/// says nothing is not believed.
fn is_our_page(headers: &HeaderMap, own: &str) -> bool {
    let mut origins = headers.get_all(http::header::ORIGIN).iter();
    let origin = origins
        .next()
        .map(|origin| origin.as_bytes() == own.as_bytes());
    if origins.next().is_some() || origin == Some(false) {
        return false;
    }
    match navigation::site(headers) {
        Site::Same => headers
            .get("sec-fetch-site")
            .is_some_and(|site| site == "same-origin"),
        Site::Foreign => false,
        Site::Unsaid => origin == Some(true),
    }
}

/// Whether a person opened this address themselves: the browser says that no other site caused it, that it fills a
/// window, and that it is not fetched in advance. Where it does not say, nobody knows.
fn started_by_the_person(headers: &HeaderMap) -> bool {
    navigation::site(headers) == Site::Same
        && navigation::is_document_navigation(headers)
        && !headers.contains_key("sec-purpose")
}

/// Clients that nobody vouches for are asked for each time.
fn may_remember(desk: &Desk, client: &Client) -> bool {
    desk.remember.is_some() && client.standing != Standing::Registered
}

/// The route that the request was for, if it still is there.
fn target(visit: Visit<'_>, transaction: &Transaction) -> Option<Target> {
    visit
        .routes
        .resource(&transaction.resource)
        .filter(|target| target.route().name.as_str() == transaction.route)
}

/// Takes the answer; `false` when one was taken before.
async fn use_up(
    desk: &Desk,
    transaction: &Transaction,
    session: &Session,
) -> Result<bool, Unavailable> {
    let mut marks = transaction.mark(desk, session);
    let Some(newest) = marks.next() else {
        return Ok(false);
    };
    // An answer that was taken under a key that is no longer the first.
    for older in marks {
        if desk.store.get(&older).await?.is_some() {
            return Ok(false);
        }
    }
    desk.store
        .put_new(&newest, bytes::Bytes::from_static(b"1"), GOOD_FOR + SLACK)
        .await
}

/// Records what was decided about a request, and what follows.
fn note(
    desk: &Desk,
    visit: Visit<'_>,
    transaction: &Transaction,
    session: &Session,
    (kind, outcome): (Kind, Outcome),
    why: &'static str,
) {
    desk.audit.note_with(|audit| {
        let who = audit
            .who(&session.claims)
            .with_session(&*session.id)
            .with_client(Some(&transaction.client_id));
        let what = What {
            resource: Some(clip(&transaction.resource)),
            scopes: transaction.scopes.iter().map(clip).collect(),
            ..What::default()
        };
        Event::new(kind, outcome)
            .because(why)
            .by(who)
            .at(visit.inbound.place())
            .what(what)
    });
}

async fn approve(
    desk: &Desk,
    visit: Visit<'_>,
    view: &View,
    transaction: &Transaction,
    session: &Session,
    why: &'static str,
) -> Result<Response, Reject> {
    let approval = Approval {
        about: about(desk, transaction, session),
        challenge: transaction.challenge.clone(),
        redirect_uri: transaction.redirect_uri.clone(),
    };
    let code = match desk.grants.approve(approval).await {
        Ok(code) => code,
        Err(error) => {
            // No code was made, so the answer may be given again.
            if let Some(mark) = transaction.mark(desk, session).next()
                && let Err(error) = desk.store.take(&mark).await
            {
                tracing::debug!(%error, "an answer to a consent page stays used up");
            }
            return Err(store_away(&error));
        }
    };
    tracing::info!(client = %transaction.client, resource = %transaction.resource, "access was allowed");
    for kind in [Kind::ConsentGiven, Kind::CodeIssued] {
        note(
            desk,
            visit,
            transaction,
            session,
            (kind, Outcome::Success),
            why,
        );
    }
    Answer {
        app: transaction.app.as_deref(),
        href: handoff::code(
            desk,
            &transaction.redirect_uri,
            transaction.state.as_deref(),
            &code,
        ),
        redirect_uri: &transaction.redirect_uri,
        allowed: true,
    }
    .send(desk, view)
}

fn deny(desk: &Desk, view: &View, transaction: &Transaction) -> Result<Response, Reject> {
    let denied = OAuthError::new(OAuthCode::AccessDenied, "the person said no");
    tracing::info!(client = %transaction.client, resource = %transaction.resource, "access was denied");
    Answer {
        app: transaction.app.as_deref(),
        href: handoff::error(
            desk,
            &transaction.redirect_uri,
            transaction.state.as_deref(),
            &denied,
        ),
        redirect_uri: &transaction.redirect_uri,
        allowed: false,
    }
    .send(desk, view)
}

fn about(desk: &Desk, transaction: &Transaction, session: &Session) -> About {
    About {
        client_id: transaction.client_id.clone(),
        client: transaction.client.clone(),
        client_name: transaction.name.clone(),
        subject: session.claims.subject.clone(),
        basis: Basis::Login(session.login.clone()),
        resource: transaction.resource.clone(),
        scopes: transaction.scopes.clone(),
        created: desk.ambient.now(),
        ends: ends(desk, session),
    }
}

/// When access ends at the latest. Without a refresh token of the provider nothing would ever take it back, so then
/// it ends with the session.
fn ends(desk: &Desk, session: &Session) -> Timestamp {
    let ends = desk.grants.end_of_new(desk.ambient.now());
    match session.refresh_due {
        Some(_) => ends,
        None => ends.min(session.absolute_end),
    }
}

/// What a sealed request is bound to.
fn context(session: &Session) -> Vec<u8> {
    format!("consent:{}:{}", session.id, session.login).into_bytes()
}

fn seal(desk: &Desk, transaction: &Transaction, session: &Session) -> String {
    // Texts, numbers and lists: nothing here can fail to serialize, and what is empty does not open.
    let plain = serde_json::to_vec(transaction).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(desk.sealer.seal(&context(session), &plain))
}

fn open(desk: &Desk, sealed: &str, session: &Session) -> Option<Transaction> {
    let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    let plain = desk.sealer.open(&context(session), &sealed).ok()?;
    serde_json::from_slice(&plain).ok()
}

fn not_taken(
    desk: &Desk,
    visit: Visit<'_>,
    headers: &HeaderMap,
    why: Unanswered,
    again: Option<&str>,
) -> Response {
    let status = match why {
        Unanswered::Used | Unanswered::Expired => StatusCode::BAD_REQUEST,
        Unanswered::OtherSession | Unanswered::OtherSite => StatusCode::FORBIDDEN,
    };
    tracing::info!(request_id = %visit.inbound.id, ?why, "an answer to a consent page was not taken");
    let view = desk.view(headers, None, again);
    desk.pages().unanswerable(
        &view,
        &Unanswerable {
            why,
            again,
            status,
            request_id: visit.inbound.id,
            at: visit.inbound.received,
        },
    )
}

fn malformed(why: &'static str) -> Reject {
    Reject::bad_request(
        "What this page sent cannot be read, so nothing was allowed. Go back to the app and start again.",
    )
    .because(why)
}

fn store_away(error: &Unavailable) -> Reject {
    Reject::unavailable(
        Code::StoreUnavailable,
        Fault::Proxy,
        "Your answer cannot be kept just now, so nothing was allowed. Try again in a moment.",
    )
    .because(error.to_string())
}
