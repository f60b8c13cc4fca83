//! MCP sessions: an id is worth nothing to anybody but its owner, in its place.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use mcp_oidc_proxy::clock::Ambient;
use serde_json::{Value, json};

use crate::harness::client::{Answer, Ask, get, post};
use crate::harness::idp::Idp;
use crate::harness::numbered::Numbered;
use crate::harness::proxy::{Proxy, Setup, proxy};

const SESSION: &str = "mcp-session-id";
const KEY: &str = "key-of-the-build-robot-0001";
const OTHER_KEY: &str = "key-of-the-other-robot-0002";
/// Root secrets, in base64.
const ROOT: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const NEXT_ROOT: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

struct World {
    idp: Idp,
    backend: Numbered,
    setup: Setup,
    proxy: Proxy,
}

impl World {
    /// One server behind `/mcp`, `/other` and, for everybody, `/open`.
    async fn start() -> Self {
        let idp = Idp::start(Ambient::system()).await;
        let backend = Numbered::start().await;
        let setup = proxy()
            .oidc(&idp.issuer(), "mcp-proxy", "a-secret-of-the-client")
            .route("/mcp", backend.url(), "allow: { any_user: true }")
            .route("/other", backend.url(), "allow: { any_user: true }")
            .route("/open", backend.url(), "public: true")
            .yaml(&format!("auth: {{ api_keys: [{{ name: robot, key: {KEY} }}, {{ name: other, key: {OTHER_KEY} }}] }}"));
        let proxy = setup
            .clone()
            .yaml(&format!("secret_keys: [\"{ROOT}\"]"))
            .start()
            .await;
        Self {
            idp,
            backend,
            setup,
            proxy,
        }
    }

    fn token(&self, who: &str, path: &str, more: &Value) -> String {
        self.idp.access_token(who, &self.proxy.url(path), more)
    }

    fn ask(&self, method: &Method, path: &str, who: &str) -> Ask {
        let ask = Ask::new(method.clone(), &self.proxy.url(path));
        let ask = match who {
            "" => ask,
            key if key.starts_with("key-") => ask.header("x-api-key", key),
            who => ask.bearer(&self.token(who, path, &json!({}))),
        };
        if method == Method::POST {
            ask.rpc(&ping())
        } else {
            ask.header("accept", "text/event-stream")
        }
    }

    /// Opens a session; gives its id.
    async fn open(&self, path: &str, who: &str) -> String {
        let mut ask = post(&self.proxy.url(path));
        ask = match who {
            "" => ask,
            key if key.starts_with("key-") => ask.header("x-api-key", key),
            who => ask.bearer(&self.token(who, path, &json!({}))),
        };
        let answer = ask.rpc(&initialize()).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header(SESSION).to_owned()
    }

    /// The answer to a session that never was, for a method.
    async fn nothing(&self, method: &Method, path: &str, who: &str) -> String {
        let ask = self.ask(method, path, who).header(SESSION, "never-was");
        is_unknown(&ask.send().await)
    }

    async fn is_refused(&self, method: &Method, path: &str, who: &str, id: &str) {
        let before = self.backend.seen().len();
        let answer = self.ask(method, path, who).header(SESSION, id).send().await;
        assert_eq!(
            is_unknown(&answer),
            self.nothing(method, path, who).await,
            "{method} {path} {who}"
        );
        assert_eq!(self.backend.seen().len(), before, "the backend was asked");
    }
}

const METHODS: [Method; 3] = [Method::POST, Method::GET, Method::DELETE];

fn ping() -> Value {
    json!({"jsonrpc": "2.0", "id": 7, "method": "ping"})
}

fn initialize() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
        "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}})
}

