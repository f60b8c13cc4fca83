use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn redactor(more: AuditArguments) -> Redactor {
    Redactor::new(&AuditArguments {
        include: true,
        ..more
    })
}

/// One for all: compiling the patterns takes longer than using them.
fn usual() -> &'static Redactor {
    static USUAL: std::sync::OnceLock<Redactor> = std::sync::OnceLock::new();
    USUAL.get_or_init(|| redactor(AuditArguments::default()))
}

fn written(value: &Value) -> Value {
    let redacted = usual().arguments(value.to_string().as_bytes()).unwrap();
    serde_json::from_str(redacted.text.unwrap().get()).unwrap()
}

#[test]
fn secrets_and_personal_data_are_blanked_out() {
    let pem = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIB0v\n-----END EC PRIVATE KEY-----";
    for (text, name, kept) in [
        (
            "see eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl now",
            "jwt",
            "see",
        ),
        (
            "Authorization: Bearer abcdef123456",
            "bearer",
            "Authorization",
        ),
        ("key AKIAIOSFODNN7EXAMPLE", "aws_key", "key"),
        (pem, "private_key", ""),
        ("mcpc_AbCdEf0123456789", "proxy_token", ""),
        ("mcpr_AbCdEf0123456789", "proxy_token", ""),
        ("sk-proj-abcdefghijklmnop1234", "api_key", ""),
        ("ghp_abcdefghijklmnopqrst1234", "api_key", ""),
        ("postgres://ann:hunter2@db/x", "url_password", "db/x"),
        ("curl -d password=hunter2hunter2", "assigned_secret", "curl"),
        (
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "long_secret",
            "",
        ),
        ("mail ann@example.com, please", "email", "please"),
        ("pay DE89 3704 0044 0532 0130 00 today", "iban", "today"),
        ("card 4111 1111 1111 1111 ok", "card", "ok"),
        ("call +49 30 901820-11 now", "phone", "call"),
        ("call (212) 555-0100 now", "phone", "call"),
        ("ssn 078-05-1120", "ssn", "ssn"),
    ] {
        let found = written(&json!({ "text": text }));
        let found = found["text"].as_str().unwrap();
        assert!(
            found.contains(&format!("[redacted:{name}]")),
            "{text}: {found}"
        );
        assert!(found.contains(kept), "{text}: {found}");
    }
}

#[test]
fn what_is_neither_stays() {
    let value = json!({
        "path": "/srv/data/report-2026-11-21.txt",
        "query": "select name from city where population > 1000000 order by name",
        "number": 1_234_567_890_123_456_u64,
        "id": "4e1c6b0a-6a3d-4a0e-9d6e-0f2a4d9b7c11",
        "iban like": "DE00 3704 9044 9532 0130",
        "words": ["AvoidBlankingOutLongNamesInCodeJustBecauseTheyAreLong"],
        "flag": true, "nothing": null, "half": 0.5,
    });
    assert_eq!(written(&value), value);
}

#[test]
fn values_under_telling_names_are_blanked_out_whole() {
    let found = written(&json!({
        "Password": "x", "api-key": 5, "CLIENT_SECRET": ["a", {"b": 1}], "accessToken": "short",
        "token": null, "secret": false, "nested": { "db_password": "y" }, "monkey": "z",
    }));
    for pointer in [
        "/Password",
        "/api-key",
        "/CLIENT_SECRET",
        "/accessToken",
        "/nested/db_password",
    ] {
        assert_eq!(
            found.pointer(pointer).unwrap(),
            "[redacted:name]",
            "{pointer}"
        );
    }
    assert_eq!(found["monkey"], "z");
    assert_eq!(found["token"], Value::Null);
}

#[test]
fn names_and_numbers_may_hold_what_must_not_stay() {
    let found = written(
        &json!({ "ann@example.com": 1, "bob@example.com": 2, "n": 4_111_111_111_111_111_u64 }),
    );
    let text = found.to_string();
    assert!(
        !text.contains("example.com") && !text.contains("4111"),
        "{text}"
    );
    assert_eq!(found.as_object().unwrap().len(), 3);
}

#[test]
fn own_patterns_and_names_count() {
    let own = redactor(AuditArguments {
        redact: vec!["EMP-[0-9]{6}".to_owned()],
        redact_keys: vec!["birth-date".to_owned()],
        ..AuditArguments::default()
    });
    let found = own
        .arguments(br#"{"who":"EMP-123456","BirthDate":"2000-01-01"}"#)
        .unwrap();
    assert_eq!(
        found.text.unwrap().get(),
        r#"{"who":"[redacted:own0]","BirthDate":"[redacted:name]"}"#
    );
}

#[test]
fn what_is_too_long_or_unreadable_is_only_counted() {
    let small = redactor(AuditArguments {
        max_bytes: crate::config::ByteSize(8),
        ..AuditArguments::default()
    });
    for text in [&b"{\"a\":\"bcd\"}"[..], b"{\"a\""] {
        let found = small.arguments(text).unwrap();
        assert!(found.text.is_none());
        assert_eq!(found.omitted, Some(text.len() as u64));
    }
    let off = Redactor::new(&AuditArguments::default());
    assert!(off.arguments(b"{}").is_none());
}

proptest! {
    /// Wherever in whatever text: the secret is gone, and the line stays one line of JSON.
    #[test]
    fn a_secret_is_found_in_any_text(before in "[ -~\\n]{0,40}", after in "[ \\n\"{}:,]{0,5}[ -~\\n]{0,40}", which in 0..4_usize) {
        let secret = [
            "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl",
            "mcpr_AbCdEf0123456789",
            "AKIAIOSFODNN7EXAMPLE",
            "ghp_abcdefghijklmnopqrst1234",
        ][which];
        let value = json!({ "a": [format!("{before} {secret} {after}")] });
        let redacted = usual().arguments(value.to_string().as_bytes()).unwrap();
        let text = redacted.text.unwrap();
        prop_assert!(!text.get().contains(secret), "{}", text.get());
        prop_assert!(!text.get().contains('\n'));
    }
}
