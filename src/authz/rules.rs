//! One list of rules, compiled: rules with `deny` first, then the first that matches decides.

use std::sync::Arc;

use metrics::Counter;

use super::arguments::{Arguments, Condition, Failed, Fit};
use super::gate::{Barred, Gate};
use super::who::Who;
use crate::config::glob::Glob;
use crate::config::rules::{Otherwise, Rule as Written};
use crate::scope::ScopeSet;
use crate::telemetry::metrics::{Metrics, Name};

/// What is judged: the label `stage`, and the word in answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The route as a whole.
    Route,
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
    /// A resource, by its URI.
    Resource,
    /// A JSON-RPC method.
    Method,
}

impl Stage {
    /// The label and the word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
            Self::Method => "method",
        }
    }
}

/// Who decides: a rule, the default of a list, or a route. Its name is what answers, logs and metrics show.
pub(super) struct By {
    pub(super) name: Arc<str>,
    /// Denials look like unknown names.
    pub(super) hide: bool,
    allowed: Counter,
    denied: Counter,
    failed: Counter,
}

impl std::fmt::Debug for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name)
    }
}

impl By {
    pub(super) fn new(name: Arc<str>, hide: bool, stage: Stage, metrics: &Metrics) -> Self {
        let counter = |decision| {
            let labels = [
                ("policy", &*name),
                ("decision", decision),
                ("stage", stage.as_str()),
            ];
            metrics.counter(Name::AuthzDecisions, &labels)
        };
        Self {
            allowed: counter("allow"),
            denied: counter("deny"),
            failed: counter("error"),
            name,
            hide,
        }
    }

    fn count(&self, outcome: &Outcome<'_>) {
        match outcome {
            Outcome::Permitted => self.allowed.increment(1),
            Outcome::Failed(_) => self.failed.increment(1),
            Outcome::Denied | Outcome::Barred(_) | Outcome::Unmatched => self.denied.increment(1),
        }
    }
}

/// A rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) by: By,
    names: Vec<Glob>,
    pub(super) conditions: Vec<Condition>,
    pub(super) act: Act,
}

#[derive(Debug)]
pub(super) enum Act {
    Deny,
    Ask(Gate),
}

/// What was decided, and by whom.
#[derive(Debug)]
pub(super) struct Verdict<'a> {
    pub(super) by: &'a By,
    /// The rule, if one decided.
    pub(super) rule: Option<&'a Rule>,
    pub(super) outcome: Outcome<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome<'a> {
    Permitted,
    /// By a rule with `deny`.
    Denied,
    /// A rule matched, and is not for this caller.
    Barred(Barred<'a>),
    /// No rule matched.
    Unmatched,
    /// A rule could not be judged.
    Failed(Failed<'a>),
}

impl Verdict<'_> {
    pub(super) fn permits(&self) -> bool {
        matches!(self.outcome, Outcome::Permitted)
    }

    /// The scopes that a client may be told to ask for, each entry one way. Who is told nothing of what exists is not
    /// told of these either.
    pub(super) fn asks_for(&self) -> Option<&[ScopeSet]> {
        match self.outcome {
            Outcome::Barred(Barred::Scopes(ways)) if !self.by.hide => Some(ways),
            _ => None,
        }
    }

    /// Whether it is shown in lists: what nobody sees nobody asks scopes for.
    pub(super) fn shows(&self) -> bool {
        self.permits() || self.asks_for().is_some()
    }
}

/// Why a rule was passed over, for those who want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// The name fits none of its patterns.
    Name,
    /// An argument does not fit.
    Arguments,
    /// Arguments that it does not match are possible.
    Avoidable,
}

/// Told of what is judged.
pub(super) trait Watch {
    /// A rule was passed over.
    fn passed(&mut self, _rule: &Rule, _why: Passed) {}

    /// Something was decided on what has this name.
    fn decided(&mut self, _stage: Stage, _name: &str, _verdict: &Verdict<'_>) {}
}

/// Nobody wants to know.
pub(super) struct Unwatched;

impl Watch for Unwatched {}

/// Decisions count, each for its rule.
pub(super) struct Counted;

impl Watch for Counted {
    fn decided(&mut self, _: Stage, _: &str, verdict: &Verdict<'_>) {
        verdict.by.count(&verdict.outcome);
    }
}

/// The rules of one kind of a route.
#[derive(Debug)]
pub(super) struct Rules {
    /// Those with `deny` first; otherwise as written.
    list: Vec<Rule>,
    /// Where no rule matches.
    pub(super) otherwise: By,
    pub(super) open: bool,
}

/// What the lists of one route have in common.
pub(super) struct Common<'a> {
    pub(super) route: &'a str,
    pub(super) default: Option<Otherwise>,
    pub(super) hide: bool,
    pub(super) metrics: &'a Metrics,
}

