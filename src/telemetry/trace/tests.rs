use std::sync::Mutex;

use super::*;

const CLIENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const MESSAGE: &str = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01";

#[derive(Debug, Default)]
struct Nowhere(Mutex<u32>);

impl Sink for Nowhere {
    fn ended(&self, _: &Trace, _: &Record, _: &Ending) {
        *self.0.lock().unwrap() += 1;
    }

    fn flush(&self) {}
}

fn traces(config: &str) -> Arc<Traces> {
    let config = serde_json::from_str(config).unwrap();
    Traces::to(Box::<Nowhere>::default(), &config, Ambient::system())
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}

fn told(trace: &Trace, from: &HeaderMap) -> HeaderMap {
    let mut to = from.clone();
    trace.inject(&mut to);
    to
}

fn parent(headers: &HeaderMap) -> Context {
    Context::parse(headers["traceparent"].to_str().unwrap()).unwrap()
}

#[test]
fn without_traces_headers_go_on_as_they_are() {
    assert!(
        Traces::off(Ambient::system())
            .begin(&headers(&[("traceparent", CLIENT)]))
            .is_none()
    );
}

#[test]
fn a_clients_trace_goes_on() {
    let sent = headers(&[
        ("traceparent", CLIENT),
        ("tracestate", "vendor=1"),
        ("baggage", "user=eve"),
    ]);
    let trace = traces("{}").begin(&sent).unwrap();
    let backend = told(&trace, &sent);
    let client = Context::parse(CLIENT).unwrap();
    assert_eq!(parent(&backend).trace, client.trace);
    assert_ne!(parent(&backend).span, client.span);
    assert_ne!(parent(&backend).span, trace.server.span);
    assert_eq!(trace.parent, Some(client.span));
    assert_eq!(backend["tracestate"], "vendor=1");
    assert!(!backend.contains_key("baggage"));
    let open = traces(r#"{"forward_baggage": true}"#).begin(&sent).unwrap();
    assert_eq!(told(&open, &sent)["baggage"], "user=eve");
}

#[test]
fn what_cannot_be_read_begins_a_trace() {
    for sent in [
        headers(&[]),
        headers(&[("traceparent", "00-x"), ("tracestate", "vendor=1")]),
    ] {
        let trace = traces(r#"{"sample_ratio": 1}"#).begin(&sent).unwrap();
        assert!(trace.parent.is_none() && trace.server.sampled);
        assert!(!told(&trace, &sent).contains_key("tracestate"));
    }
    let mut twice = headers(&[("traceparent", CLIENT)]);
    twice.append("traceparent", MESSAGE.parse().unwrap());
    let trace = traces("{}").begin(&twice).unwrap();
    assert!(trace.parent.is_none());
    assert_eq!(
        told(&trace, &twice).get_all("traceparent").iter().count(),
        1
    );
}

#[test]
fn the_share_is_kept_and_clients_decide_only_where_they_may() {
    let sampled =
        |config: &str, sent: &HeaderMap| traces(config).begin(sent).unwrap().server.sampled;
    let client = headers(&[("traceparent", CLIENT)]);
    assert!(sampled(r#"{"sample_ratio": 0}"#, &client));
    assert!(!sampled(
        r#"{"sample_ratio": 0, "follow_clients": false}"#,
        &client
    ));
    assert!(!sampled(r#"{"sample_ratio": 0}"#, &headers(&[])));
    let traces = traces(r#"{"sample_ratio": 0.25}"#);
    let share = (0..4000)
        .filter(|_| traces.begin(&headers(&[])).unwrap().server.sampled)
        .count();
    assert!((800..1200).contains(&share), "{share}");
}

#[test]
fn the_message_knows_better_what_a_call_belongs_to() {
    let sent = headers(&[("traceparent", CLIENT), ("tracestate", "vendor=1")]);
    let mut trace = traces("{}").begin(&sent).unwrap();
    trace.call(Some(MESSAGE));
    let call = trace.call.unwrap();
    assert_eq!(call.parent, Context::parse(MESSAGE));
    let backend = told(&trace, &sent);
    assert_eq!(parent(&backend).trace, [0xaa; 16]);
    // The vendor's state belongs to the other trace.
    assert!(!backend.contains_key("tracestate"));

    let mut trace = traces("{}").begin(&sent).unwrap();
    trace.call(None);
    assert_eq!(parent(&told(&trace, &sent)).trace, trace.server.trace);
    assert!(trace.call.unwrap().parent.is_none());
}
