//! The shape of the configuration, asked of its schema: which keys there are, which are needed, what they hold.

use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::Config;
use super::path::{KeyPath, Segment};

/// The schema of the whole configuration.
pub fn schema() -> &'static Value {
    // A constant that needs an allocator; nothing in it depends on the process.
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| schemars::schema_for!(Config).to_value())
}

/// The shape of one place.
#[derive(Clone, Copy)]
pub struct Shape {
    node: &'static Value,
}

impl Shape {
    /// Of the whole configuration.
    pub fn root() -> Self {
        Self { node: schema() }
    }

    /// Of the place that a path leads to; `None` when there is no such place.
    pub fn at(path: &KeyPath) -> Option<Self> {
        path.segments().iter().try_fold(Self::root(), Self::child)
    }

    /// Of one step deeper.
    pub fn child(self, segment: &Segment) -> Option<Self> {
        match segment {
            Segment::Key(key) => self.key(key),
            Segment::Index(_) => self.items(),
        }
    }

    /// Of the value of a key, fixed or free.
    pub fn key(self, key: &str) -> Option<Self> {
        if self.is_secret() {
            return match key {
                "env" | "file" | "credential" => Some(Self {
                    node: text_schema(),
                }),
                "vault" | "aws_secret" | "aws_parameter" => Some(Self {
                    node: section_schema(),
                }),
                _ => None,
            };
        }
        match self.properties() {
            Some(properties) => properties.get(key).map(|node| Self { node }),
            None => self.values(),
        }
    }

    /// The fixed keys; `None` when this is no section.
    pub fn properties(self) -> Option<&'static Map<String, Value>> {
        self.resolved().get("properties")?.as_object()
    }

    /// The keys that must be there.
    pub fn required(self) -> impl Iterator<Item = &'static str> {
        self.resolved()
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
    }

    /// What a list's elements are.
    pub fn items(self) -> Option<Self> {
        self.resolved().get("items").map(|node| Self { node })
    }

    /// What the values of a map with free keys are.
    pub fn values(self) -> Option<Self> {
        let node = self.resolved().get("additionalProperties")?;
        node.as_bool()
            .is_none_or(|free| free)
            .then_some(Self { node })
    }

    /// Whether a secret is expected.
    pub fn is_secret(self) -> bool {
        self.type_name() == Some("Secret")
    }

    /// Whether a text is accepted.
    pub fn takes_text(self) -> bool {
        accepts(self.resolved(), "string")
    }

    /// Whether something besides a text is accepted.
    pub fn takes_other_than_text(self) -> bool {
        let node = self.resolved();
        ["integer", "number", "boolean", "array", "object"]
            .iter()
            .any(|each| accepts(node, each))
    }

    /// Whether a list is expected.
    pub fn is_list(self) -> bool {
        self.items().is_some()
    }

    /// What it is when nobody sets it, where the schema says so.
    pub fn default_value(self) -> Option<&'static Value> {
        self.node.get("default")
    }

    /// What the documentation says about it.
    pub fn description(self) -> Option<&'static str> {
        self.node
            .get("description")
            .or_else(|| self.resolved().get("description"))
            .and_then(Value::as_str)
    }

    /// The name of its type, for types that have one.
    pub fn type_name(self) -> Option<&'static str> {
        let mut node = self.node;
        loop {
            if let Some(name) = node.get("$ref").and_then(Value::as_str) {
                return name.strip_prefix("#/$defs/");
            }
            node = only_choice(node)?;
        }
    }

    /// The schema behind references and optional wrappers.
    pub fn resolved(self) -> &'static Value {
        let mut node = self.node;
        // Bounded, though schemas made by derive have no cycles of references.
        for _ in 0..16 {
            let next = node
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|name| schema().pointer(name.strip_prefix('#').unwrap_or(name)))
                .or_else(|| only_choice(node));
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }
}

/// The one choice of an optional value.
fn only_choice(node: &'static Value) -> Option<&'static Value> {
    let choices = node
        .get("anyOf")
        .or_else(|| node.get("oneOf"))?
        .as_array()?;
    let mut rest = choices
        .iter()
        .filter(|each| each.get("type").and_then(Value::as_str) != Some("null"));
    let only = rest.next()?;
    rest.next().is_none().then_some(only)
}

fn accepts(node: &Value, wanted: &str) -> bool {
    if let Some(choices) = node
        .get("anyOf")
        .or_else(|| node.get("oneOf"))
        .and_then(Value::as_array)
    {
        return choices.iter().any(|each| accepts(each, wanted));
    }
    if node.get("$ref").is_some() {
        return false;
    }
    match node.get("type") {
        Some(Value::String(one)) => one == wanted,
        Some(Value::Array(several)) => several.iter().any(|each| each == wanted),
        _ => match node.get("const") {
            Some(fixed) => fixed.is_string() && wanted == "string",
            // No type at all: anything goes.
            None => true,
        },
    }
}

fn text_schema() -> &'static Value {
    static TEXT: OnceLock<Value> = OnceLock::new();
    TEXT.get_or_init(|| serde_json::json!({ "type": "string" }))
}

/// Where another system keeps a secret, which is given as a whole.
fn section_schema() -> &'static Value {
    static SECTION: OnceLock<Value> = OnceLock::new();
    SECTION.get_or_init(|| serde_json::json!({ "type": "object" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Shape {
        Shape::at(&KeyPath::parse(path).unwrap()).unwrap()
    }

    #[test]
    fn places_are_found() {
        assert!(at("oidc.client_secret").is_secret());
        assert!(at("secret_keys[0]").is_secret());
        assert!(at("backends[0].headers.X-Token").is_secret());
        assert!(at("oidc.client_secret.env").takes_text());
        assert!(at("listen").is_list());
        assert!(at("public_url").takes_text() && !at("public_url").takes_other_than_text());
        assert!(
            at("limits.max_headers").takes_other_than_text()
                && !at("limits.max_headers").takes_text()
        );
        assert!(at("mcp.max_body").takes_text() && at("mcp.max_body").takes_other_than_text());
        assert!(at("auth.mode").takes_text() && !at("auth.mode").takes_other_than_text());
        assert!(
            at("backends[0].host").takes_text() && !at("backends[0].host").takes_other_than_text()
        );
        assert!(at("auth.api_keys[0].claims.x").takes_other_than_text());
        assert!(at("routes[0].allow.groups[3]").takes_text());
        assert!(at("sessions.redis").required().next().is_none());
        assert!(at("listen[0]").required().eq(["address"]));
        assert!(Shape::at(&KeyPath::parse("sessions.nope").unwrap()).is_none());
    }
}
