"""What the five dashboards show. See generate.py for what the words mean."""

from generate import BAD, ERRORS, HITS, MEMORY, OK, SECONDS, UP, WARN, board, graph, quantiles, rate, ratio, stat, states, table

REQUESTS, TIMES = "mcp_proxy_requests_total", "http_request_duration_seconds"
OURS = "and on (namespace, job, instance) mcp_proxy_build_info"
UPSTREAM = "mcp_proxy_upstream_request_duration_seconds"
AUTH, CALLS, STREAMS = "mcp_proxy_auth_requests_total", "mcp_tool_calls_total", "mcp_proxy_stream_duration_seconds"
FAILED = 'outcome=~"server_error|timeout|unreachable|busy|failed"'
TOOL_FAILED = 'status=~"tool_error|protocol_error|timeout|upstream_error"'
DOWN_UP = [(0, "down", BAD), (1, "up", OK)]


def overview():
    share = f'sum(increase({REQUESTS}{{route,status=~"5.."}}[$__range]) or {REQUESTS}{{route}} * 0) / (sum(increase({REQUESTS}{{route}}[$__range])) > 0)'
    return board("overview", "Overview", "Requests, errors, time; what is behind; what runs.", [
        ("Now", [
            stat("Requests", "Requests a second, all routes.", "reqps", (f"sum(rate({REQUESTS}{{route}}[$__rate_interval]))", "")),
            stat("Errors", "Share of requests answered with 5xx.", "percentunit", ratio('status=~"5.."', REQUESTS, labels="{route}"), "traffic.md#mcpproxyhigherrorrate", ERRORS),
            stat("Response time", "99th percentile of the time to the head of the answer.", "s", quantiles(TIMES, labels="{route}", of=(0.99,)), "traffic.md#mcpproxyslowresponses", SECONDS),
            stat("Availability", "Share of requests without 5xx in the time shown. The objective is 99.5 %.", "percentunit", (f"1 - ({share})", ""),
                 "traffic.md#mcpproxyerrorbudgetburnfast", [(0.99, WARN), (0.995, OK)], BAD),
            stat("Error budget left", "Of 0.5 % errors in the time shown, how much is left. Below 0 the objective is missed.", "percentunit", (f"1 - ({share}) / 0.005", ""),
                 "traffic.md#mcpproxyerrorbudgetburnslow", [(0, WARN), (0.5, OK)], BAD, defaults={"min": None}),
            stat("Alerts firing", "Alerts of this proxy, all levels.", "short", ('count(ALERTS{alertname=~"McpProxy.*",alertstate="firing"}) or vector(0)', ""), "README.md", [(1, BAD)]),
            stat("Replicas", "Processes that are scraped.", "short", ("count(mcp_proxy_build_info{sel})", ""), "process.md#mcpproxydown", UP, BAD),
            stat("Backends up", "Share of the backends that answer.", "percentunit", ("avg(max by (backend) (mcp_proxy_backend_up{backend}))", ""), "backends.md#mcpproxybackenddown", [(0.5, WARN), (1, OK)], BAD),
            stat("Browser sessions", "Living sessions; with Redis each replica counts those that it knows.", "short", ("sum(mcp_proxy_active_sessions{sel})", "")),
            stat("MCP sessions", "Sessions of MCP clients in use.", "short", ("sum(mcp_proxy_mcp_sessions_active{backend})", ""), "mcp.md#mcpproxysessionsnearlimit"),
            stat("Open streams", "Event streams and WebSockets.", "short", ('sum(mcp_active_connections{backend,kind!="http"})', "")),
            stat("Session store", "1 while it answers.", "short", ("min(mcp_proxy_session_store_up{sel})", ""), "store.md#mcpproxysessionstoredown", UP, BAD),
        ]),
        ("Requests", [
            graph("Request rate by route", "Requests a second.", "reqps", rate(REQUESTS, "route", "{route}")),
            graph("Request rate by status", "Requests a second, by exact status.", "reqps", rate(REQUESTS, "status", "{route}")),
            graph("Error rate by route", "Share of requests answered with 5xx.", "percentunit", ratio('status=~"5.."', REQUESTS, "route", "{route}", "{{route}}"), "traffic.md#mcpproxyhigherrorrate", ERRORS),
            graph("Response time", "To the head of the answer, all routes.", "s", quantiles(TIMES, labels="{route}"), "traffic.md#mcpproxyslowresponses", SECONDS),
            graph("Response time by route", "95th percentile.", "s", quantiles(TIMES, "route", "{route}", (0.95,)), "traffic.md#mcpproxyslowresponses", SECONDS),
            graph("The proxy's own share", "What the proxy adds to the backend's time; without its own pages, which wait for the provider.", "s", quantiles("mcp_proxy_request_overhead_seconds", labels='{route,route!="_own"}'), "traffic.md#mcpproxyoverheadhigh", [(0.01, WARN)]),
            graph("Under way", "Requests that are not answered to the end, streams among them.", "short", ("sum by (route) (mcp_proxy_requests_in_flight{route})", "{{route}}")),
            graph("Bytes", "Bodies of requests and answers.", "Bps", [rate("mcp_proxy_request_bytes_total", "job", "{route}", "in"), rate("mcp_proxy_response_bytes_total", "job", "{route}", "out")]),
            graph("Request rate by service", "As guides for MCP servers ask for it, through the recording rule http_requests_total.", "reqps", ("sum by (service) (rate(http_requests_total{sel}[$__rate_interval]))", "{{service}}")),
        ]),
        ("State", [
            states("Backends", "Whether one endpoint at least answers.", ("max by (backend) (mcp_proxy_backend_up{backend})", "{{backend}}"), DOWN_UP, "backends.md#mcpproxybackenddown"),
            graph("Sessions", "Browser sessions and MCP sessions.", "short", [("sum(mcp_proxy_active_sessions{sel})", "browser"), ("sum(mcp_proxy_mcp_sessions_active{backend})", "MCP")]),
            states("Configuration", "Whether the last reload was taken over.", ("mcp_proxy_config_last_reload_successful{sel}", "{{instance}}"), [(0, "refused", BAD), (1, "loaded", OK)], "process.md#mcpproxyconfigreloadfailed"),
            table("What runs", "Version and revision of each replica.", "short", ("sum by (instance, version, revision, rustc) (mcp_proxy_build_info{sel})", ""), "process.md#mcpproxyversionskew", width=12),
            table("Up since", "Start of each process.", "dateTimeAsIso", (f"(process_start_time_seconds{{sel}} {OURS}) * 1000", ""), "process.md#mcpproxyrestarting", width=12),
        ]),
    ])


