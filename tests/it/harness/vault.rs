//! A stand-in for Vault's HTTP API, as its documentation describes it: logins by Kubernetes, `AppRole` and token, policies,
//! leases, key-value secrets in both versions, and the states in which a server cannot serve.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The running server. It ends when it is dropped.
pub(crate) struct Vault {
    url: String,
    state: Shared,
    server: JoinHandle<()>,
}

type Shared = Arc<Mutex<State>>;

/// One request that came in.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// Below `/v1/`.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

/// What a role gives.
#[derive(Clone)]
struct Role {
    policies: Vec<String>,
    ttl: Duration,
    max_ttl: Duration,
    /// A service token; others are batch tokens, which cannot be renewed.
    renewable: bool,
}

struct Token {
    policies: Vec<String>,
    /// Never, for a root token.
    ends: Option<Instant>,
    longest: Option<Instant>,
    ttl: Duration,
    renewable: bool,
}

#[derive(Default)]
struct State {
    sealed: bool,
    failing: Option<u16>,
    /// The active node, for a standby.
    active: Option<String>,
    /// Service account tokens and the roles that they may have.
    accounts: BTreeMap<String, String>,
    /// Role ids and secret ids.
    approles: BTreeMap<String, String>,
    roles: BTreeMap<String, Role>,
    /// Paths that a policy lets its tokens read.
    policies: BTreeMap<String, Vec<String>>,
    tokens: BTreeMap<String, Token>,
    /// Versions of secrets in the mount `secret`; a deleted one is `None`.
    versions: BTreeMap<String, Vec<Option<Value>>>,
    /// Secrets in the mount `kv`.
    plain: BTreeMap<String, Value>,
    seen: Vec<Asked>,
    made: u32,
}

pub(crate) const ROLE: &str = "mcp-proxy";
pub(crate) const POLICY: &str = "read-mcp";

impl Vault {
    /// Starts on a free port, with a role `mcp-proxy` whose policy reads `secret/data/mcp` and `kv/mcp`, the service
    /// account token `jwt-of-the-pod` and the secret id `secret-id-of-the-proxy` for the role id `role-id`.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Shared::default();
        let server = tokio::spawn(serve(listener, Arc::clone(&state)));
        let vault = Self { url, state, server };
        vault.with(|state| {
            let paths = ["secret/data/mcp", "kv/mcp"].map(str::to_owned).to_vec();
            state.policies.insert(POLICY.to_owned(), paths);
            state
                .accounts
                .insert("jwt-of-the-pod".to_owned(), ROLE.to_owned());
            state
                .approles
                .insert("role-id".to_owned(), "secret-id-of-the-proxy".to_owned());
        });
        vault.role(Duration::from_secs(3600), Duration::from_secs(86_400), true);
        vault
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap())
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Sets how long logins hold.
    pub(crate) fn role(&self, ttl: Duration, max_ttl: Duration, renewable: bool) {
        let policies = ["default", POLICY].map(str::to_owned).to_vec();
        let role = Role {
            policies,
            ttl,
            max_ttl,
            renewable,
        };
        self.with(|state| state.roles.insert(ROLE.to_owned(), role));
    }

    /// Makes a token as `vault token create` does.
    pub(crate) fn token(&self, token: &str, ttl: Duration, policies: &[&str]) {
        let now = Instant::now();
        let made = Token {
            policies: policies.iter().map(|each| (*each).to_owned()).collect(),
            ends: Some(now + ttl),
            longest: None,
            ttl,
            renewable: true,
        };
        self.with(|state| state.tokens.insert(token.to_owned(), made));
    }

    /// Writes a new version of `secret/<path>`.
    pub(crate) fn put(&self, path: &str, data: Value) {
        self.with(|state| {
            state
                .versions
                .entry(path.to_owned())
                .or_default()
                .push(Some(data));
        });
    }

    /// Deletes its current version.
    pub(crate) fn delete(&self, path: &str) {
        self.with(|state| *state.versions.get_mut(path).unwrap().last_mut().unwrap() = None);
    }

    /// Writes `kv/<path>`, which has no versions.
    pub(crate) fn put_plain(&self, path: &str, data: Value) {
        self.with(|state| state.plain.insert(path.to_owned(), data));
    }

    pub(crate) fn seal(&self, sealed: bool) {
        self.with(|state| state.sealed = sealed);
    }

    /// Answers everything with this status.
    pub(crate) fn fail(&self, status: Option<u16>) {
        self.with(|state| state.failing = status);
    }

    /// Makes it a standby that sends clients to another node.
    pub(crate) fn stand_by_for(&self, active: &str) {
        self.with(|state| state.active = Some(active.to_owned()));
    }

    /// Ends every token, as a lease that ran out does.
    pub(crate) fn expire(&self) {
        self.with(|state| state.tokens.clear());
    }

    /// Takes the policy's paths away.
    pub(crate) fn deny(&self) {
        self.with(|state| state.policies.clear());
    }

    /// Tokens that hold.
    pub(crate) fn living(&self) -> usize {
        let now = Instant::now();
        self.with(|state| {
            let tokens = state.tokens.values();
            tokens
                .filter(|token| token.ends.is_none_or(|ends| ends > now))
                .count()
        })
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.with(|state| state.seen.clone())
    }

    /// How often a path was asked for.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.seen()
            .iter()
            .filter(|asked| asked.path == path)
            .count()
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, state: Shared) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let handler =
                hyper::service::service_fn(move |request| answer(request, Arc::clone(&state)));
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), handler)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

