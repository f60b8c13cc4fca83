use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::metadata::read;
use super::*;
use crate::config::Config;

fn registered(roots: &[u8], section: &str) -> Registered {
    let config: Config =
        serde_yaml::from_str(&format!("version: 1\nauthorization_server: {section}\n")).unwrap();
    let ambient = Ambient::system();
    let keys = KeyRing::new(
        roots.iter().map(|root| vec![*root; 32]).collect(),
        ambient.clone(),
    );
    Registered::new(&config.authorization_server, &keys.unwrap(), &ambient).unwrap()
}

fn make(registered: &Registered, said: &Value) -> Result<New, Wrong> {
    registered.register(read(said.as_object().unwrap(), "client_secret_basic")?)
}

fn cursor() -> Value {
    json!({
        "client_name": "Cursor",
        "redirect_uris": [
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "http://localhost:8787/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
        ],
        "application_type": "web",
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "none",
    })
}

#[test]
fn an_id_holds_everything() {
    let registered = registered(&[1], "{}");
    let new = make(&registered, &cursor()).unwrap();
    assert!(
        new.secret.is_none() && new.id.len() < 500,
        "{}",
        new.id.len()
    );
    assert!(
        new.id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    );
    assert!(!new.id.starts_with("https://"));
    let client = registered.open(&new.id).unwrap();
    assert_eq!(
        (&*client.id, client.standing),
        (&*new.id, Standing::Registered)
    );
    assert_eq!(client.name.as_deref(), Some("Cursor"));
    assert_eq!(client.redirect_uris.iter().count(), 3);
    assert_eq!(
        client.grants,
        [GrantType::AuthorizationCode, GrantType::RefreshToken]
    );
    assert!(matches!(client.auth, ClientAuth::None));
    // Two registrations of the same are two clients.
    assert_ne!(make(&registered, &cursor()).unwrap().id, new.id);
}

#[test]
fn a_secret_outlives_a_change_of_the_root_secret() {
    let mut said = cursor();
    said["token_endpoint_auth_method"] = json!("client_secret_post");
    let new = make(&registered(&[1], "{}"), &said).unwrap();
    let secret = new.secret.unwrap();
    let rotated = registered(&[2, 1], "{}");
    match rotated.open(&new.id).unwrap().auth {
        ClientAuth::Secret(digest) => assert_eq!(digest, Digest::of(secret.expose_secret())),
        other => panic!("{other:?}"),
    }
    assert!(registered(&[2], "{}").open(&new.id).is_none());
    // The id does not show it.
    assert!(!new.id.contains(secret.expose_secret()));
    let said = json!({ "redirect_uris": ["https://a.example/cb"] });
    let unnamed = make(&rotated, &said).unwrap();
    assert_eq!(
        (unnamed.method, unnamed.secret.is_some()),
        ("client_secret_basic", true)
    );
}

#[test]
fn keys_are_kept_inside() {
    let signer = super::super::tests::Signer::new("k1");
    let registered = registered(&[1], "{}");
    let with = |name: &str, value: Value| {
        let mut said = cursor();
        said["token_endpoint_auth_method"] = json!("private_key_jwt");
        said[name] = value;
        make(&registered, &said)
    };
    let inline = with("jwks", signer.key_set()).unwrap();
    assert!(matches!(
        registered.open(&inline.id).unwrap().auth,
        ClientAuth::Keys(ClientKeys::Inline(_))
    ));
    let at = with("jwks_uri", json!("https://a.example/keys")).unwrap();
    assert!(matches!(
        registered.open(&at.id).unwrap().auth,
        ClientAuth::Keys(ClientKeys::At(_))
    ));
    assert!(with("jwks", json!({ "keys": [{ "kty": "oct", "k": "AAAA" }] })).is_err());
}

#[test]
fn what_does_not_fit_is_said() {
    let registered = registered(
        &[1],
        "{ registration: { redirect_hosts: [a.example, '*.b.example'] } }",
    );
    let said = |uris: Value| json!({ "redirect_uris": uris, "token_endpoint_auth_method": "none" });
    let many: Vec<String> = (0..40)
        .map(|n| format!("https://a.example/some/long/callback/{n}"))
        .collect();
    let error = make(&registered, &said(json!(many))).unwrap_err();
    assert!(
        matches!(&error, Wrong::Metadata(text) if text.contains("too much")),
        "{error}"
    );
    for (uri, says) in [
        (
            "https://evil.example/cb",
            "does not let clients of this host",
        ),
        ("zed://cb", "redirect_schemes"),
        ("javascript:alert(1)", "never redirected to"),
        ("http://a.example/cb", "use https"),
    ] {
        let error = make(&registered, &said(json!(["http://127.0.0.1/", uri]))).unwrap_err();
        let Wrong::RedirectUri(text) = &error else {
            panic!("{error}")
        };
        // It says which and why.
        assert!(text.contains(uri) && text.contains(says), "{text}");
    }
    make(
        &registered,
        &said(json!(["https://x.b.example/cb", "cursor://x/cb"])),
    )
    .unwrap();
}

#[test]
fn the_rules_of_today_count() {
    let new = make(&registered(&[1], "{}"), &cursor()).unwrap();
    let stricter = registered(
        &[1],
        "{ redirect_schemes: [], registration: { redirect_hosts: [a.example] } }",
    );
    let client = stricter.open(&new.id).unwrap();
    let kept: Vec<_> = client
        .redirect_uris
        .iter()
        .map(RedirectUri::as_str)
        .collect();
    assert_eq!(kept, ["http://localhost:8787/callback"]);
    let mut said = cursor();
    said["redirect_uris"] = json!(["https://b.example/cb"]);
    let new = make(&registered(&[1], "{}"), &said).unwrap();
    assert!(stricter.open(&new.id).is_none());
}

proptest! {
    /// S13's rule for ids of clients: nothing but what we made opens.
    #[test]
    fn a_changed_id_is_nobody(at: proptest::sample::Index, with in "[A-Za-z0-9_-]", cut: proptest::sample::Index) {
        let registered = registered(&[1], "{}");
        let id = make(&registered, &cursor()).unwrap().id;
        let mut changed = id.clone().into_bytes();
        let place = at.index(changed.len());
        changed[place] = with.as_bytes()[0];
        let changed = String::from_utf8(changed).unwrap();
        if changed != id {
            // The last digit of base64 may have bits that say nothing; then it is refused by its form.
            prop_assert!(registered.open(&changed).is_none());
        }
        prop_assert!(registered.open(&id[..cut.index(id.len())]).is_none());
    }

    #[test]
    fn anything_is_read_without_a_panic(text in "\\PC*", names in proptest::collection::vec("[a-z_#]{1,12}", 0..4)) {
        let registered = registered(&[1], "{}");
        let _ = registered.open(&text);
        let _ = registered.open(&format!("mcpd_{text}"));
        let mut said = json!({ "redirect_uris": [text.clone()], "client_name": text.clone() });
        for name in names {
            said[name] = json!(text.clone());
        }
        if let Ok(new) = make(&registered, &said) {
            prop_assert!(new.id.len() <= MAX_ID);
            prop_assert!(registered.open(&new.id).is_some());
        }
    }
}
