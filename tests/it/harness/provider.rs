//! The certified `oidc-provider` as a child process, with its control listener.

use serde_json::{Value, json};

use super::client::{Ask, get, post};
use super::parts::{self, Part};
use super::record;

/// The secret of the clients `proxy` and `proxy-post`.
pub(crate) const CLIENT_SECRET: &str = "a-secret-of-the-proxy-at-the-provider";

/// The running provider. It ends when it is dropped.
pub(crate) struct RealProvider {
    part: Part,
}

impl RealProvider {
    /// Starts with options; `server.mjs` lists them.
    pub(crate) async fn start(options: &Value) -> Self {
        let mut command = parts::node("oidc-provider/server.mjs");
        command.arg(options.to_string());
        Self {
            part: Part::start("oidc-provider", command).await,
        }
    }

    pub(crate) fn issuer(&self) -> String {
        self.part.said("issuer")
    }

    /// The next `times` requests to a path fail with a status.
    pub(crate) async fn fail(&self, path: &str, status: u16, times: u32) {
        let fault = json!({ "path": path, "status": status, "times": times });
        self.control("/faults", &fault).await;
    }

    /// No faults any more.
    pub(crate) async fn heal(&self) {
        let url = format!("{}/faults", self.part.said("control"));
        assert_eq!(
            Ask::new(http::Method::DELETE, &url).send().await.status,
            200
        );
    }

    /// New signing keys; the old ones are no longer published.
    pub(crate) async fn rotate_keys(&self) {
        self.control("/rotate", &json!({})).await;
    }

    /// The client `proxy` is told at this address that a session has ended.
    pub(crate) async fn tell_at(&self, url: &str) {
        self.control("/backchannel", &json!({ "uri": url })).await;
    }

    /// Signs a token; `server.mjs` says with what.
    pub(crate) async fn mint(&self, what: &Value) -> String {
        let minted = self.control("/mint", what).await;
        let token = minted["token"].as_str().unwrap().to_owned();
        record::secret(&token);
        token
    }

    /// Ends every grant and session of a person.
    pub(crate) async fn revoke(&self, login: &str) {
        self.control("/revoke", &json!({ "login": login })).await;
    }

    /// How often a path was asked for.
    pub(crate) async fn asked(&self, path: &str) -> usize {
        let url = format!("{}/requests", self.part.said("control"));
        let all = get(&url).send().await.json();
        all.as_array()
            .unwrap()
            .iter()
            .filter(|request| request["path"] == path)
            .count()
    }

    async fn control(&self, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.part.said("control"));
        let answer = post(&url).json(body).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }
}
