//! What a caller may see in lists: by the same rules as calls. Listed is what some arguments could be permitted for, if
//! need be with a token that was granted more.

use std::sync::Arc;

use super::arguments::Arguments;
use super::judge::Guarded;
use super::rules::Unwatched;
use super::who::Who;
use crate::authn::Caller;
use crate::config::glob::Glob;
use crate::mcp::Reach;

/// The rules of a route as they are for one caller. Cheap to clone, and kept while an answer streams.
#[derive(Clone, Debug)]
pub struct Sight {
    guarded: Arc<Guarded>,
    caller: Caller,
}

impl Sight {
    /// `None` where there is nothing to hide from anybody.
    pub(super) fn of(guarded: &Arc<Guarded>, caller: &Caller) -> Option<Self> {
        let filters = [&guarded.tools, &guarded.prompts, &guarded.resources]
            .iter()
            .any(|rules| !rules.is_open());
        filters.then(|| Self {
            guarded: Arc::clone(guarded),
            caller: caller.clone(),
        })
    }

    /// Whether an element of a list is shown. Tasks are judged by method alone, and shown.
    pub fn shows(&self, reach: &Reach) -> bool {
        self.guarded.rules_of(reach).is_none_or(|(rules, _)| {
            rules
                .judge(
                    &Who::of(&self.caller),
                    reach.name(),
                    &Arguments::Open,
                    &mut Unwatched,
                )
                .shows()
        })
    }

    /// Whether a resource template (RFC 6570) is shown: when some URI that comes of it could be permitted.
    pub fn shows_template(&self, template: &str) -> bool {
        let rules = &self.guarded.resources;
        match pattern(template) {
            Some(pattern) => rules.could_show(&Who::of(&self.caller), &pattern),
            None => rules.is_open(),
        }
    }
}

/// The template with a wildcard in place of each expression; `None` when it cannot be read.
fn pattern(template: &str) -> Option<Glob> {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (_, after) = after.split_once('}')?;
        out.push_str(before);
        if !out.ends_with('*') {
            out.push('*');
        }
        rest = after;
    }
    out.push_str(rest);
    Glob::parse(&out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_become_patterns() {
        for (template, expected) in [
            ("file:///{path}", Some("file:///*")),
            ("db://{table}/{id}", Some("db://*/*")),
            ("x{a}{b}y", Some("x*y")),
            ("plain", Some("plain")),
            ("x{a", None),
            ("", None),
        ] {
            assert_eq!(
                pattern(template).as_ref().map(Glob::as_str),
                expected,
                "{template}"
            );
        }
    }
}
