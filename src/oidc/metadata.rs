//! The provider's discovery document (OpenID Connect Discovery 1.0 section 3): what we need of it, checked.

use std::borrow::Cow;
use std::net::IpAddr;

use serde_json::{Map, Value};
use url::{Host, Url};

/// What stands for the tenant in the issuer of a multi-tenant document.
pub(crate) const TENANT_TEMPLATE: &str = "{tenantid}";

/// What a provider says about itself. Every URL was checked when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The exact issuer.
    pub issuer: String,
    /// Where browsers go to log in.
    pub authorization_endpoint: Url,
    /// Where codes and refresh tokens are redeemed.
    pub token_endpoint: Url,
    /// Where its keys are; a provider without OpenID Connect has none.
    pub jwks_uri: Option<Url>,
    /// Where claims can be asked for.
    pub userinfo_endpoint: Option<Url>,
    /// Where browsers go to log out (RP-Initiated Logout 1.0).
    pub end_session_endpoint: Option<Url>,
    /// Scopes that it offers; empty when it does not say.
    pub scopes_supported: Vec<String>,
    /// Values of `prompt` that it takes; `None` when it does not say (then all).
    pub prompt_values: Option<Vec<String>>,
    /// How clients may authenticate at the token endpoint; `None` when it does not say (then Basic).
    pub token_auth_methods: Option<Vec<String>>,
    /// Whether its answers to the browser carry `iss` (RFC 9207).
    pub response_has_issuer: bool,
}

/// What is wrong with a document.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MetadataError {
    /// It is no JSON object.
    #[error("it is not a JSON object ({0})")]
    NotJson(String),
    /// A required member is missing or is no text.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// An address that must not be used.
    #[error("`{member}` is {value:?}, which {why}")]
    BadUrl {
        /// The member.
        member: String,
        /// Its value, cut.
        value: String,
        /// What is wrong.
        why: &'static str,
    },
}

impl Metadata {
    /// Reads a document. Every address in it is checked, also those that we do not use: a document that
    /// holds a `javascript:` address is not to be believed in the rest either.
    pub fn read(body: &[u8]) -> Result<Self, MetadataError> {
        let all: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|error| MetadataError::NotJson(error.to_string()))?;
        let issuer = text(&all, "issuer")
            .ok_or(MetadataError::Missing("issuer"))?
            .to_owned();
        let plain = issuer.starts_with("http://");
        check_all(&all, plain, 0)?;
        Ok(Self {
            authorization_endpoint: required(&all, "authorization_endpoint", plain)?,
            token_endpoint: required(&all, "token_endpoint", plain)?,
            jwks_uri: Some(required(&all, "jwks_uri", plain)?),
            userinfo_endpoint: optional(&all, "userinfo_endpoint", plain)?,
            end_session_endpoint: optional(&all, "end_session_endpoint", plain)?,
            scopes_supported: texts(&all, "scopes_supported").unwrap_or_default(),
            prompt_values: texts(&all, "prompt_values_supported"),
            token_auth_methods: texts(&all, "token_endpoint_auth_methods_supported"),
            response_has_issuer: all.get("authorization_response_iss_parameter_supported")
                == Some(&Value::Bool(true)),
            issuer,
        })
    }
}

