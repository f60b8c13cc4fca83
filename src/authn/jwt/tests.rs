use proptest::prelude::*;
use serde_json::json;

use super::*;

fn token(header: &Value, payload: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(header), part(payload))
}

fn refused(header: &Value) -> Option<Refusal> {
    parse(&token(header, &json!({}))).err()
}

#[test]
fn attack_s11_algorithms_types_and_critical_headers() {
    assert_eq!(refused(&json!({"alg": "RS256"})), None);
    assert_eq!(
        refused(&json!({"alg": "EdDSA", "typ": "AT+jwt", "kid": "1", "jku": "https://evil"})),
        None
    );
    for alg in [
        "none", "NONE", "nOnE", "HS256", "HS384", "HS512", "ES512", "", "rs256", "dir",
    ] {
        assert_eq!(
            refused(&json!({ "alg": alg })),
            Some(Refusal::Algorithm),
            "{alg}"
        );
    }
    for typ in [
        "logout+jwt",
        "dpop+jwt",
        "oauth-id-jag+jwt",
        "secevent+jwt",
        "JWE",
        "",
    ] {
        assert_eq!(
            refused(&json!({"alg": "RS256", "typ": typ})),
            Some(Refusal::Type),
            "{typ}"
        );
    }
    for crit in [json!(["exp"]), json!([]), json!(null), json!("b64")] {
        assert_eq!(
            refused(&json!({"alg": "RS256", "crit": crit})),
            Some(Refusal::Critical),
            "{crit}"
        );
    }
    for header in [
        json!({}),
        json!([]),
        json!({"alg": 1}),
        json!({"alg": "RS256", "kid": 7}),
        json!({"alg": "RS256", "typ": []}),
    ] {
        assert_eq!(refused(&header), Some(Refusal::Malformed), "{header}");
    }
    let twice = format!(
        "{}.e30.c2ln",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","alg":"none"}"#)
    );
    assert_eq!(parse(&twice).err(), Some(Refusal::Malformed));
}

#[test]
fn what_is_no_compact_jws_is_malformed() {
    let good = token(&json!({"alg": "RS256"}), &json!({}));
    let (head, _) = good.rsplit_once('.').unwrap();
    for bad in [
        "",
        ".",
        "..",
        "...",
        "a",
        "a.b",
        "a.b.c",
        "opaque-token",
        &format!("{head}."),
        &format!("{good}.x.y"),
        &format!("{good}="),
        &format!("{head}=.x"),
        &"a".repeat(MAX_TOKEN + 1),
    ] {
        let outcome = parse(bad);
        // A bad signature text is found by the verification.
        assert!(outcome.is_err() || bad.ends_with('='), "{bad:.40}");
    }
}

fn judged(payload: &Value) -> Option<Refusal> {
    times(
        payload.as_object().unwrap(),
        Timestamp::from_secs(1000),
        Duration::from_secs(30),
    )
    .err()
}

#[test]
fn advisory_ghsa_wcvh_expiry_is_required_and_sane() {
    for (exp, expected) in [
        (json!(1001), None),
        (json!(1000.5), None),
        (json!(970.5), None),
        (json!(970), Some(Refusal::Expired)),
        (json!(0), Some(Refusal::Expired)),
        (json!(-1), Some(Refusal::NoExpiry)),
        (json!(1e300), Some(Refusal::NoExpiry)),
        (json!(253_402_300_800_i64), Some(Refusal::NoExpiry)),
        (json!("1001"), Some(Refusal::NoExpiry)),
        (json!(null), Some(Refusal::NoExpiry)),
        (json!([1001]), Some(Refusal::NoExpiry)),
        (json!(true), Some(Refusal::NoExpiry)),
    ] {
        assert_eq!(judged(&json!({ "exp": exp })), expected, "{exp}");
    }
    assert_eq!(judged(&json!({})), Some(Refusal::NoExpiry));
}

#[test]
fn times_to_come_are_refused_beyond_the_skew() {
    for (name, refusal) in [
        ("nbf", Refusal::NotYetValid),
        ("iat", Refusal::IssuedInFuture),
    ] {
        for (at, expected) in [
            (json!(1030), None),
            (json!(1031), Some(refusal)),
            (json!("x"), Some(Refusal::Malformed)),
            (json!(1e300), Some(Refusal::Malformed)),
        ] {
            assert_eq!(
                judged(&json!({"exp": 2000, name: at})),
                expected,
                "{name} {at}"
            );
        }
    }
}

#[test]
fn advisory_ghsa_wcvh_subject_and_audience_are_required() {
    let read = |payload: Value| facts(payload.as_object().unwrap(), Timestamp::from_secs(1));
    for aud in [json!(null), json!([]), json!({}), json!(7), json!([7])] {
        assert_eq!(
            read(json!({"sub": "a", "aud": aud})).err(),
            Some(Refusal::NoAudience),
            "{aud}"
        );
    }
    for sub in [json!(null), json!(""), json!(7), json!("x".repeat(2000))] {
        assert_eq!(
            read(json!({"sub": sub, "aud": "a"})).err(),
            Some(Refusal::NoSubject),
            "{sub}"
        );
    }
    let facts =
        read(json!({"sub": "ann", "aud": ["a", 7, "b"], "scp": ["r", "w"], "azp": "cli"})).unwrap();
    assert_eq!(facts.audiences, ["a".into(), "b".into()] as [Box<str>; 2]);
    assert_eq!(
        (facts.scopes.len(), facts.client_id.as_deref()),
        (2, Some("cli"))
    );
    let facts =
        read(json!({"sub": "ann", "aud": "a", "scope": "r  w x", "client_id": "c", "azp": "z"}))
            .unwrap();
    assert_eq!(
        (facts.scopes.len(), facts.client_id.as_deref()),
        (3, Some("c"))
    );
}

proptest! {
    #[test]
    fn any_text_is_taken_apart_without_harm(text in "\\PC{0,80}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_json_is_read_without_harm(number in any::<f64>(), text in "\\PC{0,8}") {
        for value in [json!(number), json!(text), json!([number, text]), json!({ &text: number })] {
            let payload = json!({"exp": value, "nbf": value, "iat": value, "sub": value, "aud": value, "scope": value});
            let _ = judged(&payload);
            let _ = facts(payload.as_object().unwrap(), Timestamp::from_secs(1));
        }
    }
}