impl Rules {
    /// `key` is that of the configuration.
    pub(super) fn compile(
        written: &[Written],
        key: &str,
        stage: Stage,
        common: &Common<'_>,
    ) -> Self {
        let one = |(index, rule): (usize, &Written)| {
            let name = rule
                .name
                .as_deref()
                .map_or_else(|| format!("{}.{key}[{index}]", common.route), str::to_owned);
            let hide = rule.hide.unwrap_or(common.hide);
            Rule {
                by: By::new(name.into(), hide, stage, common.metrics),
                names: rule.r#match.names.clone(),
                conditions: Condition::compile(&rule.r#match),
                act: if rule.deny {
                    Act::Deny
                } else {
                    Act::Ask(Gate::of_rule(rule.allow.as_ref()))
                },
            }
        };
        let mut list: Vec<Rule> = written.iter().enumerate().map(one).collect();
        list.sort_by_key(|rule| matches!(rule.act, Act::Ask(_)));
        Self {
            open: match common.default {
                Some(default) => default == Otherwise::Allow,
                None => list.is_empty(),
            },
            list,
            otherwise: By::new(common.route.into(), common.hide, stage, common.metrics),
        }
    }

    /// Whether there are rules.
    pub(super) fn is_listed(&self) -> bool {
        !self.list.is_empty()
    }

    /// Whether everything is permitted to everybody.
    pub(super) fn is_open(&self) -> bool {
        self.open && self.list.is_empty()
    }

    /// The first rule that decides, if one does.
    pub(super) fn matching<'a>(
        &'a self,
        who: &Who<'_>,
        name: &str,
        arguments: &Arguments<'_>,
        watch: &mut impl Watch,
    ) -> Option<Verdict<'a>> {
        for rule in &self.list {
            if !rule.names.iter().any(|glob| glob.matches(name)) {
                watch.passed(rule, Passed::Name);
                continue;
            }
            let outcome = match (Condition::all(&rule.conditions, arguments), &rule.act) {
                (Err(failed), _) => Outcome::Failed(failed),
                (Ok(Fit::No), _) => {
                    watch.passed(rule, Passed::Arguments);
                    continue;
                }
                (Ok(Fit::Perhaps), Act::Deny) => {
                    watch.passed(rule, Passed::Avoidable);
                    continue;
                }
                (Ok(Fit::Yes), Act::Deny) => Outcome::Denied,
                (Ok(fit), Act::Ask(gate)) => match gate.admits(who) {
                    Ok(()) => Outcome::Permitted,
                    Err(barred)
                        if fit == Fit::Perhaps
                            && (rule.by.hide || !matches!(barred, Barred::Scopes(_))) =>
                    {
                        watch.passed(rule, Passed::Avoidable);
                        continue;
                    }
                    Err(barred) => Outcome::Barred(barred),
                },
            };
            return Some(Verdict {
                by: &rule.by,
                rule: Some(rule),
                outcome,
            });
        }
        None
    }

    /// The decision, with what holds where no rule matches.
    pub(super) fn judge<'a>(
        &'a self,
        who: &Who<'_>,
        name: &str,
        arguments: &Arguments<'_>,
        watch: &mut impl Watch,
    ) -> Verdict<'a> {
        self.matching(who, name, arguments, watch)
            .unwrap_or(Verdict {
                by: &self.otherwise,
                rule: None,
                outcome: if self.open {
                    Outcome::Permitted
                } else {
                    Outcome::Unmatched
                },
            })
    }

    /// Whether some text that fits a template (`file:///{path}`) could be shown. `pattern` is the template with
    /// wildcards in its gaps.
    pub(super) fn could_show(&self, who: &Who<'_>, pattern: &Glob) -> bool {
        for rule in &self.list {
            let covered = rule.names.iter().any(|glob| glob.covers(pattern));
            if !covered && !rule.names.iter().any(|glob| glob.meets(pattern)) {
                continue;
            }
            let shown = match &rule.act {
                Act::Deny => false,
                Act::Ask(gate) => match gate.admits(who) {
                    Ok(()) => true,
                    Err(Barred::Scopes(_)) => !rule.by.hide,
                    Err(_) => false,
                },
            };
            if shown || covered {
                return shown;
            }
        }
        self.open
    }

    /// All scopes that rules ask for.
    pub(super) fn scopes(&self) -> impl Iterator<Item = &ScopeSet> {
        self.list
            .iter()
            .filter_map(|rule| match &rule.act {
                Act::Ask(gate) => Some(gate.scopes()),
                Act::Deny => None,
            })
            .flatten()
    }
}
