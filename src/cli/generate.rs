//! Reference files made from the program itself, so that they cannot go stale unseen.

mod commands;
mod markdown;
mod metrics;
mod reference;
mod types;

use std::path::Path;

use super::{ConfigCommand, Exit, Mode, out};
use crate::config::shape;

/// A generated file.
#[derive(Clone, Copy, Debug)]
pub struct Generated {
    /// Where it lives in the repository.
    pub path: &'static str,
    /// Its text.
    pub text: fn() -> String,
}

const REFERENCE: Generated = Generated {
    path: "configs/reference.yaml",
    text: reference::render,
};
const SCHEMA: Generated = Generated {
    path: "docs/config.schema.json",
    text: schema,
};
const MARKDOWN: Generated = Generated {
    path: "docs/configuration.md",
    text: markdown::render,
};
const METRICS: Generated = Generated {
    path: "docs/metrics.md",
    text: metrics::render,
};
const COMMANDS: Generated = Generated {
    path: "docs/cli.md",
    text: commands::render,
};

/// All generated files.
pub const ALL: [Generated; 5] = [REFERENCE, SCHEMA, MARKDOWN, METRICS, COMMANDS];

pub(super) fn run(what: ConfigCommand) -> Exit {
    match what {
        ConfigCommand::Reference(mode) => each(&[REFERENCE], mode),
        ConfigCommand::Schema(mode) => each(&[SCHEMA], mode),
        ConfigCommand::Markdown(mode) => each(&[MARKDOWN], mode),
        ConfigCommand::Metrics(mode) => each(&[METRICS], mode),
        ConfigCommand::Commands(mode) => each(&[COMMANDS], mode),
        ConfigCommand::All(mode) => each(&ALL, mode),
    }
}

fn each(files: &[Generated], mode: Mode) -> Exit {
    let mut exit = Exit::Ok;
    for file in files {
        let text = (file.text)();
        if mode.write {
            if let Err(error) = std::fs::write(file.path, text) {
                out::stderr(&format!("{} cannot be written: {error}\n", file.path));
                exit = Exit::Failure;
            }
        } else if mode.check {
            if !is_current(Path::new(file.path), &text) {
                out::stderr(&format!(
                    "{} is stale; run `mcp-oidc-proxy config all --write`\n",
                    file.path
                ));
                exit = Exit::Failure;
            }
        } else {
            out::stdout(&text);
        }
    }
    exit
}

fn is_current(path: &Path, text: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|found| found == text)
}

fn schema() -> String {
    let mut schema = shape::schema().clone();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), "mcp-oidc-proxy configuration".into());
    }
    format!(
        "{}\n",
        serde_json::to_string_pretty(&schema).unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn the_committed_files_are_current() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for file in ALL {
            assert!(
                is_current(&root.join(file.path), &(file.text)()),
                "{} is stale; run `cargo run -- config all --write`",
                file.path
            );
        }
    }

    #[test]
    fn the_reference_holds_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("reference.yaml");
        std::fs::write(&file, reference::render()).unwrap();
        let start = [
            ("MCP_TARGET_HOST", "h"),
            ("MCP_API_KEY", "0123456789abcdef"),
        ];
        let env: std::collections::BTreeMap<_, _> = start
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let alone = load(&Sources {
            env: env.clone(),
            ..Sources::default()
        })
        .unwrap();
        let with = load(&Sources {
            env,
            ..Sources::file(file)
        })
        .unwrap();
        let show = |config| serde_yaml::to_string(config).unwrap();
        assert_eq!(show(&with.config), show(&alone.config));
    }

    #[test]
    fn every_key_stands_in_the_documents() {
        fn keys(node: &serde_json::Value, into: &mut Vec<String>) {
            if let Some(properties) = node
                .get("properties")
                .and_then(serde_json::Value::as_object)
            {
                into.extend(properties.keys().cloned());
            }
            if let Some(defs) = node.get("$defs").and_then(serde_json::Value::as_object) {
                defs.iter()
                    .filter(|(name, _)| *name != "Secret")
                    .for_each(|(_, each)| keys(each, into));
            }
        }
        let mut all = Vec::new();
        keys(shape::schema(), &mut all);
        assert!(all.len() > 100);
        let (yaml, markdown) = (reference::render(), markdown::render());
        for key in all {
            assert!(
                yaml.contains(&format!("{key}:")),
                "{key} is missing in the reference"
            );
            assert!(
                markdown.contains(&format!("`{key}`")),
                "{key} is missing in the tables"
            );
        }
    }
}
