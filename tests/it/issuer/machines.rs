//! Tokens without anybody at a browser: clients that act for themselves, and identity assertions (ID-JAG).

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::visit::World;
use crate::harness::client::{Answer, post};
use crate::harness::idp::Idp;
use crate::harness::oauth::{Tokens, VERIFIER};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SECRET: &str = "a-secret-of-a-client-0123456789abcdef";

async fn token(world: &World, fields: &[(&str, &str)]) -> Answer {
    let fields: Vec<(String, String)> = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    post(&world.url("/oauth2/token")).form(&fields).send().await
}

async fn call(url: &str, bearer: &str) -> Answer {
    post(url)
        .bearer(bearer)
        .rpc(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }))
        .send()
        .await
}

fn says(answer: &Answer, error: &str, why: &str) {
    let status = if error == "invalid_client" { 401 } else { 400 };
    assert_eq!(answer.status, status, "{why}: {}", answer.text());
    assert_eq!(answer.json()["error"], error, "{why}: {}", answer.text());
}

/// What the backend was told about the caller of the last request.
fn told(world: &World, name: &str) -> String {
    let seen = world.landing.seen().pop().unwrap();
    assert!(!seen.headers.contains_key("authorization"));
    seen.headers
        .get(name)
        .map(|value| value.to_str().unwrap().to_owned())
        .unwrap_or_default()
}

#[tokio::test]
async fn a_machine_is_what_the_operator_wrote() {
    let world = World::with(&format!(
        "    - {{ client_id: robot, secret: {SECRET}, groups: [engineering], grant_types: [client_credentials] }}\n    \
         - {{ client_id: reader, secret: {SECRET}, scopes: [read], routes: [files], grant_types: [client_credentials] }}\n"
    ))
    .await;
    let files = world.url("/files/mcp");
    let ask = |client: &'static str, resource: String, scope: &'static str| {
        let world = &world;
        async move {
            let mut fields = vec![
                ("grant_type", "client_credentials"),
                ("client_id", client),
                ("client_secret", SECRET),
                ("resource", &*resource),
            ];
            if !scope.is_empty() {
                fields.push(("scope", scope));
            }
            token(world, &fields).await
        }
    };
    let tokens = Tokens::of(&ask("robot", files.clone(), "").await);
    assert_eq!(tokens.refresh, None);
    assert_eq!(tokens.all["scope"], "mcp read");
    assert_eq!(tokens.claims()["sub"], "robot");
    assert_eq!(tokens.claims()["aud"], files);
    let answer = call(&files, &tokens.access).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(told(&world, "x-forwarded-groups"), "engineering");
    assert_ne!(told(&world, "x-forwarded-issuer"), world.idp.issuer());
    // Its own groups decide, and there are none that it can bring.
    let other = token(
        &world,
        &[
            ("grant_type", "client_credentials"),
            ("client_id", "machine"),
            ("client_secret", "a-secret-of-a-machine-0123456789abcdef"),
            ("resource", &files),
            ("groups", "engineering"),
        ],
    )
    .await;
    let answer = call(&files, &Tokens::of(&other).access).await;
    assert_eq!(answer.status, 403, "{}", answer.text());

    // What a client may have bounds what it gets.
    let narrow = Tokens::of(&ask("reader", files.clone(), "").await);
    assert_eq!(narrow.all["scope"], "read");
    let narrow = Tokens::of(&ask("reader", files.clone(), "mcp read").await);
    assert_eq!(narrow.claims()["scope"], "read");
    let answer = ask("reader", world.url("/notes/mcp"), "").await;
    says(&answer, "invalid_target", "a route that is not its own");

    // The token of a machine ends, and can be given back before.
    let revoked = post(&world.url("/oauth2/revoke"))
        .form(&[
            ("token".to_owned(), tokens.access.clone()),
            ("client_id".to_owned(), "robot".to_owned()),
            ("client_secret".to_owned(), SECRET.to_owned()),
        ])
        .send()
        .await;
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    assert_eq!(call(&files, &tokens.access).await.status, 401);
    let tokens = Tokens::of(&ask("robot", files.clone(), "").await);
    assert_eq!(call(&files, &tokens.access).await.status, 200);
    world.clock.advance(Duration::from_secs(700));
    assert_eq!(call(&files, &tokens.access).await.status, 401);
}

