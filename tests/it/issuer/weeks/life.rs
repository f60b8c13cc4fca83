//! The app of one person, signed in, with everything around it on one clock.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use mcp_oidc_proxy::clock::{Ambient, ManualClock, SystemRandom, Timestamp};
use serde_json::{Value, json};

use crate::harness::balancer::Balancer;
use crate::harness::browser::Browser;
use crate::harness::client::{Answer, post};
use crate::harness::echo::Echo;
use crate::harness::idp::{CLIENT_ID, CLIENT_SECRET, Idp};
use crate::harness::oauth::{App, Tokens};
use crate::harness::proxy::{Proxy, Setup, proxy};
use crate::harness::redis::Server;

/// One person's app, signed in.
pub(super) struct Life {
    clock: Arc<ManualClock>,
    pub(super) idp: Idp,
    pub(super) app: App,
    pub(super) tokens: Tokens,
    proxies: Vec<Proxy>,
    _backend: Echo,
    /// What lasts while replicas come and go.
    lasting: Option<Lasting>,
}

/// A balancer without affinity, and the Redis of all replicas.
struct Lasting {
    balancer: Balancer,
    setup: Setup,
    ambient: Ambient,
    _redis: Server,
}

impl Life {
    /// One proxy with a store in memory, and a provider that was prepared before.
    pub(super) async fn begin(prepare: impl FnOnce(&Idp)) -> Self {
        let (clock, ambient) = time();
        let idp = Idp::start(ambient.clone()).await;
        prepare(&idp);
        let backend = Echo::start().await;
        let proxy = setup(&idp, &backend).start_in(ambient).await;
        let mcp = proxy.url("/mcp");
        Self::sign_in(clock, idp, backend, vec![proxy], &mcp).await
    }

    /// Replicas on one Redis, behind a balancer.
    pub(super) async fn begin_on_replicas(count: usize) -> Self {
        let (clock, ambient) = time();
        let idp = Idp::start(ambient.clone()).await;
        let backend = Echo::start().await;
        let redis = Server::plain().await;
        let balancer = Balancer::start().await;
        let setup = setup(&idp, &backend)
            .on_redis(redis.port)
            .yaml(&format!("public_url: \"{}\"", balancer.origin()));
        let lasting = Lasting {
            balancer,
            setup,
            ambient,
            _redis: redis,
        };
        let proxies = lasting.start(count).await;
        let mcp = lasting.balancer.origin() + "/mcp";
        let mut life = Self::sign_in(clock, idp, backend, proxies, &mcp).await;
        life.lasting = Some(lasting);
        life
    }

    /// Ends all replicas, and starts as many new ones.
    pub(super) async fn restart(&mut self) {
        let lasting = self.lasting.as_ref().unwrap();
        lasting.balancer.replicas(Vec::new());
        let count = self.proxies.len();
        for proxy in self.proxies.drain(..) {
            proxy.stop().await;
        }
        self.proxies = lasting.start(count).await;
    }

    async fn sign_in(
        clock: Arc<ManualClock>,
        idp: Idp,
        backend: Echo,
        proxies: Vec<Proxy>,
        mcp: &str,
    ) -> Self {
        let app = App::discover(mcp, &format!("{}/callback", backend.url())).await;
        let tokens = app.sign_in(&mut Browser::default(), "ann").await;
        let life = Self {
            clock,
            idp,
            app,
            tokens,
            proxies,
            _backend: backend,
            lasting: None,
        };
        life.works().await;
        life
    }

    pub(super) fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// Presents the app's refresh token.
    pub(super) async fn try_refresh(&self) -> Answer {
        self.app
            .refresh(self.tokens.refresh.as_deref().unwrap())
            .await
    }

    /// Refreshes, as has to be possible, and keeps what came.
    pub(super) async fn refresh(&mut self) {
        self.tokens = Tokens::of(&self.try_refresh().await);
    }

    /// A call with the app's access token.
    pub(super) async fn call(&self) -> Answer {
        call(&self.app.resource, &self.tokens.access).await
    }

    pub(super) async fn works(&self) {
        let answer = self.call().await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }

    /// The provider was asked to sign somebody in this often.
    pub(super) fn logins(&self) -> usize {
        self.idp.calls("/authorize").len()
    }

    /// The provider was asked for fresh tokens this often.
    pub(super) fn refreshes_at_the_provider(&self) -> usize {
        let calls = self.idp.calls("/token");
        calls
            .iter()
            .filter(|call| call.form["grant_type"] == "refresh_token")
            .count()
    }

    /// Seconds on the provider's clock.
    pub(super) fn idp_time(&self) -> i64 {
        let token = self.idp.access_token("x", "x", &json!({}));
        part(&token, 1)["iat"].as_i64().unwrap()
    }

    /// The app has to ask its person again, and nothing of what it has is good any more.
    pub(super) async fn is_over(&self) {
        let answer = self.try_refresh().await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
        assert_eq!(answer.json()["error"], "invalid_grant");
        let answer = self.call().await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.text());
        assert!(
            answer
                .header("www-authenticate")
                .contains("error=\"invalid_token\""),
            "{answer:?}"
        );
    }

    pub(super) async fn end(self) {
        for proxy in self.proxies {
            proxy.stop().await;
        }
    }
}

impl Lasting {
    async fn start(&self, count: usize) -> Vec<Proxy> {
        let mut proxies = Vec::new();
        for _ in 0..count {
            proxies.push(self.setup.start_in(self.ambient.clone()).await);
        }
        self.balancer
            .replicas(proxies.iter().map(Proxy::port).collect());
        proxies
    }
}

fn time() -> (Arc<ManualClock>, Ambient) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000)));
    let ambient = Ambient::new(Arc::clone(&clock) as _, Arc::new(SystemRandom));
    (clock, ambient)
}

fn setup(idp: &Idp, backend: &Echo) -> Setup {
    proxy()
        .oidc(&idp.issuer(), CLIENT_ID, CLIENT_SECRET)
        // Hanging calls shall not make the tests long.
        .oidc_yaml("timeout: 500ms")
        .route(
            "/mcp",
            &format!("{}/mcp", backend.url()),
            "allow: { groups: [engineering] }\nscopes: [mcp]",
        )
}

pub(super) async fn call(mcp: &str, access: &str) -> Answer {
    post(mcp)
        .bearer(access)
        .rpc(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }))
        .send()
        .await
}

/// The key that an access token names.
pub(super) fn kid(token: &str) -> String {
    part(token, 0)["kid"].as_str().unwrap().to_owned()
}

fn part(token: &str, number: usize) -> Value {
    let part = token.split('.').nth(number).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}
