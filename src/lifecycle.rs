//! Signals, changed files, drain, and telling systemd.
//!
//! SIGTERM drains in steps (see [`Drain`]): `/ready` says 503 while connections are still accepted for
//! `shutdown.delay`; then accepting stops and requests finish; event streams end between two events after
//! `shutdown.stream_grace`; what is left after `shutdown.timeout` is cut. SIGINT (a person at a terminal) skips
//! the delay. A second signal cuts at once. SIGHUP reloads the configuration.

mod changes;
mod systemd;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

pub use self::changes::{Changes, QUIET};
pub use self::systemd::Notifier;
use crate::config::service::Shutdown;
pub use crate::listen::Drain;

impl Drain {
    /// Goes through the steps. Ends when the last has fired; whoever waits for connections ends earlier when
    /// they are gone.
    pub async fn run(&self, shutdown: &Shutdown, at_once: bool) {
        self.announced.cancel();
        let mut now = Instant::now();
        if !at_once {
            now += shutdown.delay.0;
            sleep_until(now).await;
        }
        self.closing.cancel();
        let end = now + shutdown.timeout.0;
        sleep_until((now + shutdown.stream_grace.0).min(end)).await;
        self.streams.cancel();
        sleep_until(end).await;
        self.cut.cancel();
    }

    /// Fires every step.
    pub fn cut_now(&self) {
        for step in [&self.announced, &self.closing, &self.streams, &self.cut] {
            step.cancel();
        }
    }
}

/// The signals that the process listens to.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Read the configuration again.
    Reload,
    /// End in order.
    Terminate,
    /// End in order, without the delay for load balancers.
    Interrupt,
}

impl Signals {
    /// Takes the signals over, so that none ends the process from here on.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn take() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Ask {
        tokio::select! {
            _ = self.terminate.recv() => Ask::Terminate,
            _ = self.interrupt.recv() => Ask::Interrupt,
            _ = self.hangup.recv() => Ask::Reload,
        }
    }

    /// The next signal that asks the process to end. One that asks for a reload waits for [`next`](Self::next).
    pub async fn end(&mut self) -> Ask {
        tokio::select! {
            _ = self.terminate.recv() => Ask::Terminate,
            _ = self.interrupt.recv() => Ask::Interrupt,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Span;

    #[tokio::test(start_paused = true)]
    async fn steps_fire_in_order_and_on_time() {
        let drain = Drain::default();
        let times = Shutdown {
            delay: Span::secs(5),
            timeout: Span::secs(30),
            stream_grace: Span::secs(7),
        };
        let began = Instant::now();
        let steps = drain.clone();
        let seen = tokio::spawn(async move {
            let mut at = Vec::new();
            for step in [steps.announced, steps.closing, steps.streams, steps.cut] {
                step.cancelled().await;
                at.push(began.elapsed());
            }
            at
        });
        drain.run(&times, false).await;
        assert_eq!(seen.await.unwrap(), [0, 5, 12, 35].map(Duration::from_secs));
    }

    #[tokio::test(start_paused = true)]
    async fn an_interrupt_skips_the_delay_and_the_grace_never_outlives_the_timeout() {
        let drain = Drain::default();
        let times = Shutdown {
            delay: Span::secs(5),
            timeout: Span::secs(3),
            stream_grace: Span::secs(7),
        };
        let began = Instant::now();
        drain.run(&times, true).await;
        assert_eq!(began.elapsed(), Duration::from_secs(3));
        assert!(drain.streams.is_cancelled());
    }
}