#[tokio::test]
async fn attack_s26_grants_that_a_client_is_not_set_up_for() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let files = world.url("/files/mcp");
    for (grant, error) in [
        ("client_credentials", "unauthorized_client"),
        (JWT_BEARER, "unauthorized_client"),
        (
            "urn:ietf:params:oauth:grant-type:device_code",
            "unsupported_grant_type",
        ),
        (
            "urn:ietf:params:oauth:grant-type:token-exchange",
            "unsupported_grant_type",
        ),
        ("password", "unsupported_grant_type"),
        ("implicit", "unsupported_grant_type"),
    ] {
        for client in [&*app.client_id, "portal"] {
            let answer = token(
                &world,
                &[
                    ("grant_type", grant),
                    ("client_id", client),
                    ("resource", &files),
                    ("assertion", "a.b.c"),
                    ("code_verifier", VERIFIER),
                ],
            )
            .await;
            says(&answer, error, &format!("{grant} by {client}"));
        }
    }
    // The proxy's own client at the provider is nobody here, whatever it knows.
    let answer = token(
        &world,
        &[
            ("grant_type", "client_credentials"),
            ("client_id", crate::harness::idp::CLIENT_ID),
            ("client_secret", crate::harness::idp::CLIENT_SECRET),
            ("resource", &files),
        ],
    )
    .await;
    says(&answer, "invalid_client", "the client at the provider");
    assert!(
        world.idp.calls("/token").is_empty(),
        "nothing was passed on"
    );
}

#[tokio::test]
async fn a_key_file_proves_a_client() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let stray = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let stray = EncodingKey::from_ec_pem(stray.serialize_pem().as_bytes()).unwrap();
    let mut jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
    jwk.common.key_id = Some("one".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, json!({ "keys": [jwk] }).to_string()).unwrap();
    let world = World::with(&format!(
        "    - {{ client_id: signer, jwks_file: {}, groups: [engineering], grant_types: [client_credentials] }}\n",
        json!(file)
    ))
    .await;
    let now = world.clock_now();
    let claims = |jti: &str| json!({ "iss": "signer", "sub": "signer", "aud": world.origin(), "jti": jti, "iat": now, "exp": now + 60 });
    let sign = |key: &EncodingKey, claims: &Value| {
        let header = Header {
            kid: Some("one".to_owned()),
            ..Header::new(Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, claims, key).unwrap()
    };
    let files = world.url("/files/mcp");
    let ask = |assertion: String| {
        let fields = [
            ("grant_type", "client_credentials".to_owned()),
            ("resource", files.clone()),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned(),
            ),
            ("client_assertion", assertion),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let url = world.url("/oauth2/token");
        async move { post(&url).form(&fields).send().await }
    };
    let good = sign(&key, &claims("a"));
    let tokens = Tokens::of(&ask(good.clone()).await);
    let answer = call(&files, &tokens.access).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    says(&ask(good).await, "invalid_client", "the same again");
    says(
        &ask(sign(&stray, &claims("b"))).await,
        "invalid_client",
        "another key",
    );
    for (name, value) in [
        ("aud", json!("https://elsewhere.example")),
        ("iss", json!("robot")),
        ("exp", json!(now - 600)),
        ("exp", json!(now + 7200)),
        ("iat", json!(now + 7200)),
    ] {
        let mut wrong = claims("c");
        wrong[name] = value;
        says(
            &ask(sign(&key, &wrong)).await,
            "invalid_client",
            &wrong.to_string(),
        );
    }
    // Of one assertion that is sent often at once, one counts.
    let raced = sign(&key, &claims("d"));
    let answers = futures_util::future::join_all((0..12).map(|_| ask(raced.clone()))).await;
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 200).count(),
        1
    );
}

/// A world with an issuer of assertions of its own, and two clients that may exchange them.
async fn enterprise(single_use: bool) -> (World, Idp) {
    // Its clock need not be the proxy's: tests say all times.
    let issuer = Idp::start(mcp_oidc_proxy::clock::Ambient::system()).await;
    let clients = ["agent", "rival"].map(|client| {
        format!(
            "    - {{ client_id: {client}, secret: {SECRET}, grant_types: [\"{JWT_BEARER}\"] }}\n"
        )
    });
    let world = World::with(&format!(
        "{}  identity_assertions:\n    - {{ issuer: \"{}\", groups_claim: groups, single_use: {single_use} }}\n",
        clients.concat(),
        issuer.issuer()
    ))
    .await;
    (world, issuer)
}

