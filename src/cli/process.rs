//! `reload` and `drain`: what a running proxy is told through its admin listener.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::StatusCode;
use http_body_util::Full;
use serde_json::Value;

use super::Exit;
use super::operator::{self, Answer, Failed};
use crate::config::peek::Peek;
use crate::config::{Sources, Span};

/// Time for a reload: it may read keys from a store that is slow.
const PATIENCE: Duration = Duration::from_secs(60);
/// What an end may take beyond the times that it is given.
const MARGIN: Duration = Duration::from_secs(30);
/// The longest times that a configuration can give.
const LONGEST: Duration = Duration::from_secs(3 * 3600);

/// Where a command finds the proxy.
#[derive(Clone, Debug, Args)]
pub(super) struct Where {
    /// The admin listener of the running proxy: `unix:/path` or `127.0.0.1:9091`. Default: `admin.address` of the
    /// configuration.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
}

/// How the proxy is to end.
#[derive(Clone, Debug, Args)]
pub(super) struct Drain {
    /// Come back when the last request is finished.
    #[arg(long)]
    wait: bool,
    /// Skip the time in which load balancers notice (`shutdown.delay`).
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    place: Where,
}

pub(super) fn reload(sources: &Sources, place: &Where) -> Exit {
    operator::carry_out(PATIENCE, async {
        let admin = address(sources, place, "SIGHUP reloads it, too: kill -HUP PID")?;
        let answer = operator::ask(&admin, post("/-/reload")?).await?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        Err(refused(&answer))
    })
}

pub(super) fn drain(sources: &Sources, drain: &Drain) -> Exit {
    operator::carry_out(LONGEST, async {
        let admin = address(sources, &drain.place, "SIGTERM ends it, too: kill PID")?;
        let order = post(if drain.now { "/-/quit" } else { "/-/drain" })?;
        let answer = tokio::time::timeout(PATIENCE, operator::ask(&admin, order))
            .await
            .map_err(|_| Failed::Unavailable("no answer in time".to_owned()))??;
        if !answer.status.is_success() {
            return Err(refused(&answer));
        }
        if drain.wait {
            wait(&admin, &answer.body).await?;
        }
        Ok(answer.body)
    })
}

/// Waits until the proxy has ended.
async fn wait(admin: &str, times: &Value) -> Result<(), Failed> {
    let span = |key: &str| {
        let text = times[key].as_str().unwrap_or_default();
        Span::parse(text).map_or(Duration::ZERO, |span| span.0)
    };
    let most = span("delay") + span("timeout") + MARGIN;
    let request = http::Request::get("/-/drained").body(Full::default());
    let request = request.map_err(|error| Failed::Refused(error.to_string()))?;
    match tokio::time::timeout(most, operator::ask(admin, request)).await {
        // Nobody answers any more, or another process already does.
        Ok(Ok(_) | Err(Failed::Unavailable(_))) => Ok(()),
        Ok(Err(failed)) => Err(failed),
        Err(_) => Err(Failed::Refused(format!(
            "the proxy has not ended within {} s; a second SIGTERM ends it at once",
            most.as_secs()
        ))),
    }
}

fn post(path: &str) -> Result<http::Request<Full<Bytes>>, Failed> {
    let request = http::Request::post(path).body(Full::default());
    request.map_err(|error| Failed::Refused(error.to_string()))
}

/// The address alone is read from the configuration, for its secrets may not be ours to read.
fn address(sources: &Sources, place: &Where, otherwise: &str) -> Result<String, Failed> {
    if let Some(admin) = &place.admin {
        return Ok(admin.clone());
    }
    let peek = Peek::of(sources).map_err(|problems| {
        Failed::Refused(format!(
            "{problems}\nthe proxy was not asked: the configuration that names its admin listener cannot be read; --admin names it, too"
        ))
    })?;
    peek.text("admin.address").map(str::to_owned).ok_or_else(|| {
        Failed::Usage(format!(
            "no admin listener is configured: set admin.address, as in unix:/run/mcp-proxy/admin.sock, and restart the proxy once; or name one with --admin. {otherwise}"
        ))
    })
}

/// The problems as `check-config` prints them, then the sentence.
fn refused(answer: &Answer) -> Failed {
    if answer.status == StatusCode::NOT_FOUND {
        return Failed::Refused("the proxy that answers is older than this command".to_owned());
    }
    let problems = answer.body["problems"].as_array();
    let lines = problems.into_iter().flatten().map(line);
    let text: Vec<String> = lines.chain([answer.message().to_owned()]).collect();
    Failed::Refused(text.join("\n"))
}

/// `config.yaml:12:5: routes[0].backend: what is wrong`.
fn line(problem: &Value) -> String {
    let mut text = String::new();
    let place = ["file", "line", "column"].map(|key| &problem[key]);
    for part in place.into_iter().filter(|part| !part.is_null()) {
        text.push_str(part.as_str().unwrap_or_default());
        if part.is_number() {
            text.push_str(&part.to_string());
        }
        text.push(':');
    }
    if let Some(name) = problem["set_by"].as_str() {
        text.push_str(name);
        text.push(':');
    }
    if !text.is_empty() {
        text.push(' ');
    }
    if let Some(path) = problem["path"].as_str().filter(|path| !path.is_empty()) {
        text.push_str(path);
        text.push_str(": ");
    }
    text + problem["message"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn problems_are_printed_with_their_places() {
        let answer = Answer {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            body: json!({ "message": "No.", "problems": [
                { "path": "routes", "file": "a.yaml", "line": 3, "column": 5, "set_by": null, "message": "wrong" },
                { "path": "port", "file": null, "line": null, "column": null, "set_by": "PORT", "message": "odd" },
                { "path": "", "file": "b.yaml", "line": null, "column": null, "set_by": null, "message": "gone" },
            ] }),
        };
        let Failed::Refused(text) = refused(&answer) else {
            panic!("it was refused");
        };
        assert_eq!(
            text,
            "a.yaml:3:5: routes: wrong\nPORT: port: odd\nb.yaml: gone\nNo."
        );
    }
}
