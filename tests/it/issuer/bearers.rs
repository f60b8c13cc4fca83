//! The token side over the wire: what codes, refresh tokens and access tokens are good for, and for whom.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::visit::World;
use crate::harness::browser::Browser;
use crate::harness::client::{Answer, post};
use crate::harness::oauth::{App, Tokens, VERIFIER};

/// Longer than a code lives.
const CODE_LIFE: Duration = Duration::from_secs(61);

async fn call(url: &str, bearer: &str) -> Answer {
    post(url)
        .bearer(bearer)
        .rpc(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }))
        .send()
        .await
}

pub(super) async fn works(world: &World, tokens: &Tokens) {
    let answer = call(&world.url("/files/mcp"), &tokens.access).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

pub(super) async fn refused(url: &str, bearer: &str, why: &str) {
    let answer = call(url, bearer).await;
    assert_eq!(answer.status, 401, "{why}: {}", answer.text());
    let told = answer.header("www-authenticate");
    assert!(told.contains("error=\"invalid_token\""), "{why}: {told}");
}

/// A refusal of the token endpoint, as RFC 6749 section 5.2 has it.
pub(super) fn says(answer: &Answer, error: &str, why: &str) {
    assert_eq!(answer.status, 400, "{why}: {}", answer.text());
    assert_eq!(answer.json()["error"], error, "{why}: {}", answer.text());
    assert_eq!(answer.header("cache-control"), "no-store", "{why}");
}

/// The fields of an honest redemption, with others in their place or added; an empty value leaves one out.
async fn redeem(app: &App, code: &str, more: &[(&str, &str)]) -> Answer {
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", &*app.redirect_uri),
        ("client_id", &*app.client_id),
        ("code_verifier", VERIFIER),
    ];
    for (name, value) in more {
        fields.retain(|(known, _)| known != name);
        if !value.is_empty() {
            fields.push((name, value));
        }
    }
    app.token(&fields).await
}

async fn code(app: &App, browser: &mut Browser) -> String {
    app.approve_again(browser, "ann").await.code()
}

#[tokio::test]
async fn attack_s9_a_token_is_for_one_resource_of_the_host() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let mut ann = world.ann().await;
    let (files, notes) = (world.url("/files/mcp"), world.url("/notes/mcp"));

    let first = code(&app, &mut ann).await;
    for (resource, why) in [
        (&*notes, "the other route's"),
        (&*world.origin(), "the whole origin"),
        ("https://elsewhere.example/mcp", "somebody else's"),
        ("no address", "none at all"),
    ] {
        let answer = redeem(&app, &first, &[("resource", resource)]).await;
        says(&answer, "invalid_target", why);
    }
    let twice = [
        ("grant_type", "authorization_code"),
        ("code", &*first),
        ("redirect_uri", &*app.redirect_uri),
        ("client_id", &*app.client_id),
        ("code_verifier", VERIFIER),
        ("resource", &*files),
        ("resource", &*notes),
    ];
    says(&app.token(&twice).await, "invalid_target", "two of them");
    // A wrong resource is no sign of a thief: the code is still good.
    let tokens = Tokens::of(&redeem(&app, &first, &[("resource", &files)]).await);
    assert_eq!(tokens.claims()["aud"], files);
    works(&world, &tokens).await;
    refused(&notes, &tokens.access, "a token of the route beside it").await;

    let refresh = tokens.refresh.as_deref().unwrap();
    let named = |resource| {
        [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh),
            ("client_id", &*app.client_id),
            ("resource", resource),
        ]
    };
    says(
        &app.token(&named(&notes)).await,
        "invalid_target",
        "refresh",
    );
    let refreshed = Tokens::of(&app.token(&named(&files)).await);
    assert_eq!(refreshed.claims()["aud"], files);
}

#[tokio::test]
async fn attack_s7_a_code_without_its_proof_is_burnt() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let mut ann = world.ann().await;
    let challenge = crate::harness::oauth::challenge(VERIFIER);
    let other = "b".repeat(64);
    for (field, value) in [
        ("code_verifier", ""),
        ("code_verifier", &*other),
        ("code_verifier", &*challenge),
        ("code_verifier", "short"),
        ("redirect_uri", ""),
        ("redirect_uri", "http://127.0.0.1:1/elsewhere"),
    ] {
        let code = code(&app, &mut ann).await;
        let answer = redeem(&app, &code, &[(field, value)]).await;
        says(&answer, "invalid_grant", &format!("{field}={value}"));
        let answer = redeem(&app, &code, &[]).await;
        says(&answer, "invalid_grant", "used up");
    }
    // A duplicate is refused before anything is looked at.
    let code = code(&app, &mut ann).await;
    let doubled = [
        ("grant_type", "authorization_code"),
        ("code", &*code),
        ("redirect_uri", &*app.redirect_uri),
        ("client_id", &*app.client_id),
        ("code_verifier", VERIFIER),
        ("code_verifier", VERIFIER),
    ];
    says(&app.token(&doubled).await, "invalid_request", "doubled");
    Tokens::of(&redeem(&app, &code, &[]).await);
}

