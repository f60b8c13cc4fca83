//! Hearing a channel, and hearing it again after the connection was lost.

use std::time::Duration;

use deadpool_redis::redis::aio::{PubSubSink, PubSubStream};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use super::dial::SharedDialer;
use super::error::ConnectError;
use crate::store::Outcome;

/// Subscribes; the stream yields `None` when the subscription was lost, and again when it is back.
pub(super) async fn subscribe(
    dialer: SharedDialer,
    channel: String,
) -> Outcome<BoxStream<'static, Option<String>>> {
    let live = Live::begin(&dialer, &channel).await?;
    let subscription = Subscription {
        dialer,
        channel,
        live: Some(live),
        pause: FIRST_PAUSE,
    };
    Ok(stream::unfold(subscription, |mut subscription| async move {
        let next = subscription.next().await;
        Some((next, subscription))
    })
    .boxed())
}

/// Subscribes and stops again.
pub(super) async fn check(dialer: &SharedDialer, channel: &str) -> Result<(), ConnectError> {
    Live::begin(dialer, channel).await.map(drop)
}

struct Subscription {
    dialer: SharedDialer,
    channel: String,
    live: Option<Live>,
    pause: Duration,
}

struct Live {
    sink: PubSubSink,
    messages: PubSubStream,
    check: Interval,
}

impl Subscription {
    async fn next(&mut self) -> Option<String> {
        loop {
            let Some(live) = &mut self.live else {
                match Live::begin(&self.dialer, &self.channel).await {
                    Ok(live) => {
                        self.live = Some(live);
                        self.pause = FIRST_PAUSE;
                        return None;
                    }
                    Err(error) => {
                        tracing::debug!(%error, "A subscription was not taken up again yet.");
                        sleep(self.pause).await;
                        self.pause = (self.pause * 2).min(LAST_PAUSE);
                        continue;
                    }
                }
            };
            let lost = tokio::select! {
                message = live.messages.next() => match message {
                    // What is no text was not sent by us.
                    Some(message) => match message.get_payload() {
                        Ok(text) => return Some(text),
                        Err(_) => false,
                    },
                    None => true,
                },
                _ = live.check.tick() => !live.answers(self.dialer.settings.command_timeout).await,
            };
            if lost {
                self.live = None;
                return None;
            }
        }
    }
}

impl Live {
    async fn begin(dialer: &SharedDialer, channel: &str) -> Result<Self, ConnectError> {
        let (mut sink, messages) = dialer.subscriber().await?.split();
        let subscribed = timeout(dialer.settings.command_timeout, sink.subscribe(channel)).await;
        match subscribed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(ConnectError::driver("the subscription", &error)),
            Err(_) => {
                let problem = "it did not answer in time".to_owned();
                return Err(ConnectError::Unreachable {
                    address: "the subscription".to_owned(),
                    problem,
                });
            }
        }
        let mut check = interval(CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        check.reset();
        Ok(Self {
            sink,
            messages,
            check,
        })
    }

    /// A connection that died without a word shows only when it is asked.
    async fn answers(&mut self, patience: Duration) -> bool {
        use deadpool_redis::redis::Value;
        matches!(
            timeout(patience, self.sink.ping::<Value>()).await,
            Ok(Ok(_))
        )
    }
}

const CHECK: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);
