//! Traces: what a collector is sent, read with the protocol's own definitions.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::harness::client::{get, post};
use crate::harness::mcp::Mcp;
use crate::harness::proxy::{Proxy, proxy};

const KEY: &str = "a-key-of-a-script-for-tests";
const CLIENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Takes OTLP/HTTP in and keeps it.
struct Collector {
    url: String,
    got: Got,
    server: JoinHandle<()>,
}

type Got = Arc<Mutex<Vec<(HeaderMap, ExportTraceServiceRequest)>>>;

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let got = Got::default();
        let server = tokio::spawn(serve(listener, Arc::clone(&got)));
        Self { url, got, server }
    }

    fn spans(&self) -> Vec<Span> {
        let got = self.got.lock().unwrap();
        got.iter()
            .flat_map(|(_, request)| &request.resource_spans)
            .flat_map(|of| &of.scope_spans)
            .flat_map(|of| of.spans.clone())
            .collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, got: Got) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let got = Arc::clone(&got);
        let handler = hyper::service::service_fn(move |request: Request<Incoming>| {
            let got = Arc::clone(&got);
            async move {
                assert_eq!(request.uri().path(), "/v1/traces");
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let request = ExportTraceServiceRequest::decode(body).unwrap();
                got.lock().unwrap().push((parts.headers, request));
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
            }
        });
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(socket), handler)
            .await;
    }
}

async fn traced(collector: &str, more: &str, upstream: &str) -> Proxy {
    proxy()
        .yaml(&format!(
            "auth:\n  api_keys:\n    - {{ name: script, key: {KEY} }}\ntracing: {{ endpoint: \"{collector}\", {more} }}"
        ))
        .route("/mcp", upstream, "allow: { any_user: true }")
        .route("/gone", "http://127.0.0.1:9/mcp", "allow: { any_user: true }")
        .start()
        .await
}

fn call(tool: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": tool, "arguments": {}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
    } } })
}

fn attribute<'a>(span: &'a Span, name: &str) -> Option<&'a Any> {
    let has = |each: &&KeyValue| each.key == name;
    span.attributes
        .iter()
        .find(has)?
        .value
        .as_ref()?
        .value
        .as_ref()
}

fn text<'a>(span: &'a Span, name: &str) -> &'a str {
    match attribute(span, name) {
        Some(Any::StringValue(text)) => text,
        other => panic!("{name} is {other:?} in {span:?}"),
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans
        .iter()
        .find(|span| span.name == name)
        .unwrap_or_else(|| panic!("no span {name} among {spans:?}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[tokio::test]
async fn a_call_is_one_trace_from_the_client_to_the_backend() {
    let (collector, mcp) = (Collector::start().await, Mcp::start().await);
    let proxy = traced(
        &collector.url,
        "sample_ratio: 0, headers: { x-tenant: \"acme & co\" }",
        mcp.url(),
    )
    .await;
    let answer = post(&proxy.url("/mcp"))
        .header("x-api-key", KEY)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "whoami")
        .header("traceparent", CLIENT)
        .header("baggage", "user=eve")
        .rpc(&call("whoami"))
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    proxy.stop().await;

    let spans = collector.spans();
    let request = named(&spans, "POST /mcp");
    let called = named(&spans, "tools/call whoami");
    let exchange = named(&spans, "POST");
    for span in [request, called, exchange] {
        assert_eq!(hex(&span.trace_id), TRACE);
        assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    }
    assert_eq!(hex(&request.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(called.parent_span_id, request.span_id);
    assert_eq!(exchange.parent_span_id, called.span_id);
    assert_eq!(text(called, "gen_ai.tool.name"), "whoami");
    assert_eq!(text(request, "http.route"), "/mcp");
    assert_eq!(
        attribute(request, "http.response.status_code"),
        Some(&Any::IntValue(200))
    );

    // The backend was told the exchange's span, and nothing of what the client called baggage.
    let seen = mcp.seen();
    let head = seen.last().unwrap();
    let parent = format!("00-{TRACE}-{}-01", hex(&exchange.span_id));
    assert_eq!(head["traceparent"], parent.as_str());
    assert!(!head.contains_key("baggage"));

    let got = collector.got.lock().unwrap();
    assert_eq!(got[0].0["x-tenant"], "acme & co");
    let said = format!("{:?}", got[0].1);
    assert!(!said.contains(KEY), "{said}");
    assert!(said.contains("mcp-oidc-proxy"), "{said}");
}

#[tokio::test]
async fn faults_are_recorded_whatever_the_share() {
    let collector = Collector::start().await;
    let proxy = traced(&collector.url, "sample_ratio: 0", "http://127.0.0.1:9/mcp").await;
    for path in ["/nowhere", "/gone"] {
        get(&proxy.url(path)).header("x-api-key", KEY).send().await;
    }
    proxy.stop().await;
    let spans = collector.spans();
    let failed = named(&spans, "GET /gone");
    assert_eq!(text(failed, "error.type"), "backend_unreachable");
    assert!(!spans.iter().any(|span| {
        attribute(span, "url.path") == Some(&Any::StringValue("/nowhere".to_owned()))
    }));
}

#[tokio::test]
async fn a_collector_that_is_away_costs_no_request() {
    let mcp = Mcp::start().await;
    let proxy = traced("http://127.0.0.1:9", "sample_ratio: 1", mcp.url()).await;
    let answer = post(&proxy.url("/mcp"))
        .header("x-api-key", KEY)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "whoami")
        .rpc(&call("whoami"))
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    proxy.stop().await;
}
