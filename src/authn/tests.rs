//! Authentication from the outside: a proxy's `Authn` against a provider's web server on loopback.

mod challenges;
mod introspection;
mod issuers;
mod keys;
mod sessions;
mod tokens;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::clock::{ManualClock, SystemRandom as OurRandom};
use crate::ids::RequestId;
use crate::keys::KeyRing;
use crate::peer::{Conn, Peer, TokenMemo};
use crate::revocation::Revocations;
use crate::route::{Matched, Table};
use crate::secret::Secret;
use crate::session::{NewLogin, ProviderTokens, Sessions};
use crate::store::Store;
use crate::store::memory::MemoryStore;

const NOW: i64 = 1_800_000_000;
const PUBLIC: &str = "https://mcp.example.com";

/// A provider's web server on loopback: documents by path, counted.
struct Web {
    address: SocketAddr,
    pages: Arc<Mutex<HashMap<String, (u16, String)>>>,
    hits: Arc<AtomicUsize>,
    _task: tokio_util::task::AbortOnDropHandle<()>,
}

impl Web {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let pages: Arc<Mutex<HashMap<String, (u16, String)>>> = Arc::default();
        let hits = Arc::new(AtomicUsize::new(0));
        let (served, counted) = (Arc::clone(&pages), Arc::clone(&hits));
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read_exact(&mut byte).await.is_err() {
                        break;
                    }
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                counted.fetch_add(1, Ordering::SeqCst);
                let (status, body) = served
                    .lock()
                    .unwrap()
                    .get(&path)
                    .cloned()
                    .unwrap_or((404, String::new()));
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nLocation: http://127.0.0.1:1/\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self {
            address,
            pages,
            hits,
            _task: tokio_util::task::AbortOnDropHandle::new(task),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn put(&self, path: &str, status: u16, body: &Value) {
        self.pages
            .lock()
            .unwrap()
            .insert(path.to_owned(), (status, body.to_string()));
    }

    fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}

struct Signer {
    kid: String,
    pair: EcdsaKeyPair,
}

impl Signer {
    fn new(kid: &str) -> Self {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
        Self {
            kid: kid.to_owned(),
            pair,
        }
    }

    fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "x": part(&point[1..33]), "y": part(&point[33..65])})
    }

    fn sign(&self, header: &Value, payload: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(payload));
        let signature = self
            .pair
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn token(&self, payload: &Value) -> String {
        self.sign(
            &json!({"alg": "ES256", "typ": "at+jwt", "kid": self.kid}),
            payload,
        )
    }
}

struct World {
    web: Web,
    signer: Signer,
    authn: Authn,
    table: Table,
    clock: Arc<ManualClock>,
    metrics: Arc<Metrics>,
    conn: Arc<Conn>,
    sessions: Arc<Sessions>,
}

fn conn() -> Arc<Conn> {
    Arc::new(Conn {
        peer: Peer::Unix,
        listener: "test".into(),
        tls: None,
        memo: TokenMemo::default(),
    })
}

impl World {
    async fn new() -> Self {
        Self::with(|_, _| {}).await
    }

