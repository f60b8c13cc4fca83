//! What a client says about itself, in its document or when it registers (RFC 7591 section 2): read with the same
//! rules, whoever says it. `null` counts as absent.

use std::sync::Arc;

use serde_json::{Map, Value};
use url::Url;

use crate::config::issuer::GrantType;
use crate::oidc::jwks::{VerifyKey, read_key_set};

/// Redirect URIs of one client.
const MAX_URIS: usize = 64;
/// Bytes of a name that are kept.
const MAX_NAME: usize = 128;
/// Bytes of a `jwks_uri`.
const MAX_ADDRESS: usize = 1024;

/// What a client declared, as far as it matters here.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) name: Option<String>,
    pub(super) redirect_uris: Vec<String>,
    pub(super) method: Method,
    pub(super) grants: Vec<GrantType>,
}

/// `token_endpoint_auth_method`.
#[derive(Debug)]
pub(super) enum Method {
    None,
    /// `client_secret_basic` or `client_secret_post`, as it was asked for.
    Secret(&'static str),
    PrivateKeyJwt(Source),
}

/// Where the keys for `private_key_jwt` are.
#[derive(Debug)]
pub(super) enum Source {
    /// The key set as text, and what it holds.
    Inline(String, Vec<Arc<VerifyKey>>),
    Address(Url),
}

/// What is wrong with a declaration, for the developer of the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::issuer) enum Wrong {
    /// `invalid_redirect_uri`.
    #[error("{0}")]
    RedirectUri(String),
    /// `invalid_client_metadata`.
    #[error("{0}")]
    Metadata(String),
}

impl Method {
    /// The value on the wire.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Secret(name) => name,
            Self::PrivateKeyJwt(_) => "private_key_jwt",
        }
    }
}

impl Wrong {
    fn metadata(text: impl Into<String>) -> Self {
        Self::Metadata(text.into())
    }

    /// One redirect URI, and why it is refused.
    pub(super) fn uri(uri: &str, why: impl std::fmt::Display) -> Self {
        let shown: String = uri
            .chars()
            .take(200)
            .flat_map(char::escape_default)
            .collect();
        Self::RedirectUri(format!("redirect_uris: {shown} is not accepted: {why}"))
    }
}

/// Reads a declaration. `usual` is the method of a client that names none.
pub(super) fn read(said: &Map<String, Value>, usual: &'static str) -> Result<Declared, Wrong> {
    let method = method(said, usual)?;
    let grants = grants(said, &method)?;
    let by_code = grants.contains(&GrantType::AuthorizationCode);
    let types = texts(said, "response_types")?;
    if by_code && types.is_some_and(|types| !types.contains(&"code")) {
        return Err(Wrong::metadata(
            "response_types: `code` is the only one that there is; name it, or leave the member out",
        ));
    }
    let redirect_uris: Vec<String> = texts(said, "redirect_uris")
        .map_err(|_| Wrong::RedirectUri("redirect_uris has to be a list of texts".to_owned()))?
        .unwrap_or_default()
        .into_iter()
        .map(str::to_owned)
        .collect();
    if redirect_uris.is_empty() && by_code {
        return Err(Wrong::RedirectUri(
            "redirect_uris is missing or empty; name at least one".to_owned(),
        ));
    }
    if redirect_uris.len() > MAX_URIS {
        return Err(Wrong::RedirectUri(format!(
            "redirect_uris has more than {MAX_URIS} entries"
        )));
    }
    Ok(Declared {
        name: text(said, "client_name")?
            .map(name)
            .filter(|name| !name.is_empty()),
        redirect_uris,
        method,
        grants,
    })
}