fn assertion(world: &World, issuer: &Idp) -> Value {
    let now = world.clock_now();
    json!({
        "iss": issuer.issuer(), "sub": "carol", "aud": world.origin(), "client_id": "agent", "jti": "j-1", "iat": now,
        "exp": now + 300, "resource": world.url("/files/mcp"), "scope": "mcp read", "email": "carol@example.com",
        "groups": ["engineering"],
    })
}

async fn exchange(world: &World, client: &str, assertion: &str, more: &[(&str, &str)]) -> Answer {
    let fields = [
        ("grant_type", JWT_BEARER),
        ("client_id", client),
        ("client_secret", SECRET),
        ("assertion", assertion),
    ];
    token(world, &[&fields[..], more].concat()).await
}

const TYPE: &str = "oauth-id-jag+jwt";

#[tokio::test]
async fn an_identity_assertion_is_good_for_its_client_until_it_ends() {
    let (world, issuer) = enterprise(false).await;
    let files = world.url("/files/mcp");
    let metadata =
        crate::harness::client::get(&world.url("/.well-known/oauth-authorization-server"))
            .send()
            .await
            .json();
    assert_eq!(
        metadata["authorization_grant_profiles_supported"],
        json!(["urn:ietf:params:oauth:grant-profile:id-jag"])
    );
    let claims = assertion(&world, &issuer);
    let signed = issuer.sign_as(TYPE, &claims);
    for _ in 0..3 {
        let tokens = Tokens::of(&exchange(&world, "agent", &signed, &[]).await);
        assert_eq!(tokens.refresh, None);
        assert_eq!(tokens.claims()["sub"], "carol");
        let answer = call(&files, &tokens.access).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(told(&world, "x-forwarded-groups"), "engineering");
        assert_eq!(told(&world, "x-forwarded-email"), "carol@example.com");
        assert_eq!(told(&world, "x-forwarded-issuer"), issuer.issuer());
    }
    // It says whose it is, and another client's attempt changes nothing.
    let answer = exchange(&world, "rival", &signed, &[]).await;
    says(&answer, "invalid_grant", "another client");
    let mut same_jti = claims.clone();
    same_jti["client_id"] = json!("rival");
    let answer = exchange(&world, "rival", &issuer.sign_as(TYPE, &same_jti), &[]).await;
    says(&answer, "invalid_grant", "the same jti by another client");

    // Scopes: what the assertion says, what is asked for, and no more.
    let mut narrow = claims.clone();
    narrow["jti"] = json!("j-2");
    narrow["scope"] = json!("read admin");
    let narrow = issuer.sign_as(TYPE, &narrow);
    for asked in [&[][..], &[("scope", "mcp read admin")]] {
        let tokens = Tokens::of(&exchange(&world, "agent", &narrow, asked).await);
        assert_eq!(tokens.claims()["scope"], "read");
    }
    let notes = world.url("/notes/mcp");
    let answer = exchange(&world, "agent", &signed, &[("resource", &notes)]).await;
    says(&answer, "invalid_target", "another resource is asked for");

    // Groups are those that the assertion says.
    let mut outsider = claims.clone();
    outsider["jti"] = json!("j-3");
    outsider["groups"] = json!(["sales"]);
    let tokens =
        Tokens::of(&exchange(&world, "agent", &issuer.sign_as(TYPE, &outsider), &[]).await);
    assert_eq!(call(&files, &tokens.access).await.status, 403);

    // An `aud` of one element, and one with a final slash, are the same.
    for (n, aud) in [
        json!([world.origin()]),
        json!(format!("{}/", world.origin())),
    ]
    .into_iter()
    .enumerate()
    {
        let mut good = claims.clone();
        good["aud"] = aud;
        good["jti"] = json!(format!("aud-{n}"));
        Tokens::of(&exchange(&world, "agent", &issuer.sign_as(TYPE, &good), &[]).await);
    }
    world.clock.advance(Duration::from_secs(500));
    let answer = exchange(&world, "agent", &signed, &[]).await;
    says(&answer, "invalid_grant", "over");
}

