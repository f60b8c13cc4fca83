//! The rules of one route, and how a whole message is judged by them.

use std::sync::Arc;

use super::arguments::{Arguments, Failed};
use super::gate::{Barred, Gate};
use super::rules::{By, Common, Outcome, Rules, Stage, Verdict, Watch};
use super::who::{Scopes, Who};
use crate::config::route::{Kind, Route};
use crate::mcp::{Call, Era, Message, Reach};
use crate::scope::ScopeSet;
use crate::telemetry::metrics::Metrics;

/// Everything that guards a route.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) by: By,
    pub(super) gate: Gate,
    pub(super) tools: Rules,
    pub(super) prompts: Rules,
    pub(super) resources: Rules,
    pub(super) methods: Rules,
    /// All scopes that the route and its rules speak of.
    known_scopes: ScopeSet,
}

/// Why a message is not forwarded.
#[derive(Debug)]
pub(super) enum No<'a> {
    /// The caller may not use the route.
    Route(&'static str),
    /// Only scopes are missing: those, with the relevant ones that are there.
    Scopes(ScopeSet, &'a By),
    /// Nobody is signed in, and a rule asks for somebody.
    Anonymous(&'a By),
    /// The element of the message at this place.
    Call(usize, &'a By, Stage, Box<str>, Why<'a>),
}

/// Why a call is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why<'a> {
    /// By a rule, or for lack of one.
    Policy(&'static str),
    /// A rule could not be judged: the argument that it asks for, and what is wrong.
    Failed(&'a str, &'static str),
}

impl Guarded {
    pub(super) fn compile(route: &Route, metrics: &Metrics) -> Self {
        let name = route
            .name
            .as_ref()
            .map_or(route.path.as_str(), |name| name.as_str());
        let mcp = route.kind == Kind::Mcp;
        let common = Common {
            route: name,
            // Other routes have no messages that could be judged.
            default: route.default.filter(|_| mcp),
            hide: route.hide,
            metrics,
        };
        let rules = |written, key, stage| Rules::compile(written, key, stage, &common);
        let mut guarded = Self {
            by: By::new(name.into(), false, Stage::Route, metrics),
            gate: Gate::of_route(route),
            tools: rules(&route.tools, "tools", Stage::Tool),
            prompts: rules(&route.prompts, "prompts", Stage::Prompt),
            resources: rules(&route.resources, "resources", Stage::Resource),
            methods: rules(&route.methods, "methods", Stage::Method),
            known_scopes: ScopeSet::default(),
        };
        let lists = [
            &guarded.tools,
            &guarded.prompts,
            &guarded.resources,
            &guarded.methods,
        ];
        let demanded = lists
            .into_iter()
            .flat_map(Rules::scopes)
            .chain(guarded.gate.scopes())
            .flat_map(ScopeSet::iter);
        let known = ScopeSet::of(route.scopes.iter().map(String::as_str).chain(demanded));
        guarded.known_scopes = known;
        guarded
    }

    /// The list that something is judged by; none for tasks, which methods alone are about.
    pub(super) fn rules_of(&self, reach: &Reach) -> Option<(&Rules, Stage)> {
        match reach {
            Reach::Tool(_) => Some((&self.tools, Stage::Tool)),
            Reach::Prompt(_) => Some((&self.prompts, Stage::Prompt)),
            Reach::Resource(_) => Some((&self.resources, Stage::Resource)),
            Reach::Task(_) => None,
        }
    }

    /// The list that what a method reaches is judged by.
    fn rules_of_method(&self, method: &str) -> Option<(&Rules, Stage)> {
        match method {
            "tools/call" => Some((&self.tools, Stage::Tool)),
            "prompts/get" => Some((&self.prompts, Stage::Prompt)),
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                Some((&self.resources, Stage::Resource))
            }
            _ => None,
        }
    }

    /// Decides on a message: the route, then each call with what it reaches and its method.
    pub(super) fn judge(
        &self,
        who: &Who<'_>,
        message: &Message,
        watch: &mut impl Watch,
    ) -> Result<Option<&Arc<str>>, No<'_>> {
        let mut missing: Option<(ScopeSet, &By)> = None;
        let outcome = match self.gate.admits(who) {
            Ok(()) => Outcome::Permitted,
            Err(barred) => Outcome::Barred(barred),
        };
        let verdict = Verdict {
            by: &self.by,
            rule: None,
            outcome,
        };
        watch.decided(Stage::Route, &self.by.name, &verdict);
        match verdict.outcome {
            Outcome::Barred(Barred::Scopes(ways)) => {
                missing = Some((cheapest(ways, who), &self.by));
            }
            Outcome::Barred(barred) => return Err(No::Route(barred.reason())),
            _ => {}
        }
        let route_lacks = missing.is_some();
        let mut decided = None;
        for (at, call) in message.calls().iter().enumerate() {
            let judged = self.call(
                who,
                message.era(),
                call,
                watch,
                &mut |verdict, stage, name| {
                    if let Some(ways) = verdict.asks_for() {
                        let more = cheapest(ways, who);
                        missing = Some(match missing.take() {
                            Some((scopes, by)) => (scopes.union(&more), by),
                            None => (more, verdict.by),
                        });
                        return Ok(());
                    }
                    if matches!(verdict.outcome, Outcome::Barred(Barred::Anonymous))
                        && !verdict.by.hide
                    {
                        return Err(No::Anonymous(verdict.by));
                    }
                    match why(&verdict.outcome) {
                        None => {
                            if decided.is_none() {
                                decided = Some(&verdict.by.name);
                            }
                            Ok(())
                        }
                        Some(why) => Err(No::Call(at, verdict.by, stage, name.into(), why)),
                    }
                },
            );
            match judged {
                // Whoever may not use the route yet is told of that only.
                Err(_) if route_lacks => {}
                other => other?,
            }
        }
        match missing {
            Some((scopes, by)) => Err(No::Scopes(self.with_granted(&scopes, who), by)),
            None => Ok(decided),
        }
    }

    /// All verdicts on one call, in their order.
    fn call<'a, W: Watch>(
        &'a self,
        who: &Who<'_>,
        era: Era,
        call: &Call,
        watch: &mut W,
        each: &mut impl FnMut(&Verdict<'a>, Stage, &str) -> Result<(), No<'a>>,
    ) -> Result<(), No<'a>> {
        let mut each = |verdict: &Verdict<'a>, stage, name: &str, watch: &mut W| {
            watch.decided(stage, name, verdict);
            each(verdict, stage, name)
        };
        // The answer to a question of the backend's.
        let Some(method) = call.method.as_deref() else {
            return Ok(());
        };
        let arguments = if matches!(method, "tools/call" | "prompts/get") {
            Arguments::given(call.arguments.as_deref())
        } else {
            Arguments::Open
        };
        for reach in &call.reach {
            if let Some((rules, stage)) = self.rules_of(reach)
                && !rules.is_open()
            {
                let verdict = rules.judge(who, reach.name(), &arguments, watch);
                each(&verdict, stage, reach.name(), watch)?;
            }
        }
        if call.reach.is_empty()
            && !(era == Era::Modern && is_gone(method))
            && let Some((rules, stage)) = self.rules_of_method(method)
            && !rules.is_open()
        {
            // It reaches something that cannot be told.
            let verdict = Verdict {
                by: &rules.otherwise,
                rule: None,
                outcome: Outcome::Unmatched,
            };
            each(&verdict, stage, "", watch)?;
        }
        // Notifications of changed lists say nothing of what is in them.
        let listens = method == "subscriptions/listen" && call.reach.is_empty();
        let judged_by_name = listens || self.is_judged_by_name(call.reach.iter());
        if !self.methods.is_open()
            && let Some(verdict) = self.method(who, method, judged_by_name, watch)
        {
            each(&verdict, Stage::Method, method, watch)?;
        }
        Ok(())
    }

    /// Whether everything that a call reaches is judged by a list of its own.
    pub(super) fn is_judged_by_name<'r>(&self, reaches: impl Iterator<Item = &'r Reach>) -> bool {
        let mut some = false;
        for reach in reaches {
            some = true;
            match self.rules_of(reach) {
                Some((rules, _)) if rules.is_listed() => {}
                _ => return false,
            }
        }
        some
    }

    /// The verdict on a method; `None` where no rule speaks of it and the default is not for it.
    pub(super) fn method<'a>(
        &'a self,
        who: &Who<'_>,
        method: &str,
        judged_by_name: bool,
        watch: &mut impl Watch,
    ) -> Option<Verdict<'a>> {
        if matches!(method, "initialize" | "server/discover") {
            return None;
        }
        let decided = self.methods.matching(who, method, &Arguments::Open, watch);
        if decided.is_some() || judged_by_name || is_housekeeping(method) {
            return decided;
        }
        Some(Verdict {
            by: &self.methods.otherwise,
            rule: None,
            outcome: if self.methods.open {
                Outcome::Permitted
            } else {
                Outcome::Unmatched
            },
        })
    }

    /// The scopes to ask for: what is needed, together with what the token has of those that are spoken of here, for
    /// some clients ask for what a challenge names and nothing else.
    fn with_granted(&self, needed: &ScopeSet, who: &Who<'_>) -> ScopeSet {
        let Scopes::Granted(granted) = who.scopes else {
            return needed.clone();
        };
        let relevant = granted
            .iter()
            .map(|scope| &**scope)
            .filter(|scope| self.known_scopes.contains(scope));
        ScopeSet::of(relevant.chain(needed.iter()))
    }
}

