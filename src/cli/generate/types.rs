//! Words for the types of keys.

use serde_json::Value;

use crate::config::shape::Shape;

/// What a key holds, in a word or two.
pub(super) fn name(shape: Shape) -> String {
    match shape.type_name() {
        Some("Secret") => return "secret".to_owned(),
        Some("Duration") => return "duration".to_owned(),
        Some("ByteSize") => return "size".to_owned(),
        _ => {}
    }
    let choices = choices(shape);
    if !choices.is_empty() {
        let mut words: Vec<String> = choices.iter().map(|choice| format!("`{choice}`")).collect();
        if is_open(shape) {
            words.push("text".to_owned());
        }
        return words.join(", ");
    }
    if let Some(items) = shape.items() {
        return if items.properties().is_some() {
            "list of sections".to_owned()
        } else {
            format!("list of {}", plural(&name(items)))
        };
    }
    if shape.properties().is_some() {
        return "section".to_owned();
    }
    if let Some(values) = shape.values() {
        return format!("map to {}", name(values));
    }
    match kind(shape.resolved()) {
        Some("string") => "text",
        Some("integer" | "number") => "number",
        Some("boolean") => "`true`, `false`",
        _ => "any value",
    }
    .to_owned()
}

/// The fixed texts that are accepted.
pub(super) fn choices(shape: Shape) -> Vec<&'static str> {
    let mut found = Vec::new();
    collect(shape.resolved(), &mut found);
    found
}

fn collect(node: &'static Value, into: &mut Vec<&'static str>) {
    if let Some(one) = node.get("const").and_then(Value::as_str) {
        into.push(one);
    }
    if let Some(several) = node.get("enum").and_then(Value::as_array) {
        into.extend(several.iter().filter_map(Value::as_str));
    }
    if let Some(several) = node
        .get("oneOf")
        .or_else(|| node.get("anyOf"))
        .and_then(Value::as_array)
    {
        for each in several {
            collect(each, into);
        }
    }
}

/// Whether other texts than the fixed ones are accepted too.
fn is_open(shape: Shape) -> bool {
    let node = shape.resolved();
    node.get("anyOf")
        .or_else(|| node.get("oneOf"))
        .and_then(Value::as_array)
        .is_some_and(|several| {
            several.iter().any(|each| {
                each.get("type").and_then(Value::as_str) == Some("string")
                    && each.get("const").is_none()
                    && each.get("enum").is_none()
            })
        })
}

fn kind(node: &'static Value) -> Option<&'static str> {
    match node.get("type")? {
        Value::String(one) => Some(one),
        Value::Array(several) => several
            .iter()
            .filter_map(Value::as_str)
            .find(|each| *each != "null"),
        _ => None,
    }
}

fn plural(name: &str) -> String {
    match name {
        "text" | "secret" | "duration" | "size" | "number" => format!("{name}s"),
        other => other.to_owned(),
    }
}
