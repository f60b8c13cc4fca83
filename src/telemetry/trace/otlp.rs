//! Spans over OTLP/HTTP: made from records with the names of OpenTelemetry's semantic conventions (HTTP 1.37; MCP, which
//! is still "development" there), batched and sent by the SDK's exporter.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::HttpClient;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor,
};

use super::{Context, Sink, Trace, Traces};
use crate::clock::Ambient;
use crate::config::tracing::Tracing;
use crate::telemetry::access::{Ending, Record};
use crate::telemetry::mcp::Kind;
use crate::telemetry::metrics::VERSION;

/// How long the end of the process waits for the last spans to be taken.
const LAST: Duration = Duration::from_secs(3);

/// Sets the export up.
///
/// # Errors
/// An endpoint or header that cannot be used; the message says which.
pub fn traces(
    config: &Tracing,
    endpoint: &str,
    client: impl HttpClient + 'static,
    ambient: Ambient,
) -> Result<Arc<Traces>, String> {
    let endpoint = if endpoint.trim_end_matches('/').ends_with("/v1/traces") {
        endpoint.to_owned()
    } else {
        format!("{}/v1/traces", endpoint.trim_end_matches('/'))
    };
    let headers = config
        .headers
        .iter()
        .map(|(name, value)| {
            // The exporter reads values percent-encoded, as its environment variable has them.
            let value = percent_encoding::utf8_percent_encode(
                value.secret().expose_secret(),
                percent_encoding::NON_ALPHANUMERIC,
            );
            (name.clone(), value.to_string())
        })
        .collect();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_headers(headers)
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| format!("tracing.endpoint: {error}"))?;
    let mut processor = BatchSpanProcessor::builder(exporter).build();
    processor.set_resource(
        &Resource::builder()
            .with_service_name(config.service_name.clone())
            .with_attribute(KeyValue::new("service.version", VERSION))
            .build(),
    );
    let sink = Otlp {
        processor,
        scope: InstrumentationScope::builder("mcp-oidc-proxy")
            .with_version(VERSION)
            .build(),
    };
    Ok(Traces::to(Box::new(sink), config, ambient))
}

struct Otlp {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
}

impl fmt::Debug for Otlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Otlp")
    }
}

impl Sink for Otlp {
    fn ended(&self, trace: &Trace, record: &Record, ending: &Ending) {
        let facts = Facts {
            record,
            ending,
            begin: time(record),
            error: error(record, ending),
        };
        // Faults are recorded whatever the share: the share is about what is ordinary.
        if !trace.server.sampled
            && !trace.call.is_some_and(|call| call.context.sampled)
            && facts.error.is_none()
        {
            return;
        }
        self.processor.on_end(self.request(trace, &facts));
        if trace.call.is_some() {
            self.processor.on_end(self.call(trace, &facts));
        }
        if record.sent_after.is_some() {
            self.processor.on_end(self.exchange(trace, &facts));
        }
    }

    fn flush(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(LAST) {
            tracing::warn!(%error, "the last spans were not taken by the collector");
        }
    }

    fn settle(&self) {
        if let Err(error) = self.processor.force_flush() {
            tracing::warn!(%error, "spans were not taken by the collector");
        }
    }
}

/// What the spans of one request have in common.
struct Facts<'a> {
    record: &'a Record,
    ending: &'a Ending,
    begin: SystemTime,
    error: Option<String>,
}

impl Otlp {
    fn span(
        &self,
        kind: SpanKind,
        name: String,
        context: Context,
        parent: Option<([u8; 8], bool)>,
    ) -> SpanData {
        SpanData {
            span_context: recorded(context),
            parent_span_id: parent.map_or(SpanId::INVALID, |(id, _)| SpanId::from_bytes(id)),
            parent_span_is_remote: parent.is_some_and(|(_, remote)| remote),
            span_kind: kind,
            name: name.into(),
            start_time: UNIX_EPOCH,
            end_time: UNIX_EPOCH,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }

    /// The HTTP request: `GET /route`.
    fn request(&self, trace: &Trace, facts: &Facts<'_>) -> SpanData {
        let record = facts.record;
        let method = known_method(&record.method);
        let name = match &record.route {
            Some(route) => format!("{method} {}", route.name.as_str()),
            None => method.to_owned(),
        };
        let parent = trace.parent.map(|parent| (parent, true));
        let mut span = self.span(SpanKind::Server, name, trace.server, parent);
        span.start_time = facts.begin;
        span.end_time = facts.begin + facts.ending.took;
        let mut add = |key: &'static str, value: opentelemetry::Value| {
            span.attributes.push(KeyValue::new(key, value));
        };
        add("http.request.method", method.into());
        add("url.path", record.path.to_string().into());
        add(
            "url.scheme",
            if record.https { "https" } else { "http" }.into(),
        );
        add(
            "http.response.status_code",
            i64::from(record.status.as_u16()).into(),
        );
        add("network.protocol.version", record.version_text().into());
        add("http.request.body.size", whole(record.bytes_in).into());
        add(
            "http.response.body.size",
            whole(facts.ending.bytes_out).into(),
        );
        add("mcp_proxy.request_id", record.id.to_string().into());
        if let Some(route) = &record.route {
            add("http.route", route.name.to_string().into());
        }
        if let Some(client) = record.client {
            add("client.address", client.to_string().into());
        }
        if let Some(agent) = &record.user_agent {
            add("user_agent.original", agent.to_string().into());
        }
        if let Some(credential) = record.credential {
            add("mcp_proxy.credential", credential.into());
        }
        if let Some(rejected) = &record.rejected {
            add("mcp_proxy.refused", rejected.code.as_str().into());
        }
        fail(&mut span, facts.error.as_deref());
        span
    }

