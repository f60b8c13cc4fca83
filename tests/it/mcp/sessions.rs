//! Sessions of the older revisions: any replica knows them, and there are only so many.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use mcp_oidc_proxy::clock::Ambient;
use rmcp::ServiceExt;
use rmcp::model::CallToolRequestParams;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Value, json};

use crate::harness::balancer::Balancer;
use crate::harness::client::{Answer, Ask, PATIENCE, get, post};
use crate::harness::everything::Everything;
use crate::harness::idp::Idp;
use crate::harness::numbered::Numbered;
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::{Proxy, Setup, proxy};
use crate::harness::redis::Server;
use crate::mcp_clients::visit;

const SESSION: &str = "mcp-session-id";
const KEY: &str = "key-of-the-build-robot-0001";
const OTHER_KEY: &str = "key-of-the-other-robot-0002";

/// Two replicas with one Redis, and a balancer without affinity before them.
struct Replicas {
    balancer: Balancer,
    proxies: Vec<Proxy>,
    redis: Server,
}

impl Replicas {
    async fn start(setup: Setup) -> Self {
        let redis = Server::plain().await;
        let balancer = Balancer::start().await;
        let setup = setup.yaml(&format!(
            "public_url: \"{}\"\nsecret_keys: [\"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I=\"]\nsessions:\n  store: redis\n  redis: {{ url: \"redis://127.0.0.1:{}\", command_timeout: 300ms, connect_timeout: 300ms }}\nmetrics: {{ address: \"127.0.0.1:0\" }}\n",
            balancer.origin(),
            redis.port
        ));
        let replicas = vec![setup.start().await, setup.start().await];
        balancer.replicas(replicas.iter().map(Proxy::port).collect());
        Self {
            balancer,
            proxies: replicas,
            redis,
        }
    }

    fn url(&self) -> String {
        self.balancer.origin() + "/mcp"
    }

    /// The sum of a metric's lines over both.
    async fn total(&self, line: &str) -> u32 {
        let mut total = 0;
        for replica in &self.proxies {
            let text = get(&replica.metrics()).send().await.text();
            let found = text.lines().find_map(|each| each.strip_prefix(line));
            let value = found.unwrap_or_else(|| panic!("{line} is not in\n{text}"));
            total += value.trim().parse::<u32>().unwrap();
        }
        total
    }

    fn everybody_served(&self) {
        let seen = self.balancer.seen();
        for replica in &self.proxies {
            let port = replica.port();
            assert!(
                seen.iter()
                    .any(|each| each.replica == port && each.path == "/mcp" && each.status < 300),
                "{port} served nothing"
            );
        }
    }
}

fn with_keys(backend: &str) -> Setup {
    proxy()
        .route("/mcp", backend, "allow: { any_user: true }")
        .yaml(&format!("auth: {{ api_keys: [{{ name: robot, key: {KEY} }}, {{ name: other, key: {OTHER_KEY} }}] }}"))
}

async fn initialize(url: &str, key: &str) -> Answer {
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
        "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}});
    post(url)
        .header("x-api-key", key)
        .rpc(&message)
        .send()
        .await
}

async fn delete(url: &str, key: &str, id: &str) -> u16 {
    let ask = Ask::new(Method::DELETE, url).header("x-api-key", key);
    ask.header(SESSION, id).send().await.status.as_u16()
}

