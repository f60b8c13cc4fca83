use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::HeaderValue;
use serde_json::{Value, json};

use super::super::tests::{Fixture, START, Signer};
use super::*;
use crate::issuer::error::OAuthCode::{InvalidClient, InvalidRequest};
use crate::issuer::error::{OAuthCode, OAuthError};
use crate::upstream::guarded::tests::{Server, ok};

const CONFIGURED: &str = "{ clients: [
    { client_id: public, redirect_uris: ['https://a.example/cb'] },
    { client_id: secret, redirect_uris: ['https://a.example/cb'], secret: 'a+b%41 c:d-0123456789' },
    { client_id: hashed, redirect_uris: ['https://a.example/cb'], secret_sha256: '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08' },
] }";

fn basic(user: &str, password: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&value).unwrap());
    headers
}

fn form(pairs: &[(&str, &str)]) -> Form {
    let text = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    Form::parse(text.as_bytes()).unwrap()
}

async fn outcome(
    clients: &Clients,
    headers: &HeaderMap,
    pairs: &[(&str, &str)],
) -> Result<String, OAuthCode> {
    clients
        .authenticate(headers, &form(pairs), None)
        .await
        .map(|client| client.id.to_string())
        .map_err(|error| OAuthError::from(error).code)
}

#[tokio::test]
async fn secrets_come_by_either_transport_and_in_either_encoding() {
    let clients = Fixture::new().clients(CONFIGURED);
    let none = HeaderMap::new();
    let secret = "a+b%41 c:d-0123456789";
    let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    for (headers, pairs) in [
        (
            none.clone(),
            vec![("client_id", "secret"), ("client_secret", secret)],
        ),
        (basic("secret", &encoded), vec![]),
        (basic("secret", secret), vec![]),
        (basic("secret", &encoded), vec![("client_id", "secret")]),
    ] {
        assert_eq!(
            outcome(&clients, &headers, &pairs).await,
            Ok("secret".to_owned()),
            "{pairs:?}"
        );
    }
    assert_eq!(
        outcome(&clients, &basic("hashed", "test"), &[]).await,
        Ok("hashed".to_owned())
    );
    for (headers, pairs) in [
        (basic("public", ""), vec![]),
        (basic("public", "whatever"), vec![]),
        (none.clone(), vec![("client_id", "public")]),
        (
            none.clone(),
            vec![("client_id", "public"), ("client_secret", "x")],
        ),
    ] {
        assert_eq!(
            outcome(&clients, &headers, &pairs).await,
            Ok("public".to_owned()),
            "{pairs:?}"
        );
    }
}

#[tokio::test]
async fn attack_s26_nobody_gets_by_without_the_right_proof() {
    let clients = Fixture::new().clients(CONFIGURED);
    let none = HeaderMap::new();
    let bearer = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer x"))]);
    let garbage = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Basic %%%"))]);
    let mut twice = basic("hashed", "test");
    twice.append(AUTHORIZATION, HeaderValue::from_static("Basic eDp5"));
    for (headers, pairs, code) in [
        (none.clone(), vec![("client_id", "secret")], InvalidClient),
        (
            none.clone(),
            vec![("client_id", "secret"), ("client_secret", "wrong")],
            InvalidClient,
        ),
        (
            none.clone(),
            vec![
                ("client_id", "hashed"),
                (
                    "client_secret",
                    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                ),
            ],
            InvalidClient,
        ),
        (basic("secret", ""), vec![], InvalidClient),
        (basic("hashed", "test "), vec![], InvalidClient),
        (basic("nobody", "test"), vec![], InvalidClient),
        (bearer, vec![("client_id", "public")], InvalidClient),
        (garbage, vec![], InvalidClient),
        (none.clone(), vec![], InvalidRequest),
        (
            none.clone(),
            vec![("client_secret", "test")],
            InvalidRequest,
        ),
        (twice, vec![], InvalidRequest),
        (
            basic("hashed", "test"),
            vec![("client_secret", "test")],
            InvalidRequest,
        ),
        (
            basic("hashed", "test"),
            vec![("client_id", "public")],
            InvalidRequest,
        ),
        (
            basic("hashed", "test"),
            vec![
                ("client_assertion", "x"),
                ("client_assertion_type", ASSERTION_TYPE),
            ],
            InvalidRequest,
        ),
        (
            none.clone(),
            vec![
                ("client_id", "a"),
                ("client_secret", "x"),
                ("client_assertion", "x"),
                ("client_assertion_type", ASSERTION_TYPE),
            ],
            InvalidRequest,
        ),
        (
            none.clone(),
            vec![("client_id", "public"), ("client_assertion", "x")],
            InvalidRequest,
        ),
        (
            none.clone(),
            vec![
                ("client_id", "public"),
                ("client_assertion", "x"),
                ("client_assertion_type", "saml"),
            ],
            InvalidRequest,
        ),
    ] {
        assert_eq!(
            outcome(&clients, &headers, &pairs).await,
            Err(code),
            "{pairs:?}"
        );
    }
}

