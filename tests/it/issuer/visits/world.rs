//! Provider, backend, Redis, two replicas, and a balancer without affinity before them.

use std::collections::HashSet;
use std::process::Command;
use std::sync::Arc;

use mcp_oidc_proxy::clock::{Ambient, ManualClock, SystemRandom};
use serde_json::json;

use crate::harness::balancer::{Balancer, Seen};
use crate::harness::mcp::Mcp;
use crate::harness::parts;
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::{Proxy, Setup, proxy};
use crate::harness::redis::Server;

/// Path of the route.
pub(super) const MCP: &str = "/sample/mcp";

/// Where a client's visit takes place.
pub(super) struct World {
    pub(super) clock: Arc<ManualClock>,
    balancer: Balancer,
    replicas: Vec<Proxy>,
    setup: Setup,
    /// Names of the signing keys in force, the first of which signs.
    signing: Vec<&'static str>,
    keys: [(&'static str, String); 2],
    folder: tempfile::TempDir,
    _provider: RealProvider,
    _backend: Mcp,
    _redis: Server,
}

impl World {
    pub(super) async fn new() -> Self {
        // Its clock is the machine's, so ID tokens have to outlive the steps of ours.
        let provider =
            RealProvider::start(&json!({ "registration": false, "id_token_ttl": 86_400 })).await;
        let backend = Mcp::start().await;
        let redis = Server::plain().await;
        let balancer = Balancer::start().await;
        let setup = proxy()
            .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
            .route(
                MCP,
                backend.url(),
                "allow: { groups: [engineering] }\nscopes: [mcp]",
            )
            .on_redis(redis.port)
            .yaml(&format!("public_url: \"{}\"", balancer.origin()));
        let pem = || {
            rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
                .unwrap()
                .serialize_pem()
        };
        let mut world = Self {
            clock: Arc::new(ManualClock::new(Ambient::system().now())),
            balancer,
            replicas: Vec::new(),
            setup,
            signing: vec!["one"],
            keys: [("one", pem()), ("two", pem())],
            folder: tempfile::tempdir().unwrap(),
            _provider: provider,
            _backend: backend,
            _redis: redis,
        };
        world.start().await;
        world
    }

    /// The public address of a path.
    pub(super) fn url(&self, path: &str) -> String {
        self.balancer.origin() + path
    }

    /// A folder for what a client keeps.
    pub(super) fn folder(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    /// Lets a client that opens browsers find the scripted person.
    pub(super) fn give_browser(&self, command: &mut Command) {
        let log = self.folder.path().join("person.log");
        command
            .env("BROWSER", parts::folder().join("clients/person.mjs"))
            .env("PERSON_LOGIN", "ann")
            .env("PERSON_LOG", log)
            .env_remove("DISPLAY")
            .env_remove("XDG_CURRENT_DESKTOP")
            .env("HOME", self.folder());
    }

    /// Ends every replica, and starts as many new ones.
    pub(super) async fn restart(&mut self) {
        self.balancer.replicas(Vec::new());
        for replica in self.replicas.drain(..) {
            replica.stop().await;
        }
        self.start().await;
    }

    /// Puts other signing keys into force, one replica after the other.
    pub(super) async fn sign_with(&mut self, names: &[&'static str]) {
        names.clone_into(&mut self.signing);
        let setup = self.configured();
        for replica in &self.replicas {
            replica.reload(&setup).await.unwrap();
        }
    }

    /// Registrations so far.
    pub(super) fn registrations(&self) -> usize {
        self.balancer.good("POST", "/oauth2/register").len()
    }

    /// How often a person approved.
    pub(super) fn approvals(&self) -> usize {
        self.balancer.good("POST", "/oauth2/consent").len()
    }

    /// Token requests with a grant type that were answered well.
    pub(super) fn token_requests(&self, grant_type: &str) -> usize {
        self.balancer
            .good("POST", "/oauth2/token")
            .iter()
            .filter(|seen| seen.form["grant_type"] == grant_type)
            .count()
    }

    /// Fails when any token request was refused.
    pub(super) fn every_token_request_was_answered(&self) {
        for seen in self.balancer.seen() {
            assert!(
                seen.path != "/oauth2/token" || seen.status == 200,
                "{seen:#?}"
            );
        }
    }

    /// The last request to the route that carried a token and was let through.
    pub(super) fn last_token(&self) -> Seen {
        self.calls().pop().expect("a request with a token")
    }

    /// The revision that the last request to the route named.
    pub(super) fn revision(&self) -> String {
        self.last_token().revision
    }

    /// How many replicas let requests through so far.
    pub(super) fn replicas_that_served(&self) -> usize {
        let ports: HashSet<u16> = self.calls().iter().map(|seen| seen.replica).collect();
        ports.len()
    }

    /// Posts to the route that carried a token and were let through.
    fn calls(&self) -> Vec<Seen> {
        let mut calls = self.balancer.good("POST", MCP);
        calls.retain(|seen| seen.bearer.is_some());
        calls
    }

    fn configured(&self) -> Setup {
        let pem: Vec<&str> = self
            .signing
            .iter()
            .map(|name| self.keys.iter().find(|(known, _)| known == name).unwrap())
            .map(|(_, pem)| pem.as_str())
            .collect();
        // JSON is YAML.
        let keys = json!({ "signing_keys": pem });
        self.setup
            .clone()
            .yaml(&format!("authorization_server: {keys}"))
    }

    async fn start(&mut self) {
        let setup = self.configured();
        for _ in 0..2 {
            let ambient = Ambient::new(Arc::clone(&self.clock) as _, Arc::new(SystemRandom));
            self.replicas.push(setup.start_in(ambient).await);
        }
        self.balancer
            .replicas(self.replicas.iter().map(Proxy::port).collect());
    }
}
