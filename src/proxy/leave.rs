//! What a stream needs to be judged again: who asked, for what, by which headers; always by the snapshot in force.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, COOKIE, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::{Proxy, denied, docket};
use crate::authn::{Caller, Credential, Identity};
use crate::forward::{Judge, Leave, Verdict};
use crate::mcp::Message;
use crate::route::Matched;

/// Headers that say who asks, and whether a cookie counts.
const SAY_WHO: [HeaderName; 7] = [
    COOKIE,
    AUTHORIZATION,
    ORIGIN,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("sec-fetch-dest"),
];

/// What is kept of a request that may become a stream.
pub(super) struct Asked {
    identity: Identity,
    method: Method,
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    told: u64,
}

impl Asked {
    /// `None` for callers whose streams are judged by their age alone. `told`: of before the caller was found out.
    pub(super) fn of(caller: &Caller, parts: &Parts, told: u64) -> Option<Self> {
        let Caller::Known(identity) = caller else {
            return None;
        };
        let watched = !identity.basis().is_empty() || *identity.credential() == Credential::ApiKey;
        watched.then(|| Self {
            identity: identity.clone(),
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: parts
                .headers
                .iter()
                .filter(|(name, _)| SAY_WHO.contains(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            told,
        })
    }

    /// The leave of the stream that it became.
    pub(super) fn leave(&self, proxy: &Arc<Proxy>, message: &Message) -> Leave {
        let judge = Again {
            proxy: Arc::clone(proxy),
            identity: self.identity.clone(),
            method: self.method.clone(),
            uri: self.uri.clone(),
            headers: self.headers.iter().cloned().collect(),
            message: message.clone(),
        };
        Leave {
            identity: self.identity.clone(),
            judge: Arc::new(judge),
            told: self.told,
        }
    }
}

struct Again {
    proxy: Arc<Proxy>,
    identity: Identity,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    message: Message,
}

impl Again {
    async fn verdict(&self) -> Verdict {
        let snapshot = self.proxy.snapshot();
        let Ok(Matched::Backend(target)) = snapshot.routes.find(&self.method, &self.uri) else {
            return Verdict::Lost;
        };
        let now = snapshot
            .authn
            .again(&self.identity, &target, &self.headers)
            .await;
        let caller = match now {
            Err(_) => return Verdict::Unknown,
            Ok(None) => return Verdict::Lost,
            Ok(Some(identity)) => Caller::Known(identity),
        };
        let route = Arc::clone(target.route());
        match snapshot.policy.decide(caller, target, &self.message) {
            Ok(_) => Verdict::Stays,
            Err(denied) => {
                docket::right_lost(&self.proxy.audit, &self.identity, &route, &denied);
                let reject = denied::reject(denied, &snapshot.authn);
                tracing::info!(
                    code = reject.code().as_str(),
                    "a caller lost the right to an open stream"
                );
                Verdict::Lost
            }
        }
    }
}

impl Judge for Again {
    fn look(&self) -> BoxFuture<'_, Verdict> {
        self.verdict().boxed()
    }
}
