use super::*;

#[test]
fn no_text_forges_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let audit = start(&config(&path));
    let evil = "x\"}\n{\"v\":1,\"kind\":\"auth.login\",\"hash\":\"00\"}\u{2028}\0";
    audit.note(
        Event::ok(Kind::Login)
            .detail(evil)
            .by(Who::client(evil))
            .what(What {
                tool: Some(evil.into()),
                ..What::default()
            }),
    );
    audit.close();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 3);
    let value: serde_json::Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    assert_eq!(value["detail"], evil);
    assert_eq!(value["what"]["tool"], evil);
    assert!(verified(&[path]).is_intact());
}
