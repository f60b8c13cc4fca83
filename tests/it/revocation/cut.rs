//! A replica that could not hear what was ended believes nothing that it remembered.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::revoke;
use crate::harness::browser::Browser;
use crate::harness::cable::Cable;
use crate::harness::client::{PATIENCE, post};
use crate::harness::echo::Echo;
use crate::harness::oauth::App;
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::proxy;
use crate::harness::redis::Server;

#[tokio::test]
async fn s29_what_was_ended_while_redis_was_out_of_reach_does_not_come_back() {
    let provider = RealProvider::start(&json!({ "registration": false })).await;
    let backend = Echo::start().await;
    let redis = Server::plain().await;
    let cable = Cable::to(&format!("127.0.0.1:{}", redis.port)).await;
    let with = |address: &str| {
        proxy()
            .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
            .route(
                "/mcp",
                &format!("{}/mcp", backend.url()),
                "allow: { any_user: true }",
            )
            .yaml(&format!(
                "admin: {{ address: \"127.0.0.1:0\" }}\nsecret_keys: [\"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I=\"]\nsessions:\n  store: redis\n  outage_grace: 0s\n  redis: {{ url: \"redis://{address}\", command_timeout: 1s, connect_timeout: 1s }}\n"
            ))
    };
    let first = with(&format!("127.0.0.1:{}", redis.port)).start().await;
    let public = first.base().as_str().trim_end_matches('/').to_owned();
    let second = with(&cable.address().to_string())
        .yaml(&format!("public_url: \"{public}\""))
        .try_start()
        .await
        .unwrap();
    let callback = format!("{}/callback", backend.url());
    let app = App::discover(&first.url("/mcp"), &callback).await;
    let ann = app.sign_in(&mut Browser::default(), "ann").await;
    let bob = app.sign_in(&mut Browser::default(), "bob").await;
    let ask = async |token: &str| {
        let answer = post(&app.resource)
            .via(second.port())
            .bearer(token)
            .rpc(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }))
            .send()
            .await;
        answer.status.as_u16()
    };
    let until = async |token: &str, status: u16, never: u16| {
        let work = async {
            loop {
                let answered = ask(token).await;
                assert_ne!(answered, never, "while waiting for {status}");
                if answered == status {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, work)
            .await
            .unwrap_or_else(|_| panic!("{status} never comes"));
    };
    for tokens in [&ann, &bob] {
        until(&tokens.access, 200, 401).await;
    }

    cable.cut();
    // What it remembers does not count any more, and nobody is told to sign in for that.
    until(&ann.access, 503, 401).await;
    let told = revoke(&first, &provider.issuer(), "ann").await;
    assert_eq!(told["logins"], 1);
    assert_eq!(ask(&ann.access).await, 503);

    cable.mend();
    until(&ann.access, 401, 200).await;
    until(&bob.access, 200, 401).await;
    assert_eq!(ask(&ann.access).await, 401);
}
