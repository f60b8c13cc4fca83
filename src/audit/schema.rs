//! The schema of records, made from their types, and the tables of the documentation.

use std::fmt::Write;

use serde_json::{Value, json};

use super::event::Kind;
use super::line::Line;

/// JSON Schema of records in our own format.
pub fn native_schema() -> Value {
    let mut schema = schemars::schema_for!(Line).to_value();
    let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let hex = |what: &str| json!({ "description": what, "type": "string", "pattern": "^[0-9a-f]{64}$" });
        properties.insert(
            "prev".to_owned(),
            hex("Hash of the record before it; 64 zeros for the first."),
        );
        properties.insert("hash".to_owned(), hex("SHA-256 over the previous hash (32 bytes) and the bytes of this line up to and without `,\"hash\":`. Always the last field."));
        properties.insert("sig".to_owned(), json!({
            "description": "Of checkpoints: Ed25519 over `mcp-oidc-proxy audit checkpoint v1` and a newline, the previous hash (32 bytes) and the bytes of this line up to and without `,\"sig\":`, in base64url. Stands before `hash`.",
            "type": "string", "pattern": "^[A-Za-z0-9_-]{86}$"
        }));
        if let Some(kind) = properties.get_mut("kind") {
            kind["enum"] = kinds.into();
        }
        if let Some(outcome) = properties.get_mut("outcome") {
            outcome["enum"] = json!(["success", "denied", "failure", "error"]);
        }
        if let Some(version) = properties.get_mut("v") {
            version["const"] = super::line::VERSION.into();
        }
    }
    // What has nothing to say is left out, inside of the parts too.
    for part in ["Who", "Where", "What", "Done", "LogPart"] {
        if let Some(part) = schema
            .pointer_mut(&format!("/$defs/{part}"))
            .and_then(Value::as_object_mut)
        {
            part.remove("required");
        }
    }
    schema["required"] = json!([
        "v", "chain", "seq", "time", "prev", "kind", "outcome", "hash"
    ]);
    schema
}

/// Every kind as a row: name, class, meaning.
pub fn kinds() -> String {
    let mut text = "| Kind | Class | What happened |\n|---|---|---|\n".to_owned();
    for kind in Kind::ALL {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} |",
            kind.as_str(),
            kind.class().as_str(),
            kind.help()
        );
    }
    text
}

/// Every field as a row: path, type, meaning.
pub fn fields() -> String {
    let schema = native_schema();
    let mut text = "| Field | Type | Meaning |\n|---|---|---|\n".to_owned();
    rows(&schema, &schema, "", &mut text);
    text
}

fn rows(root: &Value, node: &Value, prefix: &str, text: &mut String) {
    for (name, field) in node
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let inner = resolved(root, field);
        let says = field
            .get("description")
            .or_else(|| inner.get("description"))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .replace('\n', " ");
        let _ = writeln!(text, "| `{prefix}{name}` | {} | {says} |", type_of(inner));
        rows(root, inner, &format!("{prefix}{name}."), text);
    }
}

/// Behind a reference or the choice of an optional value.
fn resolved<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    let choice = node.get("anyOf").and_then(Value::as_array);
    let node = choice
        .and_then(|choices| choices.iter().find(|each| each.get("$ref").is_some()))
        .unwrap_or(node);
    node.get("$ref")
        .and_then(Value::as_str)
        .and_then(|name| root.pointer(name.trim_start_matches('#')))
        .unwrap_or(node)
}

fn type_of(node: &Value) -> &str {
    match node.get("type") {
        Some(Value::String(one)) => one,
        Some(Value::Array(several)) => several
            .iter()
            .filter_map(Value::as_str)
            .find(|each| *each != "null")
            .unwrap_or("any"),
        _ => "any",
    }
}
