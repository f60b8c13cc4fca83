//! Vault's HTTP API (`/v1`): logging in, staying logged in, reading key-value secrets, versions 1 and 2.

mod answer;
mod login;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Method, Request, StatusCode};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use self::login::Login;
use super::SecretError;
use crate::clock::Ambient;
use crate::config::remote::VaultKey;
use crate::config::secrets::Vault;
use crate::secret::Secret;
use crate::upstream::fetch::Fetch;

/// Largest answer that is read.
const MAX_ANSWER: usize = 1 << 20;

/// Time until the next try when renewing failed.
const RENEW_AGAIN: Duration = Duration::from_secs(15);

/// A client with at most one login.
pub(super) struct Client {
    settings: Vault,
    fetch: Fetch,
    ambient: Ambient,
    login: Option<Login>,
    /// Renewing failed; not before this moment again.
    pause_until: Option<Instant>,
}

impl Client {
    /// For a configuration that was checked.
    ///
    /// # Errors
    /// The CA file cannot be used.
    pub(super) fn new(settings: &Vault, ambient: &Ambient) -> Result<Self, SecretError> {
        let fetch = Fetch::new(settings.ca_file.as_deref(), settings.timeout.0, MAX_ANSWER)
            .map_err(|message| SecretError::Settings(format!("vault.ca_file: {message}")))?;
        Ok(Self {
            settings: settings.clone(),
            fetch,
            ambient: ambient.clone(),
            login: None,
            pause_until: None,
        })
    }

    /// Whether it was made for these settings.
    pub(super) fn is_for(&self, settings: &Vault) -> bool {
        self.settings == *settings
    }

