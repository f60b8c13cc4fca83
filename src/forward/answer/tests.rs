use proptest::prelude::*;

use super::*;
use crate::config::service;
use crate::telemetry::metrics::Metrics;

fn learned() -> (Arc<Metrics>, Arc<Learned>) {
    let metrics = Metrics::new();
    let learned = Learned::new(&metrics, &service::Metrics::default(), "b");
    (metrics, learned)
}

fn asked(body: &str) -> Message {
    Message::read(
        &http::HeaderMap::new(),
        &Bytes::copy_from_slice(body.as_bytes()),
    )
    .unwrap()
}

/// A look that shows what has no `x` in its name.
fn look(learned: &Arc<Learned>, message: &Message, filters: bool, limit: usize) -> Look {
    let tally = Tally::begin(learned, message, None);
    let look = Look::new(message, None, tally.as_ref(), learned, limit);
    let sight: Option<Shown> =
        filters.then(|| Arc::new(|_, name: &str| !name.contains('x')) as Shown);
    Look { sight, ..look }
}

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#;

/// Runs a stream through in these pieces; `None` when it was refused.
fn stream(events: &mut Events, pieces: &[&[u8]]) -> Option<String> {
    let mut out = Vec::new();
    for piece in pieces {
        match events.push(Bytes::copy_from_slice(piece)) {
            Pushed::Held => {}
            Pushed::Given(bytes) => out.extend_from_slice(&bytes),
            Pushed::Refused => return None,
        }
    }
    out.extend_from_slice(&events.rest());
    assert!(events.rest().is_empty(), "only once");
    events.end();
    Some(String::from_utf8(out).unwrap())
}

fn filtered(text: &str) -> String {
    let (_, learned) = learned();
    let mut events = look(&learned, &asked(LIST), true, 1000).events();
    stream(&mut events, &[text.as_bytes()]).unwrap()
}

