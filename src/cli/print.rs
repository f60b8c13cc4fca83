//! `print-config`: the effective configuration, redacted, each value with who set it.

use std::fmt::Write;

use serde_yaml::Value;

use super::{Exit, out};
use crate::config::{KeyPath, Loaded, Sources, load};

pub(super) fn run(sources: &Sources) -> Exit {
    match load(&sources.without_secrets()) {
        Ok(loaded) => {
            out::stdout(&render(&loaded));
            for warning in &loaded.warnings {
                out::stderr(&format!("warning: {warning}\n"));
            }
            Exit::Ok
        }
        Err(problems) => {
            out::stderr(&format!("{problems}\n"));
            Exit::Config
        }
    }
}

/// The YAML. Secrets that came from a file or a variable show their source, others `(redacted)`.
fn render(loaded: &Loaded) -> String {
    let tree = serde_yaml::to_value(&loaded.config).unwrap_or(Value::Null);
    let mut text = String::new();
    node(&mut text, &tree, &KeyPath::root(), 0, loaded, false);
    text
}

fn node(
    text: &mut String,
    value: &Value,
    path: &KeyPath,
    indent: usize,
    loaded: &Loaded,
    mut inline: bool,
) {
    let mut start = |text: &mut String| {
        // The first key of a list's element stands behind its dash.
        if !std::mem::take(&mut inline) {
            let _ = write!(text, "{:indent$}", "");
        }
    };
    match value {
        Value::Mapping(map) => {
            for (key, value) in map {
                let key = key.as_str().unwrap_or_default();
                let inner = path.key(key);
                start(text);
                let _ = write!(text, "{}:", scalar(&Value::from(key)));
                below(text, value, &inner, indent, loaded);
            }
        }
        Value::Sequence(list) => {
            for (index, value) in list.iter().enumerate() {
                start(text);
                text.push('-');
                let inner = path.index(index);
                if is_block(value) {
                    text.push(' ');
                    node(text, value, &inner, indent + 2, loaded, true);
                } else {
                    leaf(text, value, &inner, loaded);
                }
            }
        }
        _ => leaf(text, value, path, loaded),
    }
}

fn below(text: &mut String, value: &Value, path: &KeyPath, indent: usize, loaded: &Loaded) {
    if is_block(value) {
        text.push('\n');
        node(text, value, path, indent + 2, loaded, false);
    } else {
        leaf(text, value, path, loaded);
    }
}

/// Whether a value needs lines of its own: everything but scalars and empty or plain lists.
fn is_block(value: &Value) -> bool {
    match value {
        Value::Mapping(map) => !map.is_empty(),
        Value::Sequence(list) => list
            .iter()
            .any(|each| each.is_mapping() || each.is_sequence()),
        _ => false,
    }
}

fn leaf(text: &mut String, value: &Value, path: &KeyPath, loaded: &Loaded) {
    // A value inside something that was set as a whole (a shorthand) has its origin; a default has none around it.
    let origin = loaded.origins.of(path);
    let _ = writeln!(text, " {}  # {origin}", scalar(value));
}

/// A value on one line.
fn scalar(value: &Value) -> String {
    match value {
        Value::Sequence(list) => format!(
            "[{}]",
            list.iter().map(scalar).collect::<Vec<_>>().join(", ")
        ),
        Value::Mapping(_) => "{}".to_owned(),
        Value::String(string) => {
            let plain = string.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
                && string
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
                && !matches!(
                    string.to_ascii_lowercase().as_str(),
                    "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
                );
            if plain {
                string.clone()
            } else {
                serde_json::to_string(string).unwrap_or_default()
            }
        }
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_shows_who_set_it_and_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.yaml");
        std::fs::write(
            &file,
            "version: 1\noidc:\n  issuer: https://i.example\n  client_id: c\n  client_secret: hunter2hunter2\nbackends:\n  - name: b\n    upstream: http://127.0.0.1:1/\n    headers: { X-Token: hunter2hunter2 }\nroutes:\n  - { path: /a, backend: b, allow: { groups: [x, y] } }\n",
        )
        .unwrap();
        let mut sources = Sources::file(&file);
        sources
            .env
            .insert("LOG_LEVEL".to_owned(), "debug".to_owned());
        sources
            .env
            .insert("MCP_API_KEY".to_owned(), "hunter2hunter2!!".to_owned());
        sources.port = Some(81);
        let loaded = load(&sources).unwrap();
        let text = render(&loaded);
        let line = |start: &str| {
            text.lines()
                .find(|line| line.trim_start_matches([' ', '-']).starts_with(start))
                .unwrap_or_default()
                .to_owned()
        };
        assert!(!text.contains("hunter2"), "{text}");
        assert!(line("issuer:").ends_with("c.yaml:3:3"), "{text}");
        assert_eq!(
            line("client_secret:").split("  # ").next(),
            Some("  client_secret: \"(redacted)\"")
        );
        assert_eq!(line("level:"), "  level: debug  # environment LOG_LEVEL");
        assert_eq!(
            line("env:"),
            "        env: MCP_API_KEY  # environment MCP_API_KEY"
        );
        assert_eq!(
            line("address:"),
            "  - address: \"0.0.0.0:81\"  # flag --port"
        );
        assert_eq!(line("idle_timeout:"), "  idle_timeout: \"2m\"  # default");
        // What is printed is YAML with the same meaning.
        let read: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(read, serde_yaml::to_value(&loaded.config).unwrap());
    }
}