def mcp():
    operations = "mcp_server_operation_duration_seconds"
    return board("mcp", "MCP", "What clients ask for, which tools fail, sessions and streams.", [
        ("Tools", [
            graph("Tool calls by status", "denied: by our rules. tool_error: HTTP 200 with isError.", "ops", rate(CALLS, "status", "{backend}")),
            graph("Tool errors by backend", "Share of completed calls that failed.", "percentunit",
                  (f"(sum by (backend) (rate({CALLS}{{backend,{TOOL_FAILED}}}[$__rate_interval])) or sum by (backend) (rate({CALLS}{{backend}}[$__rate_interval])) * 0)"
                   f' / (sum by (backend) (rate({CALLS}{{backend,status=~"ok|tool_error|protocol_error|timeout|upstream_error"}}[$__rate_interval])) > 0)', "{{backend}}"),
                  "mcp.md#mcpproxytoolerrors", [(0.1, WARN), (0.25, BAD)]),
            graph("Busiest tools", "Ten tools with most calls a second.", "ops", (f"topk(10, sum by (backend, tool_name) (rate({CALLS}{{backend}}[$__rate_interval])))", "{{backend}} {{tool_name}}")),
            table("Calls by tool and status", "In the time shown.", "short", (f"sum by (backend, tool_name, status) (increase({CALLS}{{backend}}[$__range])) > 0", ""), "mcp.md#mcpproxytoolerrors", width=12),
            graph("Failing tools", "Ten tools with most failures a second.", "ops", (f"topk(10, sum by (backend, tool_name) (rate({CALLS}{{backend,{TOOL_FAILED}}}[$__rate_interval])))", "{{backend}} {{tool_name}}"), "mcp.md#mcpproxytoolerrors", width=12),
        ]),
        ("Requests of clients", [
            graph("Requests by method", "MCP requests a second.", "ops", rate(operations + "_count", "mcp_method_name", "{backend}")),
            graph("Time of a tool call", "Until its answer has passed.", "s", quantiles(operations, labels='{backend,mcp_method_name="tools/call"}')),
            graph("Time by method", "95th percentile.", "s", quantiles(operations, "mcp_method_name", "{backend}", (0.95,))),
            graph("Time by backend", "95th percentile of all methods.", "s", quantiles(operations, "backend", "{backend}", (0.95,))),
            graph("Requests that failed", "By what went wrong.", "ops", rate(operations + "_count", "error_type", '{backend,error_type!=""}'), "mcp.md#mcpproxytoolerrors"),
            graph("JSON-RPC errors", "By class of code.", "ops", rate("mcp_proxy_jsonrpc_errors_total", "backend,code_class", "{backend}")),
        ]),
        ("Sessions", [
            graph("MCP sessions in use", "By backend.", "short", ("sum by (backend) (mcp_proxy_mcp_sessions_active{backend})", "{{backend}}"), "mcp.md#mcpproxysessionsnearlimit"),
            graph("What became of sessions", "lost: the backend forgot it. unknown: none of the caller's. refused: too many.", "ops", rate("mcp_proxy_mcp_session_events_total", "event", "{backend}"), "mcp.md#mcpproxysessionslost"),
            graph("Names beyond the bound", "Tools that are counted as _other because metrics.tool_cap is reached.", "ops", rate("mcp_proxy_metric_label_overflow_total", "metric"), "store.md#mcpproxylabeloverflow"),
        ]),
        ("Streams", [
            graph("Open exchanges", "By kind.", "short", ("sum by (kind) (mcp_active_connections{backend})", "{{kind}}")),
            graph("Streams that end", "By who or what ended them.", "ops", rate(STREAMS + "_count", "close_reason", '{backend,kind!="http"}'), "mcp.md#mcpproxystreamerrors"),
            graph("Age at their end", "Median and 95th percentile by kind.", "s", quantiles(STREAMS, "kind", '{backend,kind!="http"}', (0.5, 0.95)), "mcp.md#stuck-streams"),
            graph("Messages in streams", "Events to clients, messages to backends.", "ops", rate("mcp_proxy_stream_events_total", "backend,direction", "{backend}")),
            graph("Broken off", "Share of the streams that ended by an error.", "percentunit", ratio('close_reason="error"', STREAMS + "_count", "backend", "{backend}", "{{backend}}"), "mcp.md#mcpproxystreamerrors", [(0.1, WARN)]),
        ]),
    ])