/// Asks until there is room: what is over is told to the store a moment later.
async fn opens_soon(url: &str, key: &str) -> String {
    let begun = std::time::Instant::now();
    loop {
        let answer = initialize(url, key).await;
        if answer.status == 200 {
            return answer.header(SESSION).to_owned();
        }
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(begun.elapsed() < PATIENCE, "there is never room");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_has_so_many_over_all_replicas() {
    let backend = Numbered::start().await;
    let setup = with_keys(backend.url()).yaml("mcp: { max_sessions_per_user: 5 }");
    let world = Replicas::start(setup).await;
    let url = world.url();
    let answers = join_all((0..16).map(|_| initialize(&url, KEY))).await;
    let (opened, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(opened.len(), 5);
    assert_eq!(backend.living().len(), 5, "the others never reached it");
    for answer in &refused {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.header("retry-after"), "60");
        assert!(!answer.headers.contains_key(SESSION));
        let body = answer.json();
        assert_eq!(body["id"], 1);
        assert_eq!(body["error"]["data"]["code"], "too_many_sessions");
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains("5 MCP sessions"), "{message}");
    }
    assert_eq!(
        initialize(&url, OTHER_KEY).await.status,
        200,
        "another's own"
    );

    // One that ended makes room for one, on any replica; so does one that the backend lost.
    let id = opened[0].header(SESSION);
    assert_eq!(delete(&url, KEY, id).await, 200);
    let id = opens_soon(&url, KEY).await;
    assert_eq!(initialize(&url, KEY).await.status, 503);
    backend.forget();
    assert_eq!(delete(&url, KEY, &id).await, 404);
    opens_soon(&url, KEY).await;

    // And one that never began held no place.
    let id = opened[1].header(SESSION);
    assert_eq!(delete(&url, KEY, id).await, 404);
    backend.answer_with(500, &[]);
    let begun = std::time::Instant::now();
    while initialize(&url, KEY).await.status != 500 {
        assert!(begun.elapsed() < PATIENCE, "there is never room");
    }
    backend.answer_well();
    opens_soon(&url, KEY).await;

    let event =
        |event| format!("mcp_proxy_mcp_session_events_total{{backend=\"b0\",event=\"{event}\"}}");
    assert_eq!(world.total(&event("opened")).await, 9);
    assert_eq!(world.total(&event("ended")).await, 1);
    assert_eq!(world.total(&event("lost")).await, 2);
    assert!(world.total(&event("refused_user")).await >= 12);
    assert!(
        world
            .total("mcp_proxy_mcp_sessions_active{backend=\"b0\"}")
            .await
            >= 4
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_has_so_many_over_all_replicas_and_callers() {
    let backend = Numbered::start().await;
    let setup = with_keys(backend.url()).backend_more("max_sessions: 3");
    let world = Replicas::start(setup).await;
    let url = world.url();
    let asks = (0..12).map(|n| initialize(&url, [KEY, OTHER_KEY][n % 2]));
    let answers = join_all(asks).await;
    let opened: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .collect();
    assert_eq!((opened.len(), backend.living().len()), (3, 3));
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.json()["error"]["data"]["code"], "too_many_sessions");
    }
}

/// A session is at one endpoint only, whichever replica asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_session_stays_at_its_endpoint() {
    let backends = [Numbered::start().await, Numbered::start().await];
    let setup = proxy().yaml(&format!(
        "backends: [{{ name: b0, endpoints: [\"{}\", \"{}\"], balance: round_robin }}]\nroutes: [{{ path: /mcp, backend: b0, allow: {{ any_user: true }} }}]\nauth: {{ api_keys: [{{ name: robot, key: {KEY} }}] }}",
        backends[0].url(),
        backends[1].url(),
    ));
    let world = Replicas::start(setup).await;
    let url = world.url();
    let mut opened = Vec::new();
    for _ in 0..8 {
        let answer = initialize(&url, KEY).await;
        opened.push(answer.header(SESSION).to_owned());
    }
    for backend in &backends {
        assert_eq!(backend.living().len(), 4);
    }
    // Each number was given twice, once by each; a request at the wrong one would end the other's session.
    for (ended, id) in opened.iter().enumerate() {
        for _ in 0..2 {
            let ask = post(&url).header("x-api-key", KEY).header(SESSION, id);
            let answer = ask
                .rpc(&json!({"jsonrpc": "2.0", "id": 2, "method": "ping"}))
                .send()
                .await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        assert_eq!(delete(&url, KEY, id).await, 200);
        let living: usize = backends.iter().map(|backend| backend.living().len()).sum();
        assert_eq!(living, 7 - ended);
    }
    world.everybody_served();
}

/// The limits spare backends; they are no reason to keep out whoever may come in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_store_keeps_no_session_from_beginning() {
    let backend = Numbered::start().await;
    let setup = with_keys(backend.url()).yaml("mcp: { max_sessions_per_user: 1 }");
    let mut world = Replicas::start(setup).await;
    let url = world.url();
    let before = initialize(&url, KEY).await;
    assert_eq!(before.status, 200);
    assert_eq!(initialize(&url, KEY).await.status, 503);
    world.redis.kill();
    let after = initialize(&url, KEY).await;
    assert_eq!(after.status, 200, "{}", after.text());
    for answer in [before, after] {
        let id = answer.header(SESSION).to_owned();
        let ask = post(&url).header("x-api-key", KEY).header(SESSION, &id);
        let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
        assert_eq!(
            ask.rpc(&ping).send().await.status,
            200,
            "sealed ids need no store"
        );
    }
    let uncounted = "mcp_proxy_mcp_session_events_total{backend=\"b0\",event=\"uncounted\"}";
    assert_eq!(world.total(uncounted).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_resumed_on_another_replica() {
    let backend = Everything::start("streamableHttp").await;
    let world = Replicas::start(with_keys(&backend.url("/mcp"))).await;
    let url = world.url();
    let opened = initialize(&url, KEY).await;
    assert_eq!(opened.status, 200, "{}", opened.text());
    let id = opened.header(SESSION).to_owned();
    let ask = |method: Method, key: &str| {
        let ask = Ask::new(method, &url).header("x-api-key", key);
        ask.header(SESSION, &id)
            .header("mcp-protocol-version", "2025-11-25")
    };
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let answer = ask(Method::POST, KEY).rpc(&initialized).send().await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "trigger-long-running-operation",
        "arguments": {"duration": 0.03, "steps": 3}, "_meta": {"progressToken": "p"}}});
    let whole = ask(Method::POST, KEY).rpc(&call).send().await;
    assert_eq!(
        (whole.status.as_u16(), whole.header(SESSION)),
        (200, id.as_str())
    );
    let text = whole.text();
    let event = |event: &str| {
        let id = event.lines().find_map(|line| line.strip_prefix("id: "));
        id.map(str::to_owned)
    };
    let first = text
        .split("\n\n")
        .find(|event| event.contains("\"progress\":1"))
        .and_then(event)
        .unwrap_or_else(|| panic!("{text}"));

    let resume = ask(Method::GET, KEY)
        .header("accept", "text/event-stream")
        .header("last-event-id", &first);
    let mut resumed = resume.stream().await;
    assert_eq!(resumed.status, 200);
    let rest = resumed.read_until("completed").await;
    assert!(
        rest.contains("\"progress\":2") && rest.contains("\"progress\":3"),
        "{rest}"
    );
    assert!(!rest.contains("\"progress\":1"), "{rest}");
    world.everybody_served();

    let stolen = ask(Method::GET, OTHER_KEY).header("last-event-id", &first);
    assert_eq!(stolen.send().await.status, 404);
}

