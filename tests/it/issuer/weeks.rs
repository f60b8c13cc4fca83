//! Weeks of an app's life in seconds: the clocks of proxy and provider step together. Whatever happens on the way,
//! nobody is asked to sign in again without a conclusive reason; and a conclusive one ends it.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;

use self::life::{Life, call, kid};
use crate::harness::idp::Reply;
use crate::harness::oauth::Tokens;

mod life;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Longer than an access token lives.
const LIFE: Duration = Duration::from_secs(11 * 60);

/// What providers and what stands before them say when they are in trouble.
const TROUBLE: [Reply; 6] = [
    Reply::Status(503, "busy"),
    Reply::Status(403, "<html>the firewall's own page</html>"),
    Reply::Hang,
    Reply::Json(429, r#"{"error":"slow_down"}"#),
    Reply::Json(400, r#"{"error":"temporarily_unavailable"}"#),
    Reply::Json(200, "garbage"),
];

/// An outage: refreshing is put off with 503, calls are not refused as if nobody were signed in, and afterwards the
/// same refresh token is good.
async fn outage(life: &mut Life, trouble: Reply) {
    life.refresh().await;
    life.idp.script(|script| script.token = trouble);
    // The provider's access token ends within five minutes, ours lives for ten.
    life.pass(6 * MINUTE);
    let answer = life.call().await;
    assert!(
        answer.status == StatusCode::OK || answer.status == StatusCode::SERVICE_UNAVAILABLE,
        "{trouble:?}: {}",
        answer.text()
    );
    life.pass(LIFE);
    for _ in 0..2 {
        let answer = life.try_refresh().await;
        assert_eq!(
            answer.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{trouble:?}: {}",
            answer.text()
        );
        assert_eq!(answer.json()["error"], "temporarily_unavailable");
        assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
        life.pass(2 * MINUTE);
    }
    life.idp.script(|script| script.token = Reply::Normal);
    life.pass(2 * MINUTE);
    life.refresh().await;
    life.works().await;
}

#[tokio::test]
async fn nobody_is_asked_again_in_five_months() {
    const STEPS: usize = 320;
    const PAUSES: [Duration; 8] = [
        LIFE,
        HOUR,
        Duration::from_secs(6 * 3600),
        Duration::from_secs(1800),
        Duration::from_secs(64 * 3600),
        Duration::from_secs(2 * 3600),
        Duration::from_secs(20 * 3600),
        LIFE,
    ];
    let mut life = Life::begin_on_replicas(1).await;
    let begun = life.idp_time();
    let mut troubles = TROUBLE.into_iter().cycle();
    let mut kids = HashSet::new();
    for step in 0..STEPS {
        let old = life.tokens.access.clone();
        life.pass(PAUSES[step % PAUSES.len()]);
        if step % 8 == 0 {
            let refused = call(&life.app.resource, &old).await;
            assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "step {step}");
        }
        if step % 9 == 4 {
            let trouble = troubles.next().unwrap();
            outage(&mut life, trouble).await;
        }
        if step % 7 == 3 {
            // The answer got lost on its way to the app, which asks again.
            let lost = Tokens::of(&life.try_refresh().await);
            life.pass(5 * SECOND);
            let again = Tokens::of(&life.try_refresh().await);
            assert_eq!(lost.refresh, again.refresh, "step {step}");
        }
        if step % 100 == 17 {
            life.idp.rotate_keys();
        }
        if step % 40 == 30 {
            life.restart().await;
        }
        match step {
            // A provider that gives used tokens a time of grace, answers of which get lost.
            120 => life.idp.script(|script| script.reuse = true),
            121..180 if step % 20 == 1 => {
                life.pass(LIFE);
                life.idp.script(|script| script.token = Reply::Lost);
                let answer = life.try_refresh().await;
                assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
                life.idp.script(|script| script.token = Reply::Normal);
                life.pass(2 * MINUTE);
            }
            // One that does not rotate.
            200 => life.idp.script(|script| script.refresh_tokens = false),
            // One that sends no new ID tokens.
            260 => life.idp.script(|script| script.id_token_at_refresh = false),
            _ => {}
        }
        life.refresh().await;
        life.works().await;
        kids.insert(kid(&life.tokens.access));
    }
    assert!(life.idp_time() - begun > 150 * 24 * 3600, "five months");
    assert_eq!(life.logins(), 1, "a person signed in once");
    assert!(
        kids.len() > 1,
        "the signing key was renewed by itself: {kids:?}"
    );
    assert!(life.refreshes_at_the_provider() >= STEPS);
    life.end().await;
}

#[tokio::test]
async fn processes_that_share_a_token_refresh_in_parallel_on_two_replicas() {
    const ROUNDS: usize = 40;
    const PROCESSES: usize = 6;
    let mut life = Life::begin_on_replicas(2).await;
    for round in 0..ROUNDS {
        life.pass(6 * HOUR);
        let before = life.refreshes_at_the_provider();
        let answers = join_all((0..PROCESSES).map(|_| life.try_refresh())).await;
        let all: Vec<Tokens> = answers.iter().map(Tokens::of).collect();
        for tokens in &all {
            assert_eq!(tokens.refresh, all[0].refresh, "one successor for all");
            let answer = call(&life.app.resource, &tokens.access).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        }
        assert_eq!(
            life.refreshes_at_the_provider() - before,
            1,
            "round {round}: one refresher for all replicas"
        );
        // One process slept: its token is one behind those of the others, who went on.
        let sleeper = life.tokens.clone();
        life.tokens = all[round % PROCESSES].clone();
        life.pass(LIFE);
        life.refresh().await;
        life.pass(30 * SECOND);
        let woken = life.app.refresh(sleeper.refresh.as_deref().unwrap()).await;
        let woken = Tokens::of(&woken);
        let answer = call(&life.app.resource, &woken.access).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        // And whatever it was given is good to go on with.
        life.tokens = woken;
    }
    assert_eq!(life.logins(), 1);
    life.end().await;
}

#[tokio::test]
async fn a_person_whose_access_the_provider_took_away_is_out() {
    let mut life = Life::begin(|_| ()).await;
    life.pass(LIFE);
    life.refresh().await;
    life.idp.revoke_all();
    life.pass(LIFE);
    life.is_over().await;
    // For good, also once the provider would say yes again.
    life.pass(DAY);
    life.is_over().await;
    assert_eq!(life.logins(), 1);
    life.end().await;
}

#[tokio::test]
async fn a_strict_provider_whose_answer_got_lost_is_conclusive() {
    let life = Life::begin(|_| ()).await;
    life.idp.script(|script| script.token = Reply::Lost);
    life.pass(LIFE);
    let answer = life.try_refresh().await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    life.idp.script(|script| script.token = Reply::Normal);
    life.pass(2 * MINUTE);
    life.is_over().await;
    life.end().await;
}

#[tokio::test]
async fn an_app_that_was_away_for_more_than_a_month_asks_again() {
    let mut life = Life::begin(|_| ()).await;
    life.pass(29 * DAY);
    life.refresh().await;
    life.works().await;
    life.pass(31 * DAY);
    life.is_over().await;
    life.end().await;
}

#[tokio::test]
async fn half_a_year_is_the_end_of_a_grant() {
    let mut life = Life::begin(|_| ()).await;
    for _ in 0..17 {
        life.pass(10 * DAY);
        life.refresh().await;
        life.works().await;
    }
    life.pass(9 * DAY);
    life.refresh().await;
    life.works().await;
    life.pass(2 * DAY);
    life.is_over().await;
    life.end().await;
}

#[tokio::test]
async fn without_a_refresh_token_of_the_provider_a_grant_ends_with_the_session_time() {
    let mut life = Life::begin(|idp| idp.script(|script| script.refresh_tokens = false)).await;
    for _ in 0..23 {
        life.pass(HOUR);
        life.refresh().await;
        life.works().await;
    }
    life.pass(2 * HOUR);
    life.is_over().await;
    life.end().await;
}

#[tokio::test]
async fn a_stolen_refresh_token_ends_the_grant_for_thief_and_owner() {
    let mut life = Life::begin(|_| ()).await;
    let stolen = life.tokens.clone();
    for _ in 0..2 {
        life.pass(LIFE);
        life.refresh().await;
    }
    life.works().await;
    life.pass(2 * MINUTE);
    let thief = life.app.refresh(stolen.refresh.as_deref().unwrap()).await;
    assert_eq!(thief.json()["error"], "invalid_grant");
    life.is_over().await;
    life.end().await;
}

#[tokio::test]
async fn groups_that_changed_at_the_provider_count_after_the_next_refresh() {
    let mut life = Life::begin(|_| ()).await;
    life.idp
        .script(|script| script.claims["groups"] = json!(["sales"]));
    life.pass(LIFE);
    // The rule of the route no longer holds. The sign-in does, and so the grant.
    life.refresh().await;
    let answer = life.call().await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
    life.idp
        .script(|script| script.claims["groups"] = json!(["engineering"]));
    life.pass(LIFE);
    life.refresh().await;
    life.works().await;
    assert_eq!(life.logins(), 1);
    life.end().await;
}
