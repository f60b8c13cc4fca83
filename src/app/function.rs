//! The proxy as a function: no listeners, and a platform that lets the process stand still between two requests.

use std::sync::Arc;
use std::time::Duration;

use super::Running;
use crate::proxy::Proxy;

impl Running {
    /// Who answers requests, wherever they come from.
    pub fn handler(&self) -> Arc<Proxy> {
        self.proxy.clone()
    }

    /// Waits until the first discovery of every identity provider has ended, well or not; two seconds at most.
    pub async fn discovered(&self) {
        let providers = self.built.lock().await.providers();
        for provider in providers {
            provider.settled().await;
        }
    }

    /// To be called before a request is judged, when the process may have stood still since the last one: what was
    /// told meanwhile was not heard, so nothing that is remembered of logins and grants counts any more. `long`: it
    /// stood still long enough for others to have ended their connections with us; none of them is used again.
    pub async fn awake(&self, long: bool) {
        self.lasting.revocations.stood_still();
        if long {
            self.lasting.store.renew();
            self.built.lock().await.let_go();
        }
    }

    /// To be called before the process stands still: waits until what the last request left behind is done and
    /// written, each for `patience` at most.
    pub async fn settle(&self, patience: Duration) {
        self.proxy.snapshot().browser.settle(patience).await;
        let _ = tokio::time::timeout(patience, self.lasting.access.settle()).await;
        if self.lasting.audit.settled().await.is_err() {
            tracing::warn!("audit records were not written before the process may stand still");
        }
        let traces = Arc::clone(&self.lasting.traces);
        let send = tokio::task::spawn_blocking(move || traces.settle());
        let _ = tokio::time::timeout(patience, send).await;
    }
}
