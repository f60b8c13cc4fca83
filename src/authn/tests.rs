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
            provider.clone(),
            Arc::clone(&sessions),
            store,
            &keys,
            ambient.clone(),
            &metrics,
        ));
        let authn = Authn::new(
            &config,
            &public_url,
            provider.as_ref(),
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

#[tokio::test]
async fn a_good_token_is_its_subject() {
    let world = World::new().await;
    let identity = world
        .bearer("/a/mcp", &world.signer.token(&world.claims()))
        .await
        .unwrap();
    assert_eq!(&*identity.claims().subject.issuer, "https://issuer.example");
    assert_eq!(&*identity.claims().subject.subject, "ann");
    assert_eq!(identity.credential(), &Credential::Bearer);
    assert_eq!(identity.scopes(), ["mcp:use".into()] as [Box<str>; 1]);
    assert_eq!(identity.expires(), Some(Timestamp::from_secs(NOW + 600)));
    world
        .metric("provider=\"issuer.example\",flow=\"bearer_jwt\",result=\"ok\",reason=\"none\"} 1");
}

#[tokio::test]
async fn advisory_ghsa_wcvh_g65p_v576_every_claim_is_checked() {
    let world = World::new().await;
    assert_eq!(world.refusal(|_| {}).await, None);
    assert_eq!(
        world.refusal(|c| c["exp"] = json!(1_800_000_600.75)).await,
        None
    );
    assert_eq!(
        world
            .refusal(|c| c["aud"] = json!(["x", format!("{PUBLIC}/a/mcp")]))
            .await,
        None
    );
    assert_eq!(world.refusal(|c| c["aud"] = json!("listed")).await, None);
    let remove =
        |name: &'static str| move |c: &mut Value| drop(c.as_object_mut().unwrap().remove(name));
    for (name, reason) in [
        ("aud", "no_audience"),
        ("iss", "wrong_issuer"),
        ("exp", "no_expiry"),
        ("sub", "no_subject"),
    ] {
        assert_eq!(
            world.refusal(remove(name)).await.as_deref(),
            Some(reason),
            "no {name}"
        );
    }
    for (name, value, reason) in [
        ("aud", json!("https://other.example"), "wrong_audience"),
        ("aud", json!("mcp-client"), "wrong_audience"),
        ("iss", json!("https://issuer.example/"), "wrong_issuer"),
        ("iss", json!("https://evil.example"), "wrong_issuer"),
        ("iss", json!(["https://issuer.example"]), "wrong_issuer"),
        ("exp", json!(NOW - 30), "expired"),
        ("exp", json!(1e300), "no_expiry"),
        ("exp", json!("9999999999"), "no_expiry"),
        ("nbf", json!(NOW + 31), "not_yet_valid"),
        ("iat", json!(NOW + 31), "issued_in_future"),
    ] {
        assert_eq!(
            world.refusal(|c| c[name] = value.clone()).await.as_deref(),
            Some(reason),
            "{name} {value}"
        );
    }
    world.metric("provider=\"issuer.example\",flow=\"bearer_jwt\",result=\"denied\",reason=\"wrong_audience\"} 2");
    world.metric(
        "provider=\"none\",flow=\"bearer_jwt\",result=\"denied\",reason=\"wrong_issuer\"} 4",
    );
}

#[tokio::test]
async fn attack_s9_a_token_is_for_one_route() {
    let world = World::new().await;
    let token = |aud: &str| {
        let mut claims = world.claims();
        claims["aud"] = json!(aud);
        world.signer.token(&claims)
    };
    for (aud, path, good) in [
        ("https://mcp.example.com/a/mcp", "/a/mcp", true),
        ("https://mcp.example.com/a/mcp", "/b/mcp", false),
        ("https://mcp.example.com", "/a/mcp", false),
        ("https://mcp.example.com/", "/a/mcp", false),
        ("b-only", "/b/mcp", true),
        ("b-only", "/a/mcp", false),
        ("https://mcp.example.com/t", "/t/x", true),
        ("https://mcp.example.com/t/y", "/t/x", true),
        ("https://mcp.example.com/a/mcp", "/t/x", false),
    ] {
        let token = token(aud);
        // Twice: what is remembered must not soften the check.
        for _ in 0..2 {
            assert_eq!(
                world.bearer(path, &token).await.is_ok(),
                good,
                "{aud} on {path}"
            );
        }
    }
    // A token that is good on one route is known by now, and still no good on another.
    let known = token("https://mcp.example.com/a/mcp");
    assert!(world.bearer("/a/mcp", &known).await.is_ok());
    assert_eq!(
        world.bearer("/b/mcp", &known).await.unwrap_err().reason(),
        Some("wrong_audience")
    );
}

#[tokio::test]
async fn attack_s11_the_key_decides_the_algorithm_and_the_token_names_no_keys() {
    let world = World::new().await;
    let good = world.claims();
    let evil = Signer::new("k1");
    let jwk = world.signer.jwk();
    let hmac = |secret: &[u8]| {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "kid": "k1"}).to_string()),
            URL_SAFE_NO_PAD.encode(good.to_string())
        );
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let unsigned = {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", part(&json!({"alg": "none"})), part(&good))
    };
    let sign = |header: Value| world.signer.sign(&header, &good);
    let lure = world.web.url("/lure");
    let signed = world.signer.token(&good);
    for (token, reason) in [
        (unsigned.clone(), "malformed"),
        (format!("{unsigned}c2ln"), "algorithm"),
        (hmac(jwk.to_string().as_bytes()), "algorithm"),
        (hmac(world.signer.pair.public_key().as_ref()), "algorithm"),
        (sign(json!({"alg": "RS256", "kid": "k1"})), "unknown_kid"),
        (sign(json!({"alg": "ES384", "kid": "k1"})), "unknown_kid"),
        (
            sign(json!({"alg": "ES256", "kid": "k1", "crit": ["b64"], "b64": false})),
            "critical_header",
        ),
        (
            sign(json!({"alg": "ES256", "kid": "k1", "typ": "logout+jwt"})),
            "type",
        ),
        (evil.token(&good), "bad_signature"),
        (
            evil.sign(
                &json!({"alg": "ES256", "kid": "k1", "jwk": evil.jwk(), "jku": lure, "x5u": lure}),
                &good,
            ),
            "bad_signature",
        ),
        (format!("{signed}A"), "bad_signature"),
        (signed[..signed.len() - 4].to_owned(), "bad_signature"),
        ("x".to_owned(), "malformed"),
        ("a.b.c.d.e".to_owned(), "malformed"),
    ] {
        let reject = world.bearer("/a/mcp", &token).await.unwrap_err();
        assert_eq!(
            (reject.status().as_u16(), reject.reason()),
            (401, Some(reason)),
            "{token}"
        );
    }
    assert!(
        world
            .bearer(
                "/a/mcp",
                &world.signer.sign(&json!({"alg": "ES256"}), &good)
            )
            .await
            .is_ok(),
        "no kid: every fitting key is tried"
    );
    assert_eq!(world.web.hits(), 1, "only the key set was ever asked for");
}

