//! What was learned of a backend from its answers: which tools it has, and how it answers for names that it does not
//! know. One value for each backend, which outlives reloads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::Message;
use crate::config::service::{self, ToolNames};
use crate::telemetry::mcp::{Kind, Meters, Tool};
use crate::telemetry::metrics::Metrics;

/// Longest name of a tool that is learned.
const MAX_NAME: usize = 128;
/// Names that are remembered to tell whether a tool is listed; beyond, nothing is learned from unlisted ones.
const MAX_LISTED: usize = 4096;

/// How a backend answers a call of a tool that it does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownStyle {
    /// Not seen yet.
    #[default]
    Unseen,
    /// With a JSON-RPC error, as the specification has it.
    Error,
    /// With a result that has `isError`.
    Result,
}

/// What was learned of a backend.
pub struct Learned {
    meters: Meters,
    cap: usize,
    other: Arc<Tool>,
    names: ArcSwap<Names>,
    /// Held while names are added, so that none is lost.
    adding: Mutex<()>,
    style: AtomicU8,
}

#[derive(Clone, Default)]
struct Names {
    tools: HashMap<Box<str>, Arc<Tool>>,
    /// Of them with a label value of their own.
    told_apart: usize,
    /// A list was seen, and all of it is here.
    whole: bool,
    /// Lists come in pages, of which nobody knows whether all were seen, or have more than is remembered.
    paged: bool,
}

impl Learned {
    /// Of a backend of which nothing is known yet.
    pub fn new(metrics: &Arc<Metrics>, config: &service::Metrics, backend: &str) -> Arc<Self> {
        let cap = match config.tool_names {
            ToolNames::Off => 0,
            ToolNames::Known => usize::try_from(config.tool_cap).unwrap_or(usize::MAX),
        };
        Arc::new(Self {
            meters: Meters::new(metrics, backend),
            cap,
            other: Arc::new(Tool::new("_other")),
            names: ArcSwap::default(),
            adding: Mutex::new(()),
            style: AtomicU8::new(0),
        })
    }

    /// The configuration spells these names of tools out.
    pub fn spelt_out<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        self.add(names, None);
    }

    /// Handles of metrics.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// How it answers for names that it does not know.
    pub fn style(&self) -> UnknownStyle {
        match self.style.load(Ordering::Relaxed) {
            0 => UnknownStyle::Unseen,
            1 => UnknownStyle::Error,
            _ => UnknownStyle::Result,
        }
    }

    /// Counts the calls of tools of a message that the policy denied: the names are judged like all others, so that
    /// nobody makes label values up.
    pub fn denied(&self, message: &Message) {
        for call in message.calls() {
            if call.method.as_deref() == Some("tools/call") {
                self.count_denied(call.name().unwrap_or_default());
            }
        }
    }

    fn count_denied(&self, name: &str) {
        self.meters.called(&self.tool(name).0, Kind::Denied);
    }

    /// The handles of a tool, and whether the backend's list is known not to have it.
    pub(super) fn tool(&self, name: &str) -> (Arc<Tool>, bool) {
        let names = self.names.load();
        match names.tools.get(name) {
            Some(tool) => {
                if Arc::ptr_eq(tool, &self.other) && self.cap > 0 {
                    self.meters.overflowed();
                }
                (Arc::clone(tool), false)
            }
            None => (Arc::clone(&self.other), names.whole),
        }
    }

    /// A list of tools has passed; `more`: it goes on behind a cursor.
    pub fn listed<'a>(&self, names: impl IntoIterator<Item = &'a str>, more: bool) {
        self.add(names, Some(more));
    }

    /// A call of a tool that is not listed was answered.
    pub(super) fn answered_unlisted(&self, kind: Kind) {
        let style = match kind {
            Kind::ProtocolError(_) => 1,
            Kind::ToolError => 2,
            _ => return,
        };
        self.style.store(style, Ordering::Relaxed);
    }

    /// `listed`: the names are a list, or a page of one that goes on.
    fn add<'a>(&self, names: impl IntoIterator<Item = &'a str>, listed: Option<bool>) {
        let before = self.names.load();
        let mut new = names
            .into_iter()
            .filter(|name| !before.tools.contains_key(*name))
            .peekable();
        let nothing_new = match listed {
            Some(true) => before.paged,
            Some(false) => before.paged || before.whole,
            None => true,
        };
        if nothing_new && new.peek().is_none() {
            return;
        }
        let Ok(_adding) = self.adding.lock() else {
            return;
        };
        let mut next = Names::clone(&self.names.load());
        next.paged |= listed == Some(true);
        for name in new {
            if next.tools.contains_key(name) {
                continue;
            }
            if name.len() > MAX_NAME || next.tools.len() == MAX_LISTED {
                next.paged = true;
                continue;
            }
            let tool = if next.told_apart < self.cap {
                next.told_apart += 1;
                Arc::new(Tool::new(name))
            } else {
                Arc::clone(&self.other)
            };
            next.tools.insert(name.into(), tool);
        }
        next.whole = !next.paged && (next.whole || listed.is_some());
        self.names.store(Arc::new(next));
    }
}

