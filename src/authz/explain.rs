//! Which rule decides on a message, and why: the same judgement as for requests, with notes.

use serde::Serialize;

use super::Policy;
use super::arguments::Arguments;
use super::gate::Gate;
use super::judge::{Guarded, No};
use super::rules::{Act, Outcome, Passed, Rule, Stage, Unwatched, Verdict, Watch};
use super::who::{Client, Scopes, Who};
use crate::claims::Claims;
use crate::mcp::Message;

/// Somebody who might ask. Nobody proved it: it serves to look at rules only.
#[derive(Clone, Debug, Default)]
pub struct Supposed {
    /// Who it is; `None` for nobody.
    pub claims: Option<Claims>,
    /// What the token was granted; `None` for sessions and API keys.
    pub scopes: Option<Vec<Box<str>>>,
    /// The client that the token was made for.
    pub client: Option<String>,
    /// The name of the API key.
    pub api_key: Option<String>,
    /// Authentication is off.
    pub bypass: bool,
}

impl Supposed {
    fn who(&self) -> Who<'_> {
        Who {
            claims: self.claims.as_ref(),
            scopes: self
                .scopes
                .as_deref()
                .map_or(Scopes::Without, Scopes::Granted),
            client: self
                .client
                .as_deref()
                .map_or(Client::Without, Client::Known),
            api_key: self.api_key.as_deref(),
            bypass: self.bypass,
        }
    }
}

/// The decision and how it came.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// Of the whole.
    pub decision: Decision,
    /// All scopes that a token should have, where only scopes are missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Whether what is reached is shown in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed: Option<bool>,
    /// What was judged, in order; it ends with the first step that denies.
    pub steps: Vec<Step>,
}

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Permitted.
    Allow,
    /// Denied.
    Deny,
    /// Denied until the token has further scopes.
    StepUp,
    /// Denied, for a rule could not be judged.
    Error,
}

impl Decision {
    fn of(verdict: &Verdict<'_>) -> Self {
        match verdict.outcome {
            Outcome::Permitted => Self::Allow,
            Outcome::Barred(_) if verdict.asks_for().is_some() => Self::StepUp,
            Outcome::Denied | Outcome::Unmatched | Outcome::Barred(_) => Self::Deny,
            Outcome::Failed(_) => Self::Error,
        }
    }
}

/// One thing that was judged.
#[derive(Debug, Serialize)]
pub struct Step {
    /// `route`, `tool`, `prompt`, `resource` or `method`.
    pub stage: &'static str,
    /// Its name.
    pub name: String,
    /// What was decided.
    pub decision: Decision,
    /// The rule; the route's name where none matched.
    pub rule: String,
    /// Why.
    pub reason: String,
    /// What that rule asks for, key by key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Denials look like unknown names.
    pub hidden: bool,
    /// The rules that did not match, in the order in which they were looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOver>,
}

/// One key of an `allow`.
#[derive(Debug, Serialize)]
pub struct Condition {
    /// What is asked for.
    pub needs: String,
    /// Whether it is there.
    pub met: bool,
}

/// A rule that did not match.
#[derive(Debug, Serialize)]
pub struct PassedOver {
    /// The rule.
    pub rule: String,
    /// Why.
    pub reason: &'static str,
}

impl Policy {
    /// What would be decided on a message to the route at this place of the configuration. `None` when there is no
    /// such route.
    pub fn explain(
        &self,
        route: usize,
        caller: &Supposed,
        message: &Message,
    ) -> Option<Explanation> {
        let guarded = self.routes.get(route)?;
        let who = caller.who();
        let mut notes = Notes {
            guarded,
            who,
            passed: Vec::new(),
            steps: Vec::new(),
        };
        let judged = guarded.judge(&who, message, &mut notes);
        let (decision, scopes) = match judged {
            Ok(_) => (Decision::Allow, Vec::new()),
            Err(No::Scopes(scopes, _)) => {
                (Decision::StepUp, scopes.iter().map(str::to_owned).collect())
            }
            Err(No::Route(_)) => (Decision::Deny, Vec::new()),
            Err(No::Anonymous(_) | No::Call(..)) => (
                notes
                    .steps
                    .last()
                    .map_or(Decision::Deny, |step| step.decision),
                Vec::new(),
            ),
        };
        let reach = message.calls().first().and_then(|call| call.reach.first());
        let listed = reach.and_then(|reach| {
            let (rules, _) = guarded.rules_of(reach)?;
            let may = rules
                .judge(&who, reach.name(), &Arguments::Open, &mut Unwatched)
                .shows();
            Some(may && guarded.gate.admits(&who).is_ok())
        });
        Some(Explanation {
            decision,
            scopes,
            listed,
            steps: notes.steps,
        })
    }
}

/// Writes down all that is judged.
struct Notes<'a> {
    guarded: &'a Guarded,
    who: Who<'a>,
    passed: Vec<PassedOver>,
    steps: Vec<Step>,
}

impl Watch for Notes<'_> {
    fn passed(&mut self, rule: &Rule, why: Passed) {
        self.passed.push(PassedOver {
            rule: rule.by.name.to_string(),
            reason: match why {
                Passed::Name => "none of its patterns fits the name",
                Passed::Arguments => "an argument is absent or has another value",
                Passed::Avoidable => "arguments that it does not match are possible",
            },
        });
    }

    fn decided(&mut self, stage: Stage, name: &str, verdict: &Verdict<'_>) {
        let gate = match (stage, verdict.rule.map(|rule| &rule.act)) {
            (Stage::Route, _) => Some(&self.guarded.gate),
            (_, Some(Act::Ask(gate))) => Some(gate),
            _ => None,
        };
        let reason = match (&verdict.outcome, gate) {
            (Outcome::Permitted, Some(Gate::Public)) if stage == Stage::Route => {
                "the route is public".to_owned()
            }
            (Outcome::Permitted, Some(Gate::Public)) => {
                "the rule is for everybody who may use the route".to_owned()
            }
            (Outcome::Permitted, Some(Gate::AnyUser)) => {
                "everybody who is signed in may".to_owned()
            }
            (Outcome::Permitted, Some(_)) if self.who.bypass => {
                "authentication is off, so every `allow` is met".to_owned()
            }
            (Outcome::Permitted, Some(_)) => "all that it asks for is met".to_owned(),
            (Outcome::Permitted, None) => "no rule matches, and the default is allow".to_owned(),
            (Outcome::Denied, _) => "the rule denies it to everybody".to_owned(),
            (Outcome::Unmatched, _) => "no rule matches, and the default is deny".to_owned(),
            (Outcome::Barred(barred), _) => barred.reason().to_owned(),
            (Outcome::Failed(failed), _) => format!("{}: {}", failed.path, failed.why.as_str()),
        };
        self.steps.push(Step {
            stage: stage.as_str(),
            name: name.to_owned(),
            decision: Decision::of(verdict),
            rule: verdict.by.name.to_string(),
            reason,
            conditions: gate.map_or_else(Vec::new, |gate| gate.conditions(&self.who)),
            hidden: verdict.by.hide && !verdict.permits(),
            passed_over: std::mem::take(&mut self.passed),
        });
    }
}

impl Gate {
    /// Each key, and whether it is met; nothing where no key was written.
    fn conditions(&self, who: &Who<'_>) -> Vec<Condition> {
        let (Self::All(all), Some(claims)) = (self, who.claims) else {
            return Vec::new();
        };
        all.iter()
            .map(|condition| Condition {
                needs: condition.to_string(),
                met: who.bypass || condition.met(claims, who).is_ok(),
            })
            .collect()
    }
}