    /// Reads each path once.
    pub(super) async fn read<'k>(
        &mut self,
        keys: &BTreeSet<&'k VaultKey>,
    ) -> Vec<(&'k VaultKey, Result<Secret, SecretError>)> {
        let paths: BTreeSet<&str> = keys.iter().map(|key| key.path.as_str()).collect();
        let mut found = Vec::new();
        // Whether the login was made just now: then a refusal is not about its end.
        let mut fresh = false;
        let mut outage: Option<SecretError> = None;
        for path in paths {
            let document = match &outage {
                // The server is away: the other paths would wait for the same.
                Some(error) => Err(error.clone()),
                None => self.document(path, &mut fresh).await,
            };
            if let Err(error) = &document
                && error.passes()
            {
                outage = Some(error.clone());
            }
            for key in keys.iter().filter(|key| key.path == path) {
                let value = document
                    .as_ref()
                    .map_err(Clone::clone)
                    .and_then(|document| answer::pick(document, path, &key.key));
                found.push((*key, value));
            }
        }
        found
    }

    /// Reads one path. A login that was there before may have ended at the server, which says so as it says that a
    /// policy is missing: 403. So it is made anew, once in a round.
    async fn document(&mut self, path: &str, fresh: &mut bool) -> Result<Value, SecretError> {
        let now = Instant::now();
        if self.login.as_ref().is_none_or(|login| login.is_over(now)) {
            self.log_in().await?;
            *fresh = true;
        }
        let answer = self.read_path(path).await;
        if *fresh || !matches!(answer, Err(SecretError::Denied { .. })) {
            return answer;
        }
        *fresh = true;
        let old = self.login.take();
        let outcome = self.log_in().await;
        // It may have been good, and the policy missing.
        self.give_back(old).await;
        outcome?;
        self.read_path(path).await
    }

    async fn read_path(&self, path: &str) -> Result<Value, SecretError> {
        let (status, body) = self.send(Method::GET, path, None).await?;
        if status == StatusCode::FORBIDDEN {
            return Err(SecretError::Denied {
                path: path.to_owned(),
                policies: self
                    .login
                    .as_ref()
                    .map_or_else(|| "none".to_owned(), Login::policies),
            });
        }
        answer::document(&self.settings.address, path, status, &body)
    }

    /// Logs in without the token that was there.
    async fn log_in(&mut self) -> Result<(), SecretError> {
        self.login = None;
        let login = login::begin(self).await?;
        tracing::info!(
            method = self.settings.auth_method.as_str(),
            policies = login.policies(),
            "logged in at Vault"
        );
        self.login = Some(login);
        self.pause_until = None;
        Ok(())
    }

    /// When the login has to be renewed.
    pub(super) fn renew_at(&self) -> Option<Instant> {
        let due = self.login.as_ref()?.renew_at()?;
        Some(self.pause_until.map_or(due, |until| until.max(due)))
    }

    /// Renews the login, or logs in again where it cannot be renewed.
    pub(super) async fn renew(&mut self) -> Result<(), SecretError> {
        let renewed = match &self.login {
            Some(login) if login.renewable() => login::renew(self).await.map(Some),
            _ => Ok(None),
        };
        if let Ok(Some(login)) = renewed {
            self.login = Some(login);
            self.pause_until = None;
            return Ok(());
        }
        // Not renewable, at the end of its longest time, or gone: the credentials are still there.
        let old = self.login.take();
        let outcome = self.log_in().await;
        if outcome.is_ok() {
            self.give_back(old).await;
        } else {
            self.login = old;
            self.pause_until = Some(Instant::now() + RENEW_AGAIN);
        }
        outcome
    }

    /// Gives a login back that was replaced before it ended; one that cannot be given back ends by itself.
    async fn give_back(&mut self, old: Option<Login>) {
        let new = std::mem::replace(&mut self.login, old);
        if let Err(error) = self.revoke().await {
            tracing::debug!(%error, "a replaced login at Vault was not given back");
        }
        self.login = new;
    }

    /// Gives the login back, if it was made here.
    pub(super) async fn revoke(&self) -> Result<(), SecretError> {
        if self.login.as_ref().is_none_or(|login| !login.is_own()) {
            return Ok(());
        }
        let body = Some(Value::Object(serde_json::Map::new()));
        let path = "auth/token/revoke-self";
        let (status, body) = self.send(Method::POST, path, body.as_ref()).await?;
        answer::done(&self.settings.address, status, &body)
    }

    /// Sends a request with the login's token. A standby node sends elsewhere with 307; that is followed once, to the
    /// same path and never from https to http.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), SecretError> {
        let address = self.settings.address.trim_end_matches('/');
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let (status, elsewhere, answer) = self
            .once(address, method.clone(), path, body.clone())
            .await?;
        if status != StatusCode::TEMPORARY_REDIRECT {
            return Ok((status, answer));
        }
        let active = elsewhere
            .and_then(|to| active_node(address, &to))
            .ok_or_else(|| SecretError::Standby(address.to_owned()))?;
        let (status, _, answer) = self.once(&active, method, path, body).await?;
        if status == StatusCode::TEMPORARY_REDIRECT {
            return Err(SecretError::Standby(address.to_owned()));
        }
        Ok((status, answer))
    }

    async fn once(
        &self,
        address: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Option<String>, Bytes), SecretError> {
        let wrong = |what: &str| SecretError::Settings(format!("vault: {what} cannot be sent"));
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{address}/v1/{path}"))
            .header("x-vault-request", "true")
            .body(body)
            .map_err(|_| wrong("the path"))?;
        let headers = request.headers_mut();
        if let Some(login) = &self.login {
            let mut token = HeaderValue::from_str(login.token().expose_secret())
                .map_err(|_| wrong("the token"))?;
            token.set_sensitive(true);
            headers.insert("x-vault-token", token);
        }
        if let Some(namespace) = &self.settings.namespace {
            let namespace = HeaderValue::from_str(namespace).map_err(|_| wrong("the namespace"))?;
            headers.insert("x-vault-namespace", namespace);
        }
        if !request.body().is_empty() {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
        }
        let answer = self.fetch.send(request).await;
        let answer = answer.map_err(|error| SecretError::Unreachable {
            server: format!("Vault at {address}"),
            why: error.to_string(),
        })?;
        let elsewhere = answer.headers().get(LOCATION);
        let elsewhere = elsewhere.and_then(|to| to.to_str().ok()).map(str::to_owned);
        Ok((answer.status(), elsewhere, answer.into_body()))
    }
}

/// The node that a standby names, when it may be asked.
fn active_node(from: &str, to: &str) -> Option<String> {
    let (from, to) = (Url::parse(from).ok()?, Url::parse(to).ok()?);
    let secure = to.scheme() == "https" || to.scheme() == from.scheme();
    let plain = to.username().is_empty() && to.password().is_none();
    (secure && plain && to.has_host()).then(|| to.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_leads_to_another_node_of_the_same_kind_only() {
        let from = "https://vault.example.com:8200";
        assert_eq!(
            active_node(from, "https://10.0.0.7:8200/v1/secret/data/x").as_deref(),
            Some("https://10.0.0.7:8200")
        );
        for to in [
            "http://10.0.0.7:8200/v1/x",
            "https://u:p@host/v1",
            "/v1/x",
            "ftp://h/",
        ] {
            assert_eq!(active_node(from, to), None, "{to}");
        }
        assert!(active_node("http://127.0.0.1:1", "http://127.0.0.1:2/v1/x").is_some());
    }
}