/// Everything of the answer but what differs between any two: the request's own name, and the time.
fn is_unknown(answer: &Answer) -> String {
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert!(!answer.headers.contains_key(SESSION));
    let mut body = answer.json();
    assert_eq!(body["error"]["data"]["code"], "unknown_session", "{body}");
    let data = body["error"]["data"].as_object_mut().unwrap();
    assert!(data.remove("request_id").is_some());
    let head: Vec<String> = answer
        .headers
        .iter()
        .filter(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {value:?}"))
        .collect();
    format!("{}\n{body}", head.join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_s12_somebody_elses_session_is_no_session() {
    let world = World::start().await;
    let id = world.open("/mcp", "ann").await;
    let robots = world.open("/mcp", KEY).await;
    let nobodys = world.open("/open", "").await;
    for method in METHODS {
        for (path, who, id) in [
            ("/mcp", "bob", &id),
            ("/mcp", KEY, &id),
            ("/mcp", "ann", &robots),
            ("/mcp", OTHER_KEY, &robots),
            ("/other", "ann", &id),
            ("/open", "", &id),
            ("/open", "ann", &id),
            ("/open", "ann", &nobodys),
        ] {
            world.is_refused(&method, path, who, id).await;
        }
    }
    assert_eq!(world.backend.living(), ["1", "2", "3"], "nothing was ended");
    for (path, who, id) in [
        ("/mcp", "ann", &id),
        ("/mcp", KEY, &robots),
        ("/open", "", &nobodys),
    ] {
        let answer = world
            .ask(&Method::POST, path, who)
            .header(SESSION, id)
            .send()
            .await;
        assert_eq!(answer.status, 200, "{path} {who}");
        assert_eq!(answer.header(SESSION), id, "the client's own name for it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_s12_a_new_token_of_the_same_person_goes_on() {
    let world = World::start().await;
    let id = world.open("/mcp", "ann").await;
    let more = json!({ "client_id": "another-app", "jti": "another", "scope": "mcp" });
    let token = world.token("ann", "/mcp", &more);
    for method in METHODS {
        let mut ask = Ask::new(method.clone(), &world.proxy.url("/mcp")).bearer(&token);
        if method == Method::POST {
            ask = ask.rpc(&ping());
        }
        assert_eq!(ask.header(SESSION, &id).send().await.status, 200);
        let seen = world.backend.seen().pop().unwrap();
        assert_eq!((seen.method.clone(), seen.session()), (method, Some("1")));
    }
    assert!(world.backend.living().is_empty(), "DELETE ended it");
}

/// An open session is no credential: each request is judged by the token that it brings.
#[tokio::test(flavor = "multi_thread")]
async fn attack_s12_an_open_session_adds_no_right() {
    let idp = Idp::start(Ambient::system()).await;
    let backend = Numbered::start().await;
    let proxy = proxy()
        .oidc(&idp.issuer(), "mcp-proxy", "a-secret-of-the-client")
        .route("/mcp", backend.url(), "allow: { scopes: [files] }")
        .start()
        .await;
    let url = proxy.url("/mcp");
    let token = |scope: &str| idp.access_token("ann", &url, &json!({ "scope": scope }));
    let opened = post(&url)
        .bearer(&token("files"))
        .rpc(&initialize())
        .send()
        .await;
    assert_eq!(opened.status, 200, "{}", opened.text());
    let id = opened.header(SESSION);
    let before = backend.seen().len();
    for method in METHODS {
        let mut ask = Ask::new(method.clone(), &url).bearer(&token("mail"));
        if method == Method::POST {
            ask = ask.rpc(&ping());
        }
        let answer = ask.header(SESSION, id).send().await;
        assert_eq!(answer.status, 403, "{method}: {}", answer.text());
    }
    assert_eq!(backend.seen().len(), before, "the backend was asked");
    let ask = post(&url).bearer(&token("mail files")).rpc(&ping());
    assert_eq!(ask.header(SESSION, id).send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_cve_2025_6515_predictable_ids_are_not_seen_and_not_taken() {
    let world = World::start().await;
    let ids = [
        world.open("/mcp", "ann").await,
        world.open("/mcp", "ann").await,
    ];
    for id in &ids {
        assert!(id.len() > 60, "{id}");
        assert!(id.bytes().all(|byte| byte.is_ascii_graphic()));
        let blob = URL_SAFE_NO_PAD.decode(id).unwrap();
        let url = world.backend.url();
        let host = url::Url::parse(url).unwrap();
        for secret in [url, host.authority(), "127.0.0.1", "ann", "b0"] {
            assert!(
                !blob
                    .windows(secret.len())
                    .any(|part| part == secret.as_bytes()),
                "{secret}"
            );
        }
    }
    for method in METHODS {
        for guess in ["1", "2", "3"] {
            world.is_refused(&method, "/mcp", "ann", guess).await;
        }
    }
    // Servers that fold `_` and `-` into one would take these for the header itself.
    let before = world.backend.seen().len();
    let ask = world.ask(&Method::POST, "/mcp", "bob");
    let answer = ask
        .header("mcp_session_id", "1")
        .header("Mcp-Session_Id", "1")
        .header("last_event_id", "1")
        .send()
        .await;
    assert_eq!(answer.status, 400, "the backend saw no session");
    let seen = world.backend.seen();
    assert_eq!(seen.len(), before + 1);
    let folded: Vec<String> = seen[before]
        .headers
        .keys()
        .map(|name| name.as_str().replace('_', "-"))
        .filter(|name| ["mcp-session-id", "last-event-id"].contains(&name.as_str()))
        .collect();
    assert!(folded.is_empty(), "{folded:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_s12_events_are_resumed_in_their_session_only() {
    let world = World::start().await;
    let id = world.open("/mcp", "ann").await;
    let resume = world
        .ask(&Method::GET, "/mcp", "ann")
        .header("last-event-id", "e-9");
    let answer = resume.header(SESSION, &id).send().await;
    assert_eq!(answer.json()["result"]["event"], "e-9");
    let resume = world
        .ask(&Method::GET, "/mcp", "ann")
        .header("last-event-id", "e-9");
    resume.send().await;
    let seen = world.backend.seen().pop().unwrap();
    assert!(!seen.headers.contains_key("last-event-id"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_s13_forged_ids_are_no_sessions() {
    let world = World::start().await;
    let id = world.open("/mcp", "ann").await;
    let flip = |at: usize| {
        let mut bytes = URL_SAFE_NO_PAD.decode(&id).unwrap();
        bytes[at] ^= 1;
        URL_SAFE_NO_PAD.encode(bytes)
    };
    let last = URL_SAFE_NO_PAD.decode(&id).unwrap().len() - 1;
    // Version, key, nonce, what is inside, and the seal itself.
    let mut forged: Vec<String> = [0, 1, 5, 17, 30, last].into_iter().map(flip).collect();
    forged.extend([
        id[..id.len() - 4].to_owned(),
        id[4..].to_owned(),
        format!("{id}AAAA"),
        format!("{id}="),
        format!("{id}{id}"),
        "A".repeat(7000),
        String::new(),
    ]);
    for forged in &forged {
        for method in METHODS {
            world.is_refused(&method, "/mcp", "ann", forged).await;
        }
    }
    // Two at once, and bytes that are no text.
    let before = world.backend.seen().len();
    let twice = world.ask(&Method::POST, "/mcp", "ann");
    let twice = twice.header(SESSION, &id).header(SESSION, &id).send().await;
    assert_eq!(
        is_unknown(&twice),
        world.nothing(&Method::POST, "/mcp", "ann").await
    );
    let answer = get(&world.proxy.url("/mcp"))
        .bearer(&world.token("ann", "/mcp", &json!({})))
        .header_bytes(SESSION, b"\xe4\xf6\xfc")
        .send()
        .await;
    is_unknown(&answer);
    assert_eq!(world.backend.seen().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_s13_ids_live_as_long_as_their_key() {
    let world = World::start().await;
    let id = world.open("/mcp", "ann").await;
    let with = |keys: &str| world.setup.clone().yaml(&format!("secret_keys: [{keys}]"));
    let works = async || {
        let ask = world.ask(&Method::POST, "/mcp", "ann").header(SESSION, &id);
        ask.send().await
    };
    let both = with(&format!("\"{NEXT_ROOT}\", \"{ROOT}\""));
    world.proxy.reload(&both).await.unwrap();
    assert_eq!(works().await.status, 200, "the old key still opens");
    world
        .proxy
        .reload(&with(&format!("\"{NEXT_ROOT}\"")))
        .await
        .unwrap();
    is_unknown(&works().await);
    world.is_refused(&Method::DELETE, "/mcp", "ann", &id).await;
}

/// What an id names is looked for among what is configured, and never dialled by itself.
#[tokio::test(flavor = "multi_thread")]
async fn attack_s13_an_endpoint_that_is_gone_is_not_asked() {
    let world = World::start().await;
    let id = world.open("/mcp", "ann").await;
    let (before, other) = (world.backend.seen().len(), Numbered::start().await);
    let mut text = world.setup.text();
    text = text.replacen(world.backend.url(), other.url(), 1);
    assert!(text.contains(other.url()));
    world
        .proxy
        .reload_text(&format!("{text}secret_keys: [\"{ROOT}\"]\n"))
        .await
        .unwrap();
    for method in METHODS {
        let ask = world.ask(&method, "/mcp", "ann").header(SESSION, &id);
        is_unknown(&ask.send().await);
    }
    assert_eq!(world.backend.seen().len(), before);
    assert!(other.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_s13_what_a_backend_calls_a_session_is_bounded() {
    let world = World::start().await;
    let long = vec![b'x'; 2049];
    let cases: [&[&[u8]]; 4] = [&[b"a b"], &[b"\xe4"], &[b"a", b"b"], &[&long]];
    for ids in cases {
        world.backend.answer_with(200, ids);
        let ask = post(&world.proxy.url("/open")).rpc(&initialize());
        let answer = ask.send().await;
        assert_eq!(answer.status, 502, "{ids:?}");
        assert!(!answer.headers.contains_key(SESSION));
    }
    // Errors give sessions too, for clients that take them from there.
    world.backend.answer_with(400, &[b"plain"]);
    let answer = post(&world.proxy.url("/open"))
        .rpc(&initialize())
        .send()
        .await;
    assert_eq!(answer.status, 400);
    assert!(answer.header(SESSION).len() > 60, "{:?}", answer.headers);
    // A server without sessions gives none.
    world.backend.answer_with(200, &[]);
    let answer = post(&world.proxy.url("/open"))
        .rpc(&initialize())
        .send()
        .await;
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains_key(SESSION));
    // The next one gets a session as ever, until the server forgets it; what it says then is what the client hears.
    world.backend.answer_well();
    let id = world.open("/mcp", "ann").await;
    world.backend.forget();
    let ask = world.ask(&Method::POST, "/mcp", "ann").header(SESSION, &id);
    let answer = ask.send().await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["result"], json!({}), "the server's own words");
}
