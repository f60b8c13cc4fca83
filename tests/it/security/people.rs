//! S27: two people on two replicas over one Redis, each with a login of their own at the provider. The provider's tokens
//! of one end and are refreshed while both call, by bearer tokens and by cookies: nobody ever calls as the other one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use mcp_oidc_proxy::clock::{Ambient, ManualClock, SystemRandom};
use serde_json::json;
use tokio::time::timeout;

use crate::harness::balancer::Balancer;
use crate::harness::browser::Browser;
use crate::harness::client::{PATIENCE, get, post};
use crate::harness::echo::Echo;
use crate::harness::oauth::{App, Tokens};
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::{Proxy, proxy};
use crate::harness::redis::Server;

/// Calls of one person at once.
const CALLS: usize = 40;

struct World {
    clock: Arc<ManualClock>,
    provider: RealProvider,
    landing: Echo,
    balancer: Balancer,
    replicas: Vec<Proxy>,
    _redis: Server,
}

struct Person {
    browser: Browser,
    app: App,
    tokens: Tokens,
    /// User, e-mail address, and groups as backends are told.
    is: [&'static str; 3],
}

impl World {
    async fn start() -> Self {
        // Its clock is the machine's, so ID tokens have to outlive the steps of ours. Access tokens live 300 s.
        let provider =
            RealProvider::start(&json!({ "registration": false, "id_token_ttl": 86_400 })).await;
        let landing = Echo::start().await;
        let redis = Server::plain().await;
        let balancer = Balancer::start().await;
        let clock = Arc::new(ManualClock::new(Ambient::system().now()));
        let setup = proxy()
            .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
            .route(
                "/mcp",
                &format!("{}/mcp", landing.url()),
                "allow: { any_user: true }",
            )
            .route(
                "/app/*",
                landing.url(),
                "kind: http\nallow: { any_user: true }",
            )
            .on_redis(redis.port)
            .yaml(&format!("public_url: \"{}\"", balancer.origin()));
        let mut replicas = Vec::new();
        for _ in 0..2 {
            let ambient = Ambient::new(Arc::clone(&clock) as _, Arc::new(SystemRandom));
            replicas.push(setup.start_in(ambient).await);
        }
        balancer.replicas(replicas.iter().map(Proxy::port).collect());
        Self {
            clock,
            provider,
            landing,
            balancer,
            replicas,
            _redis: redis,
        }
    }

    fn url(&self, path: &str) -> String {
        self.balancer.origin() + path
    }

    async fn person(&self, is: [&'static str; 3]) -> Person {
        let callback = format!("{}/callback", self.landing.url());
        let app = App::discover(&self.url("/mcp"), &callback).await;
        let mut browser = Browser::default();
        let tokens = app.sign_in(&mut browser, is[0]).await;
        Person {
            browser,
            app,
            tokens,
            is,
        }
    }

    /// How often the provider gave tokens, or refused to.
    async fn asked(&self) -> usize {
        self.provider.asked("/token").await
    }

    /// Call `number` of a person, on either replica, by token or by cookie. Who is let in has to be who they are.
    async fn call(&self, person: &Person, number: usize) -> u16 {
        let replica = self.replicas[number % 2].port();
        let mark = format!("{}-{number}", person.is[0]);
        let answer = if (number / 2).is_multiple_of(2) {
            post(&self.url("/mcp")).bearer(&person.tokens.access).rpc(
                &json!({ "jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {
                    "name": "echo", "arguments": { "text": mark } } }),
            )
        } else {
            let url = self.url("/app/page");
            let cookies = person.browser.cookies_for(&url.parse().unwrap());
            get(&format!("{url}?{mark}")).header("cookie", &cookies)
        };
        let answer = answer.via(replica).send().await;
        if answer.status != 200 {
            return answer.status.as_u16();
        }
        let seen = answer.json();
        let told = ["user", "email", "groups"].map(|name| {
            seen["headers"][format!("x-forwarded-{name}")]
                .as_str()
                .unwrap_or("")
        });
        assert_eq!(told, person.is, "{seen:#}");
        assert!(answer.text().contains(&mark), "{seen:#}");
        200
    }

    /// Both call at the same time; gives how often each was let in.
    async fn both(&self, first: &Person, second: &Person) -> [usize; 2] {
        let calls = (0..2 * CALLS).map(|at| {
            let person = if at % 2 == 0 { first } else { second };
            self.call(person, at / 2)
        });
        let statuses = join_all(calls).await;
        [0, 1].map(|who| {
            let mut own = statuses.iter().skip(who).step_by(2);
            assert!(
                own.clone().all(|status| matches!(status, 200 | 401)),
                "{statuses:?}"
            );
            own.by_ref().filter(|status| **status == 200).count()
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_s27_nobody_calls_with_the_login_of_another() {
    let world = World::start().await;
    let mut ann = world
        .person(["ann", "ann@example.com", "engineering,staff"])
        .await;
    world.clock.advance(Duration::from_secs(200));
    let mut bob = world.person(["bob", "bob@example.org", "sales"]).await;
    assert_eq!(world.both(&ann, &bob).await, [CALLS; 2]);
    assert_eq!(world.asked().await, 2, "both are fresh");

    // Ann's end, Bob's do not.
    world.clock.advance(Duration::from_secs(150));
    assert_eq!(world.both(&ann, &bob).await, [CALLS; 2]);
    assert_eq!(world.asked().await, 3, "one refresh");
    // The other way round.
    world.clock.advance(Duration::from_secs(200));
    assert_eq!(world.both(&ann, &bob).await, [CALLS; 2]);
    assert_eq!(world.asked().await, 4, "one refresh");

    // Both at once, with the apps' own refreshes between.
    world.clock.advance(Duration::from_secs(400));
    let tokens = join_all([&ann, &bob].map(|person| async {
        let refresh = person.tokens.refresh.as_deref().unwrap();
        Tokens::of(&person.app.refresh(refresh).await)
    }))
    .await;
    let [of_ann, of_bob] = <[Tokens; 2]>::try_from(tokens).unwrap();
    (ann.tokens, bob.tokens) = (of_ann, of_bob);
    assert_eq!(world.both(&ann, &bob).await, [CALLS; 2]);
    assert_eq!(world.asked().await, 6, "one refresh for each");

    // The provider took Ann's away. Her tokens go on until somebody asks the provider, which her first call by cookie
    // does; from then on she is out, and nobody else is.
    world.provider.revoke("ann").await;
    world.clock.advance(Duration::from_secs(310));
    let [of_ann, of_bob] = world.both(&ann, &bob).await;
    assert!(of_ann <= CALLS / 2, "by cookie she is out: {of_ann}");
    assert_eq!(of_bob, CALLS);
    let out = async {
        loop {
            let [of_ann, of_bob] = world.both(&ann, &bob).await;
            assert_eq!(of_bob, CALLS);
            if of_ann == 0 {
                break;
            }
        }
    };
    timeout(PATIENCE, out)
        .await
        .expect("a replica does not hear that she is out");
}
