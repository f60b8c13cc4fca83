//! A whole visit, and what of it is on record.

use serde_json::{Value, json};

use super::world::{API_KEY, World, call};
use crate::harness::browser::Browser;
use crate::harness::client::{get, post};
use crate::harness::oauth::Tokens;

#[tokio::test]
async fn a_visit_is_on_record_from_the_first_refusal_to_the_last_call() {
    let world = World::new("  identity: { email: true, groups: true }\n").await;
    world.idp.script(|script| {
        script.claims["groups"] = json!(["engineering", "on-call"]);
        script.claims["email"] = json!("ann@example.com");
    });
    let (app, tokens) = world.app("ann").await;
    let session = world.initialize(&tokens.access).await;
    let good = world
        .say(
            &tokens.access,
            Some(&session),
            &call("echo", &json!({ "text": "hello" })),
        )
        .await;
    assert_eq!(good.status, 200, "{}", good.text());
    let bad = world
        .say(
            &tokens.access,
            Some(&session),
            &call("forbidden", &json!({})),
        )
        .await;
    assert!(bad.json().get("error").is_some(), "{}", bad.text());
    let foreign = world
        .say(&tokens.access, Some("forged"), &call("echo", &json!({})))
        .await;
    assert_eq!(foreign.status, 404);
    let refreshed = app.refresh(tokens.refresh.as_deref().unwrap()).await;
    let refreshed = Tokens::of(&refreshed);
    let revoke = app.server["revocation_endpoint"]
        .as_str()
        .unwrap()
        .to_owned();
    let given_back = post(&revoke)
        .form(&[
            ("token".to_owned(), refreshed.access.clone()),
            ("client_id".to_owned(), app.client_id.clone()),
        ])
        .send()
        .await;
    assert_eq!(given_back.status, 200);
    let late = app.refresh(refreshed.refresh.as_deref().unwrap()).await;
    assert_eq!(late.status, 400);
    let provider = world.idp.issuer();
    let log = world.end().await;

    assert_eq!(log.all()[0]["kind"], "log.opened");
    log.only("process.started");
    log.only("process.stopped");
    // Discovery begins with a request without a token.
    let refused = log.of("auth.refused")[0];
    assert_eq!(refused["outcome"], "failure");
    assert_eq!(refused["reason"], "no_credential");
    assert_eq!(refused["where"]["route"], "sample");
    assert_eq!(refused["where"]["client"], "127.0.0.1");
    let registered = log.only("client.registered");
    assert_eq!(registered["outcome"], "success");
    let login = log.only("auth.login");
    assert_eq!(login["who"]["subject"], "subject-of-ann");
    assert_eq!(login["who"]["issuer"], provider);
    assert_eq!(login["who"]["email"], "ann@example.com");
    assert_eq!(login["who"]["groups"], json!(["engineering", "on-call"]));
    let created = log.only("session.created");
    let consent = log.only("consent.given");
    assert_eq!(consent["who"]["session"], created["who"]["session"]);
    log.only("code.issued");
    let issued = log.only("token.issued");
    let grant = &issued["who"]["grant"];
    assert!(grant.is_string());
    assert_eq!(issued["who"]["subject"], "subject-of-ann");
    assert_eq!(issued["who"]["credential"], "authorization_code");
    assert_eq!(&log.only("token.refreshed")["who"]["grant"], grant);
    assert_eq!(&log.only("token.revoked")["who"]["grant"], grant);
    let ended = log.only("grant.ended");
    assert_eq!(
        (&ended["reason"], &ended["who"]["grant"]),
        (&json!("revoked"), grant)
    );
    let refused = log.only("token.refused");
    assert_eq!(refused["reason"], "invalid_grant");
    calls_are_on_record(&log, grant);
}

