//! The token endpoint over the wire, against what has worked elsewhere: tokens for another server, grants that a
//! client may not use, identity assertions that are not quite right, two kinds of bearer tokens on one route.

use serde_json::{Value, json};

use crate::harness::browser::Browser;
use crate::harness::client::post;
use crate::harness::echo::Echo;
use crate::harness::oauth::{App, Tokens, VERIFIER};
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::{Proxy, proxy};

const SECRET: &str = "a-secret-of-the-machine-client";

struct World {
    provider: RealProvider,
    backend: Echo,
    proxy: Proxy,
    app: App,
}

impl World {
    async fn new(more: &str) -> Self {
        let provider = RealProvider::start(&json!({})).await;
        let backend = Echo::start().await;
        let route = |group: &str, name: &str| {
            format!("name: {name}\nallow: {{ groups: [{group}] }}\nscopes: [read, write]")
        };
        let server = format!(
            "authorization_server:\n  clients:\n    - client_id: machine\n      secret: {SECRET}\n      grant_types: [client_credentials]\n      groups: [engineering]\n    - client_id: agent\n      secret: {SECRET}\n      grant_types: [\"urn:ietf:params:oauth:grant-type:jwt-bearer\"]\n    - client_id: other-agent\n      secret: {SECRET}\n      grant_types: [\"urn:ietf:params:oauth:grant-type:jwt-bearer\"]\n  identity_assertions:\n    - issuer: \"{}\"\n      groups_claim: groups\n{more}",
            provider.issuer()
        );
        let proxy = proxy()
            .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
            .route(
                "/a/mcp",
                &format!("{}/a", backend.url()),
                &route("engineering", "a"),
            )
            .route(
                "/b/mcp",
                &format!("{}/b", backend.url()),
                &route("engineering", "b"),
            )
            .yaml(&server)
            .start()
            .await;
        let callback = format!("{}/callback", backend.url());
        let app = App::discover(&proxy.url("/a/mcp"), &callback).await;
        Self {
            provider,
            backend,
            proxy,
            app,
        }
    }

    async fn call(&self, path: &str, token: &str) -> u16 {
        post(&self.proxy.url(path))
            .bearer(token)
            .json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }))
            .send()
            .await
            .status
            .as_u16()
    }

    /// The error of a token request, or what it gave.
    async fn ask(&self, form: &[(&str, &str)]) -> Result<Tokens, String> {
        let answer = self.app.token(form).await;
        if answer.status == 200 {
            return Ok(Tokens::of(&answer));
        }
        assert_eq!(answer.header("cache-control"), "no-store");
        Err(answer.json()["error"].as_str().unwrap().to_owned())
    }

    async fn assertion(&self, change: &Value) -> String {
        let mut what = json!({ "header": { "typ": "oauth-id-jag+jwt" }, "claims": {
            "aud": self.app.server["issuer"], "client_id": "agent", "sub": "ann-at-work",
            "resource": self.proxy.url("/a/mcp"), "scope": "read", "groups": ["engineering"],
            "jti": format!("jti-{}", self.proxy.port()),
        }});
        for (part, members) in change.as_object().unwrap() {
            for (name, value) in members.as_object().unwrap() {
                what[part][name] = value.clone();
            }
        }
        self.provider.mint(&what).await
    }

    async fn exchange(&self, client: &str, assertion: &str) -> Result<Tokens, String> {
        self.ask(&[
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", assertion),
            ("client_id", client),
            ("client_secret", SECRET),
        ])
        .await
    }
}

#[tokio::test]
async fn attack_s9_a_token_is_for_one_server_only() {
    let world = World::new("").await;
    let tokens = world.app.sign_in(&mut Browser::default(), "ann").await;
    assert_eq!(world.call("/a/mcp", &tokens.access).await, 200);
    assert_eq!(world.call("/b/mcp", &tokens.access).await, 401);

    let other = world.proxy.url("/b/mcp");
    let refused = world
        .ask(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", tokens.refresh.as_deref().unwrap()),
            ("client_id", &world.app.client_id),
            ("resource", &other),
        ])
        .await;
    assert_eq!(refused.unwrap_err(), "invalid_target");
    let code = world
        .app
        .approve(&mut Browser::default(), "ann")
        .await
        .code();
    let refused = world
        .ask(&[
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", &world.app.redirect_uri),
            ("client_id", &world.app.client_id),
            ("code_verifier", VERIFIER),
            ("resource", &other),
        ])
        .await;
    assert_eq!(refused.unwrap_err(), "invalid_target");
    assert_eq!(world.app.redeem(&code).await.status, 200);
}

