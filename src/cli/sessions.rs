//! `sessions`: what a person has open, and that it ends; asked of a running proxy, or done in Redis itself.

use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use http_body_util::Full;
use serde_json::{Value, json};

use super::Exit;
use super::operator::{self, Failed};
use crate::app::{self, LoadError};
use crate::config::peek::Peek;
use crate::config::session::StoreKind;
use crate::config::{Config, Sources, load};
use crate::ids::Subject;

/// Time for the whole question.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is to be done.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum SessionsCommand {
    /// Print what a person has open: logins with their ends, and the number of grants.
    List(List),
    /// End all that a person has open, on every replica: logins, browser sessions, grants, streams. With `--all`, of
    /// everybody.
    Revoke(Revoke),
}

/// Whose is shown.
#[derive(Clone, Debug, Args)]
pub(super) struct List {
    /// The person's `sub` at the provider.
    #[arg(long, value_name = "SUB")]
    subject: String,
    /// The provider. Default: `oidc.issuer` of the configuration.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Whose is ended.
#[derive(Clone, Debug, Args)]
pub(super) struct Revoke {
    /// The person's `sub` at the provider.
    #[arg(long, value_name = "SUB", required_unless_present = "all")]
    subject: Option<String>,
    /// The provider. Default: `oidc.issuer` of the configuration.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// End everything of everybody, for an emergency. Everybody has to sign in again, and every app.
    #[arg(long, requires = "yes", conflicts_with_all = ["subject", "issuer"])]
    all: bool,
    /// Yes, end everything of everybody. Needed for `--all`.
    #[arg(long, requires = "all")]
    yes: bool,
    #[command(flatten)]
    place: Place,
}

/// Where it is done.
#[derive(Clone, Debug, Args)]
struct Place {
    /// The admin listener of a running proxy: `unix:/path` or `127.0.0.1:9091`. Default: `admin.address` of the
    /// configuration.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "direct")]
    admin: Option<String>,
    /// Do it in Redis, with the keys of the configuration; for when no proxy runs. Those that run are told.
    #[arg(long)]
    direct: bool,
}

/// What is asked.
#[derive(Debug)]
enum Question {
    Open(Subject),
    End(Subject),
    EndEverything,
}

impl SessionsCommand {
    fn place(&self) -> &Place {
        match self {
            Self::List(list) => &list.place,
            Self::Revoke(revoke) => &revoke.place,
        }
    }

    /// `None`: neither the command nor the configuration names the provider.
    fn question(&self, configured: Option<&str>) -> Option<Question> {
        let of = |issuer: &Option<String>, subject: &str| {
            let issuer = issuer.as_deref().or(configured)?;
            Some(Subject {
                issuer: issuer.into(),
                subject: subject.into(),
            })
        };
        match self {
            Self::List(list) => of(&list.issuer, &list.subject).map(Question::Open),
            Self::Revoke(revoke) => match &revoke.subject {
                Some(subject) => of(&revoke.issuer, subject).map(Question::End),
                None => Some(Question::EndEverything),
            },
        }
    }
}

pub(super) fn run(sources: &Sources, command: &SessionsCommand) -> Exit {
    operator::carry_out(PATIENCE, carry_out(sources, command))
}

async fn carry_out(sources: &Sources, command: &SessionsCommand) -> Result<Value, Failed> {
    let place = command.place();
    // With all named, nothing of the configuration is needed.
    if let (Some(question), Some(admin)) = (command.question(None), &place.admin) {
        return ask(admin, &question).await;
    }
    // Nor is the rest of it, which may be broken when everybody has to be thrown out.
    if !place.direct
        && let (Some(question), Ok(found)) = (command.question(None), Peek::of(sources))
        && let Some(admin) = found.text("admin.address")
    {
        return ask(admin, &question).await;
    }
    let loaded = if place.direct {
        load(sources)
    } else {
        load(&sources.without_secrets())
    };
    let loaded = loaded.map_err(|problems| Failed::Config(problems.to_string()))?;
    // Only the store's own credentials and keys are needed, and only without the running proxy.
    let loaded = if place.direct && !loaded.unread.is_empty() {
        app::load_once(sources).await.map_err(|error| match error {
            LoadError::Wrong(problems) => Failed::Config(problems.to_string()),
            LoadError::Unavailable { what, .. } => Failed::Unavailable(what),
        })?
    } else {
        loaded
    };
    let config = loaded.config;
    let issuer = config.oidc.as_ref().map(|oidc| oidc.issuer.as_str());
    let question = command.question(issuer).ok_or_else(|| {
        Failed::Usage("the configuration names no provider; say which with --issuer".to_owned())
    })?;
    if place.direct {
        return directly(&config, &question).await;
    }
    let admin = place.admin.as_deref().or(config.admin.address.as_deref());
    let admin = admin.ok_or_else(|| {
        Failed::Usage(
            "no admin listener is configured; set admin.address, name one with --admin, or use --direct with Redis"
                .to_owned(),
        )
    })?;
    ask(admin, &question).await
}

async fn directly(config: &Config, question: &Question) -> Result<Value, Failed> {
    if config.sessions.store != StoreKind::Redis {
        return Err(Failed::Usage(
            "the sessions are in the memory of the running proxy; ask it through its admin listener (--admin)"
                .to_owned(),
        ));
    }
    let subjects = app::subjects(config)
        .await
        .map_err(|error| Failed::Unavailable(error.to_string()))?;
    let away = |error: crate::store::Unavailable| Failed::Unavailable(error.to_string());
    let answer = match question {
        Question::Open(subject) => {
            serde_json::to_value(subjects.open(subject).await.map_err(away)?)
        }
        Question::End(subject) => serde_json::to_value(subjects.end(subject).await.map_err(away)?),
        Question::EndEverything => {
            let ended = subjects.end_everything().await;
            let ended = ended.map_err(|error| Failed::Unavailable(error.to_string()))?;
            serde_json::to_value(ended)
        }
    };
    answer.map_err(|error| Failed::Refused(error.to_string()))
}

async fn ask(admin: &str, question: &Question) -> Result<Value, Failed> {
    let post = |body: Value| {
        http::Request::post("/sessions/revoke")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
    };
    let request = match question {
        Question::Open(subject) => {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("issuer", &subject.issuer)
                .append_pair("subject", &subject.subject)
                .finish();
            http::Request::get(format!("/sessions?{query}")).body(Full::default())
        }
        Question::End(subject) => {
            post(json!({ "issuer": &*subject.issuer, "subject": &*subject.subject }))
        }
        Question::EndEverything => post(json!({ "all": true })),
    };
    let request = request.map_err(|error| Failed::Usage(error.to_string()))?;
    let answer = operator::ask(admin, request).await?;
    if answer.status.is_success() {
        return Ok(answer.body);
    }
    let message = answer.message().to_owned();
    if answer.status == http::StatusCode::SERVICE_UNAVAILABLE {
        Err(Failed::Unavailable(message))
    } else {
        Err(Failed::Refused(message))
    }
}
