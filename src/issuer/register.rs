//! Dynamic client registration (RFC 7591): what a client says about itself becomes its id. The metadata is answered
//! as it was understood; nothing is stored.

use std::net::IpAddr;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER};
use http::{HeaderValue, Method, StatusCode};
use metrics::Counter;
use serde_json::{Map, Value, json};

use super::client::{Clients, New, Wrong};
use super::limit::{Limit, Share, source};
use crate::audit::{Audit, Event, Kind, Outcome, Who};
use crate::clock::Timestamp;
use crate::http::respond::{self, Audience};
use crate::http::{Body, Inbound, Request, Response};
use crate::mcp::edge::open_cors;
use crate::telemetry::metrics::{Metrics, Name};

/// Bytes of a registration.
const MAX_BODY: usize = 64 << 10;

/// Members of RFC 7591 section 2 (and of OpenID Connect Registration) that mean nothing here and are answered as they
/// were sent.
const ECHOED: [&str; 14] = [
    "client_name",
    "client_uri",
    "logo_uri",
    "scope",
    "contacts",
    "tos_uri",
    "policy_uri",
    "jwks_uri",
    "jwks",
    "software_id",
    "software_version",
    "application_type",
    "redirect_uris",
    "response_types",
];

/// What lasts over reloads: who registered how often.
pub(super) struct Registrations {
    limit: Limit<IpAddr>,
    done: Counter,
    refused: Counter,
    limited: Counter,
}

impl Registrations {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let count = |result| metrics.counter(Name::ClientRegistrations, &[("result", result)]);
        Self {
            limit: Limit::new(),
            done: count("registered"),
            refused: count("refused"),
            limited: count("limited"),
        }
    }

    /// Counts a try of a source; when there were too many, the seconds until the next one.
    pub(super) fn admit(
        &self,
        address: Option<IpAddr>,
        per_hour: u32,
        now: Timestamp,
    ) -> Result<(), u64> {
        let share = Share {
            count: per_hour,
            within: Duration::from_secs(3600),
        };
        self.limit
            .admit(&source(address), share, now)
            .inspect_err(|_| self.limited.increment(1))
    }
}

/// Answers the registration endpoint. 404 while clients may not register themselves.
pub(crate) async fn register(
    clients: &Clients,
    audit: &Audit,
    inbound: &Inbound,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let mut response = if !clients.can_register() {
        error(
            StatusCode::NOT_FOUND,
            "invalid_request",
            "clients cannot register themselves here; the operator registers them",
        )
    } else if parts.method == Method::OPTIONS {
        let mut response = http::Response::new(Body::Empty);
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    } else if parts.method == Method::POST {
        match admit_and_read(clients, inbound, body).await {
            Ok(said) => {
                let (response, event) = answer(clients, &said);
                audit.note_with(|_| event.at(inbound.place()));
                response
            }
            Err(response) => {
                audit.note_with(|_| {
                    Event::new(Kind::ClientRegistered, Outcome::Failure)
                        .because(match response.status() {
                            StatusCode::TOO_MANY_REQUESTS => "too_many",
                            _ => "unreadable",
                        })
                        .at(inbound.place())
                });
                response
            }
        }
    } else {
        let mut response = error(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request",
            "clients register with POST",
        );
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("POST, OPTIONS"));
        response
    };
    open_cors(&parts.method, &parts.headers, response.headers_mut());
    response
        .headers_mut()
        .insert("x-request-id", respond::request_id(inbound.id));
    response
}

async fn admit_and_read(
    clients: &Clients,
    inbound: &Inbound,
    body: crate::http::RequestBody,
) -> Result<Map<String, Value>, Response> {
    if let Err(seconds) = clients.admit_registration(inbound.client, inbound.received) {
        let mut response = error(
            StatusCode::TOO_MANY_REQUESTS,
            "temporarily_unavailable",
            "too many registrations from this address; try again later",
        );
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
        return Err(response);
    }
    let bytes = body
        .collect(MAX_BODY, clients.body_idle())
        .await
        .map_err(|reject| respond::reject(&reject, Audience::Http, inbound))?;
    serde_json::from_slice(&bytes).map_err(|_| {
        error(
            StatusCode::BAD_REQUEST,
            "invalid_client_metadata",
            "the body has to be a JSON object with the client's metadata",
        )
    })
}

fn answer(clients: &Clients, said: &Map<String, Value>) -> (Response, Event) {
    let counts = clients.registrations();
    match clients.register(said) {
        Ok(new) => {
            counts.done.increment(1);
            let event = Event::ok(Kind::ClientRegistered).by(Who::client(&new.id));
            (json_answer(StatusCode::CREATED, &echo(said, new)), event)
        }
        Err(wrong) => {
            counts.refused.increment(1);
            tracing::info!(reason = %wrong, "A client's registration was refused.");
            let code = match wrong {
                Wrong::RedirectUri(_) => "invalid_redirect_uri",
                Wrong::Metadata(_) => "invalid_client_metadata",
            };
            let event = Event::new(Kind::ClientRegistered, Outcome::Failure).because(code);
            let response = error(StatusCode::BAD_REQUEST, code, &wrong.to_string());
            (response, event)
        }
    }
}

/// The registered metadata (RFC 7591 section 3.2.1). Members without a value are left out: clients refuse `null`.
fn echo(said: &Map<String, Value>, new: New) -> Value {
    let mut answer = Map::new();
    answer.insert("client_id".to_owned(), json!(new.id));
    answer.insert(
        "client_id_issued_at".to_owned(),
        json!(new.issued.as_secs()),
    );
    if let Some(secret) = new.secret {
        answer.insert("client_secret".to_owned(), json!(secret.expose_secret()));
        // It does not expire.
        answer.insert("client_secret_expires_at".to_owned(), json!(0));
    }
    for (name, value) in said {
        let known = ECHOED.contains(&name.as_str())
            // Names and addresses in a language of their own: `client_name#ja`.
            || name.split_once('#').is_some_and(|(name, _)| ECHOED.contains(&name));
        if known && !value.is_null() {
            answer.insert(name.clone(), value.clone());
        }
    }
    answer.insert("token_endpoint_auth_method".to_owned(), json!(new.method));
    answer.insert("grant_types".to_owned(), json!(new.grants));
    answer.insert("response_types".to_owned(), json!(["code"]));
    Value::Object(answer)
}

/// An error (RFC 7591 section 3.2.2).
fn error(status: StatusCode, code: &str, description: &str) -> Response {
    json_answer(
        status,
        &json!({ "error": code, "error_description": description }),
    )
}

fn json_answer(status: StatusCode, body: &Value) -> Response {
    let mut response = http::Response::new(Body::full(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    respond::guard(headers);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests;
