use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;
use crate::clock::{ManualClock, SystemRandom};
use crate::store::memory::MemoryStore;

/// 2026-11-21.
pub(crate) const START: i64 = 1_795_237_639;

/// What clients are made of.
pub(crate) struct Fixture {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) ambient: Ambient,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) roots: Vec<u8>,
    pub(crate) public_url: &'static str,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(START)));
        let ambient = Ambient::new(clock.clone(), Arc::new(SystemRandom));
        Self {
            store: Arc::new(MemoryStore::new(
                &crate::config::session::Sessions::default(),
                ambient.clone(),
            )),
            clock,
            ambient,
            metrics: Metrics::new(),
            roots: vec![1],
            public_url: "https://mcp.example.com",
        }
    }

    /// Reached on loopback, so that servers on loopback may be fetched from.
    pub(crate) fn on_loopback() -> Self {
        Self {
            public_url: "http://localhost:8080",
            ..Self::new()
        }
    }

    pub(crate) fn config(section: &str) -> Config {
        serde_yaml::from_str(&format!("version: 1\nauthorization_server: {section}\n")).unwrap()
    }

    /// The clients of a section of the configuration.
    pub(crate) fn clients(&self, section: &str) -> Clients {
        self.after(section, None)
    }

    pub(crate) fn after(&self, section: &str, before: Option<&Clients>) -> Clients {
        let roots = self.roots.iter().map(|root| vec![*root; 32]).collect();
        Clients::new(
            &Self::config(section),
            &PublicUrl::parse(self.public_url).unwrap(),
            &KeyRing::new(roots, self.ambient.clone()).unwrap(),
            Arc::clone(&self.store),
            &self.ambient,
            &self.metrics,
            before,
        )
        .unwrap()
    }
}

/// A client's signing key.
pub(crate) struct Signer {
    key: rcgen::KeyPair,
    pub(crate) kid: &'static str,
}

impl Signer {
    pub(crate) fn new(kid: &'static str) -> Self {
        Self {
            key: rcgen::KeyPair::generate().unwrap(),
            kid,
        }
    }

    /// The public half as a JWK.
    pub(crate) fn jwk(&self) -> Value {
        let point = rcgen::PublicKeyData::der_bytes(&self.key);
        let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        json!({ "kty": "EC", "crv": "P-256", "kid": self.kid, "x": part(1..33), "y": part(33..65) })
    }

    pub(crate) fn key_set(&self) -> Value {
        json!({ "keys": [self.jwk()] })
    }

    /// Signs claims, with further members of the header.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let mut all = json!({ "alg": "ES256", "kid": self.kid });
        for (name, value) in header.as_object().unwrap() {
            all[name] = value.clone();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&all), part(claims));
        let key =
            jsonwebtoken::EncodingKey::from_ec_pem(self.key.serialize_pem().as_bytes()).unwrap();
        let signature =
            jsonwebtoken::crypto::sign(signed.as_bytes(), &key, jsonwebtoken::Algorithm::ES256)
                .unwrap();
        format!("{signed}.{signature}")
    }
}

#[tokio::test]
async fn a_configured_client_is_what_the_operator_wrote() {
    let clients = Fixture::new().clients(
        "{ clients: [{ client_id: desk, name: Desktop, redirect_uris: ['http://127.0.0.1/cb'], scopes: [read], groups: [g], routes: [a] }] }",
    );
    let client = clients.find("desk", None).await.unwrap();
    assert_eq!(client.standing, Standing::Configured);
    assert_eq!(client.name.as_deref(), Some("Desktop"));
    assert!(matches!(client.auth, ClientAuth::None));
    assert!(client.may(GrantType::RefreshToken) && !client.may(GrantType::ClientCredentials));
    assert_eq!(client.scopes.as_ref().unwrap().to_string(), "read");
    assert_eq!(client.routes.as_ref().unwrap()[0].as_str(), "a");
    assert_eq!(client.digest.len(), 32);
    let place = Place::Loopback("127.0.0.1".to_owned());
    assert!(client.redirect_uris.iter().all(|uri| *uri.place() == place));
    // Without a `redirect_uri` the only one is meant; with one, the port floats.
    let uris = &client.redirect_uris;
    assert_eq!(uris.find(None).unwrap().as_str(), "http://127.0.0.1/cb");
    let asked = "http://127.0.0.1:5555/cb";
    assert_eq!(uris.find(Some(asked)).unwrap().as_str(), asked);
    assert!(uris.find(Some("http://127.0.0.1:5555/other")).is_none());
    assert!(uris.find(Some("http://u@127.0.0.1:5555/cb")).is_none());
}