#[tokio::test]
async fn algorithms_of_a_listed_issuer_can_be_narrowed() {
    let world =
        World::with(|config, _| config["auth"]["issuers"][0]["algorithms"] = json!(["RS256"]))
            .await;
    assert_eq!(world.refusal(|_| {}).await.as_deref(), Some("algorithm"));
}

#[tokio::test]
async fn a_rotated_key_works_at_once_and_a_removed_one_no_longer() {
    let world = World::new().await;
    let old = world.signer.token(&world.claims());
    assert!(world.bearer("/a/mcp", &old).await.is_ok());
    let next = Signer::new("k2");
    world.web.put("/jwks", 200, &json!({"keys": [next.jwk()]}));
    assert!(
        world.bearer("/a/mcp", &old).await.is_ok(),
        "remembered until somebody learns of the rotation"
    );
    assert!(
        world
            .bearer("/a/mcp", &next.token(&world.claims()))
            .await
            .is_ok()
    );
    let reject = world.bearer("/a/mcp", &old).await.unwrap_err();
    assert_eq!(
        reject.reason(),
        Some("unknown_kid"),
        "what the removed key signed is forgotten"
    );
}

#[tokio::test]
async fn advisory_cve_2025_64527_keys_that_cannot_be_read_are_503() {
    for (status, body) in [
        (500, json!({})),
        (200, json!("garbage")),
        (200, json!({"keys": []})),
        (302, json!({})),
        (404, json!({})),
    ] {
        let world = World::new().await;
        world.web.put("/jwks", status, &body);
        let reject = world
            .bearer("/a/mcp", &world.signer.token(&world.claims()))
            .await
            .unwrap_err();
        assert_eq!(
            (reject.status().as_u16(), reject.code()),
            (503, Code::KeysUnavailable),
            "{status} {body}"
        );
        let names: Vec<_> = reject
            .headers()
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(
            names,
            ["retry-after"],
            "no challenge: nobody has to sign in again"
        );
        world.metric("result=\"error\",reason=\"keys_unavailable\"} 1");
    }
}

