//! What the command ends in Redis itself.

use serde_json::{Value, json};

use super::command::run;
use super::streams::{setup, status, stream};
use super::ticking::Ticking;
use crate::harness::browser::Browser;
use crate::harness::echo::Echo;
use crate::harness::provider::RealProvider;
use crate::harness::redis::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_command_ends_in_redis_is_over_on_the_proxies_that_run() {
    let provider = RealProvider::start(&json!({})).await;
    let (events, pages) = (Ticking::start().await, Echo::start().await);
    let redis = Server::plain().await;
    let proxy = setup(&provider, &events, &pages)
        .yaml(&format!(
            "secret_keys: [\"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I=\"]\nsessions:\n  store: redis\n  redis: {{ url: \"redis://127.0.0.1:{}\" }}\n",
            redis.port
        ))
        .start()
        .await;
    let (mut ann, mut bob) = (Browser::default(), Browser::default());
    for (browser, login) in [(&mut ann, "ann"), (&mut bob, "bob")] {
        let form = browser.open(&proxy.url("/app/")).await;
        assert_eq!(browser.sign_in(form, login).await.status(), 200);
    }
    let open = stream(&proxy, &proxy, &ann).await;
    let file = proxy.file().to_str().unwrap();
    let ask = async |what: &str, whom: &str| -> Value {
        let done = run(&[
            "sessions",
            what,
            "--subject",
            whom,
            "--direct",
            "--config",
            file,
        ])
        .await;
        assert!(done.status.success(), "{done:?}");
        serde_json::from_slice(&done.stdout).unwrap()
    };
    let listed = ask("list", "ann").await;
    assert_eq!(listed["logins"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(
        ask("revoke", "ann").await,
        json!({ "logins": 1, "grants": 0 })
    );
    open.end().await;
    assert_eq!(status(&proxy, &proxy, &ann).await, 401);
    assert_eq!(status(&proxy, &proxy, &bob).await, 200, "somebody else");
    assert_eq!(ask("list", "ann").await["logins"], json!([]));
    assert_eq!(
        ask("revoke", "nobody").await,
        json!({ "logins": 0, "grants": 0 })
    );
}
