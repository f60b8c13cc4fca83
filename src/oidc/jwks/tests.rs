use std::sync::atomic::AtomicUsize;

use serde_json::{Value, json};

use super::*;

const EC_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const EC_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

type Answer = Result<Bytes, String>;

fn ec(kid: &str) -> Value {
    json!({"kty": "EC", "crv": "P-256", "x": EC_X, "y": EC_Y, "kid": kid})
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "what a source answers is a result"
)]
fn document(keys: &[Value]) -> Answer {
    Answer::Ok(json!({ "keys": keys }).to_string().into())
}

/// A source that tests set, which counts how often it is read and takes a second for it.
#[derive(Clone)]
struct Source {
    answer: Arc<StdMutex<Answer>>,
    reads: Arc<AtomicUsize>,
}

impl Source {
    fn new(answer: Answer) -> Self {
        Self {
            answer: Arc::new(StdMutex::new(answer)),
            reads: Arc::default(),
        }
    }

    fn set(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    fn jwks(&self, metrics: &Metrics) -> Arc<Jwks> {
        let source = self.clone();
        let read = move || {
            let source = source.clone();
            async move {
                source.reads.fetch_add(1, Ordering::SeqCst);
                let answer = source.answer.lock().unwrap().clone();
                tokio::time::sleep(Duration::from_secs(1)).await;
                answer
            }
            .boxed()
        };
        Jwks::reading("main", Box::new(read), Ambient::system(), metrics)
    }
}

async fn kinds(jwks: &Jwks, kid: &str) -> &'static str {
    match jwks.find(Some(kid), Algorithm::ES256).await {
        Ok(_) => "found",
        Err(KeyError::Unknown) => "unknown",
        Err(KeyError::Unavailable(_)) => "unavailable",
    }
}

