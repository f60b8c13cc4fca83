//! `routes[].tools`, `prompts`, `resources`, `methods`: rules that can be told apart, and that can each decide something.

use serde_json::Value;

use super::{Checker, routes};
use crate::config::glob::Glob;
use crate::config::pointer;
use crate::config::route::{Kind, Route};
use crate::config::rules::Rule;

/// Most rules of a list: each is a label in metrics.
const MAX_RULES: usize = 256;

/// Longest name of a rule, in characters.
const MAX_NAME: usize = 64;

/// Methods that a client cannot do without: denying them says nothing that it could act on.
const HANDSHAKE: [&str; 2] = ["initialize", "server/discover"];

pub(super) fn check(checker: &mut Checker, at: &str, route: &Route) {
    let lists: [(&str, &[Rule]); 4] = [
        ("tools", &route.tools),
        ("prompts", &route.prompts),
        ("resources", &route.resources),
        ("methods", &route.methods),
    ];
    for (key, rules) in lists {
        let list = format!("{at}.{key}");
        if route.kind == Kind::Http && !rules.is_empty() {
            checker.add(
                list,
                format!(
                    "rules on {key} are for routes of kind mcp; remove them, or set `kind: mcp`"
                ),
            );
            continue;
        }
        if rules.is_empty() && checker.is_set(&list) && checker.is_whole(&list) {
            checker.add(
                list,
                "the list is empty, which says nothing; write rules, or remove the key (and `default: deny` to close what has no list)",
            );
            continue;
        }
        if rules.len() > MAX_RULES {
            checker.add(
                list,
                format!("there are more than {MAX_RULES} rules; put names together with patterns"),
            );
            continue;
        }
        for (i, rule) in rules.iter().enumerate() {
            one(checker, &format!("{list}[{i}]"), key, rule);
        }
        unreachable(checker, &list, rules);
    }
    if route.kind == Kind::Http {
        for (key, set) in [("default", route.default.is_some()), ("hide", route.hide)] {
            if set {
                checker.add(
                    format!("{at}.{key}"),
                    "this is for routes of kind mcp only; remove it",
                );
            }
        }
    }
    names(checker, at, &lists);
}

fn one(checker: &mut Checker, at: &str, key: &str, rule: &Rule) {
    if rule.match_names_missing() && checker.is_whole(&format!("{at}.match")) {
        checker.add(
            format!("{at}.match"),
            "the list of patterns is empty, so the rule fits nothing; write names, or `\"*\"` for all",
        );
    }
    for glob in &rule.r#match.names {
        if let Some(hint) = foreign_syntax(key, glob) {
            checker.add(format!("{at}.match"), hint);
        }
    }
    if key == "methods"
        && let [only] = rule.r#match.names.as_slice()
        && HANDSHAKE.contains(&only.as_str())
    {
        checker.add(
            format!("{at}.match"),
            format!("`{only}` is never denied, so the rule does nothing; limit the route with its `allow` instead"),
        );
    }
    arguments(checker, at, key, rule);
    match (&rule.allow, rule.deny) {
        (Some(_), true) => checker.add(
            format!("{at}.deny"),
            "`deny` and `allow` exclude each other; `deny` is for everybody, and `allow` alone denies all others already",
        ),
        (Some(allow), false) => routes::allow(
            checker,
            &format!("{at}.allow"),
            allow,
            "nobody may, which `deny: true` says better",
        ),
        (None, false) if rule.hide == Some(true) => checker.add(
            format!("{at}.hide"),
            "the rule denies nobody anything, so there is nothing to hide; add `allow` or `deny: true`, or remove it",
        ),
        (None, _) => {}
    }
}

