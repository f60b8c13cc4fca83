//! Ending everything of everybody: on all replicas at once, and what comes later counts.

use std::time::Duration;

use serde_json::{Value, json};

use super::command::run;
use super::ended;
use super::streams::{setup, status, stream};
use super::ticking::Ticking;
use crate::harness::browser::Browser;
use crate::harness::client::{Ask, get};
use crate::harness::echo::Echo;
use crate::harness::oauth::{App, Tokens};
use crate::harness::provider::RealProvider;
use crate::harness::redis::Server;

/// The moment until which things were made that ended lies ten seconds ahead.
const AHEAD: Duration = Duration::from_secs(11);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_of_everybody_ends_on_every_replica() {
    let provider = RealProvider::start(&json!({ "registration": false })).await;
    let (events, pages) = (Ticking::start().await, Echo::start().await);
    let redis = Server::plain().await;
    let shared = setup(&provider, &events, &pages)
        .route(
            "/mcp",
            &events.url,
            "allow: { any_user: true }\nscopes: [mcp]",
        )
        .on_redis(redis.port);
    let (first, second) = shared.start_two().await;
    let mut ann = Browser::default();
    let form = ann.open(&first.url("/app/")).await;
    assert_eq!(ann.sign_in(form, "ann").await.status(), 200);
    let landing = Echo::start().await;
    let app = App::discover(&first.url("/mcp"), &format!("{}/callback", landing.url())).await;
    let mut bob = Browser::default();
    let returned = app.approve(&mut bob, "bob").await;
    let tokens = Tokens::of(&app.redeem(&returned.code()).await);
    let by_grant = |port: u16| -> Ask {
        get(&first.url("/mcp"))
            .via(port)
            .bearer(&tokens.access)
            .header("accept", "text/event-stream")
    };
    let mut granted = by_grant(second.port()).stream().await;
    assert_eq!(granted.status, 200);
    granted.read_until("hello").await;
    let here = stream(&first, &first, &ann).await;
    let there = stream(&first, &second, &ann).await;
    assert_eq!(events.open(), 3);

    let (admin, file) = (first.admin(), first.file().to_str().unwrap());
    let unsure = run(&["sessions", "revoke", "--all", "--admin", admin]).await;
    assert_eq!(unsure.status.code(), Some(2), "{unsure:?}");
    assert_eq!(status(&first, &first, &ann).await, 200);
    let done = run(&["sessions", "revoke", "--all", "--yes", "--admin", admin]).await;
    assert!(done.status.success(), "{done:?}");
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(told["ended"], "everything");

    here.end().await;
    there.end().await;
    granted.end().await;
    assert_eq!(ended(&first, "revoked").await, 1);
    assert_eq!(ended(&second, "revoked").await, 2);
    for replica in [&first, &second] {
        assert_eq!(status(&first, replica, &ann).await, 401);
        assert_eq!(by_grant(replica.port()).send().await.status, 401);
    }
    let refused = app.refresh(tokens.refresh.as_deref().unwrap()).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert_eq!(refused.json()["error"], "invalid_grant");

    // Whoever signs in after the mark is signed in, until the next time.
    tokio::time::sleep(AHEAD).await;
    let mut eve = Browser::default();
    let form = eve.open(&first.url("/app/")).await;
    assert_eq!(eve.sign_in(form, "eve").await.status(), 200);
    let there = stream(&first, &second, &eve).await;
    assert_eq!(status(&first, &second, &ann).await, 401);
    let direct = ["--direct", "--config", file];
    let done = run(&[&["sessions", "revoke", "--all", "--yes"], &direct[..]].concat()).await;
    assert!(done.status.success(), "{done:?}");
    there.end().await;
    for replica in [&first, &second] {
        assert_eq!(status(&first, replica, &eve).await, 401);
    }
    events.released().await;
}
