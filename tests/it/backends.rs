//! What backends are told: credentials of their own, and signed statements about callers, verified as backends do.

use serde_json::{Value, json};

use crate::harness::client::{Ask, get, post};
use crate::harness::echo::Echo;
use crate::harness::idp::Idp;
use crate::harness::parts;
use crate::harness::proxy::{Proxy, Setup, proxy};

const HEADER: &str = "x-identity-assertion";
const SECRET: &str = "a-secret-of-the-machine-0001";
const API_KEY: &str = "key-of-the-build-robot-0001";

struct World {
    idp: Idp,
    echo: Echo,
    proxy: Proxy,
}

impl World {
    /// `/a` for backend `urn:a`, `/b` for backend `urn:b`, `/plain` for one that wants nothing, `/open` without sign-in.
    async fn start() -> Self {
        let idp = Idp::start(mcp_oidc_proxy::clock::Ambient::system()).await;
        let echo = Echo::start().await;
        let setup = setup(&idp, &echo);
        let proxy = setup.start().await;
        Self { idp, echo, proxy }
    }

    fn last(&self) -> http::HeaderMap {
        self.echo.seen().pop().unwrap().headers
    }

    /// What the backend of a path was told about `ann`.
    async fn told(&self, path: &str) -> String {
        let token = self.idp.access_token(
            "ann",
            &self.proxy.url(path),
            &json!({ "email": "ann@example.com", "groups": ["engineering"] }),
        );
        let answer = ping(&self.proxy.url(path)).bearer(&token).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.last()[HEADER].to_str().unwrap().to_owned()
    }
}

fn setup(idp: &Idp, echo: &Echo) -> Setup {
    let allow = "allow: { any_user: true }";
    let route = |path: &str| format!("{}{path}", echo.url());
    proxy()
        .oidc(&idp.issuer(), "mcp-proxy", "a-secret-of-the-client")
        .route("/a", &route("/a"), allow)
        .backend("assertion: { audience: urn:a, claims: { mail: email, groups: groups } }")
        .route("/b", &route("/b"), allow)
        .backend("assertion: { audience: urn:b, as: bearer }")
        .route("/plain", &route("/plain"), allow)
        .route("/open", &route("/open"), "public: true")
        .backend("assertion: { audience: urn:open }")
        .yaml(&format!(
            "auth: {{ api_keys: [{{ name: robot, key: {API_KEY} }}] }}\n\
             authorization_server:\n  clients:\n    - {{ client_id: machine, secret: {SECRET}, grant_types: [client_credentials] }}"
        ))
}

fn ping(url: &str) -> Ask {
    post(url).rpc(&json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }))
}

