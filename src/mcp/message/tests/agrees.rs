//! The property: what is read is what a slow and obvious reader reads.

use proptest::prelude::*;

use super::super::super::oracle::{Plain, json_text};
use super::*;

/// What the oracle makes of a message: the method and what it reaches; `None` for what has to be refused.
fn expected(plain: &Plain) -> Option<(Option<String>, Vec<Reach>)> {
    let text = |plain: &Plain, name| plain.get(name).and_then(Plain::text).map(Box::<str>::from);
    let odd = |plain: Option<&Plain>, names: &[&str]| {
        plain.is_some_and(|plain| plain.names().iter().any(|name| names.contains(name)))
    };
    let params = plain.get("params");
    let part = |name| params.and_then(|params| params.get(name));
    let is_object =
        |plain: Option<&Plain>| matches!(plain, None | Some(Plain::Null | Plain::Object(_)));
    let in_params = ["Name", "ur\u{131}", "task_id", "task_ids"];
    if plain.has_twins()
        || odd(Some(plain), &["Method"])
        || odd(params, &in_params)
        || odd(part("ref"), &["Name", "ur\u{131}"])
        || odd(part("notifications"), &["task_ids"])
        || plain.get("jsonrpc").and_then(Plain::text) != Some("2.0")
        || !is_object(params)
        || !is_object(part("_meta"))
    {
        return None;
    }
    let answers = plain.get("result").is_some() || plain.get("error").is_some();
    match plain.get("id") {
        None | Some(Plain::Whole | Plain::Text(_)) => {}
        Some(Plain::Null) if answers => {}
        Some(_) => return None,
    }
    let method = match plain.get("method") {
        None if answers => return Some((None, vec![])),
        Some(Plain::Text(method)) if !answers && !method.is_empty() => method.clone(),
        _ => return None,
    };
    let params = params.unwrap_or(&Plain::Null);
    let texts = |list: Option<&Plain>| match list {
        None | Some(Plain::Null) => Some(vec![]),
        Some(list) => list
            .items()?
            .iter()
            .map(|item| item.text().map(Box::<str>::from))
            .collect::<Option<Vec<_>>>(),
    };
    let reach = match method.as_str() {
        "tools/call" => vec![Reach::Tool(text(params, "name")?)],
        "prompts/get" => vec![Reach::Prompt(text(params, "name")?)],
        "resources/read" => vec![Reach::Resource(text(params, "uri")?)],
        "tasks/get" if params.get("taskId").is_none() => vec![],
        "tasks/get" => vec![Reach::Task(text(params, "taskId")?)],
        "completion/complete" => {
            let reference = params.get("ref")?;
            match reference.get("type")?.text()? {
                "ref/prompt" => vec![Reach::Prompt(text(reference, "name")?)],
                "ref/resource" => vec![Reach::Resource(text(reference, "uri")?)],
                _ => return None,
            }
        }
        "subscriptions/listen" => {
            let inner = params.get("notifications");
            if !matches!(inner, None | Some(Plain::Object(_))) {
                return None;
            }
            let inner = inner.unwrap_or(&Plain::Null);
            let mut reach = vec![];
            for (name, make) in [
                (
                    "resourceSubscriptions",
                    Reach::Resource as fn(Box<str>) -> Reach,
                ),
                ("taskIds", Reach::Task),
            ] {
                reach.extend(texts(params.get(name))?.into_iter().map(make));
                reach.extend(texts(inner.get(name))?.into_iter().map(make));
            }
            reach
        }
        _ => vec![],
    };
    Some((Some(method), reach))
}

/// Messages that are nearly right, or right.
fn messages() -> impl Strategy<Value = String> {
    let usually = |usual: &'static str, others: &'static [&'static str]| prop_oneof![6 => Just(usual.to_owned()), 1 => prop::sample::select(others).prop_map(str::to_owned)];
    let methods = vec![
        "tools/call",
        "prompts/get",
        "resources/read",
        "tasks/get",
        "completion/complete",
        "subscriptions/listen",
        "tools/list",
        "x",
    ];
    let method = prop_oneof![
        8 => prop::sample::select(methods).prop_map(|method| format!(r#""method":"{method}","#)),
        1 => Just(String::new()),
        1 => Just(r#""method":3,"#.to_owned()),
        1 => Just(r#""method":"","#.to_owned()),
    ];
    let params = prop_oneof![
        json_text(),
        json_text()
            .prop_map(|value| format!(r#"{{"name":"n","uri":"u","taskId":"t","b":{value}}}"#)),
        json_text().prop_map(|value| format!(
            r#"{{"ref":{{"type":"ref/prompt","name":"n","b":{value}}}}}"#
        )),
        json_text()
            .prop_map(|value| format!(r#"{{"ref":{{"type":"ref/resource","uri":{value}}}}}"#)),
        json_text().prop_map(|value| format!(
            r#"{{"notifications":{{"taskIds":["t"],"resourceSubscriptions":{value}}}}}"#
        )),
        json_text().prop_map(|value| format!(
            r#"{{"taskIds":["t","u"],"resourceSubscriptions":["r"],"notifications":{value}}}"#
        )),
    ];
    let version = usually(
        r#""jsonrpc":"2.0""#,
        &[r#""jsonrpc":"1.0""#, r#""jsonrpc":2"#, r#""b":1"#],
    );
    let id = usually(
        r#""id":1,"#,
        &[
            "",
            r#""id":"x","#,
            r#""id":null,"#,
            r#""id":1.5,"#,
            r#""id":[],"#,
            r#""id":true,"#,
        ],
    );
    let more = usually(
        "",
        &[
            r#""result":{},"#,
            r#""error":null,"#,
            r#""Method":"x","#,
            r#""id":2,"#,
            r#""other":1,"#,
        ],
    );
    (method, params, version, id, more).prop_map(|(method, params, version, id, more)| {
        format!(r#"{{{more}{method}"params":{params},{id}{version}}}"#)
    })
}

proptest! {
    #[test]
    fn what_is_taken_is_what_the_oracle_reads(body in messages()) {
        let plain: Plain = serde_json::from_str(&body).unwrap();
        match (with(&[], &body), expected(&plain)) {
            (Ok(message), Some((method, reach))) => {
                let call = message.only().unwrap();
                prop_assert_eq!(call.method.as_deref(), method.as_deref(), "{}", body);
                // Of what to listen to, either list may come first.
                let sorted = |reach: &[Reach]| {
                    let mut names: Vec<String> = reach.iter().map(|each| format!("{each:?}")).collect();
                    names.sort();
                    names
                };
                prop_assert_eq!(sorted(&call.reach), sorted(&reach), "{}", body);
            }
            (Err(error), None) => prop_assert!(matches!(error.rpc().unwrap().code, -32600 | -32602)),
            (found, wanted) => prop_assert!(false, "{found:?} {wanted:?} {body}"),
        }
    }

    #[test]
    fn any_bytes_come_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::read(&HeaderMap::new(), &Bytes::from(bytes));
    }

    #[test]
    fn objects_with_many_members_are_read_alike(count in 0usize..80, twin in prop::option::of(0usize..80)) {
        let mut members: Vec<String> = (0..count).map(|at| format!("\"m{at}\":{at}")).collect();
        let doubled = twin.filter(|twin| *twin < count);
        if let Some(twin) = doubled {
            members.push(format!("\"m{twin}\":0"));
        }
        let body = call(&format!(r#"{{"name":"t","arguments":{{{}}}}}"#, members.join(",")));
        prop_assert_eq!(with(&[], &body).is_ok(), doubled.is_none());
    }
}