def auth():
    idp = "mcp_proxy_idp_request"
    return board("auth", "Sign-in and access", "Who comes in, who is refused and why, the identity provider, tokens, rules.", [
        ("Sign-in", [
            graph("Sign-ins", "Begun, and what became of those that came back from the provider.", "ops", rate(AUTH, "result", '{sel,flow="code"}'), "sign-in.md#mcpproxyloginsfailing"),
            graph("Failed sign-ins", "By reason.", "ops", rate(AUTH, "reason", '{sel,flow="code",result="failure"}'), "sign-in.md#mcpproxyloginsfailing"),
            graph("Time to finish a sign-in", "From the provider's redirect back to our answer.", "s", quantiles("mcp_proxy_auth_callback_duration_seconds")),
            graph("Sign-ins and the use of sessions", "A loop: many sign-ins, hardly any request with a session.", "ops",
                  [rate(AUTH, "flow", '{sel,flow="code",result="success"}', "sign-ins"), rate(AUTH, "flow", '{sel,flow="session",result="ok"}', "requests with a session")], "sign-in.md#mcpproxyloginloop"),
            graph("Browser sessions", "By store.", "short", ("sum by (store) (mcp_proxy_active_sessions{sel})", "{{store}}")),
            graph("Sign-outs and refreshes", "Here, told by the provider, and quiet renewals.", "ops", rate(AUTH, "flow,result", '{sel,flow!~"code|session|api_key|bypass|bearer_jwt|introspection|access_token"}'), "sign-in.md#mcpproxybackchannellogoutfailing"),
        ]),
        ("Credentials", [
            graph("Accepted", "Requests by kind of credential.", "reqps", rate(AUTH, "flow", '{sel,result="ok"}')),
            graph("Refused, by reason", "expired and wrong_audience: clients. bad_signature, unknown_kid, malformed in numbers: somebody tries.", "reqps", rate(AUTH, "flow,reason", '{sel,result="denied"}'), "sign-in.md#mcpproxyauthfailurespike"),
            graph("Share refused", "Of the credentials that were presented.", "percentunit",
                  (f'(sum(rate({AUTH}{{sel,result="denied"}}[$__rate_interval])) or sum(rate({AUTH}{{sel}}[$__rate_interval])) * 0) / (sum(rate({AUTH}{{sel,result=~"ok|denied"}}[$__rate_interval])) > 0)', "refused"),
                  "sign-in.md#mcpproxyauthfailures", [(0.2, WARN)]),
        ]),
        ("Identity provider", [
            graph("Calls", "By endpoint and result.", "ops", rate(idp + "s_total", "provider,endpoint,result")),
            graph("Failures", "Share of calls without a usable answer.", "percentunit", ratio('result="failed"', idp + "s_total", "provider", legend="{{provider}}"), "sign-in.md#mcpproxyidpunreachable", [(0.1, WARN), (0.5, BAD)]),
            graph("Time of calls", "95th percentile.", "s", quantiles(idp + "_duration_seconds", "provider,endpoint", of=(0.95,)), "sign-in.md#mcpproxyidpslow", [(2, WARN)]),
            stat("Age of keys", "Of the provider's keys, the oldest replica. They are read every 300 s.", "s", ("max by (provider) (time() - (mcp_proxy_jwks_last_success_timestamp_seconds{sel} > 0))", "{{provider}}"), "sign-in.md#mcpproxyjwksstale", [(600, WARN), (43200, BAD)], width=8),
            stat("Keys", "Usable keys of the provider.", "short", ("min by (provider) (mcp_proxy_jwks_keys{sel})", "{{provider}}"), "sign-in.md#key-rollover", UP, BAD, width=8),
        ]),
        ("Tokens", [
            graph("Token cache hits", "Share of the checks that find the token known.", "percentunit", ratio('result="hit"', "mcp_proxy_token_cache_requests_total", legend="hits"), "sign-in.md#mcpproxytokencachemisses", HITS, BAD),
            graph("Token checks", "By what the cache said.", "ops", rate("mcp_proxy_token_cache_requests_total", "result")),
            graph("Time of a token check", "That the cache did not answer.", "s", quantiles("mcp_proxy_token_validation_duration_seconds", "kind", of=(0.5, 0.99))),
            graph("Token endpoint", "By grant and result.", "ops", rate("mcp_proxy_token_requests_total", "grant_type,result"), "sign-in.md#mcpproxytokenendpointerrors"),
            graph("Registrations of clients", "By result.", "ops", rate("mcp_proxy_client_registrations_total", "result"), "sign-in.md#mcpproxyregistrationslimited"),
            graph("Documents of clients", "Clients that are named by the address of a document.", "ops", rate("mcp_proxy_client_documents_total", "result")),
        ]),
        ("Rules", [
            graph("Decisions", "By stage and outcome.", "ops", rate("mcp_proxy_authz_decisions_total", "stage,decision")),
            graph("Denials by rule", "Ten rules that deny most.", "ops", ('topk(10, sum by (policy, stage) (rate(mcp_proxy_authz_decisions_total{sel,decision="deny"}[$__rate_interval])))', "{{policy}} {{stage}}")),
            graph("Rules that cannot be judged", "A value has another type than the rule compares with; the call is denied.", "ops", rate("mcp_proxy_authz_decisions_total", "policy,stage", '{sel,decision="error"}'), "sign-in.md#mcpproxypolicyerrors"),
            graph("Audit records", "By class and outcome.", "ops", rate("mcp_proxy_audit_events_total", "class,outcome"), "store.md#mcpproxyauditdropped", width=12),
            states("Bypass", "Whether authentication is off.", ("mcp_proxy_auth_bypass{sel}", "{{instance}}"), [(0, "on", OK), (1, "OFF", BAD)], "process.md#mcpproxyauthbypass", width=12),
        ]),
    ])


