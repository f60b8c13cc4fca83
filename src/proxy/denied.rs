//! How a denial of the policy is answered: a denied call within the protocol, so that the model on the other side can
//! read why and go on; everything else as a rejection of the request.

use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Snapshot;
use crate::authn::Authn;
use crate::authz::{Denied, Refusal, Stage};
use crate::config::backend::UnknownNames;
use crate::http::{Body, Inbound, Response, respond};
use crate::mcp::learned::UnknownStyle;
use crate::mcp::{Call, Era, Message};
use crate::reject::{Code, Fault, Reject};
use crate::telemetry::access::Rejected;

/// Most of a name that is repeated to whoever sent it, in characters.
const MAX_SHOWN: usize = 200;

/// Invalid params: what servers answer for names that they do not know (MCP, tools and prompts, "Error Handling").
const INVALID_PARAMS: i32 = -32602;
/// Unknown resources, before 2026-07-28.
const RESOURCE_NOT_FOUND: i32 = -32002;
/// JSON-RPC 2.0 section 5.1.
const METHOD_NOT_FOUND: i32 = -32601;

/// The denial as a rejection of the whole request.
pub(super) fn reject(denied: Denied, authn: &Authn) -> Reject {
    match denied {
        Denied::Route(reject) => *reject,
        Denied::StepUp { target, scopes, .. } => authn.step_up(&target, &scopes),
        Denied::SignIn { target, .. } => authn.sign_in(&target),
        Denied::Call(refusal) => Reject::new(
            StatusCode::FORBIDDEN,
            Code::PolicyDenied,
            Fault::Client,
            "You may use this, but not do that. Ask whoever runs it for access.",
        )
        .because(refusal.reason),
    }
}

/// The answer to a message that was denied, and what the access record says of it.
///
/// # Errors
/// When the request as a whole is rejected.
pub(super) fn answer(
    denied: Denied,
    snapshot: &Snapshot,
    message: &Message,
    inbound: &Inbound,
    headers: &HeaderMap,
) -> Result<(Response, Rejected), Reject> {
    let refusal = match denied {
        Denied::Call(refusal) => refusal,
        other => return Err(reject(other, &snapshot.authn)),
    };
    let style = style(snapshot, refusal.target.route().backend_index);
    let told = Told {
        refusal: &refusal,
        style,
        era: message.era(),
        read: reads_answers(headers),
        request: inbound.id.to_string(),
    };
    let rejected = Rejected {
        code: Code::PolicyDenied,
        fault: Fault::Client,
        reason: Some(refusal.reason.into()),
    };
    Ok((told.response(message, inbound), rejected))
}

/// Whether a client looks into the answer to a POST: one of the streamable transport has to say so. In HTTP+SSE
/// (2024-11-05) answers come on the stream alone, and a client that saw success here would wait for its answer forever;
/// a failed POST it reports at once.
fn reads_answers(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("application/json"))
}

/// How the backend answers for names that it does not know: as the configuration says, else as was seen, else as the
/// specification has it.
fn style(snapshot: &Snapshot, backend: usize) -> UnknownNames {
    match snapshot.unknown_names.get(backend) {
        Some(said @ (UnknownNames::Error | UnknownNames::Result)) => *said,
        Some(UnknownNames::Auto) | None => match snapshot.learned.get(backend) {
            Some(learned) if learned.style() == UnknownStyle::Result => UnknownNames::Result,
            _ => UnknownNames::Error,
        },
    }
}

/// All that an answer is made of.
struct Told<'a> {
    refusal: &'a Refusal,
    style: UnknownNames,
    era: Era,
    /// The client reads the answer to its POST.
    read: bool,
    request: String,
}

#[derive(Serialize)]
struct Rpc<'a> {
    jsonrpc: &'static str,
    id: &'a RawValue,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Error(Value),
    Result(Value),
}

