use std::sync::Mutex;

use serde_json::json;

use super::super::tests::Fixture;
use super::super::{Clients, Place};
use super::*;
use crate::issuer::error::{OAuthCode, OAuthError};
use crate::upstream::guarded::tests::{Answer, Server, ok, status};

/// A server whose one document can be changed, and the clients that may fetch it.
struct Bench {
    fixture: Fixture,
    server: Server,
    document: Arc<Mutex<Box<dyn Fn() -> Answer + Send>>>,
    clients: Clients,
}

impl Bench {
    async fn new() -> Self {
        let document: Arc<Mutex<Box<dyn Fn() -> Answer + Send>>> =
            Arc::new(Mutex::new(Box::new(|| status("404 Not Found"))));
        let shown = Arc::clone(&document);
        let server = Server::start(move |_| (shown.lock().unwrap())()).await;
        let fixture = Fixture::on_loopback();
        let clients = fixture.clients(&section(&server, ""));
        Self {
            fixture,
            server,
            document,
            clients,
        }
    }

    fn id(&self) -> String {
        self.server.url("/client.json").to_string()
    }

    fn show(&self, answer: impl Fn() -> Answer + Send + 'static) {
        *self.document.lock().unwrap() = Box::new(answer);
    }

    /// A good document, with members added, or taken away by `null`.
    fn show_with(&self, headers: &'static str, members: &Value) {
        let text = with(&self.id(), members).to_string();
        self.show(move || ok(headers, &text));
    }

    async fn find(&self) -> Result<Arc<Client>, ClientError> {
        self.clients.find(&self.id(), None).await
    }

    fn step(&self, secs: u64) {
        self.fixture.clock.advance(Duration::from_secs(secs));
    }
}

fn section(server: &Server, more: &str) -> String {
    format!(
        "{{ client_metadata_documents: {{ ca_file: '{}', {more} }} }}",
        server.ca_file().display()
    )
}

