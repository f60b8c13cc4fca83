//! What only the proxy may say to a backend, and what it never hands on.

use http::Method;
use serde_json::{Value, json};

use super::world::{API_KEY, World};
use crate::harness::client::{Ask, get, post};

/// Every header by which the proxy, or a gateway before it, tells a backend something.
const INTERNAL: [&str; 31] = [
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Issuer",
    "X-Forwarded-Access-Token",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Proto",
    "X-Forwarded-Prefix",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Uri",
    "X-Real-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "Forwarded",
    "X-Request-Id",
    "X-Auth-Request-User",
    "X-Auth-Request-Groups",
    "X-Remote-User",
    "Remote-User",
    "X-WebAuth-User",
    "X-Original-URL",
    "X-Rewrite-URL",
    // Configured here: a claim, a fixed header, a credential, an assertion.
    "X-Department",
    "X-Tenant",
    "X-Backend-Key",
    "X-Identity-Assertion",
];

const EVIL: &str = "evil-7361";

fn ping() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" })
}

async fn world() -> World {
    World::with(|setup| {
        setup
            .backend("headers: { X-Tenant: acme }\ncredentials: { api_key: { header: X-Backend-Key, value: the-backends-own } }\nassertion: { audience: urn:open }")
            .yaml("identity_headers: { claims: { X-Department: department } }")
    })
    .await
}

fn spellings(name: &str) -> Vec<String> {
    let mixed: String = name
        .char_indices()
        .map(|(at, letter)| {
            if at % 2 == 0 {
                letter.to_ascii_lowercase()
            } else {
                letter.to_ascii_uppercase()
            }
        })
        .collect();
    let mut all = vec![
        name.to_owned(),
        name.to_ascii_lowercase(),
        name.to_ascii_uppercase(),
        name.replace('-', "_"),
        name.replacen('-', "_", 1),
        mixed.replace('-', "_"),
        mixed,
    ];
    all.sort_unstable();
    all.dedup();
    all
}

/// Kuadrant GHSA-g53w-w6mj-hrpp and its kin: a header that a gateway trusts, said by a client.
#[tokio::test(flavor = "multi_thread")]
async fn attack_s21_no_client_speaks_in_the_proxys_name() {
    let world = world().await;
    let evil = |what: &str| {
        let headers = world.last().headers;
        for (name, value) in &headers {
            let value = value.as_bytes();
            assert!(
                !value.windows(EVIL.len()).any(|w| w == EVIL.as_bytes()),
                "{what}: {name} in {headers:?}"
            );
        }
        headers
    };
    for name in INTERNAL {
        for spelling in spellings(name) {
            for (method, path) in [
                (Method::POST, "/mcp"),
                (Method::GET, "/mcp"),
                (Method::POST, "/open/x"),
                (Method::DELETE, "/open/x"),
            ] {
                let url = world.proxy.url(path);
                let ask = || {
                    let ask = Ask::new(method.clone(), &url).header("x-api-key", API_KEY);
                    if method == Method::POST {
                        ask.rpc(&ping())
                    } else {
                        ask
                    }
                };
                let what = format!("{method} {path} {spelling}");
                // Twice, and declared to mean this connection only.
                let twice = ask().header(&spelling, EVIL).header(&spelling, EVIL);
                assert_eq!(twice.send().await.status, 200, "{what}");
                evil(&what);
                let listed = ask()
                    .header(&spelling, EVIL)
                    .header("connection", &format!("close, {spelling}"));
                assert_eq!(listed.send().await.status, 200, "{what}");
                let headers = evil(&what);
                // Being listed does not remove what the proxy itself says.
                assert!(headers.contains_key("x-forwarded-for"), "{what}");
                if path == "/open/x" {
                    assert_eq!(headers["x-tenant"], "acme", "{what}");
                    assert_eq!(headers["x-backend-key"], "the-backends-own", "{what}");
                }
            }
        }
    }
}

/// What a client proves itself with ends here, whatever becomes of the request: answered, refused by the backend,
/// redirected by it, sent again, or sent to another endpoint.
#[tokio::test(flavor = "multi_thread")]
async fn attack_s10_credentials_are_absent_on_every_way() {
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let world = World::with(|setup| {
        let text = setup.text();
        let living = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("upstream: \""))
            .and_then(|rest| rest.strip_suffix("/mcp\""))
            .unwrap()
            .to_owned();
        setup.yaml_backend(
            "/twice",
            &format!(
                "endpoints: [\"http://{dead}/twice\", \"{living}/twice\"]\nbalance: round_robin"
            ),
            "allow: { any_user: true }",
        )
    })
    .await;
    let token = |path: &str| {
        world.idp.access_token(
            "ann",
            &world.proxy.url(path),
            &json!({ "groups": ["engineering"] }),
        )
    };
    let mut sent = 0;
    for path in ["/mcp", "/other", "/twice", "/twice", "/twice"] {
        let token = token(path);
        for ask in [
            post(&world.proxy.url(path)).rpc(&ping()),
            get(&world.proxy.url(path)),
            Ask::new(Method::DELETE, &world.proxy.url(path)),
        ] {
            let answer = ask
                .bearer(&token)
                .header("proxy-authorization", &format!("Bearer {token}"))
                .header("cookie", &format!("mcp_session={token}; theme=dark"))
                .send()
                .await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            sent += 1;
        }
    }
    // With the other credential too.
    let answer = post(&world.proxy.url("/mcp"))
        .header("x-api-key", API_KEY)
        .rpc(&ping())
        .send()
        .await;
    assert_eq!(answer.status, 200);
    let seen = world.echo.seen();
    assert_eq!(seen.len(), sent + 1);
    for asked in seen {
        let shown = format!("{:?}", asked.headers);
        assert!(!asked.headers.contains_key("authorization"), "{shown}");
        assert!(
            !asked.headers.contains_key("proxy-authorization"),
            "{shown}"
        );
        assert!(!asked.headers.contains_key("x-api-key"), "{shown}");
        assert!(
            !shown.contains(API_KEY) && !shown.contains("eyJ"),
            "{shown}"
        );
        assert!(!asked.target.contains("eyJ"), "{}", asked.target);
    }
    // What is refused here reaches nobody, and its answer does not repeat the credential.
    let before = world.echo.seen().len();
    let foreign = token("/other");
    for path in ["/mcp", "/twice", "/nowhere"] {
        let answer = post(&world.proxy.url(path))
            .bearer(&foreign)
            .rpc(&ping())
            .send()
            .await;
        assert!(matches!(answer.status.as_u16(), 401 | 404), "{path}");
        assert!(!answer.text().contains(&foreign), "{path}");
    }
    assert_eq!(world.echo.seen().len(), before);
}
