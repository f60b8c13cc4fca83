//! The demo's identity provider: what an organisation's real one does, small, on loopback, with two people in it.
//! It is never part of the proxy's own binary.

mod authorize;
mod clients;
mod metadata;
mod page;
mod table;
mod token;
mod tokens;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use mcp_oidc_proxy::clock::{Ambient, Timestamp};

use self::authorize::{Code, Pending, SignedIn};
use self::table::Table;
use self::token::Grant;
use self::tokens::Signer;
use crate::Outcome;
use crate::web::{self, Reply};

/// Client id and secret that `configs/demo.yaml` has for the proxy.
pub(crate) const PROXY_CLIENT: &str = "mcp-proxy";
const PROXY_SECRET: &str = "demo-client-secret";

/// Somebody who can sign in here.
#[derive(Debug, PartialEq)]
pub(crate) struct Person {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) email: &'static str,
    pub(crate) groups: &'static [&'static str],
}

/// Everybody who can sign in here.
pub(crate) const PEOPLE: [Person; 2] = [
    Person {
        id: "ann",
        name: "Ann Engineer",
        email: "ann@example.com",
        groups: &["engineering"],
    },
    Person {
        id: "bob",
        name: "Bob Seller",
        email: "bob@example.com",
        groups: &["sales"],
    },
];

/// The provider.
pub(crate) struct Provider {
    issuer: String,
    /// The origin of the proxy: where its client may be sent back to.
    proxy: String,
    signer: Signer,
    ambient: Ambient,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pending: Table<Pending>,
    codes: Table<Code>,
    grants: Table<Grant>,
    signed_in: Table<SignedIn>,
}

impl Provider {
    /// A provider with a key of its own, made now.
    pub(crate) fn new(issuer: String, proxy: String, ambient: Ambient) -> Outcome<Arc<Self>> {
        let signer = Signer::generate()?;
        let state = Mutex::new(State::default());
        Ok(Arc::new(Self {
            issuer,
            proxy,
            signer,
            ambient,
            state,
        }))
    }

    /// Answers one request.
    pub(crate) async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Reply {
        let path = request.uri().path().to_owned();
        let open = matches!(path.as_str(), "/token" | "/userinfo" | "/jwks")
            || path.starts_with("/.well-known/");
        if open && let Some(answer) = web::preflight(&request) {
            return answer;
        }
        match (request.method(), path.as_str()) {
            (
                &Method::GET,
                "/.well-known/openid-configuration" | "/.well-known/oauth-authorization-server",
            ) => web::json(StatusCode::OK, &self.metadata()),
            (&Method::GET, "/jwks") => web::json(StatusCode::OK, &self.signer.jwks()),
            (&Method::GET, "/authorize") => self.authorize(&request),
            (&Method::POST, "/sign-in") => self.sign_in(request).await,
            (&Method::POST, "/token") => self.token(request).await,
            (&Method::GET | &Method::POST, "/userinfo") => self.userinfo(&request),
            (&Method::GET, "/logout") => self.logout(&request),
            (&Method::GET, "/") => web::html(StatusCode::OK, page::home()),
            _ => web::json(
                StatusCode::NOT_FOUND,
                &serde_json::json!({ "error": "not_found" }),
            ),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and a table is whole between two statements anyway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.ambient.now()
    }

    fn in_secs(&self, secs: u64) -> Timestamp {
        self.now().plus(Duration::from_secs(secs))
    }

    /// 256 bits that nobody guesses, as text.
    fn secret(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.ambient.random::<32>())
    }
}

fn person(id: &str) -> Option<&'static Person> {
    PEOPLE.iter().find(|person| person.id == id)
}