#[tokio::test]
async fn verified_tokens_are_remembered_and_no_longer_than_they_may() {
    let world = World::new().await;
    let mut claims = world.claims();
    claims["exp"] = json!(NOW + 90);
    let token = world.signer.token(&claims);
    let first = world.bearer("/a/mcp", &token).await.unwrap();
    let again = world.bearer("/a/mcp", &token).await.unwrap();
    assert!(
        Arc::ptr_eq(first.claims(), again.claims()),
        "the connection's own memory"
    );
    world.metric("mcp_proxy_token_cache_requests_total{result=\"hit\"} 1");
    let other = World {
        conn: conn(),
        ..world
    };
    let shared = other.bearer("/a/mcp", &token).await.unwrap();
    assert!(
        Arc::ptr_eq(first.claims(), shared.claims()),
        "the shared memory"
    );
    other.metric("mcp_proxy_token_cache_requests_total{result=\"hit\"} 2");
    other.metric("mcp_proxy_token_cache_requests_total{result=\"miss\"} 1");
    other.clock.advance(Duration::from_secs(61));
    let later = other.bearer("/a/mcp", &token).await.unwrap();
    assert!(
        !Arc::ptr_eq(first.claims(), later.claims()),
        "verified anew after a minute"
    );
    other.metric("mcp_proxy_token_cache_requests_total{result=\"stale\"} 1");
    other.clock.advance(Duration::from_secs(58));
    assert!(
        other.bearer("/a/mcp", &token).await.is_ok(),
        "within the skew"
    );
    other.clock.advance(Duration::from_secs(1));
    assert_eq!(
        other.bearer("/a/mcp", &token).await.unwrap_err().reason(),
        Some("expired")
    );
}

#[tokio::test]
async fn a_reload_forgets_what_its_predecessor_verified() {
    let before = World::new().await;
    let token = before.signer.token(&before.claims());
    assert!(before.bearer("/a/mcp", &token).await.is_ok());
    let after = World::new().await;
    // The same connection, another configuration: its issuer has other keys.
    let after = World {
        conn: Arc::clone(&before.conn),
        ..after
    };
    assert_eq!(
        after.bearer("/a/mcp", &token).await.unwrap_err().reason(),
        Some("bad_signature")
    );
}

#[tokio::test]
async fn rfc_6750_and_9728_challenges() {
    let world = World::new().await;
    let nobody = world.ask("/a/mcp", &[]).await.unwrap_err();
    assert_eq!(
        (
            nobody.status().as_u16(),
            nobody.code(),
            nobody.wants_login()
        ),
        (401, Code::Unauthenticated, false)
    );
    assert_eq!(
        challenge(&nobody),
        "Bearer resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/a/mcp\", scope=\"mcp:use\""
    );
    let bad = world.bearer("/t/deep/x", "x").await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidToken);
    assert_eq!(
        challenge(&bad),
        "Bearer error=\"invalid_token\", error_description=\"The token is not a signed JWT\", resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/t/deep/x\""
    );
    let http = world.ask("/page", &[]).await.unwrap_err();
    assert_eq!(challenge(&http), "Bearer");
    assert!(!http.wants_login());
    assert_eq!(
        challenge(&world.bearer("/page", "x").await.unwrap_err()),
        "Bearer error=\"invalid_token\", error_description=\"The token is not a signed JWT\""
    );
}