/// A client with keys in a file, and its assertions.
struct Keyed {
    fixture: Fixture,
    clients: Clients,
    signer: Signer,
    _file: tempfile::TempDir,
}

impl Keyed {
    fn new() -> Self {
        let signer = Signer::new("k1");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        std::fs::write(&path, signer.key_set().to_string()).unwrap();
        let fixture = Fixture::new();
        let clients = fixture.clients(&format!(
            "{{ clients: [{{ client_id: job, grant_types: [client_credentials], jwks_file: '{}' }}, {{ client_id: public, redirect_uris: ['https://a.example/cb'] }}] }}",
            path.display()
        ));
        Self {
            fixture,
            clients,
            signer,
            _file: dir,
        }
    }

    async fn present(&self, token: &str, more: &[(&str, &str)]) -> Result<String, OAuthCode> {
        let mut pairs = vec![
            ("client_assertion", token),
            ("client_assertion_type", ASSERTION_TYPE),
        ];
        pairs.extend(more);
        outcome(&self.clients, &HeaderMap::new(), &pairs).await
    }
}

/// Good claims, with members changed, or taken away by `null`.
fn claims(id: &str, changed: &Value) -> Value {
    let mut all = json!({
        "iss": id, "sub": id, "aud": "https://mcp.example.com",
        "exp": START + 300, "iat": START,
    });
    for (name, value) in changed.as_object().unwrap() {
        all[name] = value.clone();
    }
    all.as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    all
}

#[tokio::test]
async fn an_assertion_proves_its_client_once() {
    let keyed = Keyed::new();
    for (n, aud) in [
        json!("https://mcp.example.com"),
        json!("https://mcp.example.com/"),
        json!("https://mcp.example.com/oauth2/token"),
        json!("https://mcp.example.com/token"),
        json!([
            "https://other.example",
            "https://mcp.example.com/oauth2/token"
        ]),
    ]
    .into_iter()
    .enumerate()
    {
        let token = keyed.signer.sign(
            &json!({}),
            &claims("job", &json!({ "aud": aud, "jti": format!("j{n}") })),
        );
        let more: &[(&str, &str)] = if n % 2 == 0 {
            &[]
        } else {
            &[("client_id", "job")]
        };
        assert_eq!(
            keyed.present(&token, more).await,
            Ok("job".to_owned()),
            "{aud}"
        );
        assert_eq!(
            keyed.present(&token, more).await,
            Err(InvalidClient),
            "{aud}"
        );
    }
    // The same `jti` in another assertion; and without one, the content is what is used once.
    let again = keyed.signer.sign(
        &json!({}),
        &claims("job", &json!({ "jti": "j0", "iat": START - 1 })),
    );
    assert_eq!(keyed.present(&again, &[]).await, Err(InvalidClient));
    let one = keyed
        .signer
        .sign(&json!({ "typ": "JWT" }), &claims("job", &json!({})));
    let same = keyed
        .signer
        .sign(&json!({ "typ": "JWT" }), &claims("job", &json!({})));
    assert_ne!(one, same, "signatures have a random part");
    assert_eq!(keyed.present(&one, &[]).await, Ok("job".to_owned()));
    assert_eq!(keyed.present(&same, &[]).await, Err(InvalidClient));
    // After its time it is refused for its time, so it need not be remembered longer.
    keyed
        .fixture
        .clock
        .advance(std::time::Duration::from_secs(600));
    assert_eq!(keyed.present(&one, &[]).await, Err(InvalidClient));
}