/// Methods that 2026-07-28 has no more (`subscriptions/listen` took their place). Readers leave no resource out that one of
/// them names, so without one there is nothing to judge, and the backend says itself that it knows no such method.
fn is_gone(method: &str) -> bool {
    matches!(method, "resources/subscribe" | "resources/unsubscribe")
}

/// The one of several sets that needs the fewest new scopes; the first of those that need as many.
fn cheapest(ways: &[ScopeSet], who: &Who<'_>) -> ScopeSet {
    let new = |way: &&ScopeSet| match who.scopes {
        Scopes::Granted(granted) => way
            .iter()
            .filter(|scope| !granted.iter().any(|each| **each == **scope))
            .count(),
        Scopes::Without | Scopes::Open => 0,
    };
    ways.iter().min_by_key(new).cloned().unwrap_or_default()
}

pub(super) fn why<'a>(outcome: &Outcome<'a>) -> Option<Why<'a>> {
    Some(match outcome {
        Outcome::Permitted => return None,
        Outcome::Denied => Why::Policy("a rule denies it to everybody"),
        Outcome::Barred(barred) => Why::Policy(barred.reason()),
        Outcome::Unmatched => Why::Policy("no rule matches"),
        Outcome::Failed(Failed { why, path }) => Why::Failed(path, why.as_str()),
    })
}

/// What clients and servers say to keep going, and lists, which show only what may be used.
pub(super) fn is_housekeeping(method: &str) -> bool {
    method.starts_with("notifications/")
        || matches!(
            method,
            "ping"
                | "tools/list"
                | "prompts/list"
                | "resources/list"
                | "resources/templates/list"
                | "logging/setLevel"
                | "roots/list"
        )
}
