//! An identity provider on loopback: real signed tokens, strict about its clients, faults on demand.
//!
//! ```ignore
//! let idp = Idp::start(Ambient::system()).await;
//! idp.script(|script| script.claims["groups"] = json!(["engineering"]));
//! idp.script(|script| script.token = Reply::Status(503, "busy"));
//! idp.rotate_key();
//! assert_eq!(idp.calls("/token").len(), 1);
//! ```

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use jsonwebtoken::Algorithm;
use mcp_oidc_proxy::clock::Ambient;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) use self::script::{AnswerIssuer, Product, Reply, Script};

use self::keys::SigningKey;

mod endpoints;
mod github;
mod keys;
mod script;

/// The client that is registered at start.
pub(crate) const CLIENT_ID: &str = "proxy";
/// Its secret; with characters that have to be encoded.
pub(crate) const CLIENT_SECRET: &str = "s3cret/+ %:of-the-client";

/// One request that came in.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) query: HashMap<String, String>,
    pub(crate) form: HashMap<String, String>,
    pub(crate) authorization: Option<String>,
}

/// The running provider. It ends when it is dropped.
pub(crate) struct Idp {
    home: Arc<Home>,
    server: JoinHandle<()>,
}

/// What an endpoint answers when nothing is wrong.
type Normal = fn(&Home, &Call) -> Response<Full<Bytes>>;

struct Home {
    address: SocketAddr,
    ambient: Ambient,
    state: Mutex<State>,
}

struct State {
    script: Script,
    keys: Vec<SigningKey>,
    stray: SigningKey,
    codes: HashMap<String, Code>,
    /// Refresh token to its family; a used one stays, so that its reuse is seen.
    refresh: HashMap<String, Refresh>,
    /// Access token to its subject.
    access: HashMap<String, String>,
    calls: Vec<Call>,
    /// Every code and token that was given out.
    issued: Vec<String>,
    counter: u64,
    rotations: usize,
}

struct Code {
    redirect_uri: String,
    challenge: String,
    nonce: String,
    subject: String,
    grants: Grants,
}

/// What a product gives for the authorization request that it got.
#[derive(Clone, Copy)]
struct Grants {
    refresh: bool,
    groups: bool,
}

#[derive(Clone)]
struct Refresh {
    grants: Grants,
    family: u64,
    subject: String,
    nonce: String,
    used: bool,
}

impl Idp {
    /// Starts on a free port of loopback, with a clock that it shares with the proxy under test.
    pub(crate) async fn start(ambient: Ambient) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            script: Script::default(),
            keys: vec![
                SigningKey::new("rsa-1", Algorithm::RS256, 0),
                SigningKey::new("ec-1", Algorithm::ES256, 0),
            ],
            stray: SigningKey::new("rsa-1", Algorithm::RS256, 1),
            codes: HashMap::new(),
            refresh: HashMap::new(),
            access: HashMap::new(),
            calls: Vec::new(),
            issued: Vec::new(),
            counter: 0,
            rotations: 0,
        };
        let home = Arc::new(Home {
            address,
            ambient,
            state: Mutex::new(state),
        });
        let server = tokio::spawn(serve(listener, Arc::clone(&home)));
        Self { home, server }
    }

    /// The issuer, `http://127.0.0.1:port`.
    pub(crate) fn issuer(&self) -> String {
        self.home.issuer()
    }

    /// Changes what the provider does from now on.
    pub(crate) fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.home.state().script);
    }

    /// New signing keys under new ids; the old ones are no longer published.
    pub(crate) fn rotate_keys(&self) {
        let mut state = self.home.state();
        state.rotations += 1;
        let n = state.rotations;
        state.keys = vec![
            SigningKey::new(&format!("rsa-r{n}"), Algorithm::RS256, 2 + n % 2),
            SigningKey::new(&format!("ec-r{n}"), Algorithm::ES256, 0),
        ];
    }

    /// Signs any claims with the current key, as an access token for the proxy's bearer side.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let state = self.home.state();
        state.key().sign(claims)
    }

    /// The same with a `typ` of its own.
    pub(crate) fn sign_as(&self, typ: &str, claims: &Value) -> String {
        self.home.state().key().sign_as(typ, claims)
    }

    /// An access token for an audience, ten minutes long.
    pub(crate) fn access_token(&self, subject: &str, audience: &str, more: &Value) -> String {
        let now = self.home.now();
        let mut claims = json!({
            "iss": self.issuer(), "sub": subject, "aud": audience, "iat": now, "exp": now + 600, "client_id": "test-client",
        });
        merge(claims.as_object_mut().unwrap(), more.as_object().unwrap());
        self.sign(&claims)
    }

    /// The requests so far that went to a path.
    pub(crate) fn calls(&self, path: &str) -> Vec<Call> {
        self.home
            .state()
            .calls
            .iter()
            .filter(|call| call.path == path)
            .cloned()
            .collect()
    }

    /// Forgets every refresh token: the next refresh is refused with `invalid_grant`.
    pub(crate) fn revoke_all(&self) {
        self.home.state().refresh.clear();
    }

    /// Every token, code and secret that was given out so far, to look for them where they must not be.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let state = self.home.state();
        let mut all = vec![CLIENT_SECRET.to_owned()];
        all.extend(state.issued.iter().cloned());
        all
    }
}

