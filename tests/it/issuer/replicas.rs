//! Two replicas on one Redis: an assertion that counts once, and what a whole life leaves in Redis: all of it ends by
//! itself, and nobody who reads it learns who somebody is or gets anything to use.

use futures_util::future::join_all;
use mcp_oidc_proxy::clock::Ambient;
use serde_json::{Value, json};

use crate::harness::balancer::Balancer;
use crate::harness::browser::Browser;
use crate::harness::client::{Answer, post};
use crate::harness::echo::Echo;
use crate::harness::idp::{CLIENT_ID, CLIENT_SECRET, Idp};
use crate::harness::oauth::{App, Returned, Tokens};
use crate::harness::proxy::{Proxy, proxy};
use crate::harness::redis::{Server, dump};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SECRET: &str = "a-secret-of-a-client-0123456789abcdef";

/// Two replicas behind a balancer that sends each request to the next one.
struct Pair {
    idp: Idp,
    enterprise: Idp,
    landing: Echo,
    balancer: Balancer,
    redis: Server,
    proxies: Vec<Proxy>,
}

impl Pair {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let idp = Idp::start(Ambient::system()).await;
        let enterprise = Idp::start(Ambient::system()).await;
        let claims = json!({
            "email": "canary@canary-mail.example", "email_verified": true, "name": "Canary Person",
            "preferred_username": "canary-nick", "groups": ["canary-group"],
        });
        idp.script(|script| {
            "canary-subject".clone_into(&mut script.subject);
            script.claims.clone_from(claims.as_object().unwrap());
        });
        let landing = Echo::start().await;
        let redis = Server::plain().await;
        let balancer = Balancer::start().await;
        let setup = proxy()
            .oidc(&idp.issuer(), CLIENT_ID, CLIENT_SECRET)
            .route(
                "/mcp",
                &format!("{}/mcp", landing.url()),
                "allow: { any_user: true }\nscopes: [mcp]",
            )
            .on_redis(redis.port).yaml(&format!("public_url: \"{}\"", balancer.origin()))
            .yaml(&format!(
                "authorization_server:\n  consent: {{ remember: 1h }}\n  identity_assertions: [{{ issuer: \"{}\", single_use: true }}]\n  clients:\n    \
                 - {{ client_id: canary-local, name: Local, redirect_uris: [\"http://127.0.0.1/callback\"] }}\n    \
                 - {{ client_id: canary-robot, secret: {SECRET}, groups: [canary-group], grant_types: [client_credentials] }}\n    \
                 - {{ client_id: canary-agent, secret: {SECRET}, grant_types: [\"{JWT_BEARER}\"] }}\n",
                enterprise.issuer()
            ));
        let mut proxies = Vec::new();
        for _ in 0..2 {
            proxies.push(setup.start().await);
        }
        balancer.replicas(proxies.iter().map(Proxy::port).collect());
        Self {
            idp,
            enterprise,
            landing,
            balancer,
            redis,
            proxies,
        }
    }

    fn mcp(&self) -> String {
        self.balancer.origin() + "/mcp"
    }

    async fn app(&self) -> App {
        App::discover(&self.mcp(), &format!("{}/callback", self.landing.url())).await
    }

    async fn token(&self, fields: &[(&str, &str)]) -> Answer {
        let fields: Vec<(String, String)> = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let url = self.balancer.origin() + "/oauth2/token";
        post(&url).form(&fields).send().await
    }

    fn assertion(&self, jti: &str) -> String {
        let token = self.enterprise.access_token("x", "x", &json!({}));
        let now = jsonwebtoken::dangerous::insecure_decode::<Value>(&token)
            .unwrap()
            .claims["iat"]
            .as_i64()
            .unwrap();
        self.enterprise.sign_as(
            "oauth-id-jag+jwt",
            &json!({
                "iss": self.enterprise.issuer(), "sub": "canary-carol", "aud": self.balancer.origin(),
                "client_id": "canary-agent", "jti": jti, "iat": now, "exp": now + 300, "resource": self.mcp(),
                "email": "canary-carol@canary-mail.example",
            }),
        )
    }

    async fn exchange(&self, assertion: &str) -> Answer {
        self.token(&[
            ("grant_type", JWT_BEARER),
            ("client_id", "canary-agent"),
            ("client_secret", SECRET),
            ("assertion", assertion),
        ])
        .await
    }

    async fn end(self) {
        for proxy in self.proxies {
            proxy.stop().await;
        }
    }
}

async fn call(mcp: &str, port: u16, bearer: &str) -> Answer {
    post(mcp)
        .via(port)
        .bearer(bearer)
        .rpc(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }))
        .send()
        .await
}

fn good(answers: &[Answer]) -> Vec<&Answer> {
    answers
        .iter()
        .filter(|answer| answer.status == 200)
        .collect()
}

fn is_invalid_grant(answer: &Answer) {
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(answer.json()["error"], "invalid_grant", "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_assertion_of_single_use_that_is_sent_often_at_once_counts_once() {
    let pair = Pair::start().await;
    for round in 0..4 {
        let assertion = pair.assertion(&format!("jti-{round}"));
        let answers = join_all((0..20).map(|_| pair.exchange(&assertion))).await;
        assert_eq!(good(&answers).len(), 1, "exactly one");
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            is_invalid_grant(answer);
        }
    }
    pair.end().await;
}

