//! The userinfo endpoint (OpenID Connect Core section 5.3), and how its claims join those of the ID token.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};
use url::Url;

use super::calls::{CallError, Calls, Endpoint};
use crate::claims::lookup;
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
    Unavailable(#[from] CallError),
    /// The answer cannot be used, or is about somebody else.
    #[error("the userinfo endpoint's answer cannot be used: {0}")]
    Unusable(String),
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

/// Asks for the claims of `subject`. An answer about anybody else is refused (section 5.3.2).
pub(crate) async fn ask(
    calls: &Calls,
    endpoint: &Url,
    access_token: &Secret,
    subject: &str,
) -> Result<Map<String, Value>, UserinfoError> {
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", access_token.expose_secret()))
        .map_err(|_| {
            UserinfoError::Unusable("the access token does not fit into a header".to_owned())
        })?;
    bearer.set_sensitive(true);
    let request = http::Request::get(endpoint.as_str())
        .header(ACCEPT, "application/json")
        .header(AUTHORIZATION, bearer)
        .body(Bytes::new())
        .map_err(|error| UserinfoError::Unusable(error.to_string()))?;
    let answer = calls
        .send(Endpoint::Userinfo, request)
        .await
        .map_err(CallError::from)?;
    let status = answer.status();
    match status {
        StatusCode::OK => read(answer.body(), subject),
        StatusCode::UNAUTHORIZED => Err(UserinfoError::Unusable(
            "it does not take the access token (401)".to_owned(),
        )),
        _ => Err(CallError::Status(status.as_u16()).into()),
    }
}

fn read(body: &[u8], subject: &str) -> Result<Map<String, Value>, UserinfoError> {
    let claims: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| UserinfoError::Unusable(format!("it is not a JSON object ({error})")))?;
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