/// Reads an address of a document: https, or http on loopback or when `plain` (the issuer itself is http), and
/// made only of characters that neither a shell nor a page could take for anything else (CVE-2025-6514).
pub fn checked_url(member: &str, value: &str, plain: bool) -> Result<Url, MetadataError> {
    let bad = |why| MetadataError::BadUrl {
        member: member.to_owned(),
        value: value.chars().take(100).collect(),
        why,
    };
    let path = value.split('?').next().unwrap_or_default();
    let odd = |b: u8| !b.is_ascii_graphic() || b"`\"<>\\^{}|$;()'".contains(&b);
    if value.bytes().any(odd) || path.contains('&') {
        return Err(bad("has characters that do not belong into an address"));
    }
    let url = Url::parse(value).map_err(|_| bad("is not an absolute address"))?;
    let host = url.host().ok_or_else(|| bad("is not an http address"))?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(bad("has a user or a fragment"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if plain || is_loopback(&host) => Ok(url),
        "http" => Err(bad("is not https")),
        _ => Err(bad("is not an http address")),
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => IpAddr::V6(*address).to_canonical().is_loopback(),
    }
}

fn check_all(all: &Map<String, Value>, plain: bool, depth: usize) -> Result<(), MetadataError> {
    const NAMES: [&str; 5] = [
        "_endpoint",
        "_uri",
        "_url",
        "_iframe",
        "service_documentation",
    ];
    for (name, value) in all {
        match value {
            Value::String(text)
                if !text.is_empty()
                    && (name == "issuer" || NAMES.iter().any(|n| name.ends_with(n))) =>
            {
                // A multi-tenant document of Entra ID names a template; whether it may is judged with the issuer.
                let text = if name == "issuer" {
                    Cow::Owned(text.replace(TENANT_TEMPLATE, "tenant"))
                } else {
                    Cow::Borrowed(text.as_str())
                };
                checked_url(name, &text, plain)?;
            }
            // RFC 8705 section 5 nests addresses once (`mtls_endpoint_aliases`).
            Value::Object(inner) if depth == 0 => check_all(inner, plain, 1)?,
            _ => {}
        }
    }
    Ok(())
}

fn required(
    all: &Map<String, Value>,
    name: &'static str,
    plain: bool,
) -> Result<Url, MetadataError> {
    optional(all, name, plain)?.ok_or(MetadataError::Missing(name))
}

fn optional(
    all: &Map<String, Value>,
    name: &'static str,
    plain: bool,
) -> Result<Option<Url>, MetadataError> {
    text(all, name)
        .map(|value| checked_url(name, value, plain))
        .transpose()
}

fn text<'a>(all: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    all.get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

fn texts(all: &Map<String, Value>, name: &str) -> Option<Vec<String>> {
    let Some(Value::Array(items)) = all.get(name) else {
        return None;
    };
    Some(
        items
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document(change: impl FnOnce(&mut Map<String, Value>)) -> Result<Metadata, MetadataError> {
        let mut document = serde_json::json!({
            "issuer": "https://idp.example/",
            "authorization_endpoint": "https://idp.example/authorize?p=a&q=b",
            "token_endpoint": "https://idp.example/token",
            "jwks_uri": "https://keys.example/jwks",
            "userinfo_endpoint": "",
            "scopes_supported": ["openid", "offline_access"],
            "mtls_endpoint_aliases": {"token_endpoint": "https://mtls.idp.example/token"},
        });
        change(document.as_object_mut().unwrap());
        Metadata::read(document.to_string().as_bytes())
    }

    #[test]
    fn a_good_document_is_read() {
        let metadata = document(|_| ()).unwrap();
        assert_eq!(metadata.issuer, "https://idp.example/");
        assert_eq!(metadata.userinfo_endpoint, None);
        assert_eq!(metadata.token_auth_methods, None);
        assert!(!metadata.response_has_issuer);
    }

    #[test]
    fn attack_s1_hostile_addresses_are_refused_in_every_member() {
        let members = [
            "issuer",
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "userinfo_endpoint",
            "end_session_endpoint",
            "registration_endpoint",
            "revocation_endpoint",
            "op_policy_uri",
            "op_tos_uri",
            "check_session_iframe",
            "service_documentation",
            "introspection_endpoint",
            "mtls_endpoint_aliases",
        ];
        let hostile = [
            "javascript:alert(1)",
            "file:///etc/passwd",
            "http://idp.example/x",
            "data:text/html,x",
            "ftp://a.b/c",
            "https://idp.example/$(id)",
            "https://idp.example/`id`",
            "https://idp.example/a;id",
            "https://idp.example/a|id",
            "https://idp.example/a&calc",
            "https://idp.example/a b",
            "https://idp.example/\n",
            "https://a:b@idp.example/",
            "https://idp.example/#x",
            "/relative",
            "vscode://x/y",
            "https://idp.example/\u{202e}",
            "\\\\share\\x",
        ];
        for member in members {
            for value in hostile {
                let result = document(|all| {
                    let value = if member == "mtls_endpoint_aliases" {
                        serde_json::json!({ "token_endpoint": value })
                    } else {
                        value.into()
                    };
                    all.insert(member.to_owned(), value);
                });
                // An http issuer makes http addresses good; that it is not the configured one is found elsewhere.
                if member == "issuer" && value.starts_with("http://") {
                    continue;
                }
                assert!(
                    matches!(result, Err(MetadataError::BadUrl { .. })),
                    "{member} {value}: {result:?}"
                );
            }
        }
    }

    #[test]
    fn http_is_good_on_loopback_and_below_an_http_issuer() {
        for url in [
            "http://127.0.0.1:1/x",
            "http://localhost/x",
            "http://[::1]:9/x",
            "http://a.localhost/",
        ] {
            assert!(checked_url("x", url, false).is_ok(), "{url}");
        }
        assert!(checked_url("x", "http://keycloak:8080/x", false).is_err());
        assert!(checked_url("x", "http://keycloak:8080/x", true).is_ok());
        assert!(checked_url("x", "http://127.0.0.1.evil.example/", false).is_err());
    }

    #[test]
    fn what_is_missing_is_named() {
        for name in [
            "issuer",
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
        ] {
            let error = document(|all| {
                all.remove(name);
            });
            assert_eq!(error, Err(MetadataError::Missing(name)));
        }
        assert!(matches!(
            Metadata::read(b"<html>"),
            Err(MetadataError::NotJson(_))
        ));
        assert!(matches!(
            Metadata::read(b"[]"),
            Err(MetadataError::NotJson(_))
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Metadata::read(&bytes);
        }

        #[test]
        fn what_passes_is_http_without_odd_characters(text in ".{0,60}") {
            if let Ok(url) = checked_url("x", &text, false) {
                prop_assert!(matches!(url.scheme(), "http" | "https"));
                prop_assert!(!url.as_str().contains(['`', '$', ';', '|', '<', '>', '"', ' ']));
            }
        }
    }
}
