//! What an operator ends is over on every replica: requests, open streams, grants (security S29).

mod command;
mod cut;
mod direct;
mod everything;
mod streams;
mod ticking;

use crate::harness::client::{Answer, get, post};
use crate::harness::proxy::Proxy;
use serde_json::{Value, json};

/// Asks the admin listener of a proxy to end all of somebody's.
async fn revoke(proxy: &Proxy, issuer: &str, subject: &str) -> Value {
    let answer = admin(proxy, &json!({ "issuer": issuer, "subject": subject })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn admin(proxy: &Proxy, body: &Value) -> Answer {
    post(&format!("http://{}/sessions/revoke", proxy.admin()))
        .json(body)
        .send()
        .await
}

/// How many streams of a proxy ended for a reason.
async fn ended(proxy: &Proxy, reason: &str) -> u64 {
    let text = get(&proxy.metrics()).send().await.text();
    text.lines()
        .filter(|line| {
            line.starts_with("mcp_proxy_stream_duration_seconds_count")
                && line.contains(&format!("close_reason=\"{reason}\""))
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .map(|count| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count"
            )]
            let count = count as u64;
            count
        })
        .sum()
}
