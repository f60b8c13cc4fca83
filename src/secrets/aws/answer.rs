//! What the answers of AWS mean.

use http::StatusCode;
use serde_json::Value;

use super::Place;
use crate::secret::Secret;
use crate::secrets::SecretError;

/// Characters of AWS's words that are repeated in a message.
const MAX_WORDS: usize = 300;

/// The text of a secret or parameter.
pub(super) fn text(place: &Place, status: StatusCode, body: &[u8]) -> Result<Secret, SecretError> {
    if !status.is_success() {
        return Err(refused(place, status, body));
    }
    let document: Value = serde_json::from_slice(body)
        .map_err(|_| SecretError::NotUnderstood(place.service().to_owned()))?;
    let found = match place {
        Place::Secret { .. } => &document["SecretString"],
        Place::Parameter { .. } => &document["Parameter"]["Value"],
    };
    match found.as_str() {
        Some("") => Err(not_text(place, "it is empty")),
        Some(text) => Ok(Secret::new(text)),
        None => Err(not_text(place, "it is binary")),
    }
}

/// The whole text, or a key of it where it is a JSON object.
pub(super) fn pick(text: Secret, place: &Place, key: Option<&str>) -> Result<Secret, SecretError> {
    let Some(key) = key else {
        return Ok(text);
    };
    let document: Value = serde_json::from_str(text.expose_secret()).unwrap_or_default();
    let Value::Object(document) = document else {
        return Err(not_text(
            place,
            "a `key` is taken from it, but it is no JSON object",
        ));
    };
    match document.get(key) {
        None => Err(SecretError::NoKey {
            place: place.to_string(),
            key: key.to_owned(),
        }),
        Some(Value::String(text)) if !text.is_empty() => Ok(Secret::new(text.as_str())),
        Some(_) => {
            let what = format!("the value of `{key}` is empty or no text");
            Err(not_text(place, &what))
        }
    }
}

fn not_text(place: &Place, what: &str) -> SecretError {
    SecretError::NotText {
        place: place.to_string(),
        what: what.to_owned(),
    }
}

/// `{"__type": "com.amazonaws…#ResourceNotFoundException", "Message": …}`.
fn refused(place: &Place, status: StatusCode, body: &[u8]) -> SecretError {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = document["__type"].as_str().unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    let said = ["message", "Message"]
        .into_iter()
        .find_map(|name| document[name].as_str())
        .unwrap_or("no reason given");
    let passes = status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || code.contains("Throttl");
    let advice = match code {
        "AccessDeniedException" => {
            "; the role needs secretsmanager:GetSecretValue or ssm:GetParameter for it, and kms:Decrypt for its key"
        }
        "ResourceNotFoundException" | "ParameterNotFound" => {
            "; check the name, the region and the account"
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "ExpiredTokenException"
        | "InvalidSignatureException"
        | "MissingAuthenticationTokenException" => {
            "; the credentials are not accepted; check them, and the clock"
        }
        _ => "",
    };
    SecretError::Aws {
        place: place.to_string(),
        why: bounded(&format!("{} {code}: {said}", status.as_u16())) + advice,
        passes,
    }
}

/// An error with what caused it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    // Bounded, though chains are short.
    for _ in 0..8 {
        let Some(next) = cause else { break };
        let said = next.to_string();
        if !words.contains(&said) {
            words.push_str(": ");
            words.push_str(&said);
        }
        cause = next.source();
    }
    bounded(&words)
}

fn bounded(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place::Parameter {
            name: "/mcp/oidc".to_owned(),
        }
    }

    #[test]
    fn the_whole_or_a_key_of_it() {
        let picked = |text: &str, key| {
            pick(Secret::new(text), &place(), key)
                .map(|secret| secret.expose_secret().to_owned())
                .map_err(|error| error.to_string())
        };
        let json = r#"{"a":"1","n":5,"other":"canary"}"#;
        assert_eq!(picked(json, None).unwrap(), json);
        assert_eq!(picked(json, Some("a")).unwrap(), "1");
        assert_eq!(
            picked(json, Some("b")).unwrap_err(),
            "/mcp/oidc in the AWS parameter store has no key `b`"
        );
        for (text, key) in [(json, "n"), ("plain", "a"), ("[1]", "a")] {
            let error = picked(text, Some(key)).unwrap_err();
            assert!(
                error.contains("no text") || error.contains("no JSON object"),
                "{error}"
            );
            assert!(
                !error.contains("canary") && !error.contains("plain"),
                "{error}"
            );
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let said = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            text(&place(), status, body.as_bytes()).unwrap_err()
        };
        let denied = said(
            400,
            r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"User x is not authorized"}"#,
        );
        assert!(
            denied.to_string().contains("AccessDeniedException: User x")
                && denied.to_string().contains("kms:Decrypt")
        );
        assert!(!denied.passes());
        assert!(
            said(
                400,
                r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#
            )
            .passes()
        );
        assert!(said(500, "<html>").passes());
        let binary = text(&place(), StatusCode::OK, br#"{"Parameter":{}}"#).unwrap_err();
        assert!(binary.to_string().contains("binary"));
    }
}