/// What both libraries make of a token.
async fn verified(proxy: &Proxy, audience: &str, token: &str) -> [Value; 2] {
    let base = proxy.base().as_str().trim_end_matches('/').to_owned();
    let mut python = parts::python("clients/verify.py");
    python.args([&base, audience, token]);
    let mut node = parts::node("clients/verify.mjs");
    node.args([&base, audience, token]);
    [parts::run_json(python).await, parts::run_json(node).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_verify_who_asks_with_common_libraries() {
    let world = World::start().await;
    let token = world.told("/a").await;
    for found in verified(&world.proxy, "urn:a", &token).await {
        let claims = &found["claims"];
        assert_eq!(claims["sub"], "ann", "{found}");
        assert_eq!(claims["idp_iss"], world.idp.issuer());
        assert_eq!(claims["mail"], "ann@example.com");
        assert_eq!(claims["groups"], json!(["engineering"]));
        assert_eq!(claims["credential"], "bearer_jwt");
        let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert!((1..=60).contains(&life), "{life}");
    }
    // For another backend, and changed in its claims.
    for found in verified(&world.proxy, "urn:b", &token).await {
        assert!(found["refused"].is_string(), "{found}");
    }
    let mut parts = token.split('.');
    let (header, _, signature) = (parts.next().unwrap(), parts.next(), parts.next().unwrap());
    let forged = format!(
        "{header}.{}.{signature}",
        token.split('.').nth(1).unwrap().replace('a', "b")
    );
    for found in verified(&world.proxy, "urn:a", &forged).await {
        assert!(found["refused"].is_string(), "{found}");
    }
    // By the key of the robot too, and as a bearer token to the other backend.
    let answer = ping(&world.proxy.url("/b"))
        .header("x-api-key", API_KEY)
        .send()
        .await;
    assert_eq!(answer.status, 200);
    let told = world.last();
    assert!(!told.contains_key(HEADER));
    let bearer = told["authorization"].to_str().unwrap();
    let bearer = bearer.strip_prefix("Bearer ").unwrap();
    for found in verified(&world.proxy, "urn:b", bearer).await {
        assert_eq!(found["claims"]["sub"], "robot", "{found}");
        assert_eq!(found["claims"]["credential"], "api_key");
    }
}

/// An access token of ours is no assertion, and an assertion is no access token.
#[tokio::test(flavor = "multi_thread")]
async fn attack_s11_tokens_of_one_kind_do_not_pass_for_the_other() {
    let world = World::start().await;
    let resource = world.proxy.url("/a");
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "machine"),
        ("client_secret", SECRET),
        ("resource", &resource),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let given = post(&world.proxy.url("/oauth2/token"))
        .form(&form)
        .send()
        .await
        .json();
    let access = given["access_token"].as_str().unwrap().to_owned();
    let answer = ping(&resource).bearer(&access).send().await;
    assert_eq!(answer.status, 200);
    for found in verified(&world.proxy, &resource, &access).await {
        assert!(found["refused"].is_string(), "{found}");
    }
    let before = world.echo.seen().len();
    let token = world.told("/a").await;
    for path in ["/a", "/b", "/plain"] {
        let answer = ping(&world.proxy.url(path)).bearer(&token).send().await;
        assert_eq!(answer.status, 401, "{path}: {}", answer.text());
    }
    assert_eq!(world.echo.seen().len(), before + 1);
    let own = get(&world.proxy.url("/oauth2/jwks")).send().await.json();
    let theirs = get(&world.proxy.url("/oauth2/assertion/jwks"))
        .send()
        .await
        .json();
    assert_ne!(own["keys"][0]["kid"], theirs["keys"][0]["kid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_are_public_and_nobody_gets_no_assertion() {
    let world = World::start().await;
    let url = world.proxy.url("/oauth2/assertion/jwks");
    let keys = get(&url)
        .header("origin", "https://any.example")
        .send()
        .await;
    assert_eq!(keys.status, 200);
    assert_eq!(keys.header("access-control-allow-origin"), "*");
    assert_eq!(keys.header("cache-control"), "public, max-age=300");
    let set = keys.json();
    assert_eq!(set["keys"][0]["alg"], "ES256");
    assert!(set["keys"][0].get("d").is_none(), "{set}");
    let preflight = Ask::new(http::Method::OPTIONS, &url).send().await;
    assert_eq!(preflight.status, 204);
    assert_eq!(post(&url).send().await.status, 405);

    // Nobody is nobody, whatever they say of themselves.
    let answer = ping(&world.proxy.url("/open"))
        .header(HEADER, "forged")
        .header("X_Identity_Assertion", "forged")
        .send()
        .await;
    assert_eq!(answer.status, 200);
    assert!(
        world
            .last()
            .keys()
            .all(|name| !name.as_str().replace('_', "-").contains("assertion"))
    );
    // Who wants no assertion gets none, not even a forged one.
    let answer = ping(&world.proxy.url("/plain"))
        .header("x-api-key", API_KEY)
        .header(HEADER, "forged")
        .send()
        .await;
    assert_eq!(answer.status, 200);
    assert!(!world.last().contains_key(HEADER));

    let without = proxy()
        .route("/x", world.echo.url(), "public: true")
        .start()
        .await;
    let answer = get(&without.url("/oauth2/assertion/jwks")).send().await;
    assert_eq!(answer.status, 404);
}

/// A credential of the proxy's own goes to its backend alone, from a file that is read again at a reload.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_the_backends_own_and_follow_their_file() {
    let echo = Echo::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "first-token\n").unwrap();
    let route = |path: &str| format!("{}{path}", echo.url());
    let setup = proxy()
        .route("/bearer", &route("/bearer"), "public: true")
        .backend(&format!(
            "credentials: {{ bearer: {{ file: {} }} }}",
            file.display()
        ))
        .route("/basic", &route("/basic"), "public: true")
        .backend("credentials: { basic: { username: user, password: 'pa:ss' } }")
        .route("/key", &route("/key"), "allow: { any_user: true }")
        .backend("credentials: { api_key: { header: X-API-Key, value: the-backends-own } }")
        .yaml(&format!(
            "auth: {{ api_keys: [{{ name: robot, key: {API_KEY} }}] }}"
        ));
    let proxy = setup.start().await;
    let sent = async |path: &str, name: &str| {
        let answer = ping(&proxy.url(path))
            .header("x-api-key", API_KEY)
            .send()
            .await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let headers = echo.seen().pop().unwrap().headers;
        let all: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(all.len(), 1, "{headers:?}");
        all[0].to_str().unwrap().to_owned()
    };
    assert_eq!(sent("/bearer", "authorization").await, "Bearer first-token");
    assert_eq!(
        sent("/basic", "authorization").await,
        "Basic dXNlcjpwYTpzcw=="
    );
    assert_eq!(sent("/key", "x-api-key").await, "the-backends-own");
    std::fs::write(&file, "second-token\n").unwrap();
    proxy.reload(&setup).await.unwrap();
    assert_eq!(
        sent("/bearer", "authorization").await,
        "Bearer second-token"
    );
}

/// The documentation shows what is tried here.
#[test]
fn the_documented_code_is_the_code_that_was_tried() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let docs = read("docs/backends.md");
    for path in [
        "tests/parts/clients/verify.py",
        "tests/parts/clients/verify.mjs",
    ] {
        let text = read(path);
        let body = text.split("--- as documented\n").nth(1).unwrap();
        let body = body.rsplit_once("--- end").unwrap().0;
        let body = body.trim_end_matches(['#', '/', ' ', '\n']);
        assert!(docs.contains(body), "{path} and docs/backends.md differ");
    }
}
