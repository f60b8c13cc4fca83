use base64::Engine;

use super::*;
use crate::authn::Credential;
use crate::clock::{ManualClock, SeededRandom};
use crate::config::oidc::ClaimMap;
use crate::config::session::Sessions;
use crate::ids::Subject;
use crate::keys::KeyRing;
use crate::signing::Signs;
use crate::store::memory::MemoryStore;

const BACKENDS: &str = "
- { name: a, upstream: 'http://h', assertion: { audience: 'https://a', claims: { mail: email, teams: groups, dept: department } } }
- { name: b, upstream: 'http://h', assertion: { audience: 'https://b', as: bearer, lifetime: 10s } }
- { name: c, upstream: 'http://h' }";

struct World {
    clock: Arc<ManualClock>,
    keys: Arc<SigningKeys>,
    assertions: Assertions,
}

async fn world() -> World {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_500)));
    let ambient = Ambient::new(Arc::clone(&clock) as _, Arc::new(SeededRandom::new(7)));
    let store = Arc::new(MemoryStore::new(&Sessions::default(), ambient.clone()));
    let ring = KeyRing::ephemeral(ambient.clone());
    let keys = SigningKeys::new(Signs::Assertions, &[], store, &ring, ambient.clone()).unwrap();
    keys.renew().await.unwrap();
    let config: Config =
        serde_yaml::from_str(&format!("version: 1\nbackends: {BACKENDS}")).unwrap();
    let public = PublicUrl::parse("https://mcp.example.com").unwrap();
    let assertions = Assertions::new(&config, &public, Arc::clone(&keys), ambient);
    World {
        clock,
        keys,
        assertions,
    }
}

fn claims(name: &str) -> Arc<Claims> {
    let all = json!({
        "email": format!("{name}@example.com"), "groups": ["dev", "ops"],
        "iss": "https://evil.example", "client_id": "forged",
    });
    let Value::Object(all) = all else {
        panic!("an object")
    };
    let subject = Subject {
        issuer: "https://idp.example".into(),
        subject: name.into(),
    };
    Arc::new(Claims::read(subject, all, &ClaimMap::default()))
}

impl World {
    fn token(&self, backend: usize, identity: &Identity, header: &str) -> String {
        let mut headers = HeaderMap::new();
        self.assertions
            .tell(backend, identity, &mut headers)
            .unwrap();
        assert_eq!(headers.len(), 1);
        headers[header].to_str().unwrap().to_owned()
    }

    /// Header and claims, once the published key has verified them.
    fn open(&self, token: &str) -> (Value, Value) {
        let (message, signature) = token.rsplit_once('.').unwrap();
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let (header, content) = message.split_once('.').unwrap();
        let header: Value = serde_json::from_slice(&decode(header)).unwrap();
        let set = self.keys.current().unwrap();
        let pair = set.pair(header["kid"].as_str().unwrap()).unwrap();
        assert!(pair.verifies(message.as_bytes(), &decode(signature)));
        (header, serde_json::from_slice(&decode(content)).unwrap())
    }
}

#[tokio::test]
async fn a_backend_learns_who_asks_and_nothing_else() {
    let world = world().await;
    let identity =
        Identity::for_test(claims("ann")).with(Credential::AccessToken, &[], Some("claude"));
    let token = world.token(0, &identity, "x-identity-assertion");
    let (header, mut content) = world.open(&token);
    assert_eq!(
        (&header["alg"], &header["typ"]),
        (&json!("ES256"), &json!(TYPE))
    );
    let id = content.as_object_mut().unwrap().remove("jti").unwrap();
    assert_eq!(id.as_str().unwrap().len(), 22);
    assert_eq!(
        content,
        json!({
            "iss": "https://mcp.example.com", "sub": "ann", "idp_iss": "https://idp.example",
            "aud": "https://a", "iat": 1_800_000_000, "exp": 1_800_000_060,
            "credential": "access_token", "client_id": "claude",
            "mail": "ann@example.com", "teams": ["dev", "ops"],
        })
    );
    let bearer = world.token(1, &identity, "authorization");
    let (_, content) = world.open(bearer.strip_prefix("Bearer ").unwrap());
    assert_eq!(content["aud"], "https://b");
    assert!(content.get("email").is_none() && content.get("groups").is_none());

    let mut headers = HeaderMap::new();
    world.assertions.tell(2, &identity, &mut headers).unwrap();
    assert!(headers.is_empty(), "nobody asked for one");
}

#[tokio::test]
async fn one_serves_the_same_caller_for_half_of_its_life() {
    let world = world().await;
    let ann = Identity::for_test(claims("ann"));
    let first = world.token(0, &ann, "x-identity-assertion");
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(world.token(0, &ann, "x-identity-assertion"), first);
    world.clock.advance(Duration::from_secs(1));
    let second = world.token(0, &ann, "x-identity-assertion");
    assert_ne!(second, first);

    // The same claims by another credential, for another client, or for a shorter time are another statement.
    let other = ann.clone().with(Credential::Session, &[], None);
    let (_, content) = world.open(&world.token(0, &other, "x-identity-assertion"));
    assert_eq!(content["credential"], "session");
    let client = ann.clone().with(Credential::Bearer, &[], Some("x"));
    let (_, content) = world.open(&world.token(0, &client, "x-identity-assertion"));
    assert_eq!(content["client_id"], "x");
    let (_, content) = world.open(&world.token(0, &ann, "x-identity-assertion"));
    assert!(content.get("client_id").is_none());
    let bob = Identity::for_test(claims("bob"));
    let (_, content) = world.open(&world.token(0, &bob, "x-identity-assertion"));
    assert_eq!(content["sub"], "bob");
}

#[tokio::test]
async fn what_cannot_be_said_is_not_left_out() {
    let world = world().await;
    let mut many = Claims::clone(&claims("ann"));
    many.groups = (0..900).map(|n| format!("group-{n}")).collect();
    let mut headers = HeaderMap::new();
    let refused = world
        .assertions
        .tell(0, &Identity::for_test(Arc::new(many)), &mut headers)
        .unwrap_err();
    assert_eq!(refused.status(), 500);

    // The store never gave a key.
    let ambient = Ambient::system();
    let store = Arc::new(MemoryStore::new(&Sessions::default(), ambient.clone()));
    let ring = KeyRing::ephemeral(ambient.clone());
    let keys = SigningKeys::new(Signs::Assertions, &[], store, &ring, ambient.clone()).unwrap();
    let config: Config =
        serde_yaml::from_str(&format!("version: 1\nbackends: {BACKENDS}")).unwrap();
    let public = PublicUrl::parse("https://mcp.example.com").unwrap();
    let assertions = Assertions::new(&config, &public, keys, ambient);
    let refused = assertions
        .tell(0, &Identity::for_test(claims("ann")), &mut headers)
        .unwrap_err();
    assert_eq!(refused.status(), 503);
    assert!(headers.is_empty());
}