/// What looks like the patterns of shells and regular expressions, where no name has such characters.
fn foreign_syntax(key: &str, glob: &Glob) -> Option<String> {
    let odd: &[char] = match key {
        // Brackets of IPv6 addresses and braces of templates belong to URIs.
        "resources" => &['|', '^', '\\'],
        _ => &['[', ']', '{', '}', '|', '^', '$', '\\'],
    };
    let found = glob.as_str().chars().find(|c| odd.contains(c))?;
    Some(format!(
        "`{glob}` has `{found}`, which stands for itself here: only `*` and `?` are special; write a list of patterns, or `?` for that character"
    ))
}

fn arguments(checker: &mut Checker, at: &str, key: &str, rule: &Rule) {
    let arguments = &rule.r#match.arguments;
    if !arguments.is_empty() && !matches!(key, "tools" | "prompts") {
        checker.add(
            format!("{at}.match.arguments"),
            format!("only calls of tools and prompts have arguments; remove it from {key}"),
        );
        return;
    }
    for (path, values) in arguments {
        let place = format!("{at}.match.arguments[\"{path}\"]");
        if let Err(why) = pointer::segments(path) {
            checker.add(place, why);
            continue;
        }
        if values.is_empty() {
            checker.add(
                place,
                "the list of values is empty, so the rule fits nothing; write the values",
            );
            continue;
        }
        for (i, value) in values.iter().enumerate() {
            let wrong = match value {
                Value::String(text) if text.is_empty() => None,
                Value::String(text) => Glob::parse(text).err(),
                Value::Number(_) | Value::Bool(_) => None,
                Value::Null => Some(
                    "an argument that is null counts as absent, and absent arguments fit nothing; remove the value".to_owned(),
                ),
                Value::Array(_) | Value::Object(_) => Some(
                    "only texts, numbers and truth values are compared; write a path to one of them".to_owned(),
                ),
            };
            if let Some(why) = wrong {
                checker.add(format!("{place}[{i}]"), why);
            }
        }
    }
}

/// A rule that an earlier one leaves nothing to decide: rules with `deny` are earlier than all others.
fn unreachable(checker: &mut Checker, list: &str, rules: &[Rule]) {
    for (i, rule) in rules.iter().enumerate() {
        let earlier = rules.iter().enumerate().find(|(j, other)| {
            let first = match (other.deny, rule.deny) {
                (true, false) => true,
                (false, true) => false,
                _ => *j < i,
            };
            first && covers(other, rule)
        });
        if let Some((j, other)) = earlier {
            let why = if other.deny {
                "which denies all that it matches"
            } else {
                "which decides for all that it matches"
            };
            let hint = if other.deny && !rule.deny {
                "rules with `deny` come first wherever they stand, so narrow that one, or remove this"
            } else {
                "put it before that one, or remove it"
            };
            checker.add(
                format!("{list}[{i}]"),
                format!("the rule can never be reached because of {list}[{j}], {why}; {hint}"),
            );
        }
    }
}

fn covers(wide: &Rule, narrow: &Rule) -> bool {
    let (wide, narrow) = (&wide.r#match, &narrow.r#match);
    (wide.arguments.is_empty() || wide.arguments == narrow.arguments)
        && !narrow.names.is_empty()
        && narrow
            .names
            .iter()
            .all(|name| wide.names.iter().any(|each| each.covers(name)))
}

fn names(checker: &mut Checker, at: &str, lists: &[(&str, &[Rule])]) {
    let mut seen = std::collections::HashMap::new();
    for (key, rules) in lists {
        for (i, rule) in rules.iter().enumerate() {
            let Some(name) = &rule.name else { continue };
            let place = format!("{at}.{key}[{i}]");
            if name.is_empty()
                || name.chars().count() > MAX_NAME
                || name.chars().any(char::is_control)
            {
                checker.add(
                    format!("{place}.name"),
                    format!("the name must have 1 to {MAX_NAME} characters; leave it out to use the place"),
                );
            }
            match seen.get(name.as_str()) {
                Some(first) => {
                    let message =
                        format!("`{name}` is the name of {first} already; choose another");
                    checker.add(format!("{place}.name"), message);
                }
                None => {
                    seen.insert(name.as_str(), place);
                }
            }
        }
    }
}