#[tokio::test]
async fn unknown_ids_are_unknown_and_nothing_else() {
    let clients = Fixture::new().clients("{}");
    for id in [
        "",
        "nobody",
        "mcpd_",
        "mcpd_AAAA",
        "mcpd_%%%",
        "http://clients.example/c",
        "HTTPS://clients.example/c",
        "a\nb",
        "\u{e9}",
        &"a".repeat(MAX_CLIENT_ID + 1),
    ] {
        let found = clients.find(id, None).await;
        assert!(matches!(found, Err(ClientError::Unknown(_))), "{id:?}");
        let error = OAuthError::from(found.unwrap_err());
        assert_eq!(error.code, OAuthCode::InvalidClient);
    }
}

#[tokio::test]
async fn what_is_switched_off_is_not_there() {
    let fixture = Fixture::new();
    let on = fixture.clients("{}");
    assert!(on.can_register() && on.has_documents());
    let said =
        json!({ "redirect_uris": ["https://a.example/cb"], "token_endpoint_auth_method": "none" });
    let id = on.register(said.as_object().unwrap()).unwrap().id;
    on.find(&id, None).await.unwrap();
    let off = fixture.clients(
        "{ registration: { enabled: false }, client_metadata_documents: { enabled: false } }",
    );
    assert!(!off.can_register() && !off.has_documents());
    assert!(off.register(said.as_object().unwrap()).is_err());
    // Who had registered before goes on, unless the operator says otherwise.
    off.find(&id, None).await.unwrap();
    let shut = fixture.clients("{ registration: { enabled: false, accept_existing: false } }");
    assert!(!shut.can_register());
    assert!(shut.find(&id, None).await.is_err());
    assert!(shut.register(said.as_object().unwrap()).is_err());
    assert!(
        off.find("https://a.example/client.json", None)
            .await
            .is_err()
    );
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let fixture = Fixture::new();
    for (section, says) in [
        (
            "{ clients: [{ client_id: a, jwks_file: /no/such.json }] }",
            "authorization_server.clients[0].jwks_file: /no/such.json",
        ),
        (
            "{ client_metadata_documents: { ca_file: /no/ca.pem } }",
            "authorization_server.client_metadata_documents.ca_file",
        ),
    ] {
        let made = Clients::new(
            &Fixture::config(section),
            &PublicUrl::parse(fixture.public_url).unwrap(),
            &KeyRing::ephemeral(fixture.ambient.clone()),
            Arc::clone(&fixture.store),
            &fixture.ambient,
            &fixture.metrics,
            None,
        );
        let error = made.err().unwrap();
        assert!(error.starts_with(says), "{error}");
    }
}

#[test]
fn loopback_is_where_nobody_else_can_ask() {
    for (text, loopback) in [
        ("http://localhost:8080", true),
        ("http://127.0.0.1", true),
        ("https://[::1]:8443", true),
        ("https://localhost.example.com", false),
        ("https://mcp.example.com", false),
        ("http://10.0.0.1", false),
    ] {
        assert_eq!(
            is_loopback(&PublicUrl::parse(text).unwrap()),
            loopback,
            "{text}"
        );
    }
}