fn method(said: &Map<String, Value>, usual: &'static str) -> Result<Method, Wrong> {
    Ok(
        match text(said, "token_endpoint_auth_method")?.unwrap_or(usual) {
            "none" => Method::None,
            "client_secret_basic" => Method::Secret("client_secret_basic"),
            "client_secret_post" => Method::Secret("client_secret_post"),
            "private_key_jwt" => Method::PrivateKeyJwt(keys(said)?),
            _ => {
                return Err(Wrong::metadata(
                    "token_endpoint_auth_method has to be one of none, client_secret_basic, client_secret_post, private_key_jwt",
                ));
            }
        },
    )
}

fn keys(said: &Map<String, Value>) -> Result<Source, Wrong> {
    let present = |name: &str| said.get(name).filter(|value| !value.is_null());
    match (present("jwks"), text(said, "jwks_uri")?) {
        (Some(_), Some(_)) => Err(Wrong::metadata(
            "jwks and jwks_uri exclude each other (RFC 7591 section 2); keep one",
        )),
        (None, None) => Err(Wrong::metadata(
            "private_key_jwt needs the public keys; add jwks_uri or jwks",
        )),
        (Some(set), None) => {
            let text = set.to_string();
            let keys = read_key_set(text.as_bytes())
                .map_err(|why| Wrong::metadata(format!("jwks: {why}")))?;
            Ok(Source::Inline(text, keys))
        }
        (None, Some(address)) => Url::parse(address)
            .ok()
            .filter(|url| {
                address.len() <= MAX_ADDRESS
                    && url.scheme() == "https"
                    && url.username().is_empty()
                    && url.password().is_none()
                    && url.fragment().is_none()
            })
            .map(Source::Address)
            .ok_or_else(|| {
                Wrong::metadata("jwks_uri has to be an https address without user and fragment")
            }),
    }
}

/// What a client that the operator does not know may do: act for people, and take what an identity provider asserts
/// when it can prove who it is. Without a list it may refresh, for that is what clients mean that leave it out.
fn grants(said: &Map<String, Value>, method: &Method) -> Result<Vec<GrantType>, Wrong> {
    let Some(named) = texts(said, "grant_types")? else {
        return Ok(vec![GrantType::AuthorizationCode, GrantType::RefreshToken]);
    };
    let grants: Vec<GrantType> = [
        ("authorization_code", GrantType::AuthorizationCode),
        ("refresh_token", GrantType::RefreshToken),
        (JWT_BEARER, GrantType::JwtBearer),
    ]
    .into_iter()
    .filter(|(name, _)| named.contains(name))
    .filter(|(_, grant)| *grant != GrantType::JwtBearer || !matches!(method, Method::None))
    .map(|(_, grant)| grant)
    .collect();
    if grants.iter().all(|grant| *grant == GrantType::RefreshToken) {
        return Err(Wrong::metadata(
            "grant_types: none of them is for clients that are not registered by the operator; use authorization_code",
        ));
    }
    Ok(grants)
}

/// The name of a grant type on the wire.
pub(super) fn grant_name(grant: GrantType) -> &'static str {
    match grant {
        GrantType::AuthorizationCode => "authorization_code",
        GrantType::RefreshToken => "refresh_token",
        GrantType::ClientCredentials => "client_credentials",
        GrantType::JwtBearer => JWT_BEARER,
    }
}

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

fn text<'m>(said: &'m Map<String, Value>, name: &str) -> Result<Option<&'m str>, Wrong> {
    match said.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Wrong::metadata(format!("{name} has to be a text"))),
    }
}

fn texts<'m>(said: &'m Map<String, Value>, name: &str) -> Result<Option<Vec<&'m str>>, Wrong> {
    let wrong = || Wrong::metadata(format!("{name} has to be a list of texts"));
    match said.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => list
            .iter()
            .map(|each| each.as_str().ok_or_else(wrong))
            .collect::<Result<_, _>>()
            .map(Some),
        Some(_) => Err(wrong()),
    }
}

/// A name without control characters, cut at a character.
fn name(text: &str) -> String {
    let mut name: String = text.chars().filter(|c| !c.is_control()).collect();
    while name.len() > MAX_NAME {
        name.pop();
    }
    name.trim().to_owned()
}
