//! People: signed in through events, and out while the function stands still.

use deadpool_redis::redis::cmd;

use super::event::ALL;
use super::world::World;

/// Who signs in at the provider.
const SUBJECT: &str = "subject-of-ann";

#[tokio::test]
async fn people_sign_in_by_every_way_to_the_function_and_stay_so() {
    let world = World::new().await;
    let function = world.function().await;
    for sender in ALL {
        let jar = world.sign_in(&function, sender).await;
        let seen = world.echo.seen().len();
        let page = function
            .ask(&sender.get("/web/page?a=1&a=2").cookies(&jar))
            .await;
        assert_eq!(page.status, 200, "{sender:?}: {}", page.text());
        let asked = world.echo.seen();
        let asked = &asked[seen];
        assert_eq!(asked.headers["x-forwarded-user"], SUBJECT, "{sender:?}");
        // Whose the connection is comes from the event, and what clients claim does not.
        assert_eq!(
            asked.headers["x-forwarded-for"], "203.0.113.7",
            "{sender:?}"
        );
        assert_eq!(asked.headers["x-forwarded-proto"], "https", "{sender:?}");
        assert!(!asked.headers.contains_key("cookie"), "{sender:?}");
        let expected = if sender == super::event::Sender::Balancer {
            "/page?a=2"
        } else {
            "/page?a=1&a=2"
        };
        assert_eq!(asked.target, expected, "{sender:?}");
        // Another instance of the function knows the session too.
        let other = world.function().await;
        let page = other.ask(&sender.get("/web/").cookies(&jar)).await;
        assert_eq!(page.status, 200, "{sender:?}");
    }
}

#[tokio::test]
async fn a_session_that_ended_while_the_function_stood_still_is_over() {
    let world = World::new().await;
    let function = world.function().await;
    let sender = super::event::Sender::HttpApi;
    let jar = world.sign_in(&function, sender).await;
    let page = sender.get("/web/").cookies(&jar);
    for _ in 0..2 {
        assert_eq!(function.ask(&page).await.status, 200);
    }
    let asked = function.platform.asked();
    function.platform.wait_for_asked(asked).await;

    function.freeze(true);
    // It ended, and no news of it will come: they were lost on the way to somebody who did not take them.
    let mut redis = world.redis.connection("").await;
    let () = cmd("FLUSHDB").query_async(&mut redis).await.unwrap();
    // It is there when the process goes on, before a heartbeat could be missed.
    let delivery = function.platform.invoke(page.event()).await;
    function.freeze(false);
    let answer = delivery.whole().await;
    assert_eq!(answer["statusCode"], 401, "{answer}");
}