impl Drop for Idp {
    fn drop(&mut self) {
        for secret in self.secrets() {
            super::record::secret(&secret);
        }
        self.server.abort();
    }
}

impl State {
    fn key(&self) -> &SigningKey {
        if self.script.unpublished_key {
            return &self.stray;
        }
        self.keys
            .iter()
            .find(|key| key.algorithm == self.script.algorithm)
            .unwrap()
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.counter += 1;
        let made = format!(
            "{kind}-{:08}-{}",
            self.counter,
            STANDARD.encode(self.counter.to_be_bytes())
        );
        self.issued.push(made.clone());
        made
    }
}

impl Home {
    fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn now(&self) -> i64 {
        self.ambient.now().as_secs() + self.state().script.clock_offset
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let query = pairs(request.uri().query().unwrap_or_default().as_bytes());
        let header = |name: &str| {
            request
                .headers()
                .get(name)
                .and_then(|v| v.to_str().ok())
                .map(str::to_owned)
        };
        let authorization = header("authorization");
        let form = pairs(
            &request
                .into_body()
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes)
                .unwrap_or_default(),
        );
        let call = Call {
            path: path.clone(),
            query,
            form,
            authorization,
        };
        self.state().calls.push(call.clone());
        let script = self.state().script.clone();
        let own_sign_out = script.product.sign_out.map(|(path, _)| path);
        let (reply, normal): (Reply, Normal) = match path.as_str() {
            path if path.ends_with("/.well-known/openid-configuration") => {
                (script.discovery, Self::discovery)
            }
            "/jwks" => (script.jwks, Self::jwks),
            "/authorize" => (Reply::Normal, Self::authorize),
            "/token" => (script.token, Self::token),
            "/userinfo" => (script.userinfo, Self::userinfo),
            path if Some(path) == own_sign_out => (Reply::Normal, Self::own_sign_out),
            "/logout" => (Reply::Normal, Self::logout),
            "/login/oauth/authorize" => (Reply::Normal, Self::github_authorize),
            "/login/oauth/access_token" => (script.token, Self::github_token),
            path if path.starts_with("/api/v3/") => (script.userinfo, Self::github_api),
            _ => (Reply::Status(404, "no"), Self::jwks),
        };
        match reply {
            Reply::Normal => normal(self, &call),
            Reply::Status(status, body) => answer(status, "text/html", body),
            Reply::Json(status, body) => answer(status, "application/json", body),
            Reply::Late(pause) => {
                let answer = normal(self, &call);
                tokio::time::sleep(pause).await;
                answer
            }
            Reply::Lost => {
                normal(self, &call);
                std::future::pending().await
            }
            Reply::Hang => std::future::pending().await,
            Reply::Flood(bytes) => answer(200, "application/json", vec![b' '; bytes]),
        }
    }
}

async fn serve(listener: TcpListener, home: Arc<Home>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let home = Arc::clone(&home);
        connections.spawn(async move {
            let service = hyper::service::service_fn(|request| {
                let home = Arc::clone(&home);
                async move { Ok::<_, Infallible>(home.answer(request).await) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

fn pairs(encoded: &[u8]) -> HashMap<String, String> {
    url::form_urlencoded::parse(encoded).into_owned().collect()
}

/// Sets members, or removes those that are `null`.
fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (name, value) in from {
        if value.is_null() {
            into.remove(name);
        } else {
            into.insert(name.clone(), value.clone());
        }
    }
}

fn answer(status: u16, content_type: &str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(Full::new(body.into()))
        .unwrap()
}

fn json_answer(status: u16, body: &Value) -> Response<Full<Bytes>> {
    answer(status, "application/json", body.to_string())
}

fn oauth_error(status: u16, code: &str) -> Response<Full<Bytes>> {
    json_answer(
        status,
        &json!({ "error": code, "error_description": "by the book" }),
    )
}

fn redirect(to: &str) -> Response<Full<Bytes>> {
    Response::builder()
        .status(StatusCode::FOUND)
        .header("location", to)
        .body(Full::default())
        .unwrap()
}