impl std::fmt::Debug for Learned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.names.load();
        write!(
            f,
            "Learned({:?}, {} tools, {:?})",
            self.meters,
            names.tools.len(),
            self.style()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(cap: u32) -> (Arc<Metrics>, Arc<Learned>) {
        let metrics = Metrics::new();
        let config = service::Metrics {
            tool_cap: cap,
            ..service::Metrics::default()
        };
        let learned = Learned::new(&metrics, &config, "b");
        learned.spelt_out(["spelt_out"]);
        (metrics, learned)
    }

    fn calls(metrics: &Metrics) -> Vec<String> {
        let mut lines: Vec<String> = metrics
            .render()
            .lines()
            .filter(|line| line.starts_with("mcp_tool_calls_total{"))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn only_known_names_are_label_values_and_only_so_many() {
        let (metrics, learned) = learned(2);
        learned.listed(["a", "b"], false);
        for name in ["spelt_out", "a", "b", "evil\"} 1", "a"] {
            learned.count_denied(name);
        }
        let line = |name: &str, count: u32| {
            format!(
                "mcp_tool_calls_total{{tool_name=\"{name}\",status=\"denied\",backend=\"b\"}} {count}"
            )
        };
        assert_eq!(
            calls(&metrics),
            [line("_other", 2), line("a", 2), line("spelt_out", 1)]
        );
        let overflow = "mcp_proxy_metric_label_overflow_total{metric=\"mcp_tool_calls_total\"} 1";
        assert!(metrics.render().contains(overflow));
    }

    #[test]
    fn names_can_be_left_out() {
        let metrics = Metrics::new();
        let config = service::Metrics {
            tool_names: ToolNames::Off,
            ..service::Metrics::default()
        };
        let learned = Learned::new(&metrics, &config, "b");
        learned.listed(["a"], false);
        learned.count_denied("a");
        learned.count_denied("x");
        assert_eq!(
            calls(&metrics),
            ["mcp_tool_calls_total{tool_name=\"_other\",status=\"denied\",backend=\"b\"} 2"]
        );
    }

    #[test]
    fn the_style_is_learned_from_names_that_a_whole_list_does_not_have() {
        let (_, learned) = learned(1);
        assert!(!learned.tool("c").1, "nothing was listed yet");
        learned.listed(["a", "b"], false);
        assert!(learned.tool("c").1);
        assert!(!learned.tool("b").1, "listed, though without a label");
        assert_eq!(learned.style(), UnknownStyle::Unseen);
        learned.answered_unlisted(Kind::Ok);
        assert_eq!(learned.style(), UnknownStyle::Unseen);
        learned.answered_unlisted(Kind::ToolError);
        assert_eq!(learned.style(), UnknownStyle::Result);
        learned.answered_unlisted(Kind::ProtocolError(-32602));
        assert_eq!(learned.style(), UnknownStyle::Error);
        learned.listed(["a"], true);
        assert!(!learned.tool("c").1, "lists come in pages");
        learned.listed(["b"], false);
        assert!(!learned.tool("c").1, "which may be the last one");
    }

    #[test]
    fn names_are_bounded() {
        let (_, learned) = learned(1);
        let names: Vec<String> = (0..MAX_LISTED + 10).map(|n| format!("t{n}")).collect();
        learned.listed(names.iter().map(String::as_str), false);
        assert!(learned.names.load().tools.len() <= MAX_LISTED);
        assert!(!learned.tool("unheard of").1, "the list is not all here");
        learned.listed(["t1"], false);
        assert!(!learned.tool("unheard of").1);
    }
}
