//! Who may: the `allow` of a route or of a rule, compiled.

use std::fmt;

use serde_json::Value;

use super::who::{Client, Scopes, Who};
use crate::claims::Claims;
use crate::config::route::{Allow, Route};
use crate::scope::ScopeSet;

/// Who may pass.
#[derive(Debug)]
pub(super) enum Gate {
    /// Everybody, signed in or not.
    Public,
    /// Everybody who is signed in.
    AnyUser,
    /// Who meets every condition; there is at least one.
    All(Vec<Condition>),
    /// Nobody: nothing is said.
    Nobody,
}

/// One key of `allow`; its list is OR.
#[derive(Debug)]
pub(super) enum Condition {
    Groups(Vec<String>),
    EmailDomains(Vec<String>),
    Claim(String, Vec<Value>),
    Clients(Vec<String>),
    ApiKeys(Vec<String>),
    /// The last one of all, so that what is missing besides is known. Each entry is one way to meet it.
    Scopes(Vec<ScopeSet>),
}

/// What stands in the way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Barred<'a> {
    /// Nobody is signed in.
    Anonymous,
    /// This, which no token of this caller's would change.
    Because(&'static str),
    /// Nothing but scopes that the token could be granted: one of these sets.
    Scopes(&'a [ScopeSet]),
}

impl Barred<'_> {
    /// For the log.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Anonymous => "nobody is signed in, and the rule is not for everybody",
            Self::Because(reason) => reason,
            Self::Scopes(_) => "the token was not granted a scope that the rule asks for",
        }
    }
}

impl Gate {
    /// Of a route. Silence means nobody.
    pub(super) fn of_route(route: &Route) -> Self {
        match (&route.allow, route.public) {
            (_, true) => Self::Public,
            (Some(allow), false) => Self::of(allow),
            (None, false) => Self::Nobody,
        }
    }

    /// Of a rule, which holds for those whom the route lets in. Silence means all of them.
    pub(super) fn of_rule(allow: Option<&Allow>) -> Self {
        allow.map_or(Self::Public, Self::of)
    }

    fn of(allow: &Allow) -> Self {
        let Allow {
            any_user,
            groups,
            email_domains,
            claims,
            scopes,
            clients,
            api_keys,
        } = allow;
        let lower = |domain: &String| domain.to_ascii_lowercase();
        let mut conditions = Vec::new();
        let mut add = |list: &[String], condition: fn(Vec<String>) -> Condition| {
            if !list.is_empty() {
                conditions.push(condition(list.to_vec()));
            }
        };
        add(groups, Condition::Groups);
        let domains: Vec<String> = email_domains.iter().map(lower).collect();
        add(&domains, Condition::EmailDomains);
        add(clients, Condition::Clients);
        add(api_keys, Condition::ApiKeys);
        conditions.extend(
            claims
                .iter()
                .map(|(path, values)| Condition::Claim(path.clone(), values.clone())),
        );
        if !scopes.is_empty() {
            let ways = scopes.iter().map(|entry| ScopeSet::of(entry.split(' ')));
            conditions.push(Condition::Scopes(ways.collect()));
        }
        match (conditions.is_empty(), any_user) {
            (false, _) => Self::All(conditions),
            (true, true) => Self::AnyUser,
            (true, false) => Self::Nobody,
        }
    }

