//! Sign-in: the authorization request, the page, the code, and sign-out.

use hyper::body::Incoming;
use hyper::header::{COOKIE, HeaderValue, SET_COOKIE};
use hyper::{HeaderMap, Request, StatusCode};
use url::Url;

use super::{PROXY_CLIENT, Person, Provider, page, person};
use crate::web::{self, Reply};

const COOKIE_NAME: &str = "demo_idp";
const CODE_SECS: u64 = 60;
const PENDING_SECS: u64 = 600;
const SIGNED_IN_SECS: u64 = 8 * 3600;

/// An authorization request that was checked and waits for a person.
#[derive(Clone)]
pub(crate) struct Pending {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) scope: String,
    state: Option<String>,
    nonce: Option<String>,
    challenge: String,
}

/// What a code stands for.
#[derive(Clone)]
pub(crate) struct Code {
    pub(crate) request: Pending,
    pub(crate) person: &'static Person,
    pub(crate) sid: String,
    pub(crate) auth_time: i64,
}

impl Code {
    pub(crate) fn nonce(&self) -> Option<&str> {
        self.request.nonce.as_deref()
    }

    /// The S256 challenge (RFC 7636).
    pub(crate) fn challenge(&self) -> &str {
        &self.request.challenge
    }
}

/// A browser in which somebody signed in here.
#[derive(Clone)]
pub(crate) struct SignedIn {
    person: &'static Person,
    sid: String,
    auth_time: i64,
}

impl Provider {
    /// `GET /authorize`.
    pub(super) fn authorize(&self, request: &Request<Incoming>) -> Reply {
        let query = web::fields(request.uri().query().unwrap_or_default().as_bytes());
        let field = |name: &str| web::single(&query, name);
        // Before client and address are known to belong together nothing is sent anywhere.
        let (Ok(Some(client_id)), Ok(Some(redirect_uri))) =
            (field("client_id"), field("redirect_uri"))
        else {
            return web::html(
                StatusCode::BAD_REQUEST,
                page::refusal("client_id and redirect_uri are each needed once."),
            );
        };
        let Some(client) = self
            .client(client_id)
            .filter(|client| client.may_return_to(redirect_uri))
        else {
            return web::html(
                StatusCode::BAD_REQUEST,
                page::refusal("This client is not registered here with this redirect address."),
            );
        };
        let state = field("state").ok().flatten().map(str::to_owned);
        let refuse = |error: &str, text: &str| {
            web::redirect(&self.answer(
                redirect_uri,
                state.as_deref(),
                &[("error", error), ("error_description", text)],
            ))
        };
        let once = [
            "response_type",
            "scope",
            "state",
            "nonce",
            "code_challenge",
            "code_challenge_method",
            "prompt",
        ];
        if once.iter().any(|name| field(name).is_err()) {
            return refuse("invalid_request", "a parameter is given twice");
        }
        let value = |name: &str| field(name).ok().flatten();
        if value("response_type") != Some("code") {
            return refuse("unsupported_response_type", "response_type is code");
        }
        let Some(challenge) = value("code_challenge")
            .filter(|text| text.len() == 43 && value("code_challenge_method") == Some("S256"))
        else {
            return refuse("invalid_request", "PKCE with S256 is needed");
        };
        let pending = Pending {
            client_id: client.id,
            redirect_uri: redirect_uri.to_owned(),
            scope: value("scope").unwrap_or("openid").to_owned(),
            state: state.clone(),
            nonce: value("nonce").map(str::to_owned),
            challenge: challenge.to_owned(),
        };
        let here = self.signed_in(request.headers());
        let prompt = value("prompt").unwrap_or_default();
        match here {
            Some(here)
                if !["login", "consent", "select_account"]
                    .iter()
                    .any(|ask| prompt.contains(ask)) =>
            {
                web::redirect(&self.issue_code(pending, &here))
            }
            _ if prompt == "none" => refuse(
                "login_required",
                "nobody is signed in here, and no page may be shown",
            ),
            here => {
                let transaction = self.secret();
                let page = page::sign_in(&transaction, here.map(|here| here.person));
                let (now, expires) = (self.now(), self.in_secs(PENDING_SECS));
                self.state().pending.put(now, transaction, expires, pending);
                web::html(StatusCode::OK, page)
            }
        }
    }