#[tokio::test]
async fn attack_s8_a_code_is_good_once_for_its_client_in_its_time() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let other = world.local_app("Another App").await;
    let mut ann = world.ann().await;

    let first = code(&app, &mut ann).await;
    // Another client's try has no effect at all.
    let foreign = redeem(&other, &first, &[]).await;
    says(&foreign, "invalid_grant", "another client");
    let tokens = Tokens::of(&redeem(&app, &first, &[]).await);
    let foreign = redeem(&other, &first, &[]).await;
    says(&foreign, "invalid_grant", "another client, afterwards");
    works(&world, &tokens).await;
    // The second time ends what the first gave.
    says(&redeem(&app, &first, &[]).await, "invalid_grant", "replay");
    refused(&world.url("/files/mcp"), &tokens.access, "after a replay").await;
    let refreshed = app.refresh(tokens.refresh.as_deref().unwrap()).await;
    says(&refreshed, "invalid_grant", "after a replay");

    let late = code(&app, &mut ann).await;
    world.clock.advance(CODE_LIFE);
    says(&redeem(&app, &late, &[]).await, "invalid_grant", "too old");
    for made_up in ["x", "mcpc_", "mcpc_AAAA", &*format!("{late}A")] {
        says(&redeem(&app, made_up, &[]).await, "invalid_grant", made_up);
    }
}

#[tokio::test]
async fn attack_s28_a_refresh_token_serves_its_client_and_no_more_than_was_granted() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let other = world.local_app("Another App").await;
    let tokens = app.sign_in_again(&mut world.ann().await, "ann").await;
    assert_eq!(tokens.all["scope"], "mcp read");
    let first = tokens.refresh.clone().unwrap();
    let with = |scope: &'static str, refresh: String| {
        let app = app.clone();
        async move {
            app.token(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", &*refresh),
                ("client_id", &*app.client_id),
                ("scope", scope),
            ])
            .await
        }
    };

    says(&other.refresh(&first).await, "invalid_grant", "stolen");
    for scope in ["mcp read write", "admin", "openid", "mcp\u{e9}", "\"mcp\""] {
        says(&with(scope, first.clone()).await, "invalid_scope", scope);
    }
    for made_up in [
        "x",
        "mcpr_",
        "mcpr_AAAA",
        &*format!("{first}A"),
        &*tokens.access,
    ] {
        says(&app.refresh(made_up).await, "invalid_grant", "made up");
    }
    works(&world, &tokens).await;

    let narrow = Tokens::of(&with("read", first.clone()).await);
    assert_eq!(narrow.all["scope"], "read");
    assert_eq!(narrow.claims()["scope"], "read");
    // The grant is as wide as it was.
    let wide = Tokens::of(&app.refresh(narrow.refresh.as_deref().unwrap()).await);
    assert_eq!(wide.all["scope"], "mcp read");
    works(&world, &wide).await;

    // The first is two behind by now: good for a minute, then a stolen one.
    let again = Tokens::of(&app.refresh(&first).await);
    assert_eq!(again.refresh, narrow.refresh);
    world.clock.advance(Duration::from_secs(61));
    says(&app.refresh(&first).await, "invalid_grant", "replay");
    refused(&app.resource, &wide.access, "the grant is over").await;
    let newest = app.refresh(wide.refresh.as_deref().unwrap()).await;
    says(&newest, "invalid_grant", "the newest of an ended grant");
}

#[tokio::test]
async fn attack_s32_what_is_no_bearer_token_is_none_of_ours_either() {
    let world = World::new().await;
    let app = world.local_app("Test App").await;
    let mut ann = world.ann().await;
    let unused = code(&app, &mut ann).await;
    let tokens = app.sign_in_again(&mut ann, "ann").await;
    let url = format!("{}?access_token={}", app.resource, tokens.access);
    let seen = world.landing.seen().len();
    let answer = post(&url).rpc(&json!({})).send().await;
    assert_eq!(answer.status, 401, "{}", answer.text());
    refused(&app.resource, tokens.refresh.as_deref().unwrap(), "refresh").await;
    refused(&app.resource, &unused, "code").await;
    assert_eq!(world.landing.seen().len(), seen, "nothing arrived");
    works(&world, &tokens).await;
}

