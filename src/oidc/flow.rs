//! One login under way: a cookie in the browser that began it, a sealed record in the store, a `state` between.
//!
//! `state` is `<short>.<random>`. `<short>` names the cookie, and the cookie, sealed, holds the whole `state`:
//! only the browser that began a login can finish it, and each tab has its own.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::clock::{Ambient, Timestamp};
use crate::http::cookie::{self, CookieNames};
use crate::keys::{KeyRing, Purpose};
use crate::seal::Sealer;
use crate::secret::Secret;
use crate::session::{Flow, Flows};
use crate::store::{Store, Unavailable};

/// Logins that one browser may have under way; the oldest makes room. Keeps its `Cookie` header small.
const MAX_PER_BROWSER: usize = 5;

/// Begins login flows, and finds the one that an answer belongs to.
pub(crate) struct Tabs {
    flows: Flows,
    cookies: Sealer,
    names: CookieNames,
    life: Duration,
    ambient: Ambient,
}

/// A flow that has just begun.
pub(crate) struct Begun {
    /// The `state` of the authorization request.
    pub(crate) state: Secret,
    /// `Set-Cookie` headers: the flow's own, and the removal of those that made room.
    pub(crate) cookies: Vec<HeaderValue>,
}

/// A flow that this browser began, as its cookie says.
pub(crate) struct Known {
    state: String,
    /// The name of the provider that it was begun at.
    pub(crate) provider: String,
    /// The cookie's name, to remove it.
    pub(crate) cookie: String,
}

#[derive(Serialize, Deserialize)]
struct Mark {
    state: String,
    provider: String,
    started: Timestamp,
}

impl Tabs {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        keys: &KeyRing,
        names: CookieNames,
        life: Duration,
        ambient: Ambient,
    ) -> Self {
        Self {
            flows: Flows::new(store, keys, life, ambient.clone()),
            cookies: keys.sealer(Purpose::FlowCookie, None),
            names,
            life,
            ambient,
        }
    }

    /// Begins a flow for the browser that sent `headers`.
    pub(crate) async fn begin(
        &self,
        flow: &Flow,
        provider: &str,
        headers: &HeaderMap,
    ) -> Result<Begun, Unavailable> {
        let short = u32::from_be_bytes(self.ambient.random());
        let random = URL_SAFE_NO_PAD.encode(self.ambient.random::<32>());
        let mark = Mark {
            state: format!("{short:08x}.{random}"),
            provider: provider.to_owned(),
            started: flow.started,
        };
        self.flows.put(&mark.state, flow).await?;

        let name = self.names.login(&format!("{short:08x}"));
        let plain = serde_json::to_vec(&mark).unwrap_or_default();
        let value = Secret::new(URL_SAFE_NO_PAD.encode(self.cookies.seal(name.as_bytes(), &plain)));
        let mut cookies = self.make_room(headers);
        cookies.extend(self.names.set_cookie(&name, &value, self.life));
        Ok(Begun {
            state: Secret::new(mark.state),
            cookies,
        })
    }

    /// The flow that a `state` names, if this browser began it and its time is not over.
    pub(crate) fn recognise(&self, state: &str, headers: &HeaderMap) -> Option<Known> {
        let (short, _) = state.split_once('.')?;
        if short.len() != 8 || !short.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let cookie = self.names.login(short);
        let mark = self.open(&cookie, cookie::find(headers, &cookie)?)?;
        let ours = Secret::new(mark.state.as_str()) == Secret::new(state);
        (ours && self.living(&mark)).then_some(Known {
            state: mark.state,
            provider: mark.provider,
            cookie,
        })
    }

    /// Takes a flow's record: of several callers exactly one gets it, once.
    pub(crate) async fn take(&self, known: &Known) -> Result<Option<Flow>, Unavailable> {
        self.flows.take(&known.state).await
    }

    /// Removal of every flow cookie that a browser sent.
    pub(crate) fn forget_all(&self, headers: &HeaderMap) -> Vec<HeaderValue> {
        self.sent(headers)
            .filter_map(|(name, _)| self.names.clear_cookie(name))
            .collect()
    }

    /// Removes cookies of flows that are over or not ours, and the oldest beyond the bound.
    fn make_room(&self, headers: &HeaderMap) -> Vec<HeaderValue> {
        let mut living: Vec<(Timestamp, &str)> = Vec::new();
        let mut drop: Vec<&str> = Vec::new();
        for (name, value) in self.sent(headers) {
            match self.open(name, value) {
                Some(mark) if self.living(&mark) => {
                    living.push((mark.started, name));
                }
                _ => drop.push(name),
            }
        }
        living.sort_unstable();
        let surplus = (living.len() + 1).saturating_sub(MAX_PER_BROWSER);
        drop.extend(living.iter().take(surplus).map(|(_, name)| *name));
        drop.into_iter()
            .filter_map(|name| self.names.clear_cookie(name))
            .collect()
    }

    /// The flow cookies of a request; never more than a browser should have, whatever it sends.
    fn sent<'a>(&self, headers: &'a HeaderMap) -> impl Iterator<Item = (&'a str, &'a str)> {
        let prefix = self.names.login_prefix().to_owned();
        cookie::pairs(headers)
            .filter(move |(name, _)| name.starts_with(&prefix))
            .take(4 * MAX_PER_BROWSER)
    }

    fn open(&self, name: &str, value: &str) -> Option<Mark> {
        let sealed = URL_SAFE_NO_PAD.decode(value).ok()?;
        serde_json::from_slice(&self.cookies.open(name.as_bytes(), &sealed).ok()?).ok()
    }

    fn living(&self, mark: &Mark) -> bool {
        self.ambient.now() < mark.started.plus(self.life)
    }
}

#[cfg(test)]
mod tests;