def backends():
    return board("backends", "Backends", "Health, time and errors of the servers behind.", [
        ("Health", [
            states("Up", "Whether one endpoint at least answers, as each replica sees it.", ("mcp_proxy_backend_up{backend}", "{{backend}} {{instance}}"), DOWN_UP, "backends.md#mcpproxybackenddown", width=12),
            table("Endpoints", "By state. ejected: left out for a while because requests failed.", "short", ("sum by (backend, instance, state) (mcp_proxy_backend_endpoints{backend})", ""), "backends.md#mcpproxybackendendpointsdown", width=12),
            graph("Endpoints by state", "All replicas together.", "short", ("sum by (backend, state) (mcp_proxy_backend_endpoints{backend})", "{{backend}} {{state}}")),
            graph("Health checks", "By result.", "ops", rate("mcp_proxy_backend_health_checks_total", "backend,result", "{backend}")),
            graph("Left out", "How often an endpoint was left out because requests failed.", "ops", rate("mcp_proxy_backend_ejections_total", "backend", "{backend}"), "backends.md#mcpproxybackendejected"),
        ]),
        ("Exchanges", [
            graph("Rate by backend", "Requests handed on.", "reqps", rate(UPSTREAM + "_count", "backend", "{backend}")),
            graph("Outcomes", "unreachable: no connection. busy: max_connections reached. failed: broke off.", "reqps", rate(UPSTREAM + "_count", "outcome", "{backend}"), "backends.md#mcpproxyupstreamerrors"),
            graph("Errors by backend", "Share of exchanges that failed.", "percentunit", ratio(FAILED, UPSTREAM + "_count", "backend", "{backend}", "{{backend}}"), "backends.md#mcpproxyupstreamerrors", ERRORS),
            graph("Time", "To the head of the answer.", "s", quantiles(UPSTREAM, labels="{backend}"), "traffic.md#mcpproxyslowresponses", SECONDS),
            graph("Time by backend", "95th percentile.", "s", quantiles(UPSTREAM, "backend", "{backend}", (0.95,)), "traffic.md#mcpproxyslowresponses", SECONDS),
            graph("Time to connect", "TCP, and TLS where it is spoken.", "s", quantiles("mcp_proxy_upstream_connect_duration_seconds", "backend,tls", "{backend}", (0.95,))),
        ]),
        ("Connections", [
            graph("Pool", "Connections in use and idle.", "short", ("sum by (backend, state) (mcp_proxy_upstream_connections{backend})", "{{backend}} {{state}}")),
            graph("Open exchanges", "By kind.", "short", ("sum by (backend, kind) (mcp_active_connections{backend})", "{{backend}} {{kind}}")),
            graph("Sent again", "not_sent: on a fresh connection. other_endpoint: the first gave no connection.", "ops", rate("mcp_proxy_upstream_retries_total", "backend,reason", "{backend}")),
        ]),
    ])


