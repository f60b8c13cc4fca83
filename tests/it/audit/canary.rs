//! Everything secret that a visit has to do with, and that nothing of it is in the log.

use serde_json::json;

use super::world::{API_KEY, SEED, World, call};
use crate::harness::browser::Browser;
use crate::harness::client::get;
use crate::harness::idp::CLIENT_SECRET;
use crate::harness::oauth::{Tokens, VERIFIER};

#[tokio::test]
async fn no_secret_gets_into_the_log() {
    for format in ["native", "ocsf"] {
        let world = World::new(&format!(
            "  format: {format}\n  identity: {{ email: true, groups: true }}\n  arguments: {{ include: true }}\n"
        ))
        .await;
        let (app, first) = world.app("ann").await;
        let session = world.initialize(&first.access).await;
        let arguments = json!({ "note": format!("use {}", first.access), "api_key": API_KEY, "token": "canary-argument" });
        world
            .say(&first.access, Some(&session), &call("echo", &arguments))
            .await;
        // Where people put secrets that do not belong there.
        let odd = call(&format!("tool-{}", first.access), &json!({}));
        world.say(&first.access, Some(&session), &odd).await;
        let second = Tokens::of(&app.refresh(first.refresh.as_deref().unwrap()).await);
        let returned = app.approve(&mut Browser::default(), "ann").await;
        let code = returned.code();
        app.redeem(&code).await;
        app.redeem(&code).await;
        for key in [API_KEY, "canary-wrong-api-key"] {
            get(&world.proxy.url("/app/x?password=canary-in-query"))
                .header("x-api-key", key)
                .send()
                .await;
        }
        world.say("canary-wrong-token", None, &json!({})).await;
        let issued = world.idp.secrets();
        let mut browser = Browser::default();
        browser.open(&world.proxy.url("/app/x")).await;
        let cookies: Vec<String> = browser
            .cookies_for(world.proxy.base())
            .split("; ")
            .filter_map(|cookie| Some(cookie.split_once('=')?.1.to_owned()))
            .collect();
        assert!(!cookies.is_empty());
        let path = world.path();
        world.proxy.stop().await;
        let text = std::fs::read_to_string(path).unwrap();
        assert!(
            text.contains("access.result") || text.contains("6003"),
            "{text}"
        );
        let ours = [
            API_KEY,
            SEED,
            CLIENT_SECRET,
            VERIFIER,
            "canary",
            &code,
            &first.access,
            &second.access,
            first.refresh.as_deref().unwrap(),
            second.refresh.as_deref().unwrap(),
            &session,
        ];
        let theirs = issued.iter().chain(&cookies).map(String::as_str);
        for secret in ours.into_iter().chain(theirs) {
            assert!(secret.len() > 5, "{secret}");
            assert!(!text.contains(secret), "{format}: {secret} in\n{text}");
        }
    }
}
