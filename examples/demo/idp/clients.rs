//! Who may ask for tokens: the proxy, and nobody else. Like most organisations' providers, this one registers no
//! MCP clients; they are the proxy's affair.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use percent_encoding::percent_decode_str;
use subtle::ConstantTimeEq as _;

use super::{PROXY_CLIENT, PROXY_SECRET, Provider};
use crate::web;

/// The client as registered.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    secret: &'static str,
    redirect: String,
}

impl Client {
    /// Exact comparison (RFC 9700 section 2.1).
    pub(crate) fn may_return_to(&self, uri: &str) -> bool {
        self.redirect == uri
    }
}

impl Provider {
    /// The client of an id.
    pub(super) fn client(&self, id: &str) -> Option<Client> {
        (id == PROXY_CLIENT).then(|| Client {
            id: id.to_owned(),
            secret: PROXY_SECRET,
            redirect: format!("{}/oauth2/callback", self.proxy),
        })
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
        let proved =
            secret.is_some_and(|theirs| client.secret.as_bytes().ct_eq(theirs.as_bytes()).into());
        proved.then_some(client)
    }
}
