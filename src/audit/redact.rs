//! Blanking out: what arguments of tools must not leave in the log.
//!
//! Three things are blanked out: values under names that speak of secrets, texts that look like a secret, and texts
//! that look like personal data. Patterns run on texts only, with an engine that is linear in their length.

mod patterns;

use serde_json::Value;
use serde_json::value::RawValue;

use self::patterns::Patterns;
use crate::config::audit::AuditArguments;

/// What is written in place of what was blanked out; the pattern's name follows.
const BLANK: &str = "[redacted";
/// Deepest nesting that is looked into; below it everything is blanked out.
const MAX_DEPTH: usize = 32;

/// Arguments as they are written.
#[derive(Clone, Debug, Default)]
pub struct Redacted {
    /// The JSON text, on one line.
    pub(super) text: Option<Box<RawValue>>,
    /// Bytes of arguments that are not written: too long, or no JSON.
    pub(super) omitted: Option<u64>,
}

/// Blanks out.
pub(super) struct Redactor {
    include: bool,
    max_bytes: usize,
    patterns: Patterns,
    names: Box<[Box<str>]>,
}

/// Names of keys whose values are blanked out whole; compared without case, `-`, `_` and spaces. A name that contains
/// one of these counts.
const SECRET_NAMES: [&str; 22] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "credential",
    "authorization",
    "cookie",
    "sessionid",
    "bearer",
    "connectionstring",
    "cvv",
    "cvc",
    "ssn",
    "otp",
    "mfacode",
];

impl Redactor {
    pub(super) fn new(config: &AuditArguments) -> Self {
        let own = config.redact_keys.iter().map(|name| plain(name).into());
        Self {
            include: config.include,
            max_bytes: config.max_bytes.as_usize(),
            patterns: Patterns::new(&config.redact),
            names: SECRET_NAMES
                .iter()
                .map(|name| (*name).into())
                .chain(own)
                .collect(),
        }
    }

    /// The arguments of a call as they are written; `None` when arguments are not written at all.
    pub(super) fn arguments(&self, json: &[u8]) -> Option<Redacted> {
        if !self.include {
            return None;
        }
        let omitted = || {
            Some(Redacted {
                text: None,
                omitted: Some(json.len() as u64),
            })
        };
        if json.len() > self.max_bytes {
            return omitted();
        }
        let Ok(mut value) = serde_json::from_slice::<Value>(json) else {
            return omitted();
        };
        self.value(&mut value, 0);
        match serde_json::value::to_raw_value(&value) {
            Ok(text) => Some(Redacted {
                text: Some(text),
                omitted: None,
            }),
            Err(_) => omitted(),
        }
    }

    /// A text with what looks like a secret or personal data blanked out.
    pub(super) fn text(&self, text: &str) -> String {
        self.patterns.blank(text)
    }

    fn value(&self, value: &mut Value, depth: usize) {
        if depth > MAX_DEPTH {
            *value = blank("depth");
            return;
        }
        match value {
            Value::String(text) => {
                if let Some(changed) = self.patterns.changed(text) {
                    *text = changed;
                }
            }
            // A card number or phone number may come as a number.
            Value::Number(number) => {
                if self.patterns.changed(&number.to_string()).is_some() {
                    *value = blank("number");
                }
            }
            Value::Array(list) => {
                for each in list {
                    self.value(each, depth + 1);
                }
            }
            Value::Object(map) => {
                let odd = map.keys().any(|key| self.patterns.changed(key).is_some());
                for (key, each) in map.iter_mut() {
                    if self.is_secret_name(key) && !each.is_null() && !each.is_boolean() {
                        *each = blank("name");
                    } else {
                        self.value(each, depth + 1);
                    }
                }
                if odd {
                    *map = std::mem::take(map)
                        .into_iter()
                        .enumerate()
                        .map(|(at, (key, each))| match self.patterns.changed(&key) {
                            // Numbered, so that two of them stay two.
                            Some(changed) => (format!("{changed}#{at}"), each),
                            None => (key, each),
                        })
                        .collect();
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn is_secret_name(&self, key: &str) -> bool {
        let key = plain(key);
        self.names.iter().any(|name| key.contains(&**name))
    }
}

fn blank(what: &str) -> Value {
    Value::String(format!("{BLANK}:{what}]"))
}

/// Without case and separators.
fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests;
