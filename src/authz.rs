//! May they: a policy for each route turns a [`Caller`] into a [`Permit`], or the request ends here.

mod rule;

use http::StatusCode;
use metrics::Counter;

use self::rule::Rule;
use crate::authn::{Caller, Credential, Identity};
use crate::claims::Claims;
use crate::config::Config;
use crate::mcp::Message;
use crate::reject::{Code, Fault, Reject};
use crate::route::Target;
use crate::telemetry::metrics::{Metrics, Name};

/// Leave to forward one request. Made here only, and used up by `forward`.
#[derive(Debug)]
pub struct Permit {
    target: Target,
    caller: Caller,
}

impl Permit {
    /// What may be asked for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// By whom; `None` on public routes without credentials.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.caller {
            Caller::Anonymous => None,
            Caller::Known(identity) => Some(identity),
        }
    }

    /// A permit without a decision, for tests of what comes after it.
    #[cfg(test)]
    pub(crate) fn for_test(target: Target, caller: Caller) -> Self {
        Self { target, caller }
    }
}

/// Why a request goes no further.
#[derive(Debug)]
pub enum Denied {
    /// The caller may not use the route at all.
    Route(Reject),
}

/// The compiled rules of all routes.
#[derive(Debug)]
pub struct Policy {
    /// In the order of the configuration.
    routes: Vec<Guarded>,
}

struct Guarded {
    rule: Rule,
    allowed: Counter,
    denied: Counter,
}

impl std::fmt::Debug for Guarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.rule.fmt(f)
    }
}

impl Policy {
    /// Compiles the rules; the configuration was validated.
    pub fn compile(config: &Config, metrics: &Metrics) -> Self {
        let routes = config.routes.iter().map(|route| {
            let policy = route
                .name
                .as_ref()
                .map_or(route.path.as_str(), |name| name.as_str());
            let counter = |decision| {
                metrics.counter(
                    Name::AuthzDecisions,
                    &[
                        ("policy", policy),
                        ("decision", decision),
                        ("stage", "route"),
                    ],
                )
            };
            Guarded {
                rule: Rule::compile(route),
                allowed: counter("allow"),
                denied: counter("deny"),
            }
        });
        Self {
            routes: routes.collect(),
        }
    }

    /// Whether somebody with these claims may use a route at all: for pages, and before an app gets a code.
    pub fn admits(&self, claims: &Claims, target: &Target) -> bool {
        self.routes
            .get(target.route().index)
            .is_some_and(|guarded| guarded.rule.admits(claims).is_ok())
    }

    /// Decides. Denials of a whole route are 403 without a challenge: another token of the same person would not
    /// help, and clients take a challenge for a reason to log in again.
    ///
    /// # Errors
    /// When the caller may not use the route, or may not make one of the calls of the message.
    pub fn decide(
        &self,
        caller: Caller,
        target: Target,
        message: &Message,
    ) -> Result<Permit, Denied> {
        self.admit(caller, target, message).map_err(Denied::Route)
    }

    fn admit(&self, caller: Caller, target: Target, _message: &Message) -> Result<Permit, Reject> {
        let guarded = self
            .routes
            .get(target.route().index)
            .ok_or_else(Reject::internal)?;
        let decision = match &caller {
            // Bypass lets everybody in where somebody may come in at all.
            Caller::Known(identity) if *identity.credential() == Credential::Bypass => {
                match guarded.rule {
                    Rule::Nobody => guarded.rule.admits(identity.claims()),
                    Rule::Public | Rule::AnyUser | Rule::All(_) => Ok(()),
                }
            }
            Caller::Known(identity) => guarded.rule.admits(identity.claims()),
            Caller::Anonymous if matches!(guarded.rule, Rule::Public) => Ok(()),
            Caller::Anonymous => Err("nobody is signed in, and the route is not public"),
        };
        match decision {
            Ok(()) => {
                guarded.allowed.increment(1);
                Ok(Permit { target, caller })
            }
            Err(reason) => {
                guarded.denied.increment(1);
                Err(Reject::new(
                    StatusCode::FORBIDDEN,
                    Code::Forbidden,
                    Fault::Client,
                    "You are signed in, but may not use this. Ask whoever runs it for access.",
                )
                .because(reason))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Method;

    use super::*;
    use crate::config::oidc::ClaimMap;
    use crate::ids::Subject;
    use crate::route::{Matched, Table};
    use crate::urls::PublicUrl;

    fn decide(path: &str, who: Option<&str>) -> Result<bool, u16> {
        let config: Config = serde_json::from_str(
            r#"{"version": 1, "backends": [{"name": "b", "upstream": "http://127.0.0.1:1"}], "routes": [
                {"path": "/none", "backend": "b"},
                {"path": "/public", "backend": "b", "public": true},
                {"path": "/all", "backend": "b", "allow": {"any_user": true}},
                {"path": "/eng", "backend": "b", "allow": {"groups": ["eng"]}}]}"#,
        )
        .unwrap();
        let table = Table::compile(
            &config,
            &PublicUrl::parse("https://mcp.example.com").unwrap(),
        );
        let Ok(Matched::Backend(target)) = table.find(&Method::POST, &path.parse().unwrap()) else {
            panic!("{path}")
        };
        let metrics = Metrics::new();
        let policy = Policy::compile(&config, &metrics);
        let caller = who.map_or(Caller::Anonymous, |group| {
            let subject = Subject {
                issuer: "https://idp".into(),
                subject: "ann".into(),
            };
            let all = serde_json::from_value(serde_json::json!({ "groups": [group] })).unwrap();
            Caller::Known(Identity::for_test(Arc::new(Claims::read(
                subject,
                all,
                &ClaimMap::default(),
            ))))
        });
        let decision = policy.decide(caller, target, &Message::default());
        let label = if decision.is_ok() { "allow" } else { "deny" };
        let line = format!(
            "mcp_proxy_authz_decisions_total{{policy=\"{path}\",decision=\"{label}\",stage=\"route\"}} 1"
        );
        assert!(metrics.render().contains(&line), "{line}");
        decision
            .map(|permit| permit.identity().is_some())
            .map_err(|Denied::Route(reject)| {
                assert_eq!(
                    (reject.code(), reject.headers().len(), reject.wants_login()),
                    (Code::Forbidden, 0, false)
                );
                reject.status().as_u16()
            })
    }

    #[test]
    fn default_deny() {
        assert_eq!(decide("/none", Some("eng")), Err(403));
        assert_eq!(decide("/none", None), Err(403));
    }

    #[test]
    fn public_means_everybody() {
        assert_eq!(decide("/public", None), Ok(false));
        assert_eq!(decide("/public", Some("x")), Ok(true));
    }

    #[test]
    fn members_may_and_others_may_not() {
        assert_eq!(decide("/eng", Some("eng")), Ok(true));
        assert_eq!(decide("/eng", Some("ops")), Err(403));
        assert_eq!(decide("/eng", None), Err(403));
        assert_eq!(decide("/all", Some("x")), Ok(true));
        assert_eq!(decide("/all", None), Err(403));
    }
}