    /// Whether a caller may pass; otherwise what stands in the way.
    pub(super) fn admits(&self, who: &Who<'_>) -> Result<(), Barred<'_>> {
        match (self, who.claims) {
            (Self::Nobody, _) => Err(Barred::Because("there is no allow, so nobody may")),
            (Self::AnyUser | Self::All(_), None) => Err(Barred::Anonymous),
            (Self::Public, _) | (Self::AnyUser, Some(_)) => Ok(()),
            (Self::All(_), Some(_)) if who.bypass => Ok(()),
            (Self::All(conditions), Some(claims)) => conditions
                .iter()
                .try_for_each(|condition| condition.met(claims, who)),
        }
    }

    /// All scopes that are asked for.
    pub(super) fn scopes(&self) -> impl Iterator<Item = &ScopeSet> {
        let conditions: &[Condition] = match self {
            Self::All(conditions) => conditions,
            Self::Public | Self::AnyUser | Self::Nobody => &[],
        };
        conditions.iter().flat_map(|condition| match condition {
            Condition::Scopes(ways) => ways.as_slice(),
            _ => &[],
        })
    }
}

impl Condition {
    pub(super) fn met(&self, claims: &Claims, who: &Who<'_>) -> Result<(), Barred<'_>> {
        let met =
            match self {
                Self::Groups(groups) => claims.groups.iter().any(|group| groups.contains(group)),
                Self::EmailDomains(domains) => claims
                    .email
                    .as_deref()
                    .and_then(domain)
                    .is_some_and(|found| {
                        domains
                            .iter()
                            .any(|domain| found.eq_ignore_ascii_case(domain))
                    }),
                Self::Claim(path, values) => match claims.get(path) {
                    Some(Value::Array(items)) => items.iter().any(|item| values.contains(item)),
                    Some(Value::Null) | None => false,
                    Some(value) => values.contains(value),
                },
                Self::Clients(clients) => match who.client {
                    Client::Known(id) => clients.iter().any(|client| client == id),
                    Client::Without => false,
                    Client::Open => true,
                },
                Self::ApiKeys(names) => who
                    .api_key
                    .is_some_and(|name| names.iter().any(|each| each == name)),
                Self::Scopes(ways) => match who.scopes {
                    Scopes::Granted(granted) => {
                        let has = |way: &ScopeSet| {
                            way.iter()
                                .all(|scope| granted.iter().any(|each| **each == *scope))
                        };
                        return if ways.iter().any(has) {
                            Ok(())
                        } else {
                            Err(Barred::Scopes(ways))
                        };
                    }
                    Scopes::Without => false,
                    Scopes::Open => true,
                },
            };
        if met {
            Ok(())
        } else {
            Err(Barred::Because(self.unmet()))
        }
    }

    fn unmet(&self) -> &'static str {
        match self {
            Self::Groups(_) => "not in a group that the rule allows",
            Self::EmailDomains(_) => "no e-mail address in a domain that the rule allows",
            Self::Claim(..) => "a claim has no value that the rule allows",
            Self::Clients(_) => "not by a client that the rule allows",
            Self::ApiKeys(_) => "not with an API key that the rule allows",
            Self::Scopes(_) => "the rule asks for a scope, and only tokens have scopes",
        }
    }
}

/// As the configuration writes it.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, key: &str, texts: &[String]| {
            write!(f, "{key}: {}", texts.join(", "))
        };
        match self {
            Self::Groups(all) => list(f, "groups", all),
            Self::EmailDomains(all) => list(f, "email_domains", all),
            Self::Clients(all) => list(f, "clients", all),
            Self::ApiKeys(all) => list(f, "api_keys", all),
            Self::Claim(path, values) => {
                let values: Vec<String> = values.iter().map(Value::to_string).collect();
                write!(f, "claims.{path}: {}", values.join(", "))
            }
            Self::Scopes(ways) => {
                let ways: Vec<String> = ways.iter().map(ToString::to_string).collect();
                write!(f, "scopes: {}", ways.join(", "))
            }
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

    fn rule(route: &Value) -> Gate {
        let mut route = route.clone();
        route["path"] = json!("/x");
        route["backend"] = json!("b");
        Gate::of_route(&serde_json::from_value(route).unwrap())
    }

    fn admits(allow: &Value, claims: &Value) -> bool {
        let all: Map<String, Value> = serde_json::from_value(claims.clone()).unwrap();
        let subject = Subject {
            issuer: "https://idp".into(),
            subject: "ann".into(),
        };
        rule(&json!({ "allow": allow }))
            .admits(&Who::person(&Claims::read(
                subject,
                all,
                &ClaimMap::default(),
            )))
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
        assert!(matches!(rule(&json!({})), Gate::Nobody));
        assert!(matches!(rule(&json!({"allow": {}})), Gate::Nobody));
        assert!(matches!(
            rule(&json!({"allow": {"any_user": false}})),
            Gate::Nobody
        ));
        assert!(matches!(
            rule(&json!({"allow": {"any_user": true}})),
            Gate::AnyUser
        ));
        assert!(matches!(rule(&json!({"public": true})), Gate::Public));
        assert!(!admits(&json!({}), &json!({"groups": ["eng"]})));
    }
}