    /// The MCP call: `tools/call search`.
    fn call(&self, trace: &Trace, facts: &Facts<'_>) -> SpanData {
        let record = facts.record;
        let method = record.mcp_method.as_deref().unwrap_or("_other");
        let tool = record.mcp_name.as_deref();
        let name = match tool {
            Some(tool) if method == "tools/call" || method == "prompts/get" => {
                format!("{method} {tool}")
            }
            _ => method.to_owned(),
        };
        let (context, said) = match trace.call {
            Some(call) => (call.context, call.parent),
            None => (trace.server, None),
        };
        let parent = match said {
            Some(said) => (said.span, true),
            None => (trace.server.span, false),
        };
        let mut span = self.span(SpanKind::Server, name, context, Some(parent));
        if said.is_some() {
            let link = Link::new(recorded(trace.server), Vec::new(), 0);
            span.links.links.push(link);
        }
        span.start_time = facts.begin;
        span.end_time = facts.begin + facts.ending.took;
        span.attributes
            .push(KeyValue::new("mcp.method.name", method.to_owned()));
        if let Some(tool) = tool {
            let key = match method {
                "tools/call" => "gen_ai.tool.name",
                "prompts/get" => "gen_ai.prompt.name",
                _ => "mcp.resource.uri",
            };
            span.attributes.push(KeyValue::new(key, tool.to_owned()));
        }
        if method == "tools/call" {
            span.attributes
                .push(KeyValue::new("gen_ai.operation.name", "execute_tool"));
        }
        // A tool that failed is an error of the call's (MCP conventions), though the HTTP request is none.
        let verdict = record.mcp_verdict.as_ref().map(|verdict| verdict.worst());
        if let Some(Kind::ProtocolError(code)) = verdict {
            span.attributes
                .push(KeyValue::new("rpc.response.status_code", code.to_string()));
        }
        let verdict = verdict.filter(|kind| kind.is_error()).map(Kind::as_str);
        fail(&mut span, facts.error.as_deref().or(verdict));
        span
    }

    /// The exchange with the backend, until the head of its answer.
    fn exchange(&self, trace: &Trace, facts: &Facts<'_>) -> SpanData {
        let record = facts.record;
        let of = trace.call.map_or(trace.server, |call| call.context);
        let context = Context {
            span: trace.exchange,
            ..of
        };
        let method = known_method(&record.method);
        let parent = Some((of.span, false));
        let mut span = self.span(SpanKind::Client, method.to_owned(), context, parent);
        span.start_time = facts.begin + record.sent_after.unwrap_or_default();
        span.end_time = span.start_time + record.backend_took.unwrap_or_default();
        span.attributes
            .push(KeyValue::new("http.request.method", method));
        if let Some(route) = &record.route {
            span.attributes.push(KeyValue::new(
                "mcp_proxy.backend",
                route.backend.to_string(),
            ));
        }
        if record.rejected.is_none() {
            span.attributes.push(KeyValue::new(
                "http.response.status_code",
                i64::from(record.status.as_u16()),
            ));
        }
        fail(&mut span, facts.error.as_deref());
        span
    }
}

/// What is exported is recorded, whatever was decided at the start.
fn recorded(context: Context) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(context.trace),
        SpanId::from_bytes(context.span),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    )
}

fn fail(span: &mut SpanData, error: Option<&str>) {
    if let Some(error) = error {
        span.attributes
            .push(KeyValue::new("error.type", error.to_owned()));
        span.status = Status::error("");
    }
}

/// What counts as a failure of the service (the conventions leave a client's fault unset).
fn error(record: &Record, _ending: &Ending) -> Option<String> {
    if record.status.is_server_error() {
        return Some(match &record.rejected {
            Some(rejected) => rejected.code.as_str().to_owned(),
            None => record.status.as_str().to_owned(),
        });
    }
    None
}

fn time(record: &Record) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(record.at.as_millis()).unwrap_or(0))
}

fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Methods of RFC 9110 and RFC 5789; the conventions want everything else under one name.
fn known_method(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "DELETE" => "DELETE",
        "PUT" => "PUT",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        "CONNECT" => "CONNECT",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}