#[tokio::test]
async fn attack_s11_assertions_that_prove_nothing_are_refused() {
    let keyed = Keyed::new();
    let mut number = 0;
    let mut refused = async |header: Value, changed: Value, more: &[(&str, &str)], what: &str| {
        number += 1;
        let mut changed = changed;
        changed["jti"] = json!(number.to_string());
        let token = keyed.signer.sign(&header, &claims("job", &changed));
        assert_eq!(
            keyed.present(&token, more).await,
            Err(InvalidClient),
            "{what}"
        );
    };
    for (header, what) in [
        (json!({ "alg": "none" }), "none"),
        (json!({ "alg": "HS256" }), "a symmetric algorithm"),
        (
            json!({ "alg": "RS256" }),
            "an algorithm of another kind of key",
        ),
        (json!({ "kid": "other" }), "a key that it does not have"),
        (json!({ "crit": ["x"] }), "crit"),
        (json!({ "typ": "at+jwt" }), "an access token"),
        (json!({ "typ": "logout+jwt" }), "a logout token"),
    ] {
        refused(header, json!({}), &[], what).await;
    }
    for changed in [
        json!({ "aud": null }),
        json!({ "aud": "https://other.example" }),
        json!({ "aud": [] }),
        json!({ "aud": "https://mcp.example.com/oauth2/authorize" }),
        json!({ "exp": null }),
        json!({ "exp": START - 31 }),
        json!({ "exp": START + 700 }),
        json!({ "exp": 1e300 }),
        json!({ "exp": "soon" }),
        json!({ "iat": START + 100 }),
        json!({ "nbf": START + 100 }),
        json!({ "iss": "public" }),
        json!({ "iss": null }),
        json!({ "sub": null }),
        json!({ "sub": "public", "iss": "public" }),
        json!({ "sub": "nobody", "iss": "nobody" }),
    ] {
        refused(json!({}), changed.clone(), &[], &changed.to_string()).await;
    }
    refused(
        json!({}),
        json!({}),
        &[("client_id", "public")],
        "another client_id",
    )
    .await;
    // A key of somebody else under the same name.
    let other = Signer::new("k1").sign(&json!({}), &claims("job", &json!({})));
    assert_eq!(keyed.present(&other, &[]).await, Err(InvalidClient));
    for garbage in ["", "a", "a.b", "a.b.c", "....", &"a".repeat(20_000)] {
        if !garbage.is_empty() {
            assert_eq!(keyed.present(garbage, &[]).await, Err(InvalidClient));
        }
    }
    // A client with keys has to use them.
    let by_id = outcome(&keyed.clients, &HeaderMap::new(), &[("client_id", "job")]).await;
    assert_eq!(by_id, Err(InvalidClient));
    assert_eq!(
        outcome(&keyed.clients, &basic("job", "x"), &[]).await,
        Err(InvalidClient)
    );
    let good = keyed.signer.sign(&json!({}), &claims("job", &json!({})));
    assert_eq!(keyed.present(&good, &[]).await, Ok("job".to_owned()));
}

