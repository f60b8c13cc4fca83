use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tracing_subscriber::layer::SubscriberExt;

use super::world::{Person, World};
use crate::harness::idp::Reply;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Everything on this test's one thread, at the finest level, good and bad.
#[tokio::test]
async fn attack_s31_no_secret_reaches_the_log_or_an_answer() {
    let log = Log::default();
    let writer = log.clone();
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(move || writer.clone());
    let filter = tracing_subscriber::EnvFilter::new("mcp_oidc_proxy=trace");
    // While there is but one subscriber, events that are first met on other threads are judged by those
    // threads, which have none, and are switched off for all. A second one prevents that.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(filter).with(layer));

    let world = World::with(json!({"userinfo": "always"})).await;
    let mut secrets = Vec::new();
    let mut answers = String::new();
    for (token, userinfo) in [
        (Reply::Normal, Reply::Normal),
        (Reply::Normal, Reply::Status(500, "")),
        (Reply::Status(503, ""), Reply::Normal),
        (
            Reply::Json(400, r#"{"error":"invalid_grant"}"#),
            Reply::Normal,
        ),
        (
            Reply::Json(200, r#"{"access_token":"access-leak"}"#),
            Reply::Normal,
        ),
    ] {
        world.idp.script(|script| {
            script.token = token;
            script.userinfo = userinfo;
        });
        let mut person = Person::default();
        let answer = world.login(&mut person).await;
        answers.push_str(&answer.body);
        secrets.extend(person.jar.values().cloned());
    }
    world.idp.script(|script| {
        script.token = Reply::Normal;
        script.userinfo = Reply::Normal;
    });
    for forge in [json!({"sub": "bob"}), json!({})] {
        let person = world.signed_in().await;
        secrets.extend(person.jar.values().cloned());
        world
            .idp
            .script(|script| script.forge_at_refresh = forge.as_object().unwrap().clone());
        world.clock.advance(Duration::from_secs(250));
        world.session(&person).await.unwrap();
        world.idp.revoke_all();
        world.clock.advance(Duration::from_secs(250));
        assert!(world.session(&person).await.unwrap().is_none());
    }

    secrets.extend(world.idp.secrets());
    secrets.push("access-leak".to_owned());
    for call in world.idp.calls("/authorize") {
        secrets.extend([call.query["state"].clone(), call.query["nonce"].clone()]);
    }
    for call in world.idp.calls("/token") {
        secrets.extend(call.form.get("code_verifier").cloned());
        secrets.extend(call.authorization);
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("signed in") && log.contains("the login is over"),
        "the log is there: {log}"
    );
    assert!(secrets.len() > 40);
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} in the log");
        assert!(!answers.contains(&secret), "{secret} in an answer");
    }
}
