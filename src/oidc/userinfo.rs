//! The userinfo endpoint (OpenID Connect Core section 5.3), and how its claims join those of the ID token.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};
use url::Url;

use super::calls::{CallError, Endpoint};
use super::jwt::{self, JwtError, Unverified};
use super::provider::{Provider, Ready};
use crate::claims::lookup;
use crate::clock::Timestamp;
use crate::config::oidc::{ClaimMap, Userinfo};
use crate::secret::Secret;

/// Claims that are about the token or the login; userinfo has no say in them.
const ABOUT_THE_TOKEN: [&str; 16] = [
    "iss",
    "sub",
    "aud",
    "azp",
    "exp",
    "iat",
    "nbf",
    "jti",
    "nonce",
    "at_hash",
    "c_hash",
    "s_hash",
    "sid",
    "acr",
    "amr",
    "auth_time",
];

/// Why there are no claims.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserinfoError {
    /// Nobody knows: try again later.
    #[error("the userinfo endpoint is in trouble: {0}")]
    Unavailable(String),
    /// The answer cannot be used, or is about somebody else.
    #[error("the userinfo endpoint's answer cannot be used: {0}")]
    Unusable(String),
}

impl From<CallError> for UserinfoError {
    fn from(error: CallError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<JwtError> for UserinfoError {
    fn from(error: JwtError) -> Self {
        match error {
            JwtError::Invalid(why) => Self::Unusable(why.to_owned()),
            JwtError::Keys(error) => Self::Unavailable(error.to_string()),
        }
    }
}

/// Whom is asked about whom.
pub(crate) struct Question<'a> {
    pub(crate) provider: &'a Provider,
    pub(crate) ready: &'a Ready,
    pub(crate) access_token: &'a Secret,
    pub(crate) subject: &'a str,
    pub(crate) now: Timestamp,
    pub(crate) skew: Duration,
}

/// Whether userinfo is to be asked, given the claims so far.
pub(crate) fn wanted(mode: Userinfo, claims: &Map<String, Value>, map: &ClaimMap) -> bool {
    let missing = |path: &String| lookup(claims, path).is_none();
    match mode {
        Userinfo::Never => false,
        Userinfo::Always => true,
        Userinfo::Auto => {
            [&map.email, &map.name, &map.preferred_username]
                .into_iter()
                .any(missing)
                || map.groups.iter().any(missing)
        }
    }
}

/// Asks for the claims of a subject. An answer about anybody else is refused (section 5.3.2). A signed answer is
/// verified as an ID token is.
pub(crate) async fn ask(
    endpoint: &Url,
    question: &Question<'_>,
) -> Result<Map<String, Value>, UserinfoError> {
    let Question {
        provider,
        access_token,
        subject,
        ..
    } = question;
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", access_token.expose_secret()))
        .map_err(|_| {
            UserinfoError::Unusable("the access token does not fit into a header".to_owned())
        })?;
    bearer.set_sensitive(true);
    let request = http::Request::get(endpoint.as_str())
        .header(ACCEPT, "application/json, application/jwt;q=0.9")
        .header(AUTHORIZATION, bearer)
        .body(Bytes::new())
        .map_err(|error| UserinfoError::Unusable(error.to_string()))?;
    let answer = provider
        .calls()
        .send(Endpoint::Userinfo, request)
        .await
        .map_err(CallError::from)?;
    let status = answer.status();
    match status {
        StatusCode::OK if is_signed(&answer) => {
            let claims = verified(answer.body(), question).await?;
            about(claims, subject)
        }
        StatusCode::OK => read(answer.body(), subject),
        StatusCode::UNAUTHORIZED => Err(UserinfoError::Unusable(
            "it does not take the access token (401)".to_owned(),
        )),
        _ => Err(CallError::Status(status.as_u16()).into()),
    }
}

fn is_signed(answer: &http::Response<Bytes>) -> bool {
    let typed = answer
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    typed
        .and_then(|typed| typed.split(';').next())
        .is_some_and(|typed| typed.trim().eq_ignore_ascii_case("application/jwt"))
}

/// Signature, `iss`, `aud`, and the times that are there.
async fn verified(
    body: &[u8],
    question: &Question<'_>,
) -> Result<Map<String, Value>, UserinfoError> {
    let wrong = |why: &str| UserinfoError::Unusable(why.to_owned());
    let Question {
        ready, now, skew, ..
    } = question;
    let text = std::str::from_utf8(body).map_err(|_| wrong("it is no text"))?;
    let token = Unverified::parse(text.trim())?;
    let jwks = ready
        .jwks()
        .ok_or_else(|| wrong("the provider has no keys"))?;
    let claims = token.verify(jwks, &["JWT"]).await?;
    let issuer = claims.get("iss").and_then(Value::as_str);
    if !issuer.is_some_and(|issuer| ready.is_issuer(issuer)) {
        return Err(wrong("its `iss` is not the provider's"));
    }
    if !jwt::is_for(&claims, &question.provider.config().client_id) {
        return Err(wrong("its `aud` is not this client"));
    }
    if jwt::time(&claims, "exp")?.is_some_and(|end| *now >= end.plus(*skew)) {
        return Err(wrong("it has expired"));
    }
    if jwt::time(&claims, "nbf")?.is_some_and(|start| start > now.plus(*skew)) {
        return Err(wrong("it is not good yet"));
    }
    Ok(claims)
}

fn read(body: &[u8], subject: &str) -> Result<Map<String, Value>, UserinfoError> {
    let claims: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| UserinfoError::Unusable(format!("it is not a JSON object ({error})")))?;
    about(claims, subject)
}