#[tokio::test]
async fn attack_s26_a_grant_is_for_clients_that_the_operator_lets_have_it() {
    let world = World::new("").await;
    let resource = world.proxy.url("/a/mcp");
    let app = &*world.app.client_id;
    let machine = |grant: &'static str| {
        [
            ("grant_type", grant),
            ("client_id", "machine"),
            ("client_secret", SECRET),
            ("resource", &*resource),
        ]
    };
    let tokens = world.ask(&machine("client_credentials")).await.unwrap();
    assert!(tokens.refresh.is_none());
    assert_eq!(world.call("/a/mcp", &tokens.access).await, 200);
    let seen = world.backend.seen().pop().unwrap().headers;
    assert_eq!(seen["x-forwarded-user"], "machine");
    assert_eq!(seen["x-forwarded-groups"], "engineering");

    for (form, error) in [
        (
            vec![("grant_type", "client_credentials"), ("client_id", app)],
            "unauthorized_client",
        ),
        (
            machine("urn:ietf:params:oauth:grant-type:device_code").to_vec(),
            "unsupported_grant_type",
        ),
        (
            machine("urn:ietf:params:oauth:grant-type:jwt-bearer").to_vec(),
            "unauthorized_client",
        ),
        (machine("refresh_token").to_vec(), "unauthorized_client"),
        (
            vec![
                ("grant_type", "client_credentials"),
                ("client_id", "machine"),
                ("client_secret", "wrong"),
            ],
            "invalid_client",
        ),
        (
            vec![
                ("grant_type", "client_credentials"),
                ("client_id", "machine"),
            ],
            "invalid_client",
        ),
        (
            vec![
                ("grant_type", "client_credentials"),
                ("client_id", "nobody"),
            ],
            "invalid_client",
        ),
        (vec![("client_id", "machine")], "invalid_request"),
    ] {
        assert_eq!(world.ask(&form).await.unwrap_err(), error, "{form:?}");
    }
}

#[tokio::test]
async fn attack_s28_a_refresh_token_gives_no_more_and_to_nobody_else() {
    let world = World::new("").await;
    let tokens = world.app.sign_in(&mut Browser::default(), "ann").await;
    assert_eq!(tokens.all["scope"], "read write");
    let refresh = tokens.refresh.unwrap();
    let with = |client: &'static str, scope: &'static str| {
        let client = if client.is_empty() {
            &*world.app.client_id
        } else {
            client
        };
        let mut form = vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", &*refresh),
            ("client_id", client),
        ];
        if !scope.is_empty() {
            form.push(("scope", scope));
        }
        form
    };
    assert_eq!(
        world.ask(&with("", "read admin")).await.unwrap_err(),
        "invalid_scope"
    );
    let narrow = world.ask(&with("", "read")).await.unwrap();
    assert_eq!(narrow.claims()["scope"], "read");
    let elsewhere = App::discover(&world.proxy.url("/a/mcp"), &world.app.redirect_uri).await;
    let thief = world
        .ask(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", &refresh),
            ("client_id", &elsewhere.client_id),
        ])
        .await;
    assert_eq!(thief.unwrap_err(), "invalid_grant");
    assert_eq!(
        world.call("/a/mcp", &narrow.access).await,
        200,
        "a thief's try ends nothing"
    );
}

#[tokio::test]
async fn attack_s11_two_kinds_of_tokens_are_never_taken_for_each_other() {
    let world = World::new("").await;
    let tokens = world.app.sign_in(&mut Browser::default(), "ann").await;
    let resource = world.proxy.url("/a/mcp");
    let theirs = json!({ "claims": { "aud": resource, "groups": ["engineering"] } });
    let good = world.provider.mint(&theirs).await;
    assert_eq!(
        world.call("/a/mcp", &good).await,
        200,
        "the provider's own count too"
    );

    // The provider's key under our name, our claims and all.
    let mut claims = tokens.claims();
    claims["groups"] = json!(["engineering"]);
    for alg in ["RS256", "ES256"] {
        let forged = world
            .provider
            .mint(&json!({ "claims": claims, "alg": alg }))
            .await;
        let status = world.call("/a/mcp", &forged).await;
        assert!(matches!(status, 401 | 503), "{alg}: {status}");
    }
    // Our own with another header, another grant, or cut short.
    let [head, body, signature] = tokens.access.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0";
    for forged in [
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        format!("{head}.{}.{signature}", good.split('.').nth(1).unwrap()),
        format!("{head}.{body}.{}", &signature[1..]),
        tokens.refresh.clone().unwrap(),
        "mcpc_AAAA".to_owned(),
    ] {
        assert_eq!(world.call("/a/mcp", &forged).await, 401, "{forged}");
    }
}