/// The keys at a `jwks_uri`: fetched when needed, again at once for a key that is new, and not for each stranger.
#[tokio::test]
async fn a_rotated_key_of_a_document_works_at_once() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let (sets, rotated, fetches) = (
        [old.key_set().to_string(), new.key_set().to_string()],
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let (is_rotated, count) = (Arc::clone(&rotated), Arc::clone(&fetches));
    let origin = Arc::new(std::sync::OnceLock::<String>::new());
    let own = Arc::clone(&origin);
    let server = Server::start(move |path| {
        let origin = own.get().unwrap();
        if path == "/keys" {
            count.fetch_add(1, Ordering::SeqCst);
            return ok("", &sets[usize::from(is_rotated.load(Ordering::SeqCst))]);
        }
        let document = json!({
            "client_id": format!("{origin}/client"),
            "redirect_uris": ["https://chatgpt.com/connector/oauth/x"],
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks_uri": format!("{origin}/keys"),
        });
        ok("", &document.to_string())
    })
    .await;
    let base = server.url("/").to_string();
    origin.set(base.trim_end_matches('/').to_owned()).unwrap();
    let id = format!("{}/client", origin.get().unwrap());
    let fixture = Fixture::on_loopback();
    let section = format!(
        "{{ client_metadata_documents: {{ ca_file: '{}' }} }}",
        server.ca_file().display()
    );
    let clients = fixture.clients(&section);
    let present_to = async |clients: &Clients, signer: &Signer, jti: &str| {
        let claims = claims(
            &id,
            &json!({ "aud": "http://localhost:8080/oauth2/token", "jti": jti }),
        );
        let token = signer.sign(&json!({}), &claims);
        let pairs = [
            ("client_assertion", &*token),
            ("client_assertion_type", ASSERTION_TYPE),
        ];
        outcome(clients, &HeaderMap::new(), &pairs).await
    };
    let present = async |signer: &Signer, jti: &str| present_to(&clients, signer, jti).await;
    assert_eq!(present(&old, "1").await, Ok(id.clone()));
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
    // Made-up key ids do not become fetches.
    for n in 0..20 {
        assert_eq!(present(&new, &format!("x{n}")).await, Err(InvalidClient));
    }
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
    rotated.store(true, Ordering::SeqCst);
    fixture.clock.advance(std::time::Duration::from_secs(10));
    assert_eq!(present(&new, "2").await, Ok(id.clone()));
    assert_eq!(fetches.load(Ordering::SeqCst), 2);
    // A reload keeps them, until another CA is behind the same name.
    let reloaded = fixture.after(&section, Some(&clients));
    assert_eq!(present_to(&reloaded, &new, "3").await, Ok(id.clone()));
    assert_eq!(fetches.load(Ordering::SeqCst), 2);
    let mut ca = std::fs::read(server.ca_file()).unwrap();
    ca.push(b'\n');
    std::fs::write(server.ca_file(), ca).unwrap();
    let rotated = fixture.after(&section, Some(&reloaded));
    assert_eq!(present_to(&rotated, &new, "4").await, Ok(id.clone()));
    assert_eq!(fetches.load(Ordering::SeqCst), 3);
    // It declared that it proves itself, so its mere id is nothing.
    let by_id = outcome(&clients, &HeaderMap::new(), &[("client_id", &id)]).await;
    assert_eq!(by_id, Err(InvalidClient));
}

proptest::proptest! {
    #[test]
    fn any_header_is_read_without_a_panic(bytes: Vec<u8>, text in "\\PC*") {
        let form = form(&[("client_id", "a")]);
        let encoded = STANDARD.encode(&bytes);
        for value in [text.clone(), format!("Basic {encoded}"), format!("basic {text}")] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                let _ = presented(&HeaderMap::from_iter([(AUTHORIZATION, value)]), &form);
            }
        }
        let _ = Assertion::parse(&text);
        let _ = Assertion::parse(&format!("{encoded}.{encoded}.{encoded}"));
    }
}
