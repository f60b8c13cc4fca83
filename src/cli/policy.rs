//! `policy explain`: which rule decides on a call, and why, without asking anybody.

use std::fmt::Write as _;

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::HeaderMap;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{Exit, Format, out};
use crate::authz::{Decision, Explanation, Policy, Step, Supposed};
use crate::claims::Claims;
use crate::config::authn::ApiKey;
use crate::config::oidc::ClaimMap;
use crate::config::{Config, Sources, load};
use crate::ids::Subject;
use crate::mcp::Message;
use crate::oidc;
use crate::telemetry::metrics::Metrics;

/// What is to be done.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Say which rule decides on a call, and why each earlier one does not. Exit code 0: permitted, 1: denied.
    Explain(Box<Explain>),
}

/// A call, and who makes it.
#[derive(Clone, Debug, Args)]
pub(super) struct Explain {
    /// The route's name (or path). May be left out when there is only one.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// A call of this tool.
    #[arg(long, value_name = "NAME", group = "what")]
    tool: Option<String>,
    /// The use of this prompt.
    #[arg(long, value_name = "NAME", group = "what")]
    prompt: Option<String>,
    /// The reading of this resource.
    #[arg(long, value_name = "URI", group = "what")]
    resource: Option<String>,
    /// A request of this method. With none of these four, the route alone is judged.
    #[arg(long, value_name = "METHOD", group = "what")]
    method: Option<String>,
    /// Arguments of the tool or prompt, a JSON object.
    #[arg(long, value_name = "JSON")]
    arguments: Option<String>,
    /// `sub` of the caller.
    #[arg(long, value_name = "SUB", default_value = "somebody")]
    subject: String,
    /// Groups of the caller, besides those in --claims.
    #[arg(long, value_name = "GROUPS", value_delimiter = ',')]
    groups: Vec<String>,
    /// Claims of the caller, a JSON object as the provider would send it.
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,
    /// Scopes of the caller's token, with spaces between. Unset: a token without any.
    #[arg(long, value_name = "SCOPES", conflicts_with = "api_key")]
    scopes: Option<String>,
    /// The `client_id` that the token was made for.
    #[arg(long, value_name = "ID", conflicts_with = "api_key")]
    client: Option<String>,
    /// The caller has the API key of this name; groups and claims are those of the configuration.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["subject", "groups", "claims"])]
    api_key: Option<String>,
    /// The caller has a browser session, which has no scopes.
    #[arg(long, conflicts_with_all = ["scopes", "client", "api_key"])]
    session: bool,
    /// Nobody is signed in.
    #[arg(long, conflicts_with_all = ["scopes", "client", "api_key", "session", "subject", "groups", "claims"])]
    anonymous: bool,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn run(sources: &Sources, command: &PolicyCommand) -> Exit {
    let PolicyCommand::Explain(asked) = command;
    let config = match load(&sources.without_secrets()) {
        Ok(loaded) => loaded.config,
        Err(problems) => {
            out::stderr(&format!("{problems}\n"));
            return Exit::Config;
        }
    };
    match explain(&config, asked) {
        Ok((route, explanation)) => {
            match asked.format {
                Format::Json => json(&route, &explanation),
                Format::Text => out::stdout(&text(&route, &explanation)),
            }
            if explanation.decision == Decision::Allow {
                Exit::Ok
            } else {
                Exit::Failure
            }
        }
        Err(wrong) => {
            out::stderr(&format!("{wrong}\n"));
            Exit::Usage
        }
    }
}

fn explain(config: &Config, asked: &Explain) -> Result<(String, Explanation), String> {
    let names: Vec<&str> = config
        .routes
        .iter()
        .map(|route| {
            route
                .name
                .as_ref()
                .map_or(route.path.as_str(), |name| name.as_str())
        })
        .collect();
    let route = match (&asked.route, names.len()) {
        (None, 1) => 0,
        (None, _) => {
            return Err(format!(
                "there are several routes; say which with --route: {}",
                names.join(", ")
            ));
        }
        (Some(wanted), _) => names
            .iter()
            .position(|name| name == wanted)
            .or_else(|| config.routes.iter().position(|route| route.path == *wanted))
            .ok_or_else(|| {
                format!(
                    "there is no route `{wanted}`; use one of: {}",
                    names.join(", ")
                )
            })?,
    };
    let caller = caller(config, asked)?;
    let message = message(asked)?;
    let policy = Policy::compile(config, &Metrics::new());
    policy
        .explain(route, &caller, &message)
        .map(|explanation| (names[route].to_owned(), explanation))
        .ok_or_else(|| "the route has no rules".to_owned())
}

fn caller(config: &Config, asked: &Explain) -> Result<Supposed, String> {
    if config.is_bypass() {
        return Ok(Supposed {
            claims: Some(claims(config, asked)?),
            bypass: true,
            ..Supposed::default()
        });
    }
    if asked.anonymous {
        return Ok(Supposed::default());
    }
    if let Some(name) = &asked.api_key {
        let key = config.auth.api_keys.iter().find(|key| key.name == *name);
        let key = key.ok_or_else(|| {
            let known: Vec<&str> = config
                .auth
                .api_keys
                .iter()
                .map(|key| key.name.as_str())
                .collect();
            format!(
                "there is no API key `{name}`; use one of: {}",
                known.join(", ")
            )
        })?;
        return Ok(Supposed {
            claims: Some(claims_of_key(key)),
            api_key: Some(key.name.clone()),
            ..Supposed::default()
        });
    }
    let scopes = asked.scopes.as_deref().unwrap_or_default();
    Ok(Supposed {
        claims: Some(claims(config, asked)?),
        scopes: (!asked.session).then(|| scopes.split_ascii_whitespace().map(Box::from).collect()),
        client: asked.client.clone(),
        ..Supposed::default()
    })
}

fn claims(config: &Config, asked: &Explain) -> Result<Claims, String> {
    let all: Map<String, Value> = match &asked.claims {
        Some(text) => serde_json::from_str(text)
            .map_err(|error| format!("--claims is no JSON object: {error}"))?,
        None => Map::new(),
    };
    let (issuer, map) = match &config.oidc {
        Some(oidc) => (oidc.issuer.as_str(), oidc::claim_map(oidc)),
        None => ("", ClaimMap::default()),
    };
    let subject = Subject {
        issuer: issuer.into(),
        subject: asked.subject.as_str().into(),
    };
    let mut claims = Claims::read(subject, all, &map);
    for group in &asked.groups {
        if !claims.groups.contains(group) {
            claims.groups.push(group.clone());
        }
    }
    Ok(claims)
}

fn claims_of_key(key: &ApiKey) -> Claims {
    let subject = Subject {
        issuer: "".into(),
        subject: key.name.as_str().into(),
    };
    let all = key.claims.clone().into_iter().collect();
    let mut claims = Claims::read(subject, all, &ClaimMap::default());
    claims.groups.clone_from(&key.groups);
    claims.email.clone_from(&key.email);
    claims
}

/// The body that a client would send, read as it would be read.
fn message(asked: &Explain) -> Result<Message, String> {
    let arguments: Option<&RawValue> = match &asked.arguments {
        Some(_) if asked.tool.is_none() && asked.prompt.is_none() => {
            return Err("--arguments are those of a tool or prompt; name one".to_owned());
        }
        Some(text) => Some(
            serde_json::from_str(text)
                .map_err(|error| format!("--arguments is no JSON: {error}"))?,
        ),
        None => None,
    };
    let (method, key, name) = match asked {
        Explain {
            tool: Some(name), ..
        } => ("tools/call", "name", name),
        Explain {
            prompt: Some(name), ..
        } => ("prompts/get", "name", name),
        Explain {
            resource: Some(uri),
            ..
        } => ("resources/read", "uri", uri),
        Explain {
            method: Some(method),
            ..
        } => {
            let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method });
            return read(body.to_string());
        }
        _ => return Ok(Message::default()),
    };
    let name = Value::from(name.as_str());
    let arguments = arguments.map_or_else(String::new, |text| format!(",\"arguments\":{text}"));
    read(format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\"params\":{{\"{key}\":{name}{arguments}}}}}"
    ))
}