#[tokio::test]
async fn only_navigations_on_http_routes_lead_to_login() {
    let world = World::with(|config, web| {
        config["oidc"] = json!({"issuer": web.url(""), "client_id": "c"})
    })
    .await;
    let navigation = [
        ("sec-fetch-site", "none"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    assert!(
        world
            .ask("/page", &navigation)
            .await
            .unwrap_err()
            .wants_login()
    );
    assert!(!world.ask("/page", &[]).await.unwrap_err().wants_login());
    assert!(
        !world
            .ask("/a/mcp", &navigation)
            .await
            .unwrap_err()
            .wants_login(),
        "an mcp route never redirects"
    );
    assert!(
        world
            .ask("/a/mcp", &navigation)
            .await
            .unwrap_err()
            .message()
            .contains("/a/mcp to an MCP client")
    );
    let with_token = [navigation.as_slice(), &[("authorization", "Bearer x")]].concat();
    assert!(
        !world
            .ask("/page", &with_token)
            .await
            .unwrap_err()
            .wants_login()
    );
}

#[tokio::test]
async fn advisory_cve_2021_21378_a_bad_credential_on_a_public_route_is_not_nobody() {
    let world = World::new().await;
    assert!(matches!(
        world.ask("/open", &[]).await,
        Ok(Caller::Anonymous)
    ));
    for headers in [
        ("authorization", "Bearer x"),
        ("authorization", "Basic eDp5"),
        ("authorization", "Bearer"),
        ("authorization", ""),
        ("x-api-key", "wrong"),
        ("x-api-key", ""),
    ] {
        assert_eq!(
            world.ask("/open", &[headers]).await.unwrap_err().status(),
            401,
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn advisory_cve_2022_29226_and_s32_presence_is_nothing_and_the_query_is_not_read() {
    let world = World::new().await;
    assert_eq!(
        world
            .ask("/a/mcp", &[("authorization", "Bearer x")])
            .await
            .unwrap_err()
            .status(),
        401
    );
    let token = world.signer.token(&world.claims());
    let path = format!("/a/mcp?access_token={token}");
    assert_eq!(
        world.ask(&path, &[]).await.unwrap_err().code(),
        Code::Unauthenticated
    );
}

#[tokio::test]
async fn advisory_cve_2026_34457_a_user_agent_opens_nothing() {
    let world = World::new().await;
    for agent in ["GoogleHC/1.0", "kube-probe/1.30", "ELB-HealthChecker/2.0"] {
        assert_eq!(
            world
                .ask("/a/mcp", &[("user-agent", agent)])
                .await
                .unwrap_err()
                .status(),
            401,
            "{agent}"
        );
    }
}

#[tokio::test]
async fn more_than_one_credential_is_ambiguous() {
    let world = World::new().await;
    let token = format!("Bearer {}", world.signer.token(&world.claims()));
    for headers in [
        [("authorization", &*token), ("authorization", &*token)],
        [("authorization", &*token), ("authorization", "Basic eA==")],
        [
            ("authorization", &*token),
            ("x-api-key", "0123456789abcdef"),
        ],
        [
            ("x-api-key", "0123456789abcdef"),
            ("x-api-key", "0123456789abcdef"),
        ],
    ] {
        assert_eq!(
            world.ask("/a/mcp", &headers).await.unwrap_err().status(),
            400,
            "{headers:?}"
        );
    }
    let two_in_one = format!("{token}, {token}");
    assert_eq!(
        world
            .ask("/a/mcp", &[("authorization", &two_in_one)])
            .await
            .unwrap_err()
            .status(),
        401
    );
    assert!(
        world
            .ask(
                "/a/mcp",
                &[("authorization", &token.replace("Bearer ", "bEARER   "))]
            )
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn api_keys_are_principals() {
    let world = World::new().await;
    let Ok(Caller::Known(identity)) = world
        .ask("/a/mcp", &[("x-api-key", "0123456789abcdef")])
        .await
    else {
        panic!("a live key")
    };
    assert_eq!(identity.claims().groups, ["bots"]);
    assert_eq!(identity.credential(), &Credential::ApiKey);
    let reject = world
        .ask("/a/mcp", &[("x-api-key", "0123456789abcdeX")])
        .await
        .unwrap_err();
    assert_eq!(
        (reject.status().as_u16(), reject.code()),
        (401, Code::Unauthenticated)
    );
    assert!(
        !challenge(&reject).contains("error="),
        "no token was presented"
    );
    let bearer = world
        .bearer("/a/mcp", "0123456789abcdef")
        .await
        .unwrap_err();
    assert_eq!(
        bearer.reason(),
        Some("malformed"),
        "a key is no bearer token"
    );
    world.metric("flow=\"api_key\",result=\"denied\",reason=\"unknown_api_key\"} 1");
}

#[tokio::test]
async fn with_api_keys_alone_no_token_is_asked_for() {
    let world = World::with(|config, _| config["auth"]["issuers"] = json!([])).await;
    assert_eq!(
        challenge(&world.ask("/a/mcp", &[]).await.unwrap_err()),
        "ApiKey header=\"X-API-Key\""
    );
    let target = world.target("/.well-known/oauth-protected-resource/a/mcp");
    let answer =
        world
            .authn
            .resource_metadata(&world.inbound(), &target, &Method::GET, &HeaderMap::new());
    assert_eq!(answer.unwrap_err().status(), 404);
}

#[tokio::test]
async fn bypass_is_one_fixed_user_and_is_seen() {
    let world = World::with(|config, _| config["auth"]["mode"] = json!("bypass")).await;
    let Ok(Caller::Known(identity)) = world.ask("/a/mcp", &[("authorization", "Bearer x")]).await
    else {
        panic!("everybody is in")
    };
    assert_eq!(
        (&*identity.claims().subject.subject, identity.credential()),
        ("bypass-user", &Credential::Bypass)
    );
    world.metric("mcp_proxy_auth_bypass 1");
}

#[tokio::test]
async fn groups_of_a_listed_issuer_count_only_when_mapped() {
    let with_groups = |c: &mut Value| c["groups"] = json!(["admins"]);
    for (map, expected) in [
        (json!(null), &[][..]),
        (json!({"email": "mail"}), &[]),
        (json!({"groups": ["groups"]}), &["admins".to_owned()]),
    ] {
        let world =
            World::with(|config, _| config["auth"]["issuers"][0]["claims"] = map.clone()).await;
        let mut claims = world.claims();
        with_groups(&mut claims);
        let identity = world
            .bearer("/a/mcp", &world.signer.token(&claims))
            .await
            .unwrap();
        assert_eq!(identity.claims().groups, expected, "{map}");
    }
}

#[tokio::test]
async fn a_listed_issuer_is_found_by_its_discovery_document() {
    let world = World::with(|config, web| {
        config["auth"]["issuers"][0] = json!({"issuer": web.url("/realm")});
        web.put(
            "/realm/.well-known/openid-configuration",
            200,
            &json!({"issuer": web.url("/realm"), "jwks_uri": web.url("/jwks")}),
        );
    })
    .await;
    let mut claims = world.claims();
    claims["iss"] = json!(world.web.url("/realm"));
    let token = world.signer.token(&claims);
    assert_eq!(
        world.bearer("/a/mcp", &token).await.unwrap_err().status(),
        503,
        "not discovered yet is no refusal"
    );
    let until = CancellationToken::new();
    let found = async {
        while world.bearer("/a/mcp", &token).await.is_err() {
            tokio::task::yield_now().await;
        }
        until.cancel();
    };
    tokio::time::timeout(
        Duration::from_secs(20),
        futures_util::future::join(world.authn.watch(until.clone()), found),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn the_main_provider_binds_by_its_own_bytes() {
    let world = World::with(|config, web| {
        // The configured issuer has no final slash, the provider's own has one, as Auth0's does.
        config["oidc"] = json!({"issuer": web.url(""), "client_id": "mcp-client"});
        config["auth"]["issuers"] = json!([]);
        web.put("/.well-known/openid-configuration", 200, &json!({
            "issuer": web.url("/"), "jwks_uri": web.url("/jwks"), "authorization_endpoint": web.url("/authorize"),
            "token_endpoint": web.url("/token"), "response_types_supported": ["code"],
        }));
    })
    .await;
    let with_issuer = |issuer: String| {
        let mut claims = world.claims();
        claims["iss"] = json!(issuer);
        claims["groups"] = json!(["eng"]);
        world.signer.token(&claims)
    };
    let (exact, bare) = (
        with_issuer(world.web.url("/")),
        with_issuer(world.web.url("")),
    );
    for token in [&exact, &bare] {
        assert_eq!(
            world.bearer("/a/mcp", token).await.unwrap_err().status(),
            503,
            "not discovered yet"
        );
    }
    let foreign = with_issuer("https://evil.example".to_owned());
    assert_eq!(
        world.bearer("/a/mcp", &foreign).await.unwrap_err().status(),
        401
    );
    let provider = world.authn.bearer.issuers.main().unwrap();
    let until = CancellationToken::new();
    let found = async {
        while provider.jwks().is_none() {
            tokio::task::yield_now().await;
        }
        let identity = world.bearer("/a/mcp", &exact).await.unwrap();
        assert_eq!(identity.claims().groups, ["eng"]);
        assert_eq!(
            world.bearer("/a/mcp", &bare).await.unwrap_err().reason(),
            Some("wrong_issuer")
        );
        let mut claims = world.claims();
        claims["iss"] = json!(world.web.url("/"));
        claims["aud"] = json!("mcp-client");
        let id_token = world.signer.token(&claims);
        assert_eq!(
            world
                .bearer("/a/mcp", &id_token)
                .await
                .unwrap_err()
                .reason(),
            Some("wrong_audience"),
            "the client id is no audience"
        );
        until.cancel();
    };
    tokio::time::timeout(
        Duration::from_secs(20),
        futures_util::future::join(Arc::clone(&provider).watch(until.clone()), found),
    )
    .await
    .unwrap();
    let target = world.target("/.well-known/oauth-protected-resource/a/mcp");
    let answer = world
        .authn
        .resource_metadata(&world.inbound(), &target, &Method::GET, &HeaderMap::new())
        .unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert_eq!(answer.headers()["content-type"], "application/json");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap(),
        json!({
            "resource": "https://mcp.example.com/a/mcp",
            "authorization_servers": [world.web.url("/")],
            "scopes_supported": ["mcp:use"],
            "bearer_methods_supported": ["header"],
        })
    );
}

#[tokio::test]
async fn metadata_can_be_read_by_everybody_and_changed_by_nobody() {
    let world = World::new().await;
    let target = world.target("/.well-known/oauth-protected-resource/b/mcp");
    let ask = |method: Method| {
        let mut headers = HeaderMap::new();
        headers.insert(
            "access-control-request-headers",
            HeaderValue::from_static("mcp-protocol-version"),
        );
        world
            .authn
            .resource_metadata(&world.inbound(), &target, &method, &headers)
    };
    let options = ask(Method::OPTIONS).unwrap();
    assert_eq!(
        (
            options.status().as_u16(),
            &options.headers()["access-control-allow-headers"]
        ),
        (204, &HeaderValue::from_static("mcp-protocol-version"))
    );
    assert_eq!(ask(Method::HEAD).unwrap().status(), 200);
    assert_eq!(ask(Method::POST).unwrap_err().status(), 405);
    let body = ask(Method::GET)
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(
        !text.contains("null") && !text.contains("scopes_supported"),
        "{text}"
    );
}

async fn session_cookie(world: &World) -> String {
    let subject = Subject {
        issuer: "https://idp.example".into(),
        subject: "bob".into(),
    };
    let login = NewLogin {
        claims: Claims::read(
            subject,
            serde_json::Map::new(),
            &crate::config::oidc::ClaimMap::default(),
        ),
        tokens: ProviderTokens {
            access_token: Secret::new("a"),
            access_expires: None,
            refresh_token: None,
            id_token: None,
            provider_session: None,
        },
    };
    let (_, ticket) = world.sessions.create(login).await.unwrap();
    format!(
        "__Host-mcp_session={}",
        ticket.to_cookie_value().expose_secret()
    )
}

#[tokio::test]
async fn a_session_counts_where_the_page_is_ours() {
    let world = World::new().await;
    let cookie = session_cookie(&world).await;
    let who = async |path: &str, more: &[(&str, &str)]| {
        let headers = [&[("cookie", cookie.as_str())], more].concat();
        match world.ask(path, &headers).await {
            Ok(Caller::Known(identity)) => {
                assert_eq!(identity.credential(), &Credential::Session);
                identity.claims().subject.subject.to_string()
            }
            Ok(Caller::Anonymous) => "nobody".to_owned(),
            Err(reject) => reject.status().as_u16().to_string(),
        }
    };
    let navigation = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    for (path, headers, expected) in [
        ("/page", &[][..], "bob"),
        ("/a/mcp", &[], "bob"),
        ("/open", &[], "bob"),
        ("/page", &[("sec-fetch-site", "same-origin")], "bob"),
        ("/page", &navigation, "bob"),
        ("/a/mcp", &navigation, "401"),
        ("/page", &[("sec-fetch-site", "same-site")], "401"),
        ("/open", &[("sec-fetch-site", "cross-site")], "nobody"),
        ("/page", &[("origin", "https://evil.test")], "401"),
        ("/page", &[("origin", PUBLIC)], "bob"),
        ("/page", &[("upgrade", "websocket")], "401"),
        (
            "/page",
            &[("upgrade", "websocket"), ("origin", PUBLIC)],
            "bob",
        ),
        ("/page", &[("authorization", "Bearer x")], "401"),
        ("/page", &[("x-api-key", "wrong")], "401"),
    ] {
        assert_eq!(who(path, headers).await, expected, "{path} {headers:?}");
    }
    world.metric("flow=\"session\",result=\"ok\",reason=\"none\"} 7");
}

#[tokio::test]
async fn forward_auth_without_a_route_is_for_sessions() {
    let world = World::new().await;
    let cookie = HeaderValue::from_str(&session_cookie(&world).await).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("cookie", cookie);
    assert_eq!(
        &*world
            .authn
            .signed_in(&headers)
            .await
            .unwrap()
            .claims()
            .subject
            .subject,
        "bob"
    );
    let target = world.table.named("/page").unwrap();
    assert!(matches!(
        world
            .authn
            .authenticate_forwarded(&world.inbound(), &target, &headers)
            .await,
        Ok(Caller::Known(_))
    ));
    for (name, value) in [
        (
            "authorization",
            format!("Bearer {}", world.signer.token(&world.claims())),
        ),
        ("x-api-key", "0123456789abcdef".to_owned()),
    ] {
        let mut headers = headers.clone();
        headers.insert(name, value.parse().unwrap());
        assert_eq!(
            world.authn.signed_in(&headers).await.unwrap_err().status(),
            401,
            "{name} without a route"
        );
    }
    let mut headers = HeaderMap::new();
    headers.insert(
        "authorization",
        format!("Bearer {}", world.signer.token(&world.claims()))
            .parse()
            .unwrap(),
    );
    let target = world.table.named("/a/mcp").unwrap();
    assert!(
        world
            .authn
            .authenticate_forwarded(&world.inbound(), &target, &headers)
            .await
            .is_ok()
    );
    let target = world.table.named("/b/mcp").unwrap();
    assert_eq!(
        world
            .authn
            .authenticate_forwarded(&world.inbound(), &target, &headers)
            .await
            .unwrap_err()
            .status(),
        401
    );
}

#[tokio::test]
async fn broken_session_cookies_are_never_a_way_in() {
    let world = World::new().await;
    for cookie in [
        "__Host-mcp_session=",
        "__Host-mcp_session=x",
        "__Host-mcp_session=AAAA.BBBB",
        "mcp_session=x",
        ";;=",
        "__Host-mcp_session=%00",
    ] {
        assert_eq!(
            world
                .ask("/page", &[("cookie", cookie)])
                .await
                .unwrap_err()
                .status(),
            401,
            "{cookie}"
        );
        let mut headers = HeaderMap::new();
        headers.insert("cookie", HeaderValue::from_str(cookie).unwrap());
        assert_eq!(
            world.authn.signed_in(&headers).await.unwrap_err().status(),
            401,
            "{cookie}"
        );
    }
}