/// A client's visit over both replicas; gives what it did.
async fn visits(client: &str, mode: Option<&str>) -> Value {
    let provider = RealProvider::start(&json!({})).await;
    let backend = Everything::start("streamableHttp").await;
    let setup = proxy()
        .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
        .route(
            "/mcp",
            &backend.url("/mcp"),
            "allow: { groups: [engineering] }\nscopes: [mcp]",
        )
        .yaml("authorization_server: { enabled: false }");
    let world = Replicas::start(setup).await;
    let message = json!({ "message": "hello" });
    let visit = visit(client, &world.url(), "echo", &message, mode).await;
    assert_eq!(visit["text"], "Echo: hello", "{visit:#}");
    assert_eq!(visit["revision"], "2025-11-25", "{visit:#}");
    world.everybody_served();
    let opened = "mcp_proxy_mcp_session_events_total{backend=\"b0\",event=\"opened\"}";
    assert_eq!(world.total(opened).await, 1);
    visit
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typescript_v1_without_affinity() {
    assert_eq!(visits("v1", None).await["session"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typescript_v2_without_affinity() {
    assert_eq!(visits("v2", Some("legacy")).await["session"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_without_affinity() {
    visits("python", Some("legacy")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rmcp_without_affinity() {
    let idp = Idp::start(Ambient::system()).await;
    let backend = Everything::start("streamableHttp").await;
    let setup = proxy()
        .oidc(&idp.issuer(), "mcp-proxy", "a-secret-of-the-client")
        .route("/mcp", &backend.url("/mcp"), "allow: { any_user: true }");
    let world = Replicas::start(setup).await;
    let token = idp.access_token("ann", &world.url(), &json!({}));
    let config = StreamableHttpClientTransportConfig::with_uri(world.url()).auth_header(token);
    let client = ().serve(StreamableHttpClientTransport::from_config(config)).await.unwrap();
    for text in ["one", "two", "three", "four"] {
        let mut call = CallToolRequestParams::new("echo");
        call.arguments = json!({ "message": text }).as_object().cloned();
        let result = client.call_tool(call).await.unwrap();
        let said = result.content[0].as_text().unwrap();
        assert_eq!(said.text, format!("Echo: {text}"));
    }
    world.everybody_served();
    client.cancel().await.unwrap();
}
