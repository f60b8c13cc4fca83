//! Every metric name, spelt once, with kind, unit, help and labels. `docs/metrics.md` is generated from here.

macro_rules! catalogue {
    ($($variant:ident = $name:literal, $kind:ident, [$($label:literal),*], $help:literal;)*) => {
        /// A metric of the catalogue.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each carries its help text below")]
        pub enum Name { $($variant),* }

        impl Name {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// What it says.
            pub fn help(self) -> &'static str {
                match self { $(Self::$variant => $help),* }
            }

            /// Counter, gauge or histogram.
            pub fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind),* }
            }

            /// Its labels.
            pub fn labels(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($label),*]),* }
            }
        }
    };
}

impl Name {
    /// Upper bounds of a histogram's buckets, in seconds; `None` for other kinds.
    pub fn buckets(self) -> Option<&'static [f64]> {
        Some(match self {
            Self::RequestDuration | Self::UpstreamDuration => &REQUEST,
            Self::RequestOverhead => &OVERHEAD,
            Self::StreamDuration => &STREAM,
            Self::UpstreamConnect | Self::AuthCallbackDuration | Self::IdpDuration => &CALL,
            Self::TokenValidationDuration => &VALIDATION,
            Self::SessionOperationDuration => &STORE,
            Self::OperationDuration => &OPERATION,
            _ => return None,
        })
    }
}

/// 3 s and 5 s are the limits that the shipped alerts ask about; 80 s covers a slow tool.
const REQUEST: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 5.0, 20.0, 80.0,
];
const OVERHEAD: [f64; 12] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
];
const STREAM: [f64; 10] = [
    1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0,
];
const CALL: [f64; 12] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
const VALIDATION: [f64; 12] = [
    0.000_001, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.001, 0.01, 0.1, 0.5, 1.0, 5.0,
];
const STORE: [f64; 11] = [
    0.000_01, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.05, 0.25, 1.0, 5.0,
];
/// As OpenTelemetry's conventions for MCP advise.
const OPERATION: [f64; 14] = [
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Distribution over fixed buckets.
    Histogram,
}