#[tokio::test]
async fn identity_assertions_are_exchanged_by_their_client() {
    let world = World::new("").await;
    let assertion = world.assertion(&json!({})).await;
    let tokens = world.exchange("agent", &assertion).await.unwrap();
    assert_eq!(tokens.all["scope"], "read");
    assert!(tokens.refresh.is_none());
    assert_eq!(world.call("/a/mcp", &tokens.access).await, 200);
    assert_eq!(world.call("/b/mcp", &tokens.access).await, 401);
    let seen = world.backend.seen().pop().unwrap().headers;
    assert_eq!(seen["x-forwarded-user"], "ann-at-work");
    // The same client may come again with it; another may not, whatever it says.
    assert!(world.exchange("agent", &assertion).await.is_ok());
    assert!(world.exchange("other-agent", &assertion).await.is_err());

    let issuer = world.app.server["issuer"].as_str().unwrap().to_owned();
    let slash = json!({ "claims": { "aud": [format!("{issuer}/")], "jti": "j-slash" } });
    assert!(
        world
            .exchange("agent", &world.assertion(&slash).await)
            .await
            .is_ok()
    );
    for change in [
        json!({ "header": { "typ": "JWT" } }),
        json!({ "header": { "typ": "at+jwt" } }),
        json!({ "claims": { "aud": "https://elsewhere.example" } }),
        json!({ "claims": { "aud": [issuer, "https://elsewhere.example"] } }),
        json!({ "claims": { "client_id": "other-agent" } }),
        json!({ "claims": { "iss": "https://elsewhere.example" } }),
        json!({ "claims": { "exp": 1_000_000_000 } }),
        json!({ "claims": { "iat": 4_000_000_000_u64 } }),
        json!({ "claims": { "resource": "https://elsewhere.example/mcp" } }),
        json!({ "claims": { "resource": ["https://elsewhere.example/mcp"] } }),
        json!({ "claims": { "scope": ["read"] } }),
        json!({ "claims": { "jti": null } }),
        json!({ "claims": { "sub": "" } }),
        json!({ "claims": {}, "key": {} }),
    ] {
        let mut change = change;
        if change["key"].is_object() {
            change = json!({ "header": { "kid": "a-key-that-nobody-has" } });
        }
        let assertion = world.assertion(&change).await;
        let refused = world.exchange("agent", &assertion).await;
        assert_eq!(refused.unwrap_err(), "invalid_grant", "{change}");
    }
}

#[tokio::test]
async fn an_assertion_can_be_for_one_use_only() {
    let world = World::new("      single_use: true\n").await;
    let assertion = world.assertion(&json!({})).await;
    assert!(world.exchange("agent", &assertion).await.is_ok());
    let again = world.exchange("agent", &assertion).await;
    assert_eq!(again.unwrap_err(), "invalid_grant");
}

#[tokio::test]
async fn a_client_gives_back_its_own_only() {
    let world = World::new("").await;
    let tokens = world.app.sign_in(&mut Browser::default(), "ann").await;
    let other = App::discover(&world.proxy.url("/a/mcp"), &world.app.redirect_uri).await;
    let revoke = |client: &str, token: &str| {
        let fields = [("token", token), ("client_id", client)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        post(world.app.server["revocation_endpoint"].as_str().unwrap()).form(&fields)
    };
    let answer = revoke(&other.client_id, &tokens.access).send().await;
    assert_eq!(answer.status, 200, "it is told nothing");
    assert_eq!(world.call("/a/mcp", &tokens.access).await, 200);
    let answer = revoke(&world.app.client_id, &tokens.access)
        .header("origin", "https://app.example")
        .send()
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(world.call("/a/mcp", &tokens.access).await, 401);
}
