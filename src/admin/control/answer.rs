//! What the admin listener answers. `GET /sessions?issuer=&subject=`, `POST /sessions/revoke {issuer, subject}` or
//! `{all: true}`; and what is asked of the process itself (`process`).

use std::net::IpAddr;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Limited};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Control, process};
use crate::admin::EndedAll;
use crate::audit::{Audit, Event, Kind, Outcome, Who};
use crate::http::{Body, Response};
use crate::ids::Subject;
use crate::session::NotEnded;
use crate::store::Unavailable;

/// Longest body of a request.
const MAX_BODY: usize = 16 << 10;
/// Longest issuer or subject.
const MAX_NAME: usize = 2048;
/// Time for a body to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whom a request is about.
struct Whom {
    issuer: String,
    subject: String,
}

/// What a request wants to be ended.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    issuer: Option<String>,
    subject: Option<String>,
    #[serde(default)]
    all: bool,
}

/// Whose it is.
enum Whose {
    Of(Subject),
    Everybody,
}

/// Answers one request. `private`: it came over the unix socket, where a `Host` means nothing.
pub(super) async fn to<B>(
    request: http::Request<B>,
    control: &Control,
    private: bool,
    until: &CancellationToken,
) -> Response
where
    B: HttpBody + Send,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    if let Some(why) = not_for(&parts, private) {
        return refuse(StatusCode::FORBIDDEN, "forbidden", why);
    }
    let (path, method) = (parts.uri.path(), &parts.method);
    if let Some(answer) = process::to(&parts, control, private, until).await {
        return answer;
    }
    let (subjects, audit) = (&*control.subjects.load_full(), &control.audit);
    match (path, method) {
        ("/sessions", &Method::GET) => match named(parts.uri.query().unwrap_or_default()) {
            Ok(subject) => {
                let outcome = subjects.open(&subject).await;
                note(
                    audit,
                    Kind::Looked,
                    &subject,
                    private,
                    outcome.as_ref().err(),
                );
                found(outcome)
            }
            Err(why) => refuse(StatusCode::BAD_REQUEST, "invalid_request", why),
        },
        ("/sessions/revoke", &Method::POST) => match read(&parts, body).await {
            Ok(Whose::Everybody) => {
                let outcome = subjects.end_everything().await;
                note_all(audit, private, outcome.as_ref().err());
                ended_all(outcome)
            }
            Ok(Whose::Of(subject)) => {
                let outcome = subjects.end(&subject).await;
                for kind in [Kind::Revoked, Kind::SessionRevoked] {
                    note(audit, kind, &subject, private, outcome.as_ref().err());
                }
                found(outcome)
            }
            Err((status, why)) => refuse(status, "invalid_request", why),
        },
        ("/sessions", _) => only("GET"),
        ("/sessions/revoke", _) => only("POST"),
        _ => refuse(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is /sessions, /sessions/revoke, /-/status, /-/reload, /-/drain, /-/drained and /-/quit.",
        ),
    }
}

/// Records what an operator did. Who it was is not known: whoever may use the listener.
fn note(audit: &Audit, kind: Kind, whom: &Subject, private: bool, failed: Option<&Unavailable>) {
    audit.note_with(|_| {
        let event = match failed {
            None => Event::ok(kind),
            Some(error) => Event::new(kind, Outcome::Error)
                .because("session_store_unavailable")
                .detail(&error.to_string()),
        };
        event.by(Who::subject(whom).with_credential(by(private)))
    });
}

/// That an operator ended everything of everybody, or tried to: it may have ended in part.
fn note_all(audit: &Audit, private: bool, failed: Option<&NotEnded>) {
    for kind in [Kind::Revoked, Kind::SessionRevoked] {
        audit.note_with(|_| {
            let event = match failed {
                None => Event::ok(kind).because("everybody"),
                Some(error) => Event::new(kind, Outcome::Error)
                    .because("session_store_unavailable")
                    .detail(&error.to_string()),
            };
            event.by(Who::default().with_credential(by(private)))
        });
    }
}

pub(super) fn by(private: bool) -> &'static str {
    if private {
        "admin_socket"
    } else {
        "admin_loopback"
    }
}

