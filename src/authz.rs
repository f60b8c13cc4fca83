//! May they: a policy for each route turns a [`Caller`] into a [`Permit`], or the request ends here.

mod arguments;
mod explain;
mod gate;
mod judge;
mod rules;
mod sight;
mod who;

use std::sync::Arc;

use http::StatusCode;

use self::judge::{Guarded, No, Why};
use self::rules::Counted;
use self::who::Who;
use crate::authn::{Caller, Identity};
use crate::claims::Claims;
use crate::config::Config;
use crate::mcp::Message;
use crate::reject::{Code, Fault, Reject};
use crate::route::Target;
use crate::scope::ScopeSet;
use crate::telemetry::metrics::Metrics;

pub use self::explain::{Decision, Explanation, Step, Supposed};
pub use self::rules::Stage;
pub use self::sight::Sight;

/// Leave to forward one request. Made here only, and used up by `forward`.
#[derive(Debug)]
pub struct Permit {
    target: Target,
    caller: Caller,
    sight: Option<Sight>,
    rule: Option<Arc<str>>,
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

    /// What the caller may see in lists; `None` where there is nothing to hide from anybody.
    pub fn sight(&self) -> Option<&Sight> {
        self.sight.as_ref()
    }

    /// The name of the rule that permitted the first thing that rules speak of; `None` where the route alone decided.
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// A permit without a decision, for tests of what comes after it.
    #[cfg(test)]
    pub(crate) fn for_test(target: Target, caller: Caller) -> Self {
        Self {
            target,
            caller,
            sight: None,
            rule: None,
        }
    }
}

/// Why a request goes no further.
#[derive(Debug)]
pub enum Denied {
    /// The caller may not use the route at all.
    Route(Box<Reject>),
    /// The token was granted too little: a client can ask for more (RFC 6750 section 3.1).
    StepUp {
        /// What was asked for.
        target: Box<Target>,
        /// All scopes that the operation needs, with the relevant ones that the token has.
        scopes: ScopeSet,
        /// The rule that asks for them; the route's name when it is the route.
        rule: Arc<str>,
    },
    /// Nobody is signed in, on a route that is public but for this.
    SignIn {
        /// What was asked for.
        target: Box<Target>,
        /// The rule that asks for somebody.
        rule: Arc<str>,
    },
    /// The caller may use the route, but not do this.
    Call(Box<Refusal>),
}

/// What of a message was refused, and by which rule.
#[derive(Debug)]
pub struct Refusal {
    /// What was asked for.
    pub target: Target,
    /// What kind of thing.
    pub stage: Stage,
    /// Its name, URI, or the method.
    pub name: Box<str>,
    /// The rule; the route's name where no rule matched.
    pub rule: Arc<str>,
    /// Answer as the backend does for what it does not know.
    pub hide: bool,
    /// The place of the call in the message.
    pub call: usize,
    /// The argument that a rule asks for and that could not be judged, as the configuration writes it.
    pub argument: Option<Box<str>>,
    /// Why, for logs: no names of groups, no values.
    pub reason: &'static str,
}

impl Denied {
    /// The rule that denied; `None` when the route did.
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::Route(_) => None,
            Self::StepUp { rule, .. } | Self::SignIn { rule, .. } => Some(rule),
            Self::Call(refusal) => Some(&refusal.rule),
        }
    }

    /// Why, for logs.
    pub fn reason(&self) -> &str {
        match self {
            Self::Route(reject) => reject.reason().unwrap_or_default(),
            Self::StepUp { .. } => "the token was not granted a scope that is needed",
            Self::SignIn { .. } => "nobody is signed in, and the rule is not for everybody",
            Self::Call(refusal) => refusal.reason,
        }
    }
}

/// The compiled rules of all routes.
#[derive(Debug)]
pub struct Policy {
    /// In the order of the configuration.
    routes: Vec<Arc<Guarded>>,
}

impl Policy {
    /// Compiles the rules; the configuration was validated.
    pub fn compile(config: &Config, metrics: &Metrics) -> Self {
        let guarded = |route| Arc::new(Guarded::compile(route, metrics));
        Self {
            routes: config.routes.iter().map(guarded).collect(),
        }
    }

    /// Whether somebody with these claims may use a route at all: for pages, and before an app gets a code. Which app
    /// it will be, and what its token will be granted, counts as met.
    pub fn admits(&self, claims: &Claims, target: &Target) -> bool {
        self.routes
            .get(target.route().index)
            .is_some_and(|guarded| guarded.gate.admits(&Who::person(claims)).is_ok())
    }

    /// Decides: the route first, then what each call of the message reaches, then its method. Denials of a whole
    /// route are 403 without a challenge: another token of the same person would not help, and clients take a
    /// challenge for a reason to log in again.
    ///
    /// # Errors
    /// When the caller may not use the route, or may not make one of the calls of the message.
    pub fn decide(
        &self,
        caller: Caller,
        target: Target,
        message: &Message,
    ) -> Result<Permit, Denied> {
        let guarded = self
            .routes
            .get(target.route().index)
            .ok_or_else(|| Denied::Route(Box::new(Reject::internal())))?;
        let judged = guarded.judge(&Who::of(&caller), message, &mut Counted);
        match judged {
            Ok(rule) => Ok(Permit {
                sight: Sight::of(guarded, &caller),
                rule: rule.map(Arc::clone),
                target,
                caller,
            }),
            Err(No::Route(reason)) => Err(Denied::Route(Box::new(
                Reject::new(
                    StatusCode::FORBIDDEN,
                    Code::Forbidden,
                    Fault::Client,
                    "You are signed in, but may not use this. Ask whoever runs it for access.",
                )
                .because(reason),
            ))),
            Err(No::Scopes(scopes, by)) => Err(Denied::StepUp {
                target: Box::new(target),
                scopes,
                rule: Arc::clone(&by.name),
            }),
            Err(No::Anonymous(by)) => Err(Denied::SignIn {
                target: Box::new(target),
                rule: Arc::clone(&by.name),
            }),
            Err(No::Call(call, by, stage, name, why)) => {
                let (argument, reason) = match why {
                    Why::Policy(reason) => (None, reason),
                    Why::Failed(path, reason) => {
                        tracing::warn!(
                            rule = &*by.name,
                            argument = path,
                            reason,
                            "a rule could not be judged, so the call was denied"
                        );
                        (Some(path.into()), reason)
                    }
                };
                Err(Denied::Call(Box::new(Refusal {
                    target,
                    stage,
                    name,
                    rule: Arc::clone(&by.name),
                    hide: by.hide,
                    call,
                    argument,
                    reason,
                })))
            }
        }
    }
}

#[cfg(test)]
mod tests;