fn calls_are_on_record(log: &super::world::Log, grant: &Value) {
    let decided = log.about("access.decided", "echo");
    let decided = decided
        .iter()
        .find(|record| record["outcome"] == "success")
        .unwrap();
    let result = log.about("access.result", "echo");
    assert_eq!(result.len(), 1);
    assert_eq!(decided["what"]["rule"], "rest");
    assert_eq!(decided["what"]["method"], "tools/call");
    assert_eq!(decided["who"]["grant"], *grant);
    assert_eq!(decided["who"]["credential"], "access_token");
    assert!(decided["what"].get("arguments").is_none(), "only by opt-in");
    for link in ["request", "index", "route", "backend"] {
        assert_eq!(decided["where"][link], result[0]["where"][link], "{link}");
    }
    assert_eq!(result[0]["outcome"], "success");
    assert_eq!(result[0]["result"]["status"], 200);
    assert!(result[0]["result"]["bytes"].as_u64().unwrap() > 0);
    assert!(decided["seq"].as_u64() < result[0]["seq"].as_u64());

    let denied = log.about("access.decided", "forbidden");
    assert_eq!(denied.len(), 1);
    assert_eq!(denied[0]["outcome"], "denied");
    assert_eq!(denied[0]["reason"], "policy_denied");
    assert_eq!(denied[0]["what"]["rule"], "never");
    assert!(log.about("access.result", "forbidden").is_empty());

    let opened = log.only("mcp.session.opened");
    assert_eq!(
        opened["what"]["mcp_session"],
        decided["what"]["mcp_session"]
    );
    let refused = log.only("mcp.session.refused");
    assert_eq!(refused["who"]["subject"], "subject-of-ann");
}

#[tokio::test]
async fn signing_out_and_being_revoked_are_on_record() {
    let world = World::new("").await;
    let mut browser = Browser::default();
    let page = browser.open(&world.proxy.url("/app/x")).await;
    assert_eq!(page.status(), 200, "{}", page.text());
    let page = browser.open(&world.proxy.url("/oauth2/sign_out")).await;
    if page.text().contains("action=\"/oauth2/sign_out\"") {
        browser.submit(page.form_to("/oauth2/sign_out")).await;
    }
    let whom = json!({ "issuer": world.idp.issuer(), "subject": "ann" }).to_string();
    let socket = world
        .proxy
        .admin()
        .strip_prefix("unix:")
        .unwrap()
        .to_owned();
    let answer = ask_admin(&socket, "/sessions/revoke", &whom).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let log = world.end().await;
    let created = log.only("session.created");
    let logout = log.only("auth.logout");
    assert_eq!(logout["who"]["session"], created["who"]["session"]);
    assert_eq!(log.only("session.ended")["reason"], "signed_out");
    let revoked = log.only("admin.revoked");
    assert_eq!(revoked["who"]["credential"], "admin_socket");
    log.only("session.revoked");
    // What the browser did on the way is there too, by its path and never by its query.
    let decided = log.of("access.decided");
    assert_eq!(decided[0]["what"]["path"], "/app/x");
    assert!(!log.text().contains("code="), "{}", log.text());
}

async fn ask_admin(socket: &str, path: &str, body: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_replayed_code_ends_the_grant_and_is_on_record() {
    let world = World::new("").await;
    let (app, _) = world.app("ann").await;
    let returned = app.approve(&mut Browser::default(), "ann").await;
    let code = returned.code();
    assert_eq!(app.redeem(&code).await.status, 200);
    assert_eq!(app.redeem(&code).await.status, 400);
    let log = world.end().await;
    let ended = log.only("grant.ended");
    assert_eq!(ended["reason"], "code_replayed");
    assert_eq!(ended["outcome"], "failure");
}

#[tokio::test]
async fn a_reload_is_on_record_and_cannot_turn_the_log_off() {
    let world = World::new("").await;
    let text = std::fs::read_to_string(world.proxy.file()).unwrap();
    let off = text.replace("  sink: file\n", "");
    let kept = world.proxy.reload_text(&off).await.unwrap();
    assert!(kept.contains(&"audit"), "{kept:?}");
    let answer = get(&world.proxy.url("/app/y"))
        .header("x-api-key", API_KEY)
        .send()
        .await;
    assert_eq!(answer.status, 200);
    let log = world.end().await;
    let reloaded = log.only("config.reloaded");
    assert_eq!(reloaded["outcome"], "success");
    assert_eq!(log.only("access.decided")["who"]["credential"], "api_key");
}

#[tokio::test]
async fn arguments_are_written_by_opt_in_and_without_what_is_secret() {
    let world = World::new("  arguments: { include: true, redact: [\"EMP-[0-9]+\"] }\n").await;
    let (_, tokens) = world.app("ann").await;
    let session = world.initialize(&tokens.access).await;
    let arguments = json!({ "text": "mail ann@example.com about EMP-77", "password": "hunter2", "city": "Ulm" });
    let answer = world
        .say(&tokens.access, Some(&session), &call("echo", &arguments))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let log = world.end().await;
    let decided = log.about("access.decided", "echo");
    let written = &decided[0]["what"]["arguments"];
    assert_eq!(
        *written,
        json!({ "text": "mail [redacted:email] about [redacted:own0]", "password": "[redacted:name]", "city": "Ulm" })
    );
}
