//! What a message reaches, by its method and parameters.

use super::Field;
use super::params::Params;
use crate::mcp::Reach;
use crate::mcp::unreadable::Why;

/// Longest name of a tool or prompt, and longest task id.
const MAX_NAME: usize = 512;
/// Longest resource URI.
const MAX_URI: usize = 8 << 10;

/// Methods that are judged by more than their name.
pub(super) const METHODS: [&str; 12] = [
    "initialize",
    "tools/call",
    "prompts/get",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "subscriptions/listen",
    "completion/complete",
    "tasks/get",
    "tasks/result",
    "tasks/update",
    "tasks/cancel",
];

type Make = fn(Box<str>) -> Reach;

const NAME: &str = "`params.name` is not a text, or is no fit name";
const URI: &str = "`params.uri` is not a text, or is no fit URI";
const TASK: &str = "`params.taskId` is not a text, or is no fit id";
const LISTEN: &str = "a resource or task to listen to has no fit name";

/// What a method with these parameters reaches; an error names the parameter without which that cannot be told.
pub(super) fn of(method: &str, params: &Params<'_>) -> Result<Vec<Reach>, Why> {
    match method {
        "tools/call" => one(params.name, MAX_NAME, Reach::Tool, NAME),
        "prompts/get" => one(params.name, MAX_NAME, Reach::Prompt, NAME),
        // Servers that have no such method tell so whatever the parameters are.
        "resources/subscribe" | "resources/unsubscribe" if params.uri.is_absent() => Ok(Vec::new()),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
            one(params.uri, MAX_URI, Reach::Resource, URI)
        }
        "completion/complete" => completion(params),
        "subscriptions/listen" => listening(params),
        tasks if tasks.starts_with("tasks/") && !params.task.is_absent() => {
            one(params.task, MAX_NAME, Reach::Task, TASK)
        }
        _ => Ok(Vec::new()),
    }
}

fn completion(params: &Params<'_>) -> Result<Vec<Reach>, Why> {
    let reference = &params.reference;
    match reference.kind.text().as_deref() {
        Some("ref/prompt") => one(
            reference.name,
            MAX_NAME,
            Reach::Prompt,
            "`params.ref.name` is not a text, or is no fit name",
        ),
        Some("ref/resource") => one(
            reference.uri,
            MAX_URI,
            Reach::Resource,
            "`params.ref.uri` is not a text, or is no fit URI",
        ),
        _ => Err(Why::Params(
            "`params.ref.type` is neither \"ref/prompt\" nor \"ref/resource\"",
        )),
    }
}

fn listening(params: &Params<'_>) -> Result<Vec<Reach>, Why> {
    if params.odd {
        return Err(Why::Params("`params.notifications` is no object"));
    }
    if let Some(fault) = params.resources.fault.or(params.tasks.fault) {
        return Err(Why::Params(fault));
    }
    let resources = params.resources.texts.iter();
    let tasks = params.tasks.texts.iter();
    let resources = resources.map(|uri| (uri, MAX_URI, Reach::Resource as Make));
    let tasks = tasks.map(|id| (id, MAX_NAME, Reach::Task as Make));
    resources
        .chain(tasks)
        .map(|(text, longest, make)| fit(text, longest, LISTEN).map(|()| make(Box::from(&**text))))
        .collect()
}

fn one(
    field: Field<'_>,
    longest: usize,
    make: Make,
    what: &'static str,
) -> Result<Vec<Reach>, Why> {
    let text = field.text().ok_or(Why::Params(what))?;
    fit(&text, longest, what)?;
    Ok(vec![make(text.into())])
}

/// That a name can be judged: not too long, and without control characters, at which some servers would cut it.
fn fit(text: &str, longest: usize, what: &'static str) -> Result<(), Why> {
    if text.len() > longest || text.chars().any(char::is_control) {
        return Err(Why::Params(what));
    }
    Ok(())
}