fn about(claims: Map<String, Value>, subject: &str) -> Result<Map<String, Value>, UserinfoError> {
    if claims.get("sub").and_then(Value::as_str) != Some(subject) {
        return Err(UserinfoError::Unusable(
            "it is about another subject".to_owned(),
        ));
    }
    Ok(claims)
}

/// Joins the claims: userinfo is the newer word, but has none about the token itself.
pub(crate) fn join(
    id_token: &Map<String, Value>,
    userinfo: Option<Map<String, Value>>,
) -> Map<String, Value> {
    let mut all = id_token.clone();
    for (name, value) in userinfo.into_iter().flatten() {
        if !ABOUT_THE_TOKEN.contains(&name.as_str()) {
            all.insert(name, value);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn auto_asks_only_for_what_is_missing() {
        let claim_map = ClaimMap::default();
        let full =
            map(&json!({"email": "a@b", "name": "A", "preferred_username": "a", "groups": []}));
        assert!(!wanted(Userinfo::Auto, &full, &claim_map));
        let mut less = full.clone();
        less.remove("groups");
        assert!(wanted(Userinfo::Auto, &less, &claim_map));
        assert!(wanted(Userinfo::Always, &full, &claim_map));
        assert!(!wanted(Userinfo::Never, &less, &claim_map));
    }

    #[test]
    fn an_answer_about_somebody_else_is_refused() {
        assert!(read(br#"{"sub":"ann","email":"a@b"}"#, "ann").is_ok());
        for body in [
            &br#"{"sub":"bob"}"#[..],
            b"{}",
            b"[]",
            b"<html>",
            br#"{"sub":["ann"]}"#,
        ] {
            assert!(matches!(read(body, "ann"), Err(UserinfoError::Unusable(_))));
        }
    }

    #[test]
    fn userinfo_has_no_say_about_the_token() {
        let joined = join(
            &map(&json!({"iss": "i", "sub": "ann", "acr": "gold", "email": "old@b"})),
            Some(map(
                &json!({"iss": "evil", "sub": "bob", "acr": "none", "email": "new@b", "groups": ["g"]}),
            )),
        );
        assert_eq!(
            Value::Object(joined),
            json!({"iss": "i", "sub": "ann", "acr": "gold", "email": "new@b", "groups": ["g"]})
        );
    }
}