/// Browsers say where a page is from; other programs do not. A foreign page that makes a browser ask under a name
/// that it let point to this machine (DNS rebinding) is found by `Host`.
fn not_for(parts: &Parts, private: bool) -> Option<&'static str> {
    let browser = parts.headers.contains_key(ORIGIN)
        || parts
            .headers
            .keys()
            .any(|name| name.as_str().starts_with("sec-fetch-"));
    if browser {
        return Some("This listener does not answer browsers.");
    }
    let ours = || {
        let mut hosts = parts.headers.get_all(HOST).iter();
        let host = hosts.next()?.to_str().ok()?;
        let authority: http::uri::Authority = host.parse().ok()?;
        let bare = authority.host().trim_matches(['[', ']']);
        let here = bare == "localhost"
            || bare
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        (here && hosts.next().is_none()).then_some(())
    };
    (!private && ours().is_none())
        .then_some("Ask this listener by its own address, such as 127.0.0.1.")
}

fn named(query: &str) -> Result<Subject, &'static str> {
    let (mut issuer, mut subject) = (None, None);
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let place = match &*name {
            "issuer" => &mut issuer,
            "subject" => &mut subject,
            _ => return Err("The query has `issuer` and `subject` only."),
        };
        if place.replace(value.into_owned()).is_some() {
            return Err("A parameter is given twice.");
        }
    }
    match (issuer, subject) {
        (Some(issuer), Some(subject)) => checked(Whom { issuer, subject }),
        _ => Err("Name `issuer` and `subject`."),
    }
}

fn checked(whom: Whom) -> Result<Subject, &'static str> {
    let good = |text: &str| !text.is_empty() && text.len() <= MAX_NAME;
    if !good(&whom.issuer) || !good(&whom.subject) {
        return Err("`issuer` and `subject` are texts of 1 to 2048 bytes.");
    }
    Ok(Subject {
        issuer: whom.issuer.into(),
        subject: whom.subject.into(),
    })
}

async fn read<B>(parts: &Parts, body: B) -> Result<Whose, (StatusCode, &'static str)>
where
    B: HttpBody + Send,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if !is_json(parts) {
        let why = "Send application/json.";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    let body = match tokio::time::timeout(PATIENCE, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            let why = "The body is longer than 16 KiB, or broke off.";
            return Err((StatusCode::PAYLOAD_TOO_LARGE, why));
        }
        Err(_) => {
            let why = "The body did not come in time.";
            return Err((StatusCode::REQUEST_TIMEOUT, why));
        }
    };
    let bad = |why| (StatusCode::BAD_REQUEST, why);
    let what = "Send an object with `issuer` and `subject`, both texts, or with `all`: true; and nothing else.";
    match serde_json::from_slice(&body).map_err(|_| bad(what))? {
        Wish {
            issuer: Some(issuer),
            subject: Some(subject),
            all: false,
        } => checked(Whom { issuer, subject })
            .map(Whose::Of)
            .map_err(bad),
        Wish {
            issuer: None,
            subject: None,
            all: true,
        } => Ok(Whose::Everybody),
        Wish { .. } => Err(bad(what)),
    }
}

/// What no form of a page can send.
pub(super) fn is_json(parts: &Parts) -> bool {
    parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|value| value.trim().eq_ignore_ascii_case("application/json"))
}

fn ended_all(outcome: Result<EndedAll, NotEnded>) -> Response {
    outcome.map_or_else(
        |error| {
            tracing::error!(%error, "an operator's wish to end everything was not carried out in full");
            let why = error.to_string();
            refuse(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", &why)
        },
        |ended| given(StatusCode::OK, &ended),
    )
}

fn found(outcome: Result<impl Serialize, Unavailable>) -> Response {
    match outcome {
        Ok(value) => given(StatusCode::OK, &value),
        Err(error) => {
            tracing::warn!(%error, "an operator's wish could not be carried out");
            refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "The session store cannot be asked. Nothing, or only a part, was done; do it again.",
            )
        }
    }
}

pub(super) fn only(method: &'static str) -> Response {
    let mut response = refuse(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "The Allow header names the method.",
    );
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(method));
    response
}

pub(super) fn refuse(status: StatusCode, code: &'static str, why: &str) -> Response {
    let body = json!({ "error": code, "message": why });
    answer(status, body.to_string().into_bytes())
}

pub(super) fn given(status: StatusCode, value: &impl Serialize) -> Response {
    answer(status, serde_json::to_vec(value).unwrap_or_default())
}

fn answer(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = http::Response::new(Body::full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