/// Two kinds of tokens on one route, each checked with the keys of the one that it names and nobody else's.
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a list of forgeries")]
async fn own_and_foreign_tokens_are_never_taken_for_each_other() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let pem = pair.serialize_pem();
    // JSON is YAML.
    let world = World::with(&format!("  signing_keys: {}\n", json!([&pem]))).await;
    let app = world.local_app("Test App").await;
    let tokens = app.sign_in_again(&mut world.ann().await, "ann").await;
    let kid = jsonwebtoken::decode_header(&tokens.access)
        .unwrap()
        .kid
        .unwrap();
    let ours = EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
    let honest = tokens.claims();
    let sign = |kid: Option<&str>, typ: Option<&str>, claims: &Value| {
        let header = Header {
            kid: kid.map(str::to_owned),
            typ: typ.map(str::to_owned),
            ..Header::new(Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, claims, &ours).unwrap()
    };
    let with = |name: &str, value: Value| {
        let mut claims = honest.clone();
        claims[name] = value;
        claims
    };

    // What follows is refused for the one thing that is different.
    let again = sign(Some(&kid), Some("at+jwt"), &honest);
    assert_eq!(call(&app.resource, &again).await.status, 200);
    let provider = world.idp.issuer();
    let now = honest["iat"].as_i64().unwrap();
    for (token, why) in [
        (sign(Some(&kid), Some("JWT"), &honest), "typ JWT"),
        (sign(Some(&kid), None, &honest), "no typ"),
        (sign(None, Some("at+jwt"), &honest), "no kid"),
        (
            sign(Some(&kid), Some("at+jwt"), &with("iss", json!(provider))),
            "our signature on the provider's name",
        ),
        (
            sign(Some("rsa-1"), Some("at+jwt"), &with("iss", json!(provider))),
            "our signature under the provider's kid",
        ),
        (
            sign(
                Some(&kid),
                Some("at+jwt"),
                &with("iss", json!(format!("{}x", world.origin()))),
            ),
            "an issuer that begins as ours",
        ),
        (
            sign(
                Some(&kid),
                Some("at+jwt"),
                &with("aud", json!(world.url("/notes/mcp"))),
            ),
            "another aud",
        ),
        (
            sign(
                Some(&kid),
                Some("at+jwt"),
                &with("aud", json!(world.origin())),
            ),
            "the origin as aud",
        ),
        (
            sign(Some(&kid), Some("at+jwt"), &with("exp", json!(now - 3600))),
            "over",
        ),
        (
            sign(
                Some(&kid),
                Some("at+jwt"),
                &with("sid", json!("0".repeat(32))),
            ),
            "no such grant",
        ),
        (
            sign(Some(&kid), Some("at+jwt"), &with("sid", json!("../../x"))),
            "no grant's name",
        ),
        (
            sign(Some(&kid), Some("at+jwt"), &with("sid", json!(7))),
            "no grant",
        ),
    ] {
        refused(&app.resource, &token, why).await;
    }

    // The provider's signature on our name: its keys are not asked for that, and no key of ours is called so.
    for typ in ["at+jwt", "JWT"] {
        let answer = call(&app.resource, &world.idp.sign_as(typ, &honest)).await;
        assert!(
            matches!(answer.status.as_u16(), 401 | 503),
            "{typ}: {}",
            answer.text()
        );
    }
    // The same, under the very name of our key.
    world
        .idp
        .script(|script| script.algorithm = Algorithm::ES256);
    let foreign = world.idp.sign_as("at+jwt", &honest);
    let (_, rest) = foreign.split_once('.').unwrap();
    let (own_head, _) = tokens.access.split_once('.').unwrap();
    refused(&app.resource, &format!("{own_head}.{rest}"), "our header").await;
    world
        .idp
        .script(|script| script.algorithm = Algorithm::RS256);

    // Theirs are good in their own right.
    let theirs = world.idp.access_token(
        "subject-of-ann",
        &app.resource,
        &json!({ "groups": ["engineering"], "scope": "mcp read" }),
    );
    let answer = call(&app.resource, &theirs).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // And a `sid` in one of them leads to no grant of ours.
    let lured = world.idp.access_token(
        "subject-of-bob",
        &app.resource,
        &json!({ "groups": ["sales"], "scope": "mcp read", "sid": honest["sid"] }),
    );
    assert_eq!(call(&app.resource, &lured).await.status, 403);
}