type Said = (u16, Value);

async fn answer(
    request: Request<Incoming>,
    state: Shared,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = parts
        .uri
        .path()
        .strip_prefix("/v1/")
        .unwrap_or_default()
        .to_owned();
    let asked = Asked {
        method: parts.method,
        path,
        headers: parts.headers,
    };
    let mut state = state.lock().unwrap();
    state.seen.push(asked.clone());
    let mut response = Response::builder().header("content-type", "application/json");
    if let Some(active) = &state.active {
        response = response.header("location", format!("{active}/v1/{}", asked.path));
        return Ok(response.status(307).body(Full::default()).unwrap());
    }
    let (status, document) = state.answer(&asked, &body);
    let body = if document.is_null() {
        Bytes::new()
    } else {
        document.to_string().into()
    };
    Ok(response.status(status).body(Full::new(body)).unwrap())
}

fn errors(status: u16, what: &str) -> Said {
    (status, json!({ "errors": [what] }))
}

fn denied() -> Said {
    errors(403, "1 error occurred:\n\t* permission denied\n\n")
}

impl State {
    fn answer(&mut self, asked: &Asked, body: &[u8]) -> Said {
        if let Some(status) = self.failing {
            return errors(status, "internal error");
        }
        if self.sealed {
            return errors(503, "Vault is sealed");
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let post = asked.method == Method::POST || asked.method == Method::PUT;
        match asked.path.as_str() {
            "auth/kubernetes/login" if post => return self.kubernetes(&body),
            "auth/approle/login" if post => return self.approle(&body),
            _ => {}
        }
        let Some(token) = asked.headers.get("x-vault-token") else {
            return errors(400, "missing client token");
        };
        let name = token.to_str().unwrap().to_owned();
        let now = Instant::now();
        let Some(token) = self
            .tokens
            .get_mut(&name)
            .filter(|token| token.ends.is_none_or(|ends| ends > now))
        else {
            return errors(
                403,
                "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n",
            );
        };
        match asked.path.as_str() {
            // What the policy `default` allows.
            "auth/token/lookup-self" | "auth/token/renew-self" | "auth/token/revoke-self"
                if !token.policies.iter().any(|policy| policy == "default") =>
            {
                denied()
            }
            "auth/token/lookup-self" => {
                let ttl = token.ends.map_or(0, |ends| (ends - now).as_secs());
                (
                    200,
                    json!({ "request_id": "r", "lease_id": "", "renewable": false, "lease_duration": 0, "data": {
                    "accessor": "a", "policies": token.policies, "ttl": ttl, "renewable": token.renewable, "type": "service" } }),
                )
            }
            "auth/token/renew-self" if !token.renewable => errors(400, "lease is not renewable"),
            "auth/token/renew-self" => {
                let mut ends = now + token.ttl;
                if let Some(longest) = token.longest {
                    ends = ends.min(longest);
                }
                token.ends = Some(ends);
                (200, auth(&name, token, ends - now))
            }
            "auth/token/revoke-self" => {
                self.tokens.remove(&name);
                (204, Value::Null)
            }
            path => {
                let policies = token.policies.clone();
                let may = policies
                    .iter()
                    .filter_map(|policy| self.policies.get(policy));
                if may.flatten().any(|allowed| allowed == path) {
                    self.read(path)
                } else {
                    denied()
                }
            }
        }
    }

    fn kubernetes(&mut self, body: &Value) -> Said {
        let role = body["role"].as_str().unwrap_or_default();
        if role.is_empty() {
            return errors(400, "missing role");
        }
        if !self.roles.contains_key(role) {
            return errors(400, &format!("invalid role name \"{role}\""));
        }
        match self.accounts.get(body["jwt"].as_str().unwrap_or_default()) {
            Some(bound) if bound == role => self.log_in(role),
            _ => errors(403, "permission denied"),
        }
    }

    fn approle(&mut self, body: &Value) -> Said {
        let text = |key: &str| body[key].as_str().unwrap_or_default();
        match self.approles.get(text("role_id")) {
            Some(secret) if secret == text("secret_id") => self.log_in(ROLE),
            _ => errors(400, "invalid role or secret ID"),
        }
    }

    fn log_in(&mut self, role: &str) -> Said {
        let role = self.roles[role].clone();
        self.made += 1;
        let name = format!("hvs.canary-login-token-{}", self.made);
        let now = Instant::now();
        let token = Token {
            policies: role.policies,
            ends: Some(now + role.ttl),
            longest: Some(now + role.max_ttl),
            ttl: role.ttl,
            renewable: role.renewable,
        };
        let said = (200, auth(&name, &token, role.ttl));
        self.tokens.insert(name, token);
        said
    }

    fn read(&self, path: &str) -> Said {
        let found = |data: Value, lease: u64| {
            (
                200,
                json!({ "request_id": "r", "lease_id": "", "renewable": false, "lease_duration": lease, "data": data,
                "wrap_info": null, "warnings": null, "auth": null }),
            )
        };
        if let Some(path) = path.strip_prefix("secret/data/") {
            let Some(versions) = self.versions.get(path) else {
                return (404, json!({ "errors": [] }));
            };
            let current = versions.last().unwrap();
            let deleted = if current.is_some() {
                ""
            } else {
                "2026-11-21T12:00:00Z"
            };
            let (_, document) = found(
                json!({ "data": current, "metadata": { "created_time": "2026-11-21T10:00:00Z",
                "custom_metadata": null, "deletion_time": deleted, "destroyed": false, "version": versions.len() } }),
                0,
            );
            return (if current.is_some() { 200 } else { 404 }, document);
        }
        if let Some(path) = path.strip_prefix("kv/") {
            return match self.plain.get(path) {
                Some(data) => found(data.clone(), 2_764_800),
                None => (404, json!({ "errors": [] })),
            };
        }
        errors(
            404,
            &format!("no handler for route \"{path}\". route entry not found."),
        )
    }
}

fn auth(name: &str, token: &Token, holds: Duration) -> Value {
    json!({ "request_id": "r", "lease_id": "", "renewable": false, "lease_duration": 0, "data": null, "warnings": null, "auth": {
        "client_token": name, "accessor": "a", "policies": token.policies, "token_policies": token.policies,
        "metadata": Map::new(), "lease_duration": holds.as_secs(), "renewable": token.renewable, "token_type": "service" } })
}