#[tokio::test(start_paused = true)]
async fn a_rotated_key_is_found_at_once_and_a_removed_one_is_gone() {
    let source = Source::new(document(&[ec("old")]));
    let metrics = Metrics::new();
    let jwks = source.jwks(&metrics);
    assert_eq!(kinds(&jwks, "old").await, "found");
    let before = jwks.generation();
    source.set(document(&[ec("new")]));
    assert_eq!(kinds(&jwks, "old").await, "found");
    assert_eq!(source.reads(), 1, "what is known is not read again");
    assert_eq!(kinds(&jwks, "new").await, "found");
    assert_eq!(kinds(&jwks, "old").await, "unknown");
    assert!(jwks.generation() > before);
    let text = metrics.render();
    assert!(
        text.contains("mcp_proxy_jwks_keys{provider=\"main\"} 1"),
        "{text}"
    );
    assert!(
        text.contains("endpoint=\"jwks\",result=\"success\"} 3"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_crowd_causes_one_reading() {
    let source = Source::new(document(&[ec("a")]));
    let jwks = source.jwks(&Metrics::new());
    let crowd = (0..500).map(|_| kinds(&jwks, "a"));
    assert!(
        futures_util::future::join_all(crowd)
            .await
            .iter()
            .all(|kind| *kind == "found")
    );
    assert_eq!(source.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_crowd_shares_one_failure() {
    let source = Source::new(Err("500".to_owned()));
    let jwks = source.jwks(&Metrics::new());
    let began = Instant::now();
    let crowd = (0..500).map(|_| kinds(&jwks, "a"));
    assert!(
        futures_util::future::join_all(crowd)
            .await
            .iter()
            .all(|kind| *kind == "unavailable")
    );
    assert_eq!(
        (source.reads(), began.elapsed()),
        (1, Duration::from_secs(1))
    );
}

#[tokio::test(start_paused = true)]
async fn unknown_ids_cannot_make_us_ask_without_end() {
    let source = Source::new(document(&[ec("a")]));
    let jwks = source.jwks(&Metrics::new());
    assert_eq!(kinds(&jwks, "a").await, "found");
    for round in 0..50 {
        let _ = kinds(&jwks, &format!("x{round}")).await;
    }
    assert_eq!(source.reads(), 3, "the burst");
    assert_eq!(
        kinds(&jwks, "y").await,
        "unavailable",
        "503 rather than a wrong 401"
    );
    assert_eq!(kinds(&jwks, "a").await, "found", "known keys go on working");
    assert_eq!(kinds(&jwks, "x0").await, "unknown", "remembered");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(kinds(&jwks, "y").await, "unknown");
    assert_eq!(source.reads(), 4);
    assert_eq!(kinds(&jwks, &"k".repeat(MAX_KID + 1)).await, "unknown");
    assert_eq!(source.reads(), 4);
}

#[tokio::test(start_paused = true)]
async fn advisory_cve_2025_64527_a_bad_key_set_is_an_outage_and_no_crash() {
    let garbage: [Answer; 9] = [
        Err("its address answered 500".to_owned()),
        Ok(Bytes::new()),
        Ok("<html>".into()),
        Ok(Bytes::from_static(b"\xff\xfe")),
        Ok("{}".into()),
        Ok("[]".into()),
        Ok("{\"keys\": {}}".into()),
        document(&[]),
        document(&[
            json!(7),
            json!(null),
            json!({"kty": 1}),
            json!({"kty": "EC", "crv": "P-256", "x": EC_X}),
        ]),
    ];
    for answer in garbage {
        let source = Source::new(answer.clone());
        let jwks = source.jwks(&Metrics::new());
        assert_eq!(kinds(&jwks, "a").await, "unavailable", "{answer:?}");
        assert!(jwks.raw().await.is_err());
        source.set(document(&[ec("a")]));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(kinds(&jwks, "a").await, "found", "after {answer:?}");
        source.set(answer);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(kinds(&jwks, "b").await, "unavailable");
        assert_eq!(
            kinds(&jwks, "a").await,
            "found",
            "the last good set serves on"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_good_set_does_not_live_for_ever() {
    let source = Source::new(document(&[ec("a")]));
    let jwks = source.jwks(&Metrics::new());
    assert_eq!(kinds(&jwks, "a").await, "found");
    source.set(Err("down".to_owned()));
    tokio::time::sleep(Duration::from_secs(23 * 3600)).await;
    assert_eq!(kinds(&jwks, "a").await, "found");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(kinds(&jwks, "a").await, "unavailable");
}

#[tokio::test(start_paused = true)]
async fn the_background_reading_learns_of_removed_keys() {
    let source = Source::new(document(&[ec("a"), ec("b")]));
    let jwks = source.jwks(&Metrics::new());
    let stop = CancellationToken::new();
    let watch = tokio::spawn(Arc::clone(&jwks).watch(stop.clone()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((source.reads(), kinds(&jwks, "a").await), (1, "found"));
    source.set(Err("down".to_owned()));
    tokio::time::sleep(REFRESH).await;
    assert_eq!(kinds(&jwks, "a").await, "found");
    source.set(document(&[ec("b")]));
    tokio::time::sleep(Duration::from_secs(30)).await;
    let reads = source.reads();
    assert!(jwks.current.load().as_ref().unwrap().keys.len() == 1);
    tokio::time::sleep(REFRESH * 2).await;
    assert_eq!(source.reads(), reads + 2, "at its pace");
    stop.cancel();
    watch.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn attack_s11_only_public_signature_keys_count_and_each_for_its_own_algorithms() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let rsa = |kid: &str| json!({"kty": "RSA", "n": n, "e": "AQAB", "kid": kid});
    let with = |mut key: Value, name: &str, value: Value| {
        key[name] = value;
        key
    };
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "ed"});
    let keys = [
        rsa("any"),
        with(rsa("only-256"), "alg", json!("RS256")),
        with(ec("ec"), "use", json!("sig")),
        ed,
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "oct"}),
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "oct-hs", "alg": "HS256"}),
        with(rsa("private"), "d", json!("AQ")),
        with(rsa("enc"), "use", json!("enc")),
        with(rsa("ops"), "key_ops", json!(["encrypt"])),
        with(rsa("hmac"), "alg", json!("HS256")),
        with(rsa("none"), "alg", json!("none")),
        with(rsa("oaep"), "alg", json!("RSA-OAEP")),
        with(ec("es384"), "alg", json!("ES384")),
        with(ec("curve"), "crv", json!("secp256k1")),
        with(rsa("huge"), "n", json!("A".repeat(2000))),
    ];
    let jwks = Source::new(document(&keys)).jwks(&Metrics::new());
    jwks.raw().await.unwrap();
    let set = jwks.current.load_full().unwrap();
    let kids: Vec<_> = set
        .keys
        .iter()
        .filter_map(|key| key.kid.as_deref())
        .collect();
    assert_eq!(kids, ["any", "only-256", "ec", "ed"]);
    let fits = |kid, algorithm| matches!(set.fitting(Some(kid), algorithm), Fitting::Keys(_));
    assert!(
        fits("any", Algorithm::RS256)
            && fits("any", Algorithm::PS512)
            && fits("only-256", Algorithm::RS256)
    );
    assert!(fits("ec", Algorithm::ES256) && fits("ed", Algorithm::EdDSA));
    for (kid, algorithm) in [
        ("any", Algorithm::HS256),
        ("any", Algorithm::ES256),
        ("only-256", Algorithm::RS512),
        ("ec", Algorithm::ES384),
        ("ec", Algorithm::RS256),
        ("ed", Algorithm::HS512),
        ("oct-hs", Algorithm::HS256),
    ] {
        assert!(!fits(kid, algorithm), "{kid} {algorithm:?}");
    }
    let Fitting::Keys(all) = set.fitting(None, Algorithm::RS256) else {
        panic!("keys")
    };
    assert_eq!(all.len(), 2, "without a kid every fitting key may be tried");
}

#[test]
fn symmetric_and_unknown_algorithms_have_no_name_here() {
    for name in [
        "none", "None", "HS256", "HS512", "ES512", "ES256K", "", "rs256",
    ] {
        assert_eq!(algorithm(name), None, "{name}");
    }
}
