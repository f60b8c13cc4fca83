//! One route's rule, compiled: who may use it.

use serde_json::Value;

use crate::claims::Claims;
use crate::config::route::{Allow, Route};

/// Who may use a route.
#[derive(Debug)]
pub(super) enum Rule {
    /// Everybody, signed in or not.
    Public,
    /// Everybody who is signed in.
    AnyUser,
    /// Who meets every condition; there is at least one.
    All(Vec<Condition>),
    /// Nobody: the route says nothing.
    Nobody,
}

/// One key of `allow`; its list is OR.
#[derive(Debug)]
pub(super) enum Condition {
    Groups(Vec<String>),
    EmailDomains(Vec<String>),
    Claim(String, Vec<Value>),
}

impl Rule {
    pub(super) fn compile(route: &Route) -> Self {
        if route.public {
            return Self::Public;
        }
        let Some(Allow {
            any_user,
            groups,
            email_domains,
            claims,
        }) = &route.allow
        else {
            return Self::Nobody;
        };
        let mut conditions = Vec::new();
        if !groups.is_empty() {
            conditions.push(Condition::Groups(groups.clone()));
        }
        if !email_domains.is_empty() {
            conditions.push(Condition::EmailDomains(
                email_domains
                    .iter()
                    .map(|domain| domain.to_ascii_lowercase())
                    .collect(),
            ));
        }
        conditions.extend(
            claims
                .iter()
                .map(|(path, values)| Condition::Claim(path.clone(), values.clone())),
        );
        match (conditions.is_empty(), any_user) {
            (false, _) => Self::All(conditions),
            (true, true) => Self::AnyUser,
            (true, false) => Self::Nobody,
        }
    }

    /// Whether a person may; otherwise which part of the rule says no, for the log.
    pub(super) fn admits(&self, claims: &Claims) -> Result<(), &'static str> {
        match self {
            Self::Public | Self::AnyUser => Ok(()),
            Self::Nobody => Err("the route has no allow, so nobody may use it"),
            Self::All(conditions) => conditions
                .iter()
                .find(|condition| !condition.met(claims))
                .map_or(Ok(()), |condition| Err(condition.name())),
        }
    }
}

impl Condition {
    fn met(&self, claims: &Claims) -> bool {
        match self {
            Self::Groups(groups) => claims.groups.iter().any(|group| groups.contains(group)),
            Self::EmailDomains(domains) => {
                claims
                    .email
                    .as_deref()
                    .and_then(domain)
                    .is_some_and(|found| {
                        domains
                            .iter()
                            .any(|domain| found.eq_ignore_ascii_case(domain))
                    })
            }
            Self::Claim(path, values) => match claims.get(path) {
                Some(Value::Array(items)) => items.iter().any(|item| values.contains(item)),
                Some(Value::Null) | None => false,
                Some(value) => values.contains(value),
            },
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Groups(_) => "not in a group that the route allows",
            Self::EmailDomains(_) => "no e-mail address in a domain that the route allows",
            Self::Claim(..) => "a claim has no value that the route allows",
        }
    }
}

