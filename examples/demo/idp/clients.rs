//! Who may ask for tokens: the proxy, and MCP clients that register themselves (RFC 7591).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Request, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq as _;
use url::{Host, Url};

use super::{PROXY_CLIENT, PROXY_SECRET, Provider};
use crate::web::{self, Reply};

const MAX_URIS: usize = 10;
const MAX_TEXT: usize = 500;
/// Schemes of desktop editors, taken besides `https` and loopback `http`.
const EDITOR_SCHEMES: [&str; 3] = ["cursor", "vscode", "vscode-insiders"];

/// A client as registered.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) name: String,
    secret: Option<String>,
    redirects: Vec<String>,
}

impl Client {
    /// Exact comparison, except that the port of a loopback address may differ (RFC 8252 section 7.3).
    pub(crate) fn may_return_to(&self, uri: &str) -> bool {
        self.redirects
            .iter()
            .any(|known| known == uri || same_but_port(known, uri))
    }
}

#[derive(Deserialize)]
struct Registration {
    #[serde(default)]
    redirect_uris: Vec<String>,
    client_name: Option<String>,
    token_endpoint_auth_method: Option<String>,
    scope: Option<String>,
    application_type: Option<String>,
}

impl Provider {
    /// The client of an id.
    pub(super) fn client(&self, id: &str) -> Option<Client> {
        if id == PROXY_CLIENT {
            return Some(Client {
                id: id.to_owned(),
                name: "the proxy".to_owned(),
                secret: Some(PROXY_SECRET.to_owned()),
                redirects: vec![format!("{}/oauth2/callback", self.proxy)],
            });
        }
        self.state().clients.get(self.now(), id)
    }

    /// The client that a token request comes from, once it has proved it (RFC 6749 section 2.3).
    pub(super) fn authenticate(
        &self,
        headers: &HeaderMap,
        form: &[(String, String)],
    ) -> Option<Client> {
        let (id, secret) = match headers.get(AUTHORIZATION) {
            Some(value) => {
                let encoded = value.to_str().ok()?.strip_prefix("Basic ")?;
                let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
                let (id, secret) = text.split_once(':')?;
                let decode = |part: &str| {
                    percent_decode_str(part)
                        .decode_utf8()
                        .ok()
                        .map(std::borrow::Cow::into_owned)
                };
                (decode(id)?, Some(decode(secret)?))
            }
            None => (
                web::single(form, "client_id").ok()??.to_owned(),
                web::single(form, "client_secret").ok()?.map(str::to_owned),
            ),
        };
        let client = self.client(&id)?;
        let proved = match (&client.secret, &secret) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => bool::from(ours.as_bytes().ct_eq(theirs.as_bytes())),
            _ => false,
        };
        proved.then_some(client)
    }

    /// Dynamic registration.
    pub(super) async fn register(&self, request: Request<Incoming>) -> Reply {
        let refuse = |error: &str, text: &str| {
            web::json(
                StatusCode::BAD_REQUEST,
                &json!({ "error": error, "error_description": text }),
            )
        };
        let Some(body) = web::body(request).await else {
            return refuse(
                "invalid_client_metadata",
                "the document is larger than 64 KiB",
            );
        };
        let asked: Registration = match serde_json::from_slice(&body) {
            Ok(asked) => asked,
            Err(error) => return refuse("invalid_client_metadata", &error.to_string()),
        };
        let uris = &asked.redirect_uris;
        if uris.is_empty() || uris.len() > MAX_URIS {
            return refuse("invalid_redirect_uri", "give 1 to 10 redirect_uris");
        }
        if let Some(bad) = uris.iter().find(|uri| !fit_for_redirect(uri)) {
            return refuse(
                "invalid_redirect_uri",
                &format!("`{bad}` is neither https, nor http on loopback, nor an editor's scheme"),
            );
        }
        let method = asked
            .token_endpoint_auth_method
            .as_deref()
            .unwrap_or("client_secret_basic");
        let secret = match method {
            "none" => None,
            "client_secret_basic" | "client_secret_post" => Some(self.secret()),
            _ => {
                return refuse(
                    "invalid_client_metadata",
                    "token_endpoint_auth_method is none, client_secret_basic or client_secret_post",
                );
            }
        };
        let name: String = asked
            .client_name
            .as_deref()
            .unwrap_or("an MCP client")
            .chars()
            .take(MAX_TEXT)
            .collect();
        let client = Client {
            id: format!("dyn-{}", self.secret()),
            name,
            secret,
            redirects: uris.clone(),
        };
        let mut answer = json!({
            "client_id": client.id,
            "client_id_issued_at": self.now().as_secs(),
            "client_name": client.name,
            "redirect_uris": client.redirects,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": method,
            "application_type": asked.application_type.as_deref().unwrap_or("native"),
        });
        // Clients refuse members that are null, so absent ones stay absent.
        if let Some(secret) = &client.secret {
            answer["client_secret"] = json!(secret);
            answer["client_secret_expires_at"] = json!(0);
        }
        if let Some(scope) = asked.scope {
            answer["scope"] = json!(scope);
        }
        tracing::info!(
            client.name = client.name,
            "the demo provider registered a client"
        );
        let (now, expires) = (self.now(), self.in_secs(24 * 3600));
        self.state()
            .clients
            .put(now, client.id.clone(), expires, client);
        web::json(StatusCode::CREATED, &answer)
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn fit_for_redirect(uri: &str) -> bool {
    uri.len() <= MAX_TEXT
        && Url::parse(uri).is_ok_and(|url| {
            url.fragment().is_none()
                && match url.scheme() {
                    "https" => true,
                    "http" => is_loopback(&url),
                    other => EDITOR_SCHEMES.contains(&other),
                }
        })
}

fn same_but_port(known: &str, asked: &str) -> bool {
    let (Ok(mut known), Ok(mut asked)) = (Url::parse(known), Url::parse(asked)) else {
        return false;
    };
    if known.scheme() != "http" || !is_loopback(&known) || !is_loopback(&asked) {
        return false;
    }
    known.set_port(None).is_ok() && asked.set_port(None).is_ok() && known == asked
}