#[test]
fn only_lists_are_changed_in_a_stream() {
    let other = ": hi\n\nretry: 5\nid: 7\ndata: \n\nevent: message\ndata: {\"method\":\"notifications/message\",\"params\":{\"tools\":[{\"name\":\"x\"}]}}\n\nevent: endpoint\ndata: /x\n\ndata: not JSON\n\n";
    assert_eq!(filtered(other), other);
    let list = |tools: &str| {
        format!(
            "{other}id: 8\nevent: message\ndata: {{\"id\":1,\"result\":{{\"tools\":[{tools}],\"x\":1}}}}\n\n{other}"
        )
    };
    assert_eq!(
        filtered(&list(r#"{"name":"a"},{"name":"x"}"#)),
        list(r#"{"name":"a"}"#)
    );
}

#[test]
fn data_over_several_lines_and_all_line_ends() {
    for end in ["\n", "\r\n", "\r"] {
        let text = |more: &str| {
            [
                "data: {\"id\":1,",
                "data:\"result\":{\"tools\":[",
                &format!("data: {{\"name\":\"a\"}}{more}"),
                "id: 5",
                "data: ]}}",
                "",
                ": behind",
                "",
                "",
            ]
            .join(end)
        };
        let more = format!(",{end}data: {{\"name\":{end}data: \"x\"}}");
        assert_eq!(filtered(&text(&more)), text(""), "{end:?}");
    }
    assert_eq!(
        filtered("\u{feff}data: {\"id\":1,\"result\":{\"tools\":[{\"name\":\"x\"}]}}\n\n"),
        "\u{feff}data: {\"id\":1,\"result\":{\"tools\":[]}}\n\n"
    );
    assert_eq!(
        filtered("data: {\"id\":1,\"result\":{\"tools\":[{\"name\":\"x\"}]}}"),
        "data: {\"id\":1,\"result\":{\"tools\":[]}}",
        "an event that its stream ends in"
    );
}

#[test]
fn a_list_that_cannot_be_filtered_is_replaced_by_an_error() {
    for data in [
        r#"{"id":1,"result":{"tools":[{"name":"x"}],"tools":[]}}"#,
        r#"{"id":1,"result":{"tools":{"x":1}}}"#,
        r#"{"id":1,"result":{"tools":[NaN,{"name":"x"}]}}"#,
    ] {
        let (metrics, learned) = learned();
        let mut events = look(&learned, &asked(LIST), true, 1000).events();
        let text = format!("id: 1\ndata: {data}\n\ndata: after\n\n");
        let out = stream(&mut events, &[text.as_bytes()]).unwrap();
        assert!(
            out.starts_with("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":502,"),
            "{out}"
        );
        assert!(
            out.ends_with("}}\n\ndata: after\n\n") && !out.contains("\"x\""),
            "{out}"
        );
        assert!(
            metrics
                .render()
                .contains("error_type=\"upstream_error\"} 1")
        );
    }
}

#[test]
fn an_event_is_held_only_up_to_the_bound() {
    let (_, learned) = learned();
    let large = format!(
        "data: {{\"id\":1,\"result\":{{\"content\":\"{}\"}}}}\n\n",
        "y".repeat(500)
    );
    let pieces: Vec<&[u8]> = large.as_bytes().chunks(10).collect();
    let mut events = look(&learned, &asked(CALL), true, 100).events();
    assert_eq!(stream(&mut events, &pieces).as_deref(), Some(&*large));

    let late = large
        .replace("\"content\"", "\"content\":\"")
        .replace("}}\n", ",\"tools\":[{\"name\":\"x\"}]}}\n");
    let late = late.replace("\"content\":\":", "\"content\":");
    let pieces: Vec<&[u8]> = late.as_bytes().chunks(10).collect();
    let mut events = look(&learned, &asked(CALL), true, 100).events();
    assert_eq!(
        stream(&mut events, &pieces),
        None,
        "a list behind what was handed on: {late}"
    );

    let early = format!(
        "data: {{\"id\":1,\"result\":{{\"tools\":[{{\"name\":\"{}\"}}]}}}}\n\ndata: after\n\n",
        "y".repeat(500)
    );
    let pieces: Vec<&[u8]> = early.as_bytes().chunks(10).collect();
    let mut events = look(&learned, &asked(LIST), true, 100).events();
    let out = stream(&mut events, &pieces).unwrap();
    assert!(
        out.starts_with("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"error\"")
            && out.ends_with("\n\ndata: after\n\n"),
        "{out}"
    );
}

#[test]
fn nothing_is_held_back_without_a_sight() {
    let (_, learned) = learned();
    let mut events = look(&learned, &asked(LIST), false, 100).events();
    for piece in [
        "d",
        "ata: {\"id\":",
        "1,\"result\":{\"tools\":[",
        "{\"name\":\"x\"}",
    ] {
        let piece = Bytes::from_static(piece.as_bytes());
        assert_eq!(events.push(piece.clone()), Pushed::Given(piece));
    }
}

#[test]
fn an_event_goes_on_as_soon_as_it_is_whole() {
    let (_, learned) = learned();
    let mut events = look(&learned, &asked(LIST), true, 100).events();
    assert_eq!(
        events.push(Bytes::from_static(b"data: a\n\ndata: b")),
        Pushed::Given(Bytes::from_static(b"data: a\n\n"))
    );
    assert_eq!(events.push(Bytes::from_static(b"\n")), Pushed::Held);
    assert_eq!(
        events.push(Bytes::from_static(b"\n")),
        Pushed::Given(Bytes::from_static(b"data: b\n\n"))
    );
}

fn counted(metrics: &Metrics) -> Vec<String> {
    let text = metrics.render();
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| {
            line.starts_with("mcp_tool_calls_total{")
                || line.starts_with("mcp_proxy_jsonrpc_errors_total{")
        })
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[test]
fn results_are_counted_as_what_they_are() {
    for (answer, expected) in [
        (r#"{"id":1,"result":{"content":[]}}"#, "ok"),
        (
            r#"{"id":1,"result":{"content":[],"isError":true}}"#,
            "tool_error",
        ),
        (
            r#"{"id":1,"result":{"resultType":"input_required"}}"#,
            "input_required",
        ),
        (r#"{"method":"notifications/message"}"#, "upstream_error"),
        ("<html>", "upstream_error"),
        ("", "upstream_error"),
    ] {
        let line = |status: &str| {
            format!("mcp_tool_calls_total{{tool_name=\"a\",status=\"{status}\",backend=\"b\"}} 1")
        };
        let (metrics, as_json) = learned();
        as_json.listed(["a"], false);
        let mut json = look(&as_json, &asked(CALL), false, 100)
            .json(StatusCode::OK)
            .unwrap();
        json.push(answer.as_bytes()).unwrap();
        json.end();
        assert_eq!(counted(&metrics), [line(expected)], "{answer}");

        let (metrics, as_events) = learned();
        as_events.listed(["a"], false);
        let mut events = look(&as_events, &asked(CALL), false, 100).events();
        let text = format!("data: {{\"method\":\"notifications/progress\"}}\n\ndata: {answer}\n\n");
        stream(&mut events, &[text.as_bytes()]).unwrap();
        // A stream may end early and be resumed.
        let expected = if expected == "upstream_error" {
            "unknown"
        } else {
            expected
        };
        assert_eq!(counted(&metrics), [line(expected)], "{answer}");
        assert!(metrics.render().contains("direction=\"to_client\"} 2"));
    }
}

#[test]
fn calls_without_an_answer_are_counted_too() {
    let (metrics, learned) = learned();
    drop(look(&learned, &asked(CALL), false, 100));
    look(&learned, &asked(CALL), false, 100)
        .events()
        .fail(Kind::Timeout);
    look(&learned, &asked(CALL), false, 100)
        .json(StatusCode::ACCEPTED)
        .unwrap()
        .end();
    let line = |status: &str| {
        format!("mcp_tool_calls_total{{tool_name=\"_other\",status=\"{status}\",backend=\"b\"}} 1")
    };
    assert_eq!(
        counted(&metrics),
        [line("cancelled"), line("timeout"), line("unknown")]
    );
}

#[test]
fn answers_in_a_batch_are_told_apart() {
    let (metrics, learned) = learned();
    let batch = asked(
        r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}},{"jsonrpc":"2.0","id":"1","method":"tools/call","params":{"name":"b"}},{"jsonrpc":"2.0","method":"n"},{"jsonrpc":"2.0","id":2,"method":"ping"}]"#,
    );
    learned.listed(["a", "b"], false);
    let mut json = look(&learned, &batch, false, 100)
        .json(StatusCode::OK)
        .unwrap();
    json.push(br#"[{"id":"1","result":{"isError":true}},{"id":3,"result":{}},{"id":1,"error":{"code":-32602}}]"#).unwrap();
    json.end();
    let line = |tool: &str, status: &str| {
        format!("mcp_tool_calls_total{{tool_name=\"{tool}\",status=\"{status}\",backend=\"b\"}} 1")
    };
    assert_eq!(
        counted(&metrics),
        [
            "mcp_proxy_jsonrpc_errors_total{backend=\"b\",code_class=\"invalid_params\"} 1"
                .to_owned(),
            line("a", "protocol_error"),
            line("b", "tool_error"),
        ]
    );
}

#[test]
fn tools_are_learned_from_lists_that_nobody_filters() {
    let (metrics, learned) = learned();
    let mut json = look(&learned, &asked(LIST), false, 100)
        .json(StatusCode::OK)
        .unwrap();
    json.push(br#"{"id":1,"result":{"tools":[{"name":"a"},{"name":"x"}]}}"#)
        .unwrap();
    look(&learned, &asked(CALL), false, 100)
        .json(StatusCode::OK)
        .unwrap()
        .end();
    assert!(counted(&metrics)[0].contains("tool_name=\"a\""));
}

#[test]
fn a_list_that_nobody_asked_for_is_cut_off() {
    let (_, learned) = learned();
    let list = br#"{"id":1,"result":{"tools":[{"name":"x"}]}}"#;
    let mut json = look(&learned, &asked(CALL), true, 100)
        .json(StatusCode::OK)
        .unwrap();
    assert_eq!(json.push(list), Err(Unasked));
    let mut json = look(&learned, &Message::default(), true, 100)
        .json(StatusCode::OK)
        .unwrap();
    assert_eq!(json.push(list), Err(Unasked), "an answer to a GET");
    let mut json = look(&learned, &asked(CALL), false, 100)
        .json(StatusCode::OK)
        .unwrap();
    assert_eq!(json.push(list), Ok(()));
    assert!(
        look(&learned, &Message::default(), false, 100)
            .json(StatusCode::OK)
            .is_none(),
        "nothing to look for"
    );
}

proptest! {
    /// However a stream is cut up, the same comes out of it.
    #[test]
    fn cuts_do_not_matter(
        events in proptest::collection::vec(0usize..9, 0..6),
        end in 0usize..3,
        cuts in proptest::collection::vec(0usize..600, 0..10),
        filters: bool,
    ) {
        const EVENTS: [&str; 9] = [
            "data: {\"id\":1,\"result\":{\"tools\":[{\"name\":\"a\"},{\"name\":\"x\"},{\"name\":\"b\"}],\"cacheScope\":\"public\"}}\n",
            "data: {\"id\":2,\"result\":{\ndata: \"prompts\":[{\"name\":\"x\"},\ndata: {\"name\":\"b\"}]}}\n",
            "data:{\"id\":1,\"result\":{\"tools\":[{]}}\n",
            "data: {\"id\":1,\"result\":{\"isError\":true}}\n",
            ": comment\n",
            "id: 5\nevent: message\ndata:\n",
            "data\ndata: {\"method\":\"x\"}\n",
            "",
            "database: {\"id\":1,\"result\":{\"tools\":[{\"name\":\"x\"}]}}\n",
        ];
        let end = ["\n", "\r\n", "\r"][end];
        let text: String = events.iter().map(|at| EVENTS[*at].to_owned() + "\n").collect();
        let text = text.replace('\n', end);
        let run = |pieces: &[&[u8]]| {
            let (metrics, learned) = learned();
            let mut events = look(&learned, &asked(CALL), filters, 10_000).events();
            let out = stream(&mut events, pieces);
            let mut counted: Vec<String> = metrics.render().lines()
                .filter(|line| line.starts_with("mcp_tool_calls_total{") || line.starts_with("mcp_proxy_stream_events_total{"))
                .map(str::to_owned).collect();
            counted.sort();
            (out, counted)
        };
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
        let (whole, in_pieces) = (run(&[text.as_bytes()]), run(&pieces));
        prop_assert_eq!(&whole, &in_pieces);
        if !filters {
            prop_assert_eq!(whole.0.as_deref(), Some(&*text));
        }
    }
}