impl Told<'_> {
    /// JSON is a fit answer to any POST. Notifications are dropped as if they had been taken: nobody waits for more
    /// (Streamable HTTP: "202 Accepted with no body").
    fn response(&self, message: &Message, inbound: &Inbound) -> Response {
        let answers: Vec<Rpc<'_>> = message
            .calls()
            .iter()
            .enumerate()
            .filter_map(|(at, call)| self.to(at, call))
            .collect();
        let (status, body) = match (answers.as_slice(), message.is_batch()) {
            ([], _) => (StatusCode::ACCEPTED, None),
            (all, true) => (self.status(), serde_json::to_vec(all).ok()),
            ([one, ..], false) => (self.status(), serde_json::to_vec(one).ok()),
        };
        let mut response = match body {
            Some(body) => respond::json(body),
            None => http::Response::new(Body::Empty),
        };
        *response.status_mut() = status;
        let headers = response.headers_mut();
        respond::guard(headers);
        headers.insert("x-request-id", respond::request_id(inbound.id));
        response
    }

    /// A server of 2026-07-28 answers 404 for methods that it does not know.
    fn status(&self) -> StatusCode {
        if !self.read {
            return StatusCode::FORBIDDEN;
        }
        let unknown_method = self.refusal.hide && self.refusal.stage == Stage::Method;
        if unknown_method && self.era == Era::Modern {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::OK
        }
    }

    /// The answer to one request; `None` for what is no request.
    fn to<'c>(&self, at: usize, call: &'c Call) -> Option<Rpc<'c>> {
        call.method.as_ref()?;
        let id: &RawValue = serde_json::from_str(call.id.as_deref()?).ok()?;
        let outcome = if at != self.refusal.call {
            self.denial("Nothing of this batch was done, because one of its messages was denied. Send them one by one.")
        } else if self.refusal.hide {
            self.unknown()
        } else {
            self.denial(&self.text())
        };
        Some(Rpc {
            jsonrpc: "2.0",
            id,
            outcome,
        })
    }

    /// An error of our own: its code is an HTTP status, outside of all that JSON-RPC and MCP reserve.
    fn denial(&self, text: &str) -> Outcome {
        Outcome::Error(json!({
            "code": StatusCode::FORBIDDEN.as_u16(),
            "message": text,
            "data": { "code": Code::PolicyDenied.as_str(), "request_id": self.request },
        }))
    }

    /// What the backend would have said of a name that it does not know.
    fn unknown(&self) -> Outcome {
        let name = &*self.refusal.name;
        match self.refusal.stage {
            Stage::Tool if self.style == UnknownNames::Result => {
                let mut result = json!({
                    "content": [{ "type": "text", "text": format!("Unknown tool: {name}") }],
                    "isError": true,
                });
                if self.era == Era::Modern {
                    result["resultType"] = "complete".into();
                }
                Outcome::Result(result)
            }
            Stage::Tool => error(INVALID_PARAMS, &format!("Unknown tool: {name}")),
            Stage::Prompt => error(INVALID_PARAMS, &format!("Unknown prompt: {name}")),
            Stage::Resource => {
                let code = match self.era {
                    Era::Modern => INVALID_PARAMS,
                    Era::Legacy => RESOURCE_NOT_FOUND,
                };
                Outcome::Error(json!({
                    "code": code,
                    "message": "Resource not found",
                    "data": { "uri": name },
                }))
            }
            Stage::Method | Stage::Route => error(METHOD_NOT_FOUND, "Method not found"),
        }
    }

    /// For a model: what happened, why, and what to do next. It does not tell whether the name exists.
    fn text(&self) -> String {
        let Refusal {
            stage, name, rule, ..
        } = self.refusal;
        let (act, thing) = match stage {
            Stage::Tool => ("call", "the tool"),
            Stage::Prompt => ("use", "the prompt"),
            Stage::Resource => ("use", "the resource"),
            Stage::Method | Stage::Route => ("use", "the method"),
        };
        let name = match name.char_indices().nth(MAX_SHOWN) {
            Some((end, _)) => format!("{}…", &name[..end]),
            None => name.to_string(),
        };
        match &self.refusal.argument {
            Some(argument) => format!(
                "Policy of this proxy could not judge the argument `{argument}` of this call of `{name}` (rule `{rule}`): {}. Send the arguments as its schema describes them, or ask whoever runs this proxy.",
                self.refusal.reason
            ),
            None => format!(
                "Policy of this proxy does not let you {act} {thing} `{name}` (rule `{rule}`). Go on without it, or ask whoever runs this proxy for access.",
            ),
        }
    }
}

fn error(code: i32, message: &str) -> Outcome {
    Outcome::Error(json!({ "code": code, "message": message }))
}
