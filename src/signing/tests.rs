use super::*;
use crate::clock::{ManualClock, SeededRandom};
use crate::config::session::Sessions;
use crate::store::memory::MemoryStore;

fn world() -> (Arc<ManualClock>, Ambient, Arc<dyn Store>, KeyRing) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let ambient = Ambient::new(Arc::clone(&clock) as _, Arc::new(SeededRandom::new(7)));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(&Sessions::default(), ambient.clone()));
    let ring = KeyRing::new(vec![vec![1; 32]], ambient.clone()).unwrap();
    (clock, ambient, store, ring)
}

#[tokio::test]
async fn replicas_share_one_key_and_renew_it_in_time() {
    let (clock, ambient, store, ring) = world();
    let make = || {
        SigningKeys::new(
            Signs::AccessTokens,
            &[],
            Arc::clone(&store),
            &ring,
            ambient.clone(),
        )
        .unwrap()
    };
    let (one, two) = (make(), make());
    assert!(one.current().is_none());
    one.renew().await.unwrap();
    two.renew().await.unwrap();
    let first = one
        .current()
        .unwrap()
        .signing(ambient.now())
        .unwrap()
        .kid()
        .to_owned();
    assert_eq!(
        two.current().unwrap().signing(ambient.now()).unwrap().kid(),
        first
    );

    // A day before it is due the next key is published, and does not sign yet.
    clock.advance(PERIOD.saturating_sub(ANNOUNCE));
    two.renew().await.unwrap();
    let set = two.current().unwrap();
    assert_eq!(set.pairs.len(), 2);
    assert_eq!(set.signing(ambient.now()).unwrap().kid(), first);
    // The other replica meets a token of a key that it has not seen.
    let next = set.pairs[1].pair.kid().to_owned();
    assert!(one.find(&next).await.is_ok());

    clock.advance(ANNOUNCE);
    for keys in [&one, &two] {
        keys.renew().await.unwrap();
        assert_eq!(
            keys.current()
                .unwrap()
                .signing(ambient.now())
                .unwrap()
                .kid(),
            next
        );
        assert!(
            keys.current().unwrap().pair(&first).is_some(),
            "old tokens still verify"
        );
    }
    clock.advance(LONGEST_TOKEN);
    one.renew().await.unwrap();
    assert!(one.current().unwrap().pair(&first).is_none());
    assert!(one.find(&first).await.is_err());
}

#[tokio::test]
async fn keys_of_the_configuration_sign_in_their_order() {
    let (_, ambient, store, ring) = world();
    let pem = |pair: &rcgen::KeyPair| SecretRef::inline(pair.serialize_pem());
    let p256 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let ed = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let keys = SigningKeys::new(
        Signs::AccessTokens,
        &[pem(&ed), pem(&p256)],
        Arc::clone(&store),
        &ring,
        ambient.clone(),
    )
    .unwrap();
    let set = keys.current().unwrap();
    let signing = set.signing(ambient.now()).unwrap();
    assert_eq!(signing.algorithm_name(), "EdDSA");
    for held in &set.pairs {
        let signature = held.pair.sign(b"text").unwrap();
        assert!(held.pair.verifies(b"text", &signature));
        assert!(!held.pair.verifies(b"texts", &signature));
    }
    let document: serde_json::Value = serde_json::from_slice(set.document()).unwrap();
    assert_eq!(document["keys"].as_array().unwrap().len(), 2);
    assert!(!document.to_string().contains("\"d\""), "public parts only");

    let wrong = SigningKeys::new(
        Signs::AccessTokens,
        &[SecretRef::inline("nonsense")],
        store,
        &ring,
        ambient,
    );
    assert!(wrong.unwrap_err().contains("signing_keys[0]"));
}

#[test]
fn names_are_thumbprints() {
    // RFC 8037 appendix A.3.
    let kid = pair_kid_of_rfc_8037();
    assert_eq!(kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

fn pair_kid_of_rfc_8037() -> String {
    // PKCS#8 of the private key of RFC 8037 appendix A.1.
    let mut der = hex("302e020100300506032b657004220420");
    der.extend(hex(
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    ));
    Pair::from_pkcs8(&der).unwrap().kid().to_owned()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Keys of the two kinds are other keys, under other names, sealed for other purposes.
#[tokio::test]
async fn what_signs_tokens_never_signs_assertions() {
    let (_, ambient, store, ring) = world();
    let make =
        |signs| SigningKeys::new(signs, &[], Arc::clone(&store), &ring, ambient.clone()).unwrap();
    let (tokens, assertions) = (make(Signs::AccessTokens), make(Signs::Assertions));
    tokens.renew().await.unwrap();
    assertions.renew().await.unwrap();
    let kid = |keys: &SigningKeys| {
        let set = keys.current().unwrap();
        set.signing(ambient.now()).unwrap().kid().to_owned()
    };
    assert!(tokens.find(&kid(&assertions)).await.is_err());
    assert!(assertions.find(&kid(&tokens)).await.is_err());
}