fn with(id: &str, members: &Value) -> Value {
    let mut document = json!({
        "client_id": id,
        "client_name": "Claude",
        "redirect_uris": ["https://claude.ai/api/mcp/auth_callback", "http://localhost/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
    });
    for (name, value) in members.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    document
}

#[tokio::test]
async fn a_document_makes_a_client() {
    let bench = Bench::new().await;
    bench.show_with(
        "",
        &json!({ "token_endpoint_auth_method": "none", "logo_uri": "http://127.0.0.1/logo" }),
    );
    let client = bench.find().await.unwrap();
    assert_eq!(&*client.id, bench.id());
    assert_eq!(
        client.standing,
        Standing::Document {
            host: "localhost".to_owned()
        }
    );
    assert_eq!(client.name.as_deref(), Some("Claude"));
    assert!(matches!(client.auth, ClientAuth::None));
    assert!(client.may(GrantType::RefreshToken) && !client.may(GrantType::JwtBearer));
    let places: Vec<_> = client
        .redirect_uris
        .iter()
        .map(|uri| uri.place().clone())
        .collect();
    assert_eq!(
        places,
        [
            Place::Web("claude.ai".to_owned()),
            Place::Loopback("localhost".to_owned())
        ]
    );
    // Fetched once, whoever asks; a reload keeps it while the rules are the same.
    bench.find().await.unwrap();
    let again = bench
        .fixture
        .after(&section(&bench.server, ""), Some(&bench.clients));
    again.find(&bench.id(), None).await.unwrap();
    assert_eq!(bench.server.heads().len(), 1);
    let stricter = bench.fixture.after(
        &section(&bench.server, "allowed_hosts: [claude.ai]"),
        Some(&bench.clients),
    );
    assert!(matches!(
        stricter.find(&bench.id(), None).await,
        Err(ClientError::Unknown(_))
    ));
    let denied = section(&bench.server, "denied_hosts: [localhost]");
    assert!(
        bench
            .fixture
            .clients(&denied)
            .find(&bench.id(), None)
            .await
            .is_err()
    );
    assert_eq!(bench.server.heads().len(), 1);
}

#[tokio::test]
async fn keys_and_leftovers_of_a_document_are_read() {
    let signer = super::super::tests::Signer::new("k1");
    let bench = Bench::new().await;
    bench.show_with("", &json!({
        "grant_types": ["authorization_code", "urn:ietf:params:oauth:grant-type:jwt-bearer", "client_credentials", "device"],
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": signer.key_set(),
        // Not acceptable here, which is no fault of the document.
        "redirect_uris": ["https://a.example/cb", "zed://cb", "javascript:x"],
    }));
    let client = bench.find().await.unwrap();
    assert!(matches!(&client.auth, ClientAuth::Keys(ClientKeys::Inline(keys)) if keys.len() == 1));
    assert!(client.may(GrantType::JwtBearer) && !client.may(GrantType::ClientCredentials));
    assert_eq!(client.redirect_uris.iter().count(), 1);
}

/// S16, S17: whatever is wrong with a document or on the way to it, people and clients are told the same.
#[tokio::test]
async fn attack_s16_every_failure_looks_the_same() {
    let bench = Bench::new().await;
    let mut texts = std::collections::HashSet::new();
    let mut judge = async |what: &str| {
        match bench.find().await {
            Err(ClientError::Unknown(text)) => texts.insert(text),
            other => panic!("{what}: {other:?}"),
        };
        let form = crate::issuer::form::Form::parse(format!("client_id={}", bench.id()).as_bytes())
            .unwrap();
        let error = bench
            .clients
            .authenticate(&http::HeaderMap::new(), &form, None)
            .await
            .unwrap_err();
        assert_eq!(
            OAuthError::from(error).code,
            OAuthCode::TemporarilyUnavailable,
            "{what}"
        );
        bench.step(11);
    };
    for members in [
        json!({ "client_id": "https://localhost/other.json" }),
        json!({ "client_id": null }),
        json!({ "client_id": 5 }),
        json!({ "client_secret": "s" }),
        json!({ "client_secret_expires_at": 0 }),
        json!({ "token_endpoint_auth_method": "client_secret_basic" }),
        json!({ "token_endpoint_auth_method": "client_secret_post" }),
        json!({ "token_endpoint_auth_method": "client_secret_jwt" }),
        json!({ "token_endpoint_auth_method": "private_key_jwt" }),
        json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "http://a.example/k" }),
        json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [] } }),
        json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [] }, "jwks_uri": "https://a.example/k" }),
        json!({ "redirect_uris": null }),
        json!({ "redirect_uris": [] }),
        json!({ "redirect_uris": "https://a.example/cb" }),
        json!({ "redirect_uris": [5] }),
        json!({ "redirect_uris": ["http://a.example/cb"] }),
        json!({ "grant_types": ["client_credentials"] }),
        json!({ "response_types": ["token"] }),
        json!({ "client_name": ["x"] }),
    ] {
        bench.show_with("", &members);
        judge(&members.to_string()).await;
    }
    bench.show(|| ok("", "not JSON"));
    judge("not JSON").await;
    bench.show(|| ok("", "[]"));
    judge("a list").await;
    bench.show(|| ok("Content-Encoding: gzip\r\n", "\u{1f}"));
    judge("gzip").await;
    bench.show(|| ok("", &" ".repeat(20_000)));
    judge("huge").await;
    for line in [
        "302 Found",
        "404 Not Found",
        "500 Internal Server Error",
        "204 No Content",
    ] {
        bench.show(move || status(line));
        judge(line).await;
    }
    // Nobody is there, and nothing of the kind may be fetched at all.
    for (fixture, port) in [
        (Fixture::on_loopback(), 1),
        (Fixture::new(), bench.server.address.port()),
    ] {
        let id = format!("https://localhost:{port}/client.json");
        match fixture.clients("{}").find(&id, None).await {
            Err(ClientError::Unknown(text)) => texts.insert(text),
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(texts.len(), 1, "{texts:#?}");
}

/// S16, S17: ids that are no address of a document are refused before anything is resolved.
#[tokio::test]
async fn attack_s17_ids_that_are_not_in_normal_form_are_refused() {
    for id in [
        "https://clients.example",
        "https://clients.example/",
        "https://u@clients.example/c",
        "https://u:p@clients.example/c",
        "https://clients.example/c#f",
        "https://clients.example/c?x=1",
        "https://clients.example/a/../c",
        "https://clients.example/./c",
        "https://clients.example/%2e%2e/c",
        "https://clients.example:443/c",
        "https://Clients.example/c",
        "https://2130706433/c",
        "https://0x7f.1/c",
        "https://127.1/c",
        "https:/clients.example/c",
        "https://clients.example\\c",
        "https://clients.example/c ",
        "https:///c",
        "https://",
    ] {
        assert!(address(id).is_err(), "{id}");
    }
    for id in [
        "https://clients.example/c",
        "https://127.0.0.1:8443/c.json",
        "https://claude.ai/oauth/claude-code-client-metadata",
    ] {
        assert!(address(id).is_ok(), "{id}");
    }
}

/// S17: a document that changes counts as it is now, once its time is over; one that is no document any more ends.
#[tokio::test]
async fn attack_s17_a_changed_document_counts() {
    let bench = Bench::new().await;
    bench.show_with("Cache-Control: max-age=600\r\n", &json!({}));
    let before = bench.find().await.unwrap();
    let seen = before
        .redirect_uris
        .find(Some("https://claude.ai/api/mcp/auth_callback"))
        .unwrap();
    bench.show_with("", &json!({ "redirect_uris": ["https://evil.example/cb"] }));
    bench.step(599);
    assert!(Arc::ptr_eq(&bench.find().await.unwrap(), &before));
    bench.step(1);
    let after = bench.find().await.unwrap();
    assert!(after.redirect_uris.find(Some(seen.as_str())).is_none());
    assert_eq!(after.digest, before.digest);
    bench.step(3601);
    bench.show(|| status("503 Service Unavailable"));
    bench.find().await.unwrap();
    bench.step(11);
    bench.show(|| status("410 Gone"));
    assert!(bench.find().await.is_err());
}

/// S17: an answer that is too large, or no JSON, is an answer: what was there before is over, as after any other wrong
/// one. What is right again counts at once.
#[tokio::test]
async fn attack_s17_an_oversized_answer_is_no_outage() {
    let bench = Bench::new().await;
    let text = with(&bench.id(), &json!({})).to_string();
    let huge = format!("{text}{}", " ".repeat(20_000));
    for wrong in [huge.as_str(), "not JSON", "[]"] {
        bench.show_with("Cache-Control: max-age=600\r\n", &json!({}));
        bench.find().await.unwrap();
        bench.step(601);
        let answer = wrong.to_owned();
        bench.show(move || ok("", &answer));
        assert!(bench.find().await.is_err(), "{} bytes", wrong.len());
    }
    bench.show_with("", &json!({}));
    bench.find().await.unwrap();
}
