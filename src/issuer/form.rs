//! Parameters of a request to our endpoints (RFC 6749 sections 3.1 and 3.2): each at most once, empty is absent.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::error::OAuthError;
use crate::secret::Secret;

/// Parameters that are read of one request.
const MAX_PARAMETERS: usize = 64;

/// The parameters of a request. Values are secrets until somebody asks for them.
#[derive(Debug)]
pub(crate) struct Form(Vec<(String, Secret)>);

impl Form {
    /// Reads a query or an `application/x-www-form-urlencoded` body. Refused: a parameter that is there twice
    /// (but `resource`, RFC 8707 section 2), and more than 64.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, OAuthError> {
        let mut all: Vec<(String, Secret)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(bytes) {
            if all.len() == MAX_PARAMETERS {
                return Err(OAuthError::invalid_request("too many parameters"));
            }
            if value.is_empty() {
                continue;
            }
            if name != "resource" && all.iter().any(|(known, _)| *known == name) {
                return Err(OAuthError::invalid_request("a parameter is there twice"));
            }
            all.push((name.into_owned(), Secret::new(value)));
        }
        Ok(Self(all))
    }

    /// The same for a body, whose type has to be named.
    pub(crate) fn of_body(headers: &HeaderMap, body: &[u8]) -> Result<Self, OAuthError> {
        let typed = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(|value| value.split(';').next().unwrap_or_default().trim());
        if !typed.is_some_and(|typed| typed.eq_ignore_ascii_case(FORM)) {
            return Err(OAuthError::invalid_request(
                "the body has to be application/x-www-form-urlencoded",
            ));
        }
        Self::parse(body)
    }

    /// A parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.secret(name).map(Secret::expose_secret)
    }

    /// A parameter that is a secret.
    pub(crate) fn secret(&self, name: &str) -> Option<&Secret> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    /// All parameters, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose_secret()))
    }

    /// The values of `resource`, which may be there several times.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(|(name, _)| name == "resource")
            .map(|(_, value)| value.expose_secret())
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_counts_once_and_empty_is_absent() {
        let form = Form::parse(b"a=1&b=&c=%20x&resource=r1&resource=r2").unwrap();
        assert_eq!(form.get("a"), Some("1"));
        assert_eq!(form.get("b"), None);
        assert_eq!(form.get("c"), Some(" x"));
        assert_eq!(form.resources().collect::<Vec<_>>(), ["r1", "r2"]);
        assert!(Form::parse(b"a=1&a=1").is_err());
        // RFC 6749 section 3.1: without a value it counts as omitted, so this is no repetition.
        assert_eq!(Form::parse(b"a=&a=1").unwrap().get("a"), Some("1"));
        let many: Vec<String> = (0..80).map(|n| format!("k{n}=1")).collect();
        let many = many.join("&");
        assert!(Form::parse(many.as_bytes()).is_err());
    }
}
