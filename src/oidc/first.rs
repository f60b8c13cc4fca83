//! The first attempt at something that begins with the process: who comes meanwhile waits for it, a little.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a request waits for the first attempt at most.
const LONGEST: Duration = Duration::from_secs(2);

/// Whether the first attempt has ended, well or not. Afterwards nobody waits: an outage is answered at once.
#[derive(Debug, Default)]
pub(crate) struct FirstAttempt(CancellationToken);

impl FirstAttempt {
    /// The attempt has ended, or will not be made.
    pub(crate) fn over(&self) {
        self.0.cancel();
    }

    /// Waits until the first attempt has ended, two seconds at most.
    pub(crate) async fn wait(&self) {
        if !self.0.is_cancelled() {
            // Ended or not: the caller looks at what there is.
            let _ = timeout(LONGEST, self.0.cancelled()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_the_bound_or_after_the_attempt() {
        let attempt = FirstAttempt::default();
        let began = Instant::now();
        attempt.wait().await;
        assert_eq!(began.elapsed(), LONGEST);

        let ended = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            attempt.over();
        };
        let began = Instant::now();
        tokio::join!(attempt.wait(), ended);
        assert_eq!(began.elapsed(), Duration::from_millis(100));
        attempt.wait().await;
        assert_eq!(began.elapsed(), Duration::from_millis(100));
    }
}
