//! Asking an issuer about an opaque token (RFC 7662): bounded, one question at a time for a token.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use quick_cache::sync::Cache;
use serde_json::{Map, Value};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::calls::{Calls, Endpoint};
use super::listed::host;
use crate::config::authn::Introspection;
use crate::config::oidc::ClientAuth;
use crate::secret::Digest;
use crate::telemetry::metrics::Metrics;
use crate::upstream::fetch::Fetch;

/// Largest answer that is read.
const MAX_ANSWER: usize = 64 << 10;
/// How long it is remembered that a token is none, and of how many tokens.
const NOTHING_FOR: Duration = Duration::from_secs(5);
const NOTHINGS: usize = 10_000;
/// Questions at once: strangers can make up tokens as fast as they like, and the issuer must not be asked that fast.
const AT_ONCE: usize = 32;

/// Asks one issuer.
pub(crate) struct Introspector {
    config: Introspection,
    calls: Calls,
    /// Tokens that are none, and when that was said.
    nothings: Cache<[u8; 32], Instant>,
    /// Questions under way; each removes itself.
    flights: Mutex<HashMap<[u8; 32], watch::Receiver<Option<Told>>>>,
    room: Semaphore,
}

/// What was answered.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// It is active; what was said about it.
    Active(Arc<Map<String, Value>>),
    /// It is no token, or none that counts any more.
    Inactive,
    /// Nobody knows.
    Unavailable(Arc<str>),
}

/// Removes a question that is over, also when who asked has gone.
struct Flight<'a> {
    home: &'a Introspector,
    digest: [u8; 32],
    tell: watch::Sender<Option<Told>>,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.home.flights().remove(&self.digest);
    }
}

impl Introspector {
    /// The error says what is wrong with the CA file.
    pub(crate) fn new(
        config: &Introspection,
        ca_file: Option<&Path>,
        metrics: &Metrics,
    ) -> Result<Self, String> {
        let fetch = Fetch::new(ca_file, config.timeout.0, MAX_ANSWER)?;
        Ok(Self {
            calls: Calls::new(fetch, &host(&config.endpoint), metrics),
            config: config.clone(),
            nothings: Cache::new(NOTHINGS),
            flights: Mutex::default(),
            room: Semaphore::new(AT_ONCE),
        })
    }

    /// How long an answer is good.
    pub(crate) fn life(&self) -> Duration {
        self.config.cache.0
    }

    /// Asks about a token, or waits for the answer to somebody else's question about the same one.
    pub(crate) async fn ask(&self, token: &str) -> Told {
        let digest = *Digest::of(token.as_bytes()).as_bytes();
        loop {
            let said = self.nothings.get(&digest);
            if said.is_some_and(|at| at.elapsed() < NOTHING_FOR) {
                return Told::Inactive;
            }
            let mut flight = match self.join(digest) {
                Ok(flight) => {
                    let told = self.question(token).await;
                    if matches!(told, Told::Inactive) {
                        self.nothings.insert(digest, Instant::now());
                    }
                    let _ = flight.tell.send(Some(told.clone()));
                    return told;
                }
                Err(flight) => flight,
            };
            // Who asked has gone without an answer: ask again.
            if let Ok(told) = flight.wait_for(Option::is_some).await
                && let Some(told) = told.clone()
            {
                return told;
            }
        }
    }

    fn join(&self, digest: [u8; 32]) -> Result<Flight<'_>, watch::Receiver<Option<Told>>> {
        let mut flights = self.flights();
        if let Some(flight) = flights.get(&digest) {
            return Err(flight.clone());
        }
        let (tell, hear) = watch::channel(None);
        flights.insert(digest, hear);
        Ok(Flight {
            home: self,
            digest,
            tell,
        })
    }

    async fn question(&self, token: &str) -> Told {
        let wait = tokio::time::timeout(self.config.timeout.0, self.room.acquire());
        let Ok(Ok(_room)) = wait.await else {
            return Told::Unavailable("too many tokens are being asked about".into());
        };
        let request = match self.request(token) {
            Ok(request) => request,
            Err(error) => return Told::Unavailable(error.to_string().into()),
        };
        let answer = match self.calls.send(Endpoint::Introspection, request).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(endpoint = %self.config.endpoint, %error, "a token could not be asked about");
                return Told::Unavailable(error.to_string().into());
            }
        };
        // Section 2.3: what is wrong with us as client says nothing about the token.
        if answer.status() != StatusCode::OK {
            let status = answer.status();
            tracing::warn!(endpoint = %self.config.endpoint, %status, "the introspection endpoint does not answer; check auth.issuers[].introspection");
            return Told::Unavailable(format!("introspection answered {status}").into());
        }
        read(answer.body())
    }

    fn request(&self, token: &str) -> Result<http::Request<Bytes>, http::Error> {
        let Introspection {
            client_id,
            client_secret,
            ..
        } = &self.config;
        let secret = client_secret.secret().expose_secret();
        let mut form = Serializer::new(String::new());
        form.append_pair("token", token)
            .append_pair("token_type_hint", "access_token");
        let mut request = http::Request::post(&self.config.endpoint)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if self.config.client_auth == ClientAuth::ClientSecretPost {
            form.append_pair("client_id", client_id)
                .append_pair("client_secret", secret);
        } else {
            // RFC 6749 section 2.3.1: each part is form-encoded first.
            let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let pair = STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret)));
            let mut basic = HeaderValue::try_from(format!("Basic {pair}"))?;
            basic.set_sensitive(true);
            request = request.header(AUTHORIZATION, basic);
        }
        request.body(form.finish().into())
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<[u8; 32], watch::Receiver<Option<Told>>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Introspector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Introspector({})", self.config.endpoint)
    }
}

/// Reads an answer (section 2.2). Whatever is not plainly `"active": true` or `false` is no answer.
fn read(body: &[u8]) -> Told {
    match serde_json::from_slice::<Map<String, Value>>(body) {
        Ok(said) => match said.get("active") {
            Some(Value::Bool(true)) => Told::Active(Arc::new(said)),
            Some(Value::Bool(false)) => Told::Inactive,
            _ => Told::Unavailable("the introspection answer has no `active`".into()),
        },
        Err(_) => Told::Unavailable("the introspection answer is no JSON object".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_answer_is_one() {
        assert!(matches!(
            read(br#"{"active":true,"sub":"a"}"#),
            Told::Active(_)
        ));
        assert!(matches!(read(br#"{"active":false}"#), Told::Inactive));
        for odd in [
            &b"{}"[..],
            br#"{"active":"true"}"#,
            br#"{"active":1}"#,
            br#"{"active":null}"#,
            b"[]",
            b"<html>",
            b"",
        ] {
            assert!(matches!(read(odd), Told::Unavailable(_)), "{odd:?}");
        }
    }
}
