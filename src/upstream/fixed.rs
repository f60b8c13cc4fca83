//! Headers that the configuration sets on every request to a backend.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::UpstreamConfigError;
use crate::config::backend::{Backend, Credentials};

/// The configured headers, then the credential.
///
/// # Errors
/// What is no header, or frames the message. Values are not shown: each may be a secret.
pub(super) fn headers(
    config: &Backend,
) -> Result<Box<[(HeaderName, HeaderValue)]>, UpstreamConfigError> {
    let mut all = Vec::new();
    for (name, value) in &config.headers {
        all.push(header("headers", name, value.secret().expose_secret())?);
    }
    if let Some(credentials) = &config.credentials {
        all.push(credential(credentials)?);
    }
    Ok(all.into())
}

fn credential(credentials: &Credentials) -> Result<(HeaderName, HeaderValue), UpstreamConfigError> {
    let key = "credentials";
    let name = AUTHORIZATION.as_str();
    if let Some(token) = &credentials.bearer {
        let text = Zeroizing::new(format!("Bearer {}", token.secret().expose_secret()));
        return header(key, name, &text);
    }
    if let Some(basic) = &credentials.basic {
        let user = basic.username.secret().expose_secret();
        let pair = Zeroizing::new(format!(
            "{user}:{}",
            basic.password.secret().expose_secret()
        ));
        let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        return header(key, name, &text);
    }
    match &credentials.api_key {
        Some(own) => header(key, &own.header, own.value.secret().expose_secret()),
        None => Err(UpstreamConfigError {
            key,
            message: "write one of `bearer`, `basic` and `api_key`".to_owned(),
        }),
    }
}

fn header(
    key: &'static str,
    name: &str,
    value: &str,
) -> Result<(HeaderName, HeaderValue), UpstreamConfigError> {
    let wrong = |message| UpstreamConfigError { key, message };
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| wrong(format!("`{name}` is not a header name")))?;
    if crate::http::headers::is_hop_by_hop(parsed.as_str())
        || matches!(parsed.as_str(), "host" | "content-length")
    {
        return Err(wrong(format!(
            "`{name}` frames the message and cannot be set; leave it out"
        )));
    }
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        wrong(format!(
            "the value of `{name}` has characters that headers cannot have"
        ))
    })?;
    value.set_sensitive(true);
    Ok((parsed, value))
}
