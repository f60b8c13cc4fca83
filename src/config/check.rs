//! Rules across keys, a file for each topic. Each finding names its key and says what to do.

mod audit;
mod authn;
mod backends;
mod files;
mod issuer;
mod listen;
mod oidc;
mod pages;
mod routes;
mod rules;
mod secrets;
mod service;
mod sessions;
mod told;

use super::Config;
use super::decode::LeftOut;
use super::path::{KeyPath, Origin, Origins};
use super::remote::Needed;

/// What is looked at, and what was found.
pub(super) struct Checker<'a> {
    config: &'a Config,
    left_out: &'a LeftOut,
    origins: &'a Origins,
    /// The secrets of other systems that the configuration takes.
    remote: &'a Needed,
    found: Vec<(String, String)>,
    warnings: &'a mut Vec<String>,
}

impl Checker<'_> {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.found.push((path.into(), message.into()));
    }

    fn warn(&mut self, message: impl Into<String>) {
        self.warnings.push(message.into());
    }

    /// Whether everything at and inside this key could be read, so that something missing is really missing.
    fn is_whole(&self, path: &str) -> bool {
        KeyPath::parse(path).is_ok_and(|path| !self.left_out.touches(&path))
    }

    /// Whether somebody wrote this key, whatever its value.
    fn is_set(&self, path: &str) -> bool {
        KeyPath::parse(path).is_ok_and(|path| self.origins.of(&path) != Origin::Default)
    }

    /// Finds names that stand twice: `list[i].key`.
    fn unique<'n>(&mut self, list: &str, key: &str, names: impl Iterator<Item = &'n str>) {
        let mut seen = std::collections::HashMap::new();
        for (index, name) in names.enumerate() {
            if let Some(first) = seen.get(name) {
                self.add(
                    format!("{list}[{index}].{key}"),
                    format!("`{name}` is the {key} of {list}[{first}] already; use another"),
                );
            } else {
                seen.insert(name, index);
            }
        }
    }
}

/// Runs all rules; paths are those of `config`.
pub(super) fn run(
    config: &Config,
    left_out: &LeftOut,
    origins: &Origins,
    remote: &Needed,
    warnings: &mut Vec<String>,
) -> Vec<(String, String)> {
    let mut checker = Checker {
        config,
        left_out,
        origins,
        remote,
        found: Vec::new(),
        warnings,
    };
    if config.version != 1 {
        checker.add(
            "version",
            format!(
                "version {} of the format is unknown; this program reads version 1",
                config.version
            ),
        );
    }
    listen::check(&mut checker);
    secrets::check(&mut checker);
    authn::check(&mut checker);
    oidc::check(&mut checker);
    issuer::check(&mut checker);
    pages::check(&mut checker);
    sessions::check(&mut checker);
    backends::check(&mut checker);
    routes::check(&mut checker);
    service::check(&mut checker);
    audit::check(&mut checker);
    checker.found
}