/// How long records of a space may stay, in seconds: what ARCHITECTURE.md and docs/tokens.md say, and a minute or two for
/// clocks.
fn bound(space: &str) -> i64 {
    const DAY: i64 = 86_400;
    match space {
        "session" => DAY + 120,
        "login" | "index" | "revoked" => 180 * DAY + 120,
        "grant" => 30 * DAY + 120,
        // Remembered for an hour in this world.
        "consent" | "replay" => 3600 + 180,
        "flow" => 600,
        "lease" => 60,
        "install" => 10 * 365 * DAY,
        other => panic!("a space that nothing is said about: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    clippy::too_many_lines,
    reason = "a life, from its first step to its last"
)]
async fn a_whole_life_leaves_nothing_endless_and_nothing_readable() {
    let pair = Pair::start().await;
    let mut secrets: Vec<String> = vec![SECRET.to_owned(), CLIENT_SECRET.to_owned()];
    let mut keep = |tokens: &Tokens| {
        secrets.push(tokens.access.clone());
        secrets.extend(tokens.refresh.clone());
        secrets.push(tokens.access.rsplit('.').next().unwrap().to_owned());
    };

    // An app that registered itself: sign-in, consent, code, refresh; another one whose grant is given back.
    let app = pair.app().await;
    let mut browser = Browser::default();
    let code = app.approve_again(&mut browser, "ann").await.code();
    let tokens = Tokens::of(&app.redeem(&code).await);
    keep(&tokens);
    let refreshed = Tokens::of(&app.refresh(tokens.refresh.as_deref().unwrap()).await);
    keep(&refreshed);
    let unused = app.approve_again(&mut browser, "ann").await.code();
    let given_back = app.sign_in_again(&mut browser, "ann").await;
    keep(&given_back);
    let fields = [
        ("token".to_owned(), given_back.access.clone()),
        ("client_id".to_owned(), app.client_id.clone()),
    ];
    let revoke = pair.balancer.origin() + "/oauth2/revoke";
    assert_eq!(post(&revoke).form(&fields).send().await.status, 200);

    // A client of the configuration, with consent that is remembered.
    let local = App {
        client_id: "canary-local".to_owned(),
        ..app.clone()
    };
    let page = local.consent_page(&mut browser, "ann").await;
    assert!(page.text().contains("name=\"remember\""), "{}", page.text());
    let form = page
        .form_to("/oauth2/consent")
        .fill("decision", "approve")
        .fill("remember", "yes");
    let remembered = Returned::of(&browser.submit(form).await).code();
    keep(&Tokens::of(&local.redeem(&remembered).await));

    // Nobody at a browser.
    let machine = pair
        .token(&[
            ("grant_type", "client_credentials"),
            ("client_id", "canary-robot"),
            ("client_secret", SECRET),
            ("resource", &pair.mcp()),
        ])
        .await;
    keep(&Tokens::of(&machine));
    let assertion = pair.assertion("canary-jti");
    keep(&Tokens::of(&pair.exchange(&assertion).await));
    for proxy in &pair.proxies {
        let answer = call(&pair.mcp(), proxy.port(), &refreshed.access).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // Somebody who never comes back from the provider.
    let started = pair.balancer.origin() + "/oauth2/start";
    crate::harness::client::get(&started).send().await;

    secrets.extend([code, unused, remembered, assertion, app.client_id.clone()]);
    secrets.extend(pair.idp.secrets());
    secrets.extend(
        [
            "canary",
            "Canary",
            "127.0.0.1",
            "localhost",
            "groups",
            "email",
            "state-",
            "mcpc_",
            "mcpr_",
            "mcpd_",
            "BEGIN",
        ]
        .map(str::to_owned),
    );

    let mut admin = pair.redis.connection("").await;
    let all = dump(&mut admin).await;
    let mut spaces: Vec<&str> = Vec::new();
    for (name, content) in &all {
        let mut parts = name.splitn(3, ':');
        assert_eq!(parts.next(), Some("mcp"), "{name}");
        let space = parts.next().unwrap();
        spaces.push(space);
        let left: i64 = deadpool_redis::redis::cmd("TTL")
            .arg(name)
            .query_async(&mut admin)
            .await
            .unwrap();
        // -2: it ended since.
        assert!(
            left == -2 || (0..=bound(space)).contains(&left),
            "{name} stays {left} s, {} are said",
            bound(space)
        );
        let text = format!("{name} {}", String::from_utf8_lossy(content));
        for secret in &secrets {
            assert!(
                !text.contains(secret.as_str()) && !holds(content, secret.as_bytes()),
                "{secret} is in {text:?}"
            );
        }
    }
    for space in [
        "session", "login", "grant", "index", "consent", "replay", "flow", "install",
    ] {
        assert!(spaces.contains(&space), "{space} was used: {spaces:?}");
    }
    pair.end().await;
}

fn holds(content: &[u8], text: &[u8]) -> bool {
    content.windows(text.len()).any(|part| part == text)
}