    /// One listed issuer with its keys at `/jwks`; `change` edits the configuration.
    async fn with(change: impl FnOnce(&mut Value, &Web)) -> Self {
        let web = Web::start().await;
        let signer = Signer::new("k1");
        web.put("/jwks", 200, &json!({"keys": [signer.jwk()]}));
        let mut config = json!({
            "version": 1,
            "auth": {
                "issuers": [{"issuer": "https://issuer.example", "jwks_uri": web.url("/jwks"), "audiences": ["listed"]}],
                "api_keys": [{"name": "ci", "key": "0123456789abcdef", "groups": ["bots"]}],
            },
            "backends": [{"name": "b", "upstream": "http://127.0.0.1:1"}],
            "routes": [
                {"path": "/a/mcp", "backend": "b", "allow": {"any_user": true}, "scopes": ["mcp:use", "offline_access"]},
                {"path": "/b/mcp", "backend": "b", "allow": {"any_user": true}, "audiences": ["b-only"]},
                {"path": "/t/*", "backend": "b", "allow": {"any_user": true}},
                {"path": "/open", "backend": "b", "kind": "http", "public": true},
                {"path": "/page", "backend": "b", "kind": "http", "allow": {"any_user": true}},
            ],
        });
        change(&mut config, &web);
        let config: Config = serde_json::from_value(config).unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(NOW)));
        let ambient = Ambient::new(Arc::clone(&clock) as _, Arc::new(OurRandom));
        let metrics = Metrics::new();
        let public_url = PublicUrl::parse(PUBLIC).unwrap();
        let keys = KeyRing::ephemeral(ambient.clone());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(&config.sessions, ambient.clone()));
        let sessions = Sessions::new(
            Arc::clone(&store),
            keys.clone(),
            &config.sessions,
            &Revocations::new(Arc::clone(&store), ambient.clone()),
            ambient.clone(),
            &metrics,
        );
        let provider = config
            .oidc
            .as_ref()
            .map(|oidc| Provider::new(oidc, ambient.clone(), &metrics).unwrap());
        let browser = Arc::new(Browser::new(
            &config,
            &public_url,
            provider.iter().cloned().collect(),
            Arc::clone(&sessions),
            store,
            &keys,
            ambient.clone(),
            &metrics,
            &crate::audit::Audit::default(),
        ));
        let authn = Authn::new(
            &config,
            None,
            &public_url,
            provider.as_slice(),
            browser,
            &ambient,
            &metrics,
        )
        .unwrap();
        let table = Table::compile(&config, &public_url);
        Self {
            web,
            signer,
            authn,
            table,
            clock,
            metrics,
            conn: conn(),
            sessions,
        }
    }

    fn claims(&self) -> Value {
        let now = self.now().as_secs();
        json!({"iss": "https://issuer.example", "sub": "ann", "aud": format!("{PUBLIC}/a/mcp"), "exp": now + 600, "iat": now, "scope": "mcp:use"})
    }

    fn now(&self) -> Timestamp {
        crate::clock::Clock::now(&*self.clock)
    }

    fn inbound(&self) -> Inbound {
        Inbound {
            id: RequestId::new([1; 16]),
            received: self.now(),
            started: tokio::time::Instant::now(),
            conn: Arc::clone(&self.conn),
            client: None,
            https: true,
        }
    }

    fn target(&self, path: &str) -> Target {
        match self.table.find(&Method::POST, &path.parse().unwrap()) {
            Ok(Matched::Backend(target) | Matched::ResourceMetadata(target)) => target,
            _ => panic!("{path} leads nowhere"),
        }
    }

    async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Result<Caller, Reject> {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        self.authn
            .authenticate(&self.inbound(), &self.target(path), &parts)
            .await
    }

    async fn bearer(&self, path: &str, token: &str) -> Result<Identity, Reject> {
        match self
            .ask(path, &[("authorization", &format!("Bearer {token}"))])
            .await
        {
            Ok(Caller::Known(identity)) => Ok(identity),
            Ok(Caller::Anonymous) => panic!("a bad token must never be nobody"),
            Err(reject) => Err(reject),
        }
    }

    /// Why claims that were changed are refused; `None` when they are accepted.
    async fn refusal(&self, change: impl FnOnce(&mut Value)) -> Option<String> {
        let mut claims = self.claims();
        change(&mut claims);
        let outcome = self.bearer("/a/mcp", &self.signer.token(&claims)).await;
        outcome.err().map(|reject| {
            assert_eq!(reject.status(), 401, "{reject:?}");
            reject.reason().unwrap().to_owned()
        })
    }

    fn metric(&self, line: &str) {
        let text = self.metrics.render();
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

fn challenge(reject: &Reject) -> String {
    let found: Vec<_> = reject
        .headers()
        .iter()
        .filter(|(name, _)| name == http::header::WWW_AUTHENTICATE)
        .map(|(_, value)| value.to_str().unwrap().to_owned())
        .collect();
    assert_eq!(found.len(), 1, "one challenge");
    found.into_iter().next().unwrap()
}

impl Identity {
    /// An identity without a credential behind it, for tests of what comes after authentication.
    pub(crate) fn for_test(claims: Arc<Claims>) -> Self {
        Self {
            claims,
            credential: Credential::Bearer,
            scopes: Arc::from([]),
            client_id: None,
            expires: None,
            basis: None,
        }
    }

    /// The same with what its credential says.
    pub(crate) fn with(
        mut self,
        credential: Credential,
        scopes: &[&str],
        client: Option<&str>,
    ) -> Self {
        self.credential = credential;
        self.scopes = scopes.iter().map(|scope| Box::from(*scope)).collect();
        self.client_id = client.map(Arc::from);
        self
    }
}
