//! `check-config`: all problems, without starting anything.

use serde::Serialize;

use super::{Exit, Format, online, out};
use crate::config::{Loaded, Problem, Sources, load};

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    files: Vec<String>,
    problems: &'a [Problem],
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    online: Vec<online::Finding>,
}

pub(super) fn run(sources: &Sources, format: Format, online: bool) -> Exit {
    let (outcome, found) = match load(sources) {
        Ok(loaded) if online => online::run(loaded, sources),
        outcome => (outcome, Vec::new()),
    };
    match outcome {
        Ok(loaded) => {
            let ok = found.iter().all(|finding| finding.error.is_none());
            match format {
                Format::Json => json(&Report {
                    ok,
                    files: names(&loaded),
                    problems: &[],
                    warnings: &loaded.warnings,
                    online: found,
                }),
                Format::Text => out::stdout(&text(&loaded, &found)),
            }
            if ok { Exit::Ok } else { Exit::Unavailable }
        }
        Err(problems) => {
            match format {
                Format::Json => json(&Report {
                    ok: false,
                    files: Vec::new(),
                    problems: problems.all(),
                    warnings: &[],
                    online: Vec::new(),
                }),
                Format::Text => out::line(&problems.to_string()),
            }
            Exit::Config
        }
    }
}

fn text(loaded: &Loaded, found: &[online::Finding]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for warning in &loaded.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    for finding in found {
        let _ = match &finding.error {
            None => writeln!(text, "{}: ok", finding.what),
            Some(error) => writeln!(text, "{}: {error}", finding.what),
        };
    }
    let read = match names(loaded) {
        names if names.is_empty() => "the environment alone".to_owned(),
        names => names.join(", "),
    };
    let read = if loaded.left {
        format!("{read}; secrets were not looked at")
    } else {
        read
    };
    let _ = if found.iter().any(|finding| finding.error.is_some()) {
        writeln!(
            text,
            "the configuration is well formed ({read}), but not everything answers"
        )
    } else {
        writeln!(text, "ok: {read}")
    };
    text
}

fn names(loaded: &Loaded) -> Vec<String> {
    loaded
        .files
        .iter()
        .map(|file| file.display().to_string())
        .collect()
}

fn json(report: &Report) {
    out::line(&serde_json::to_string_pretty(report).unwrap_or_default());
}
