//! What a backend is told about the caller.

use std::fmt::Write as _;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use quick_cache::sync::Cache;
use serde_json::Value;

use crate::claims::Claims;
use crate::config::backend::IdentityHeaders;

/// Longest value of one identity header; many servers refuse lines beyond 8 KiB. A longer one is left out
/// whole: half a list of groups is another statement than the whole of it.
const MAX_VALUE: usize = 8 << 10;

/// Callers whose headers are kept ready.
const REMEMBERED: usize = 1024;

const USER: HeaderName = HeaderName::from_static("x-forwarded-user");
const EMAIL: HeaderName = HeaderName::from_static("x-forwarded-email");
const GROUPS: HeaderName = HeaderName::from_static("x-forwarded-groups");
const PREFERRED_USERNAME: HeaderName = HeaderName::from_static("x-forwarded-preferred-username");
const ISSUER: HeaderName = HeaderName::from_static("x-forwarded-issuer");

/// Headers made from one set of claims.
pub(super) struct Prepared {
    /// Held so that the address by which this is found belongs to these claims for as long as it is kept.
    claims: Arc<Claims>,
    headers: Box<[(HeaderName, HeaderValue)]>,
}

impl Prepared {
    pub(super) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }
}

/// Makes identity headers, and keeps those of recent callers.
///
/// Values are visible ASCII as the provider said it. `%`, a comma inside a list's item, white space at either end, and
/// every other byte are percent-encoded as UTF-8 (RFC 3986 section 2.1), so that two different values never
/// look the same and none can end a header or a list item.
pub(super) struct Introducer {
    enabled: bool,
    claims: Box<[(HeaderName, Box<str>)]>,
    recent: Cache<usize, Arc<Prepared>>,
}

impl Introducer {
    /// The configuration was validated: what is not a header name cannot be sent and is left out.
    pub(super) fn new(config: &IdentityHeaders) -> Self {
        let claims = config.claims.iter().filter_map(|(name, path)| {
            Some((
                HeaderName::from_bytes(name.as_bytes()).ok()?,
                path.as_str().into(),
            ))
        });
        Self {
            enabled: config.enabled,
            claims: claims.collect(),
            recent: Cache::new(REMEMBERED),
        }
    }

    /// The headers for a caller.
    pub(super) fn prepare(&self, claims: &Arc<Claims>) -> Arc<Prepared> {
        let key = Arc::as_ptr(claims).addr();
        if let Some(known) = self.recent.get(&key)
            && Arc::ptr_eq(&known.claims, claims)
        {
            return known;
        }
        let prepared = Arc::new(Prepared {
            claims: Arc::clone(claims),
            headers: self.make(claims),
        });
        self.recent.insert(key, Arc::clone(&prepared));
        prepared
    }

    fn make(&self, claims: &Claims) -> Box<[(HeaderName, HeaderValue)]> {
        let mut out = Vec::new();
        let mut add = |name: &HeaderName, text: Option<String>| {
            let Some(text) = text.filter(|text| !text.is_empty()) else {
                return;
            };
            if text.len() > MAX_VALUE {
                tracing::warn!(header = %name, bytes = text.len(), "An identity header is too long and was left out.");
            } else if let Ok(value) = HeaderValue::from_str(&text) {
                out.push((name.clone(), value));
            }
        };
        if self.enabled {
            add(&USER, Some(item(&claims.subject.subject)));
            add(&EMAIL, claims.email.as_deref().map(item));
            add(
                &GROUPS,
                Some(list(claims.groups.iter().map(String::as_str))),
            );
            add(
                &PREFERRED_USERNAME,
                claims.preferred_username.as_deref().map(item),
            );
            add(&ISSUER, Some(item(&claims.subject.issuer)));
        }
        for (name, path) in &self.claims {
            add(name, claims.get(path).and_then(value));
        }
        out.into()
    }
}

/// A claim as header text: texts, numbers, truth values, and lists of them. Objects are no header text.
fn value(claim: &Value) -> Option<String> {
    match claim {
        Value::String(text) => Some(item(text)),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Array(items) => {
            let texts: Option<Vec<String>> = items
                .iter()
                .map(|each| match each {
                    Value::String(text) => Some(encode(text, true)),
                    Value::Number(_) | Value::Bool(_) => value(each),
                    Value::Null | Value::Array(_) | Value::Object(_) => None,
                })
                .collect();
            texts.map(|texts| texts.join(","))
        }
        Value::Null | Value::Object(_) => None,
    }
}

fn item(text: &str) -> String {
    encode(text, false)
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    items
        .map(|each| encode(each, true))
        .collect::<Vec<_>>()
        .join(",")
}

fn encode(text: &str, in_list: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        let plain = match byte {
            b'%' => false,
            b',' => !in_list,
            b' ' => at != 0 && at != last,
            other => other.is_ascii_graphic(),
        };
        if plain {
            out.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::oidc::ClaimMap;
    use crate::ids::Subject;

    fn headers(claims: &Value, config: &IdentityHeaders) -> Vec<(String, String)> {
        let Value::Object(all) = claims.clone() else {
            panic!("an object")
        };
        let subject = Subject {
            issuer: "https://idp".into(),
            subject: "auth0|1".into(),
        };
        let claims = Arc::new(Claims::read(subject, all, &ClaimMap::default()));
        let introducer = Introducer::new(config);
        let first = introducer.prepare(&claims);
        assert!(
            Arc::ptr_eq(&first, &introducer.prepare(&claims)),
            "kept ready"
        );
        let show = |(name, value): &(HeaderName, HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        first.headers().iter().map(show).collect()
    }

    #[test]
    fn nothing_in_a_claim_breaks_out_of_its_header() {
        let claims = serde_json::json!({
            "email": "a@b.c\r\nX-Forwarded-Groups: admins",
            "groups": ["a", "b,admins", "c d", "100%"],
            "department": ["Größe", 7, true], "address": {"street": "x"},
        });
        let config = IdentityHeaders {
            claims: [
                ("X-Department", "department"),
                ("X-Address", "address"),
                ("X-None", "nothing"),
            ]
            .map(|(name, path)| (name.to_owned(), path.to_owned()))
            .into(),
            ..IdentityHeaders::default()
        };
        let expected = [
            ("x-forwarded-user", "auth0|1"),
            ("x-forwarded-email", "a@b.c%0D%0AX-Forwarded-Groups: admins"),
            ("x-forwarded-groups", "a,b%2Cadmins,c d,100%25"),
            ("x-forwarded-issuer", "https://idp"),
            ("x-department", "Gr%C3%B6%C3%9Fe,7,true"),
        ];
        assert_eq!(
            headers(&claims, &config),
            expected.map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
    }

    #[test]
    fn a_list_that_is_too_long_is_left_out_whole() {
        let groups: Vec<String> = (0..2000).map(|n| format!("group-{n}")).collect();
        let found = headers(
            &serde_json::json!({"groups": groups}),
            &IdentityHeaders::default(),
        );
        assert!(
            !found.iter().any(|(name, _)| name == "x-forwarded-groups"),
            "{found:?}"
        );
    }

    proptest! {
        #[test]
        fn different_values_look_different(a in "\\PC{0,12}", b in "\\PC{0,12}") {
            prop_assert_eq!(a == b, encode(&a, true) == encode(&b, true));
            prop_assert!(HeaderValue::from_str(&encode(&a, false)).is_ok());
            let decoded = percent_encoding::percent_decode_str(&encode(&a, true)).decode_utf8().unwrap().into_owned();
            prop_assert_eq!(decoded, a);
        }
    }
}