fn read(body: String) -> Result<Message, String> {
    Message::read(&HeaderMap::new(), &Bytes::from(body)).map_err(|reject| {
        format!(
            "such a request is refused before any rule is asked: {}",
            reject.message()
        )
    })
}

fn json(route: &str, explanation: &Explanation) {
    let mut value = serde_json::to_value(explanation).unwrap_or_default();
    if let Some(members) = value.as_object_mut() {
        members.insert("route".to_owned(), route.into());
    }
    out::line(&value.to_string());
}

fn text(route: &str, explanation: &Explanation) -> String {
    let mut text = String::new();
    let word = match explanation.decision {
        Decision::Allow => "permitted",
        Decision::Deny => "denied",
        Decision::StepUp => "denied until the token has further scopes",
        Decision::Error => "denied, because a rule could not be judged",
    };
    // Writing into a String does not fail.
    let _ = writeln!(text, "{word} on route `{route}`");
    if !explanation.scopes.is_empty() {
        let _ = writeln!(text, "  to ask for: {}", explanation.scopes.join(" "));
    }
    if let Some(listed) = explanation.listed {
        let _ = writeln!(
            text,
            "  in lists: {}",
            if listed { "shown" } else { "not shown" }
        );
    }
    for step in &explanation.steps {
        add(&mut text, step);
    }
    text
}

fn add(text: &mut String, step: &Step) {
    let Step {
        stage,
        name,
        decision,
        rule,
        reason,
        ..
    } = step;
    let word = match decision {
        Decision::Allow => "permitted",
        Decision::Deny => "denied",
        Decision::StepUp => "lacks scopes",
        Decision::Error => "could not be judged",
    };
    let _ = writeln!(text, "\n{stage} `{name}`: {word}");
    for passed in &step.passed_over {
        let _ = writeln!(
            text,
            "  rule `{}` passed over: {}",
            passed.rule, passed.reason
        );
    }
    let _ = writeln!(text, "  rule `{rule}` decides: {reason}");
    for condition in &step.conditions {
        let met = if condition.met { "met" } else { "not met" };
        let _ = writeln!(text, "    {}: {met}", condition.needs);
    }
    if step.hidden {
        let _ = writeln!(text, "    answered as if the name were unknown");
    }
}