#[tokio::test]
async fn an_identity_assertion_that_is_not_for_this_is_refused() {
    let (world, issuer) = enterprise(false).await;
    let claims = assertion(&world, &issuer);
    let now = world.clock_now();
    let (origin, files) = (world.origin(), world.url("/files/mcp"));
    for typ in ["JWT", "at+jwt", "logout+jwt", ""] {
        let answer = exchange(&world, "agent", &issuer.sign_as(typ, &claims), &[]).await;
        says(&answer, "invalid_grant", typ);
    }
    // `null`: left out.
    for (name, value) in [
        ("iss", json!(null)),
        ("iss", json!(world.idp.issuer())),
        ("iss", json!(world.origin())),
        ("sub", json!(null)),
        ("sub", json!("")),
        ("aud", json!(null)),
        ("aud", json!([])),
        ("aud", json!([origin, "https://elsewhere.example"])),
        ("aud", json!([origin, origin])),
        ("aud", json!(world.url("/oauth2/token"))),
        ("aud", json!("https://elsewhere.example")),
        ("client_id", json!(null)),
        ("client_id", json!("rival")),
        ("client_id", json!(["agent"])),
        ("exp", json!(null)),
        ("exp", json!(now - 600)),
        ("exp", json!(now + 86_400)),
        ("exp", json!(1e300)),
        ("exp", json!("soon")),
        ("iat", json!(null)),
        ("iat", json!(now + 3600)),
        ("nbf", json!(now + 3600)),
        ("nbf", json!("later")),
        ("jti", json!(null)),
        ("jti", json!("")),
        ("jti", json!(7)),
        ("resource", json!("https://elsewhere.example/mcp")),
        ("resource", json!(origin)),
        // What cannot be read bounds nothing, so it may not be passed over.
        ("resource", json!(["https://elsewhere.example/mcp"])),
        (
            "resource",
            json!([world.url("/files/mcp"), world.url("/notes/mcp")]),
        ),
        ("resource", json!({})),
        ("scope", json!(["read"])),
        ("scope", json!(7)),
        ("scope", json!("\"read\"")),
    ] {
        let mut wrong = claims.clone();
        if value.is_null() {
            wrong.as_object_mut().unwrap().remove(name);
        } else {
            wrong[name] = value;
        }
        // The request is as good as can be.
        let fields = [("resource", &*files)];
        let answer = exchange(&world, "agent", &issuer.sign_as(TYPE, &wrong), &fields).await;
        says(&answer, "invalid_grant", &wrong.to_string());
    }
    // Providers of a test run share their RSA keys, and no others.
    for idp in [&issuer, &world.idp] {
        idp.script(|script| script.algorithm = Algorithm::ES256);
    }
    // Signed by the provider of this proxy, by a key that is not published, and not at all.
    let answer = exchange(&world, "agent", &world.idp.sign_as(TYPE, &claims), &[]).await;
    says(&answer, "invalid_grant", "another one's signature");
    issuer.script(|script| script.unpublished_key = true);
    let answer = exchange(&world, "agent", &issuer.sign_as(TYPE, &claims), &[]).await;
    says(&answer, "invalid_grant", "an unpublished key");
    issuer.script(|script| script.unpublished_key = false);
    let good = issuer.sign_as(TYPE, &claims);
    let (signed, _) = good.rsplit_once('.').unwrap();
    for broken in [
        format!("{signed}."),
        signed.to_owned(),
        "x".to_owned(),
        "A".repeat(20_000),
    ] {
        says(
            &exchange(&world, "agent", &broken, &[]).await,
            "invalid_grant",
            "broken",
        );
    }
    // Nothing of all that has used it up.
    Tokens::of(&exchange(&world, "agent", &good, &[]).await);
}

#[tokio::test]
async fn an_assertion_of_single_use_is_used_once() {
    let (world, issuer) = enterprise(true).await;
    let signed = issuer.sign_as(TYPE, &assertion(&world, &issuer));
    // A request that fails for another reason does not use it up.
    let notes = world.url("/notes/mcp");
    let answer = exchange(&world, "agent", &signed, &[("resource", &notes)]).await;
    says(&answer, "invalid_target", "another resource");
    let answers =
        futures_util::future::join_all((0..12).map(|_| exchange(&world, "agent", &signed, &[])))
            .await;
    let good = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(good, 1, "of twelve at once");
    says(
        &exchange(&world, "agent", &signed, &[]).await,
        "invalid_grant",
        "again",
    );
}
