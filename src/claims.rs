//! What an issuer said about a subject, read through the claim map of that issuer.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::oidc::ClaimMap;
use crate::ids::Subject;
use crate::secret::Digest;

/// Verified claims of one subject. Made from a verified token, a verified userinfo answer or a configured
/// principal; never from anything that a client merely said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// Who.
    pub subject: Subject,
    /// E-mail address, as the provider spells it. Absent when the provider says that it is not verified.
    pub email: Option<String>,
    /// Display name.
    pub name: Option<String>,
    /// Login name.
    pub preferred_username: Option<String>,
    /// Groups, without duplicates, in the provider's order.
    pub groups: Vec<String>,
    /// Everything else that was said.
    pub all: Arc<Map<String, Value>>,
    /// Made when first asked for.
    #[serde(skip)]
    pub(crate) tag: Tag,
}

/// The subject's [`Claims::tag`], once it was made. It follows from the subject, so it makes no difference.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tag(OnceLock<[u8; 16]>);

impl PartialEq for Tag {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Claims {
    /// Reads claims through a map. A claim of the wrong type counts as absent.
    pub fn read(subject: Subject, all: Map<String, Value>, map: &ClaimMap) -> Self {
        let text = |path: &str| {
            lookup(&all, path)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let verified = !matches!(all.get("email_verified"), Some(Value::Bool(false)))
            && all.get("email_verified").and_then(Value::as_str) != Some("false");
        let mut groups: Vec<String> = Vec::new();
        for path in &map.groups {
            let found: Vec<String> = match lookup(&all, path) {
                Some(Value::Array(items)) => items
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
                Some(Value::String(list)) => list
                    .split(',')
                    .map(str::trim)
                    .filter(|g| !g.is_empty())
                    .map(str::to_owned)
                    .collect(),
                _ => Vec::new(),
            };
            for group in found {
                if !groups.contains(&group) {
                    groups.push(group);
                }
            }
        }
        Self {
            email: text(&map.email).filter(|_| verified),
            name: text(&map.name),
            preferred_username: text(&map.preferred_username),
            groups,
            subject,
            all: Arc::new(all),
            tag: Tag::default(),
        }
    }

    /// The subject as logs show it: the first 8 bytes of the SHA-256 of issuer and subject, in hex. The same person
    /// is recognised in all lines and not named in any.
    pub fn tag(&self) -> [u8; 16] {
        *self.tag.0.get_or_init(|| {
            let subject = &self.subject;
            let mut text = Vec::with_capacity(subject.issuer.len() + subject.subject.len() + 1);
            text.extend_from_slice(subject.issuer.as_bytes());
            text.push(0);
            text.extend_from_slice(subject.subject.as_bytes());
            hex(Digest::of(&text).as_bytes())
        })
    }

    /// The claim at a path (see [`ClaimMap`]).
    pub fn get(&self, path: &str) -> Option<&Value> {
        lookup(&self.all, path)
    }
}

/// The first 8 bytes in hex.
fn hex(bytes: &[u8; 32]) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = [0; 16];
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    out
}

/// Finds `a.b.c`: a claim of that whole name first, then the longest prefix that is an object.
pub fn lookup<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(found) = claims.get(path) {
        return Some(found);
    }
    let mut end = path.len();
    while let Some(dot) = path[..end].rfind('.') {
        if let Some(Value::Object(inner)) = claims.get(&path[..dot])
            && let Some(found) = lookup(inner, &path[dot + 1..])
        {
            return Some(found);
        }
        end = dot;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(json: Value, map: &ClaimMap) -> Claims {
        let Value::Object(all) = json else {
            panic!("an object")
        };
        Claims::read(
            Subject {
                issuer: "https://idp".into(),
                subject: "ann".into(),
            },
            all,
            map,
        )
    }

    #[test]
    fn nested_and_dotted_names_are_found() {
        let map = ClaimMap {
            groups: vec!["realm_access.roles".into(), "https://a.example/g".into()],
            ..ClaimMap::default()
        };
        let read = claims(
            serde_json::json!({"realm_access": {"roles": ["a", "b"]}, "https://a.example/g": "b, c", "email": 7}),
            &map,
        );
        assert_eq!(read.groups, ["a", "b", "c"]);
        assert_eq!(read.email, None);
    }

    #[test]
    fn a_tag_tells_subjects_apart_and_names_nobody() {
        let of = |issuer: &str, subject: &str| {
            let subject = Subject {
                issuer: issuer.into(),
                subject: subject.into(),
            };
            Claims::read(subject, Map::new(), &ClaimMap::default())
        };
        // printf 'https://idp\\0ann' | sha256sum
        let ann = of("https://idp", "ann");
        assert_eq!(ann.tag(), *b"9fe902ec6a3fbb98");
        assert_eq!(ann.tag(), ann.clone().tag());
        assert_ne!(ann.tag(), of("https://idp", "bob").tag());
        assert_ne!(ann.tag(), of("https://id", "pann").tag());
        assert_eq!(ann, of("https://idp", "ann"), "asked for or not");
    }

    #[test]
    fn an_unverified_address_is_no_address() {
        let read = claims(
            serde_json::json!({"email": "a@b.c", "email_verified": false}),
            &ClaimMap::default(),
        );
        assert_eq!(read.email, None);
    }
}
