//! What Vault's answers mean: `{"data": …}` when it went well, `{"errors": […]}` otherwise.

use http::StatusCode;
use serde_json::Value;

use crate::secret::Secret;
use crate::secrets::SecretError;

/// Characters of an answer that are repeated in a message.
const MAX_WORDS: usize = 300;

/// The document of a successful read.
pub(super) fn document(
    address: &str,
    path: &str,
    status: StatusCode,
    body: &[u8],
) -> Result<Value, SecretError> {
    if status == StatusCode::NOT_FOUND {
        return Err(not_found(path, body));
    }
    done(address, status, body)?;
    let document = json(address, body)?;
    if document["lease_id"]
        .as_str()
        .is_some_and(|id| !id.is_empty())
    {
        return Err(SecretError::Leased(place(path)));
    }
    Ok(document)
}

/// Version 2 of the key-value store answers a deleted version with 404 and its metadata, and both versions a place
/// that never was with no errors; an API path that fits no version brings warnings.
fn not_found(path: &str, body: &[u8]) -> SecretError {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let metadata = &document["data"]["metadata"];
    let said = ["errors", "warnings"]
        .into_iter()
        .find_map(|list| document[list][0].as_str())
        .unwrap_or_default();
    let hint = if metadata["destroyed"] == true {
        ": its current version was destroyed".to_owned()
    } else if metadata.is_object() {
        ": its current version was deleted".to_owned()
    } else if said.is_empty() {
        "; in version 2 of the key-value store, `data/` stands after the mount (secret/data/…)"
            .to_owned()
    } else {
        format!(": {}", bounded(said))
    };
    SecretError::NoPlace {
        place: place(path),
        hint,
    }
}

/// The value of a key. Version 2 has it in `data.data` beside `data.metadata`, version 1 in `data`.
pub(super) fn pick(document: &Value, path: &str, key: &str) -> Result<Secret, SecretError> {
    let data = &document["data"];
    let versioned = data["metadata"]["version"].is_number() && data.get("data").is_some();
    let values = if versioned { &data["data"] } else { data };
    let not_text = |what: &str| SecretError::NotText {
        place: place(path),
        what: format!("the value of `{key}` is {what}"),
    };
    match values.get(key) {
        None => Err(SecretError::NoKey {
            place: place(path),
            key: key.to_owned(),
        }),
        Some(Value::String(text)) if text.is_empty() => Err(not_text("empty")),
        Some(Value::String(text)) => Ok(Secret::new(text.as_str())),
        Some(Value::Null) => Err(not_text("null")),
        Some(_) => Err(not_text("no text")),
    }
}

/// Whether a status is that of something done.
pub(super) fn done(address: &str, status: StatusCode, body: &[u8]) -> Result<(), SecretError> {
    if status.is_success() {
        return Ok(());
    }
    let why = words(body);
    // https://developer.hashicorp.com/vault/api-docs#http-status-codes
    Err(match status.as_u16() {
        503 if why.to_ascii_lowercase().contains("sealed") => {
            SecretError::Sealed(address.to_owned())
        }
        // The health endpoint's words for a standby; also what a performance standby says that is behind.
        429 | 472 | 473 if why.to_ascii_lowercase().contains("standby") => {
            SecretError::Standby(address.to_owned())
        }
        408 | 412 | 429 | 472 | 473 | 500..=599 => SecretError::Failing {
            server: format!("Vault at {address}"),
            status: status.as_u16(),
            why,
        },
        code => SecretError::Settings(format!("Vault at {address} answers {code}: {why}")),
    })
}

/// The body as JSON.
pub(super) fn json(address: &str, body: &[u8]) -> Result<Value, SecretError> {
    serde_json::from_slice(body)
        .map_err(|_| SecretError::NotUnderstood(format!("Vault at {address}")))
}

/// The reasons of an answer.
pub(super) fn words(body: &[u8]) -> String {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let errors = document["errors"].as_array().into_iter().flatten();
    let errors: Vec<&str> = errors.filter_map(Value::as_str).collect();
    if errors.is_empty() {
        return "no reason given".to_owned();
    }
    bounded(&errors.join("; "))
}

fn bounded(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_WORDS)
        .collect::<String>()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn place(path: &str) -> String {
    format!("{path} in Vault")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn picked(document: &Value, key: &str) -> Result<String, String> {
        pick(document, "secret/data/x", key)
            .map(|secret| secret.expose_secret().to_owned())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn both_versions_are_read() {
        let two = json!({ "lease_id": "", "data": { "data": { "a": "1" }, "metadata": { "version": 3 } } });
        let one = json!({ "lease_id": "", "lease_duration": 2_764_800, "data": { "a": "1", "data": "2" } });
        assert_eq!(picked(&two, "a").unwrap(), "1");
        assert_eq!(picked(&one, "a").unwrap(), "1");
        assert_eq!(picked(&one, "data").unwrap(), "2");
    }

    #[test]
    fn a_missing_key_is_told_without_the_others() {
        let two = json!({ "data": { "data": { "other-name": "other-value", "n": 5, "e": "" }, "metadata": { "version": 1 } } });
        let error = picked(&two, "a").unwrap_err();
        assert_eq!(error, "secret/data/x in Vault has no key `a`");
        assert!(picked(&two, "n").unwrap_err().contains("no text"));
        assert!(picked(&two, "e").unwrap_err().contains("empty"));
    }

    #[test]
    fn each_status_has_its_meaning() {
        let errors = |text: &str| json!({ "errors": [text] }).to_string();
        let outcome = |status: u16, body: &str| {
            document(
                "https://v",
                "p",
                StatusCode::from_u16(status).unwrap(),
                body.as_bytes(),
            )
            .unwrap_err()
        };
        assert!(matches!(
            outcome(503, &errors("Vault is sealed")),
            SecretError::Sealed(_)
        ));
        assert!(matches!(
            outcome(503, "busy"),
            SecretError::Failing { status: 503, .. }
        ));
        assert!(matches!(
            outcome(500, &errors("1 error occurred:\n\t* boom")),
            SecretError::Failing { .. }
        ));
        assert!(outcome(500, &errors("x")).passes() && !outcome(404, "{}").passes());
        assert!(
            outcome(404, r#"{"errors":[]}"#)
                .to_string()
                .contains("`data/` stands after the mount")
        );
        let warned = json!({ "errors": [], "warnings": ["Invalid path for a versioned K/V secrets engine."] });
        assert!(
            outcome(404, &warned.to_string())
                .to_string()
                .contains("Invalid path for a versioned")
        );
        let deleted = json!({ "data": { "data": null, "metadata": { "version": 2, "destroyed": false, "deletion_time": "2026-01-01T00:00:00Z" } } });
        assert!(
            outcome(404, &deleted.to_string())
                .to_string()
                .contains("was deleted")
        );
        assert!(matches!(
            outcome(200, "<html>"),
            SecretError::NotUnderstood(_)
        ));
        let leased = json!({ "lease_id": "database/creds/x/abc", "data": { "password": "p" } });
        assert!(matches!(
            outcome(200, &leased.to_string()),
            SecretError::Leased(_)
        ));
    }

    #[test]
    fn reasons_are_short_and_plain() {
        let long = "y".repeat(1000);
        let body =
            json!({ "errors": ["1 error occurred:\n\t* permission denied\n\n", long] }).to_string();
        let said = words(body.as_bytes());
        assert!(
            said.starts_with("1 error occurred: * permission denied ; yyy"),
            "{said}"
        );
        assert!(said.len() <= MAX_WORDS && !said.contains('\n'));
        assert_eq!(words(b"<html>"), "no reason given");
    }
}