    /// `POST /sign-in`: the page's form. Every password is right.
    pub(super) async fn sign_in(&self, request: Request<Incoming>) -> Reply {
        let here = self.signed_in(request.headers());
        let form = web::body(request)
            .await
            .map(|body| web::fields(&body))
            .unwrap_or_default();
        let field = |name: &str| web::single(&form, name).ok().flatten();
        let now = self.now();
        let Some(pending) =
            field("transaction").and_then(|name| self.state().pending.take(now, name))
        else {
            return web::html(
                StatusCode::BAD_REQUEST,
                page::refusal(
                    "This sign-in has ended or was used already. Start again where you came from.",
                ),
            );
        };
        if field("decision") == Some("cancel") {
            let answer = [
                ("error", "access_denied"),
                ("error_description", "the person said no"),
            ];
            return web::redirect(&self.answer(
                &pending.redirect_uri,
                pending.state.as_deref(),
                &answer,
            ));
        }
        let Some(person) = field("user").and_then(person) else {
            return web::html(
                StatusCode::BAD_REQUEST,
                page::refusal(
                    "There is nobody of this name here. Start again where you came from.",
                ),
            );
        };
        tracing::info!(
            person = person.id,
            client.id = pending.client_id,
            "somebody signed in at the demo provider"
        );
        let here = match here {
            Some(here) if here.person == person => here,
            _ => SignedIn {
                person,
                sid: self.secret(),
                auth_time: now.as_secs(),
            },
        };
        let mut response = web::redirect(&self.issue_code(pending, &here));
        let (name, expires) = (self.secret(), self.in_secs(SIGNED_IN_SECS));
        if let Ok(cookie) = HeaderValue::from_str(&format!(
            "{COOKIE_NAME}={name}; Path=/; HttpOnly; SameSite=Lax"
        )) {
            response.headers_mut().insert(SET_COOKIE, cookie);
            self.state().signed_in.put(now, name, expires, here);
        }
        response
    }

    /// `GET /logout`: OpenID Connect RP-Initiated Logout 1.0.
    pub(super) fn logout(&self, request: &Request<Incoming>) -> Reply {
        let query = web::fields(request.uri().query().unwrap_or_default().as_bytes());
        let field = |name: &str| web::single(&query, name).ok().flatten();
        let hint = field("id_token_hint").and_then(|token| self.signer.open("JWT", token));
        let mut sids: Vec<String> = hint
            .iter()
            .filter_map(|claims| claims["sid"].as_str().map(str::to_owned))
            .collect();
        sids.extend(self.signed_in(request.headers()).map(|here| here.sid));
        {
            let mut state = self.state();
            state.signed_in.forget(|here| sids.contains(&here.sid));
            state
                .grants
                .forget(|grant| grant.client_id == PROXY_CLIENT && sids.contains(&grant.sid));
        }
        // Sent on only when the hint proves which client asks, and only to that client's own origin.
        let known = hint.is_some_and(|claims| claims["aud"] == PROXY_CLIENT);
        let target = field("post_logout_redirect_uri").and_then(|uri| Url::parse(uri).ok());
        match target.filter(|url| known && url.origin().ascii_serialization() == self.proxy) {
            Some(mut url) => {
                if let Some(state) = field("state") {
                    url.query_pairs_mut().append_pair("state", state);
                }
                web::redirect(url.as_str())
            }
            None => web::html(StatusCode::OK, page::signed_out()),
        }
    }

    fn signed_in(&self, headers: &HeaderMap) -> Option<SignedIn> {
        let name = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(';'))
            .find_map(|pair| pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='))?;
        self.state().signed_in.get(self.now(), name)
    }

    fn issue_code(&self, request: Pending, here: &SignedIn) -> String {
        let code = self.secret();
        let answer = self.answer(
            &request.redirect_uri,
            request.state.as_deref(),
            &[("code", &code)],
        );
        let record = Code {
            request,
            person: here.person,
            sid: here.sid.clone(),
            auth_time: here.auth_time,
        };
        let (now, expires) = (self.now(), self.in_secs(CODE_SECS));
        self.state().codes.put(now, code, expires, record);
        answer
    }

    /// The authorization response, with `iss` (RFC 9207) whatever it says.
    fn answer(
        &self,
        redirect_uri: &str,
        state: Option<&str>,
        parameters: &[(&str, &str)],
    ) -> String {
        let Ok(mut url) = Url::parse(redirect_uri) else {
            return redirect_uri.to_owned();
        };
        url.query_pairs_mut()
            .extend_pairs(parameters)
            .extend_pairs(state.map(|state| ("state", state)))
            .append_pair("iss", &self.issuer);
        url.into()
    }
}