catalogue! {
    Requests = "mcp_proxy_requests_total", Counter, ["status", "method", "route"], "Requests answered.";
    RequestDuration = "http_request_duration_seconds", Histogram, ["method", "route", "status_code"], "Time from the head of a request to the head of its answer.";
    RequestOverhead = "mcp_proxy_request_overhead_seconds", Histogram, ["route"], "The proxy's own share of that time.";
    RequestsInFlight = "mcp_proxy_requests_in_flight", Gauge, ["route"], "Requests under way.";
    RequestBytes = "mcp_proxy_request_bytes_total", Counter, ["route"], "Bytes of request bodies.";
    ResponseBytes = "mcp_proxy_response_bytes_total", Counter, ["route"], "Bytes of answer bodies.";
    ActiveConnections = "mcp_active_connections", Gauge, ["kind", "backend"], "Exchanges open towards backends, by kind.";
    StreamDuration = "mcp_proxy_stream_duration_seconds", Histogram, ["backend", "kind", "close_reason"], "Life of event streams and WebSockets.";
    BackendUp = "mcp_proxy_backend_up", Gauge, ["backend"], "1 while the backend answers at one endpoint at least, 0 while it does not.";
    BackendEndpoints = "mcp_proxy_backend_endpoints", Gauge, ["backend", "state"], "Endpoints of a backend: `healthy`, `unhealthy` by the last check, `ejected` for a while because requests failed, `unknown` before the first look.";
    BackendEjections = "mcp_proxy_backend_ejections_total", Counter, ["backend"], "Endpoints that were left out for a while because requests failed.";
    StreamEvents = "mcp_proxy_stream_events_total", Counter, ["backend", "direction"], "MCP messages in streams: events to clients (to_client), and messages that clients post (to_backend).";
    ToolCalls = "mcp_tool_calls_total", Counter, ["tool_name", "status", "backend"], "Calls of tools. Status: ok, tool_error (isError), protocol_error, denied, timeout, upstream_error, cancelled (the client left first), unknown (the answer may have come in another stream); input_required and task are no completed calls. Names are those that the backend lists or the configuration spells out, as many as metrics.tool_cap; others are _other.";
    OperationDuration = "mcp_server_operation_duration_seconds", Histogram, ["mcp_method_name", "backend", "error_type"], "Time from handing a request on until its answer has passed. No error_type when there was no error.";
    RpcErrors = "mcp_proxy_jsonrpc_errors_total", Counter, ["backend", "code_class"], "JSON-RPC errors of backends: parse, invalid_request, method_not_found, invalid_params, internal, server (-32000 to -32099), other.";
    BackendHealthChecks = "mcp_proxy_backend_health_checks_total", Counter, ["backend", "result"], "Active health checks.";
    UpstreamDuration = "mcp_proxy_upstream_request_duration_seconds", Histogram, ["backend", "outcome"], "Time from sending a request to a backend until the head of its answer.";
    UpstreamConnect = "mcp_proxy_upstream_connect_duration_seconds", Histogram, ["backend", "tls"], "Time to connect to a backend.";
    UpstreamConnections = "mcp_proxy_upstream_connections", Gauge, ["backend", "state"], "Connections to a backend.";
    UpstreamRetries = "mcp_proxy_upstream_retries_total", Counter, ["backend", "reason"], "Requests sent again: on a fresh connection, because they provably never left (`not_sent`) or their method allows it (`idempotent`), or to another endpoint because no connection was had to the first (`other_endpoint`).";
    AuthRequests = "mcp_proxy_auth_requests_total", Counter, ["provider", "flow", "result", "reason"], "Authentications.";
    AuthCallbackDuration = "mcp_proxy_auth_callback_duration_seconds", Histogram, ["provider", "result"], "Time to finish a login after the provider sent the browser back.";
    TokenValidationDuration = "mcp_proxy_token_validation_duration_seconds", Histogram, ["kind"], "Time to verify a bearer token.";
    TokenCache = "mcp_proxy_token_cache_requests_total", Counter, ["result"], "Look-ups of verified tokens.";
    TokenRequests = "mcp_proxy_token_requests_total", Counter, ["grant_type", "result"], "Requests at the token endpoint.";
    AuthzDecisions = "mcp_proxy_authz_decisions_total", Counter, ["policy", "decision", "stage"], "Authorization decisions, by rule: allow, deny, or error when a rule could not be judged.";
    IdpRequests = "mcp_proxy_idp_requests_total", Counter, ["provider", "endpoint", "result"], "Calls to the identity provider.";
    IdpDuration = "mcp_proxy_idp_request_duration_seconds", Histogram, ["provider", "endpoint"], "Time of calls to the identity provider.";
    JwksLastSuccess = "mcp_proxy_jwks_last_success_timestamp_seconds", Gauge, ["provider"], "When the key set was last read.";
    JwksKeys = "mcp_proxy_jwks_keys", Gauge, ["provider"], "Keys in the key set.";
    ClientDocuments = "mcp_proxy_client_documents_total", Counter, ["result"], "Look-ups of metadata documents of MCP clients.";
    ClientRegistrations = "mcp_proxy_client_registrations_total", Counter, ["result"], "Registrations of MCP clients.";
    ActiveSessions = "mcp_proxy_active_sessions", Gauge, ["store"], "Living browser sessions that this process knows of.";
    SessionOperations = "mcp_proxy_session_operations_total", Counter, ["store", "operation", "result"], "Operations on the session store.";
    SessionOperationDuration = "mcp_proxy_session_operation_duration_seconds", Histogram, ["store", "operation"], "Time of operations on the session store.";
    SessionStoreUp = "mcp_proxy_session_store_up", Gauge, ["store"], "1 while the session store answers, 0 while it does not.";
    McpSessionsActive = "mcp_proxy_mcp_sessions_active", Gauge, ["backend"], "MCP sessions in use that this process knows of.";
    McpSessionEvents = "mcp_proxy_mcp_session_events_total", Counter, ["backend", "event"], "What became of MCP sessions: opened, ended by the client, lost by the backend, unknown here, refused for a person's or the backend's limit, or begun while the store could not count.";
    ReloadSuccessful = "mcp_proxy_config_last_reload_successful", Gauge, [], "1 when the last reload of the configuration worked.";
    ReloadTimestamp = "mcp_proxy_config_last_reload_success_timestamp_seconds", Gauge, [], "When the configuration was last loaded.";
    Reloads = "mcp_proxy_config_reloads_total", Counter, ["trigger", "result"], "Reloads of the configuration.";
    SecretRefresh = "mcp_proxy_secret_last_refresh_timestamp_seconds", Gauge, ["source"], "When all secrets that a system keeps (vault, aws_secret, aws_parameter) were last read.";
    CertificateNotAfter = "mcp_proxy_tls_certificate_not_after_timestamp_seconds", Gauge, ["listener", "certificate"], "When a served certificate ends.";
    CertificateReloads = "mcp_proxy_tls_certificate_reloads_total", Counter, ["listener", "result"], "Looks at certificate files that had changed: taken over, or refused while the old certificate serves on.";
    TlsHandshakes = "mcp_proxy_tls_handshakes_total", Counter, ["result", "version"], "TLS handshakes of clients.";
    Connections = "mcp_proxy_connections", Gauge, ["listener"], "Client connections open.";
    Draining = "mcp_proxy_draining", Gauge, [], "1 while the process is about to end.";
    Bypass = "mcp_proxy_auth_bypass", Gauge, [], "1 while authentication is bypassed.";
    Panics = "mcp_proxy_panics_total", Counter, [], "Panics that were caught.";
    LabelOverflow = "mcp_proxy_metric_label_overflow_total", Counter, ["metric"], "Values that were counted as _other because their label was full.";
    LogDropped = "mcp_proxy_log_dropped_total", Counter, [], "Log lines dropped because the sink was too slow.";
    TraceExports = "mcp_proxy_trace_exports_total", Counter, ["result"], "Batches of spans sent to the collector: ok, error.";
    AuditEvents = "mcp_proxy_audit_events_total", Counter, ["class", "outcome"], "What was recorded in the audit log, or counted there.";
    AuditDropped = "mcp_proxy_audit_dropped_total", Counter, ["sink"], "Audit records that were lost because the sink was too slow or broken.";
    BuildInfo = "mcp_proxy_build_info", Gauge, ["version", "revision", "rustc"], "Always 1; the labels say what is running.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_histogram_has_buckets_and_nothing_else_has() {
        for name in Name::ALL {
            match (name.kind(), name.buckets()) {
                (Kind::Histogram, Some(buckets)) => {
                    assert!(!buckets.is_empty(), "{name:?}");
                    assert!(buckets.windows(2).all(|pair| pair[0] < pair[1]), "{name:?}");
                }
                (Kind::Counter | Kind::Gauge, None) => {}
                (kind, buckets) => panic!("{name:?}: {kind:?} with {buckets:?}"),
            }
        }
    }

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let mut seen = HashSet::new();
        for name in Name::ALL {
            let text = name.as_str();
            assert!(seen.insert(text), "{text} is there twice");
            assert!(
                text.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{text}"
            );
            assert_eq!(
                text.ends_with("_total"),
                name.kind() == Kind::Counter,
                "{text}"
            );
            assert!(
                name.kind() != Kind::Histogram || text.ends_with("_seconds"),
                "{text}"
            );
            assert!(name.help().ends_with('.'), "{text}");
        }
    }
}