/// The domain of a plain address: one `@`, something before it, ASCII behind it, nothing that could begin a
/// second address or hide one.
fn domain(email: &str) -> Option<&str> {
    let (local, domain) = email.split_once('@')?;
    let odd = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(
                c,
                '"' | '(' | ')' | ',' | ':' | ';' | '<' | '>' | '[' | ']' | '\\'
            )
    };
    let plain = !local.is_empty()
        && !local.contains(odd)
        && !domain.is_empty()
        && domain
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
        && !domain.starts_with('.')
        && !domain.ends_with('.');
    plain.then_some(domain)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::config::oidc::ClaimMap;
    use crate::ids::Subject;

    fn rule(route: &Value) -> Rule {
        let mut route = route.clone();
        route["path"] = json!("/x");
        route["backend"] = json!("b");
        Rule::compile(&serde_json::from_value(route).unwrap())
    }

    fn admits(allow: &Value, claims: &Value) -> bool {
        let all: Map<String, Value> = serde_json::from_value(claims.clone()).unwrap();
        let subject = Subject {
            issuer: "https://idp".into(),
            subject: "ann".into(),
        };
        rule(&json!({ "allow": allow }))
            .admits(&Claims::read(subject, all, &ClaimMap::default()))
            .is_ok()
    }

    #[test]
    fn advisory_cve_2021_21411_groups_are_enforced() {
        let allow = json!({"groups": ["eng", "ops"]});
        assert!(admits(&allow, &json!({"groups": ["x", "ops"]})));
        for claims in [
            json!({}),
            json!({"groups": []}),
            json!({"groups": ["Eng", "engineering", "en"]}),
            json!({"groups": {"eng": true}}),
            json!({"roles": ["eng"]}),
        ] {
            assert!(!admits(&allow, &claims), "{claims}");
        }
    }

    #[test]
    fn advisory_cve_2026_40574_email_domains_are_exact() {
        let allow = json!({"email_domains": ["Corp.com"]});
        for email in ["ann@corp.com", "Ann.B+x@CORP.COM", "\u{e4}nn@corp.com"] {
            assert!(admits(&allow, &json!({ "email": email })), "{email}");
        }
        for email in [
            json!("a@evil.io@corp.com"),
            json!("a@corp.com@evil.io"),
            json!("a@corp.com."),
            json!("a@sub.corp.com"),
            json!("a@evilcorp.com"),
            json!("@corp.com"),
            json!("corp.com"),
            json!("a@c\u{43e}rp.com"),
            json!("a@corp\u{ff0e}com"),
            json!("a@corp.com "),
            json!(" a@corp.com"),
            json!("b,a@corp.com"),
            json!("<a@corp.com"),
            json!("\"x\"@corp.com"),
            json!("a@corp.com\n"),
            json!("a@"),
            json!(""),
            json!(7),
            json!(["a@corp.com"]),
            json!({"x": "a@corp.com"}),
            json!(null),
        ] {
            assert!(!admits(&allow, &json!({ "email": email })), "{email}");
        }
        assert!(!admits(
            &allow,
            &json!({"email": "ann@corp.com", "email_verified": false})
        ));
    }

    #[test]
    fn claims_are_enforced() {
        let allow = json!({"claims": {"dept": ["a", "b"], "org.level": [3]}});
        assert!(admits(&allow, &json!({"dept": "b", "org": {"level": 3}})));
        assert!(admits(&allow, &json!({"dept": ["x", "a"], "org.level": 3})));
        for claims in [
            json!({"dept": "b"}),
            json!({"dept": "c", "org": {"level": 3}}),
            json!({"dept": "b", "org": {"level": "3"}}),
            json!({"dept": null, "org": {"level": 3}}),
            json!({"dept": {"a": "a"}, "org": {"level": 3}}),
        ] {
            assert!(!admits(&allow, &claims), "{claims}");
        }
        assert!(!admits(
            &json!({"claims": {"dept": []}}),
            &json!({"dept": "a"})
        ));
        assert!(!admits(
            &json!({"claims": {"dept": [null]}}),
            &json!({"dept": null})
        ));
    }

    #[test]
    fn keys_are_and() {
        let allow =
            json!({"groups": ["eng"], "email_domains": ["corp.com"], "claims": {"x": [true]}});
        let all = json!({"groups": ["eng"], "email": "a@corp.com", "x": true});
        assert!(admits(&allow, &all));
        for missing in ["groups", "email", "x"] {
            let mut claims = all.clone();
            claims.as_object_mut().unwrap().remove(missing);
            assert!(!admits(&allow, &claims), "{missing}");
        }
        assert!(
            !admits(&json!({"any_user": true, "groups": ["eng"]}), &json!({})),
            "any_user does not soften other keys"
        );
    }

    #[test]
    fn silence_is_nobody_and_public_only_where_written() {
        assert!(matches!(rule(&json!({})), Rule::Nobody));
        assert!(matches!(rule(&json!({"allow": {}})), Rule::Nobody));
        assert!(matches!(
            rule(&json!({"allow": {"any_user": false}})),
            Rule::Nobody
        ));
        assert!(matches!(
            rule(&json!({"allow": {"any_user": true}})),
            Rule::AnyUser
        ));
        assert!(matches!(rule(&json!({"public": true})), Rule::Public));
        assert!(!admits(&json!({}), &json!({"groups": ["eng"]})));
    }
}