def runtime():
    store = "mcp_proxy_session_operation"
    return board("runtime", "Runtime", "The process, its store, certificates, configuration, what is written down.", [
        ("Process", [
            graph("CPU", "Cores in use.", "short", (f"rate(process_cpu_seconds_total{{sel}}[$__rate_interval]) {OURS}", "{{instance}}")),
            graph("Memory", "In RAM.", "bytes", (f"process_resident_memory_bytes{{sel}} {OURS}", "{{instance}}"), "process.md#mcpproxyhighmemoryusage", MEMORY),
            graph("Address space", "Virtual memory; large is harmless.", "bytes", (f"process_virtual_memory_bytes{{sel}} {OURS}", "{{instance}}")),
            graph("File descriptors", "Share of those that may be open.", "percentunit", (f"process_open_fds{{sel}} / process_max_fds{{sel}} {OURS}", "{{instance}}"), "process.md#mcpproxyfiledescriptors", [(0.8, WARN), (0.95, BAD)]),
            graph("Threads", "Of the process.", "short", (f"process_threads{{sel}} {OURS}", "{{instance}}")),
            graph("Starts", "In an hour.", "short", (f"changes(process_start_time_seconds{{sel}}[1h]) {OURS}", "{{instance}}"), "process.md#mcpproxyrestarting"),
            graph("Workers busy", "Share of the runtime's workers that work.", "percentunit", ("rate(mcp_proxy_tokio_busy_seconds_total{sel}[$__rate_interval]) / mcp_proxy_tokio_workers{sel}", "{{instance}}"), "traffic.md#mcpproxyoverheadhigh", [(0.8, WARN)]),
            graph("Tasks", "That have not ended.", "short", ("mcp_proxy_tokio_alive_tasks{sel}", "{{instance}}")),
            graph("Queue", "Tasks that wait for a worker.", "short", ("mcp_proxy_tokio_global_queue_depth{sel}", "{{instance}}")),
        ]),
        ("Listeners and certificates", [
            graph("Client connections", "By listener.", "short", ("sum by (listener) (mcp_proxy_connections{sel})", "{{listener}}")),
            graph("TLS handshakes", "By result and version.", "ops", rate("mcp_proxy_tls_handshakes_total", "result,version"), "certificates.md#mcpproxytlshandshakeerrors"),
            graph("Changed certificates", "Taken over, or refused.", "ops", rate("mcp_proxy_tls_certificate_reloads_total", "listener,result"), "certificates.md#mcpproxycertificaterefused"),
            table("Certificates end in", "Seconds, as time.", "s", ("min by (listener, certificate) (mcp_proxy_tls_certificate_not_after_timestamp_seconds{sel}) - time()", ""), "certificates.md#mcpproxycertificateexpiring", [(259200, WARN), (1209600, OK)], BAD, width=24, height=6),
        ]),
        ("Session store", [
            states("Answers", "As each replica sees it.", ("mcp_proxy_session_store_up{sel}", "{{store}} {{instance}}"), DOWN_UP, "store.md#mcpproxysessionstoredown"),
            graph("Operations", "By kind and result.", "ops", rate(store + "s_total", "operation,result")),
            graph("Time of operations", "99th percentile.", "s", quantiles(store + "_duration_seconds", "operation", of=(0.99,)), "store.md#mcpproxysessionstoreslow", [(0.05, WARN), (0.25, BAD)]),
            graph("Failures", "Share of operations that got no answer.", "percentunit", ratio('result="unavailable"', store + "s_total", "store", legend="{{store}}"), "store.md#mcpproxysessionstoreerrors", [(0.01, WARN)]),
        ]),
        ("Configuration and records", [
            table("Loaded", "When the configuration was last loaded.", "dateTimeAsIso", ("mcp_proxy_config_last_reload_success_timestamp_seconds{sel} * 1000", ""), "process.md#mcpproxyconfigreloadfailed"),
            graph("Reloads", "By what caused them, and result.", "short", ("sum by (trigger, result) (increase(mcp_proxy_config_reloads_total{sel}[$__rate_interval]))", "{{trigger}} {{result}}"), "process.md#mcpproxyconfigreloadfailed"),
            graph("Age of secrets", "Since all secrets of a secret manager were last read; empty when none is used.", "s", ("time() - (mcp_proxy_secret_last_refresh_timestamp_seconds{sel} > 0)", "{{source}} {{instance}}"), "secrets.md#mcpproxysecretsstale", [(1800, WARN)]),
            states("Draining", "About to end.", ("mcp_proxy_draining{sel}", "{{instance}}"), [(0, "serving", OK), (1, "draining", WARN)], "process.md#mcpproxydrainingstuck"),
            graph("Lost", "Records and lines that were not written; requests do not wait for them, unless the audit log says so.", "short",
                  [("sum(increase(mcp_proxy_audit_dropped_total{sel}[$__rate_interval]))", "audit"), ("sum(increase(mcp_proxy_log_dropped_total{sel}[$__rate_interval]))", "log")], "store.md#mcpproxyauditdropped", [(1, BAD)]),
            graph("Traces", "Batches sent to the collector.", "ops", rate("mcp_proxy_trace_exports_total", "result"), "store.md#mcpproxytraceexportfailing"),
            graph("Panics", "That were caught.", "short", ("sum by (instance) (increase(mcp_proxy_panics_total{sel}[$__rate_interval]))", "{{instance}}"), "process.md#mcpproxypanics", [(1, BAD)]),
        ]),
    ])


def all_boards():
    return [("overview", overview()), ("mcp", mcp()), ("auth", auth()), ("backends", backends()), ("runtime", runtime())]
