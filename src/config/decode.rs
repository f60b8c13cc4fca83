//! From values to the typed configuration, noting everything that does not fit instead of stopping at the first.

use serde_yaml::Value;

use super::Config;
use super::layers::Layers;
use super::path::{KeyPath, Origins, Segment};
use super::problem::{MAX_PROBLEMS, Problem, nearest};
use super::shape::Shape;

/// What came out, with the places that had to be left out.
pub(super) struct Decoded {
    /// `None` when nothing is left that makes a configuration.
    pub(super) config: Option<Config>,
    pub(super) left_out: LeftOut,
}

/// Places that were dropped because of a problem. Rules across keys must not complain about them again.
#[derive(Default)]
pub(super) struct LeftOut {
    places: Vec<KeyPath>,
    /// Elements that are missing in lists: the list's path and the element's index, both as written.
    elements: Vec<(KeyPath, usize)>,
}

impl LeftOut {
    /// Whether something at, inside or around this place was dropped.
    pub(super) fn touches(&self, path: &KeyPath) -> bool {
        self.places
            .iter()
            .any(|each| each.is_within(path) || path.is_within(each))
    }

    /// The path as written of a path in what is left.
    pub(super) fn as_written(&self, path: &KeyPath) -> KeyPath {
        let mut written = KeyPath::root();
        for segment in path.segments() {
            written = match segment {
                Segment::Key(key) => written.key(key),
                Segment::Index(index) => {
                    let mut gone: Vec<usize> = self
                        .elements
                        .iter()
                        .filter(|(list, _)| *list == written)
                        .map(|(_, index)| *index)
                        .collect();
                    gone.sort_unstable();
                    let index = gone
                        .into_iter()
                        .fold(*index, |at, gone| if gone <= at { at + 1 } else { at });
                    written.index(index)
                }
            };
        }
        written
    }
}

/// Reads the configuration out of the layers; problems go to `problems`.
pub(super) fn decode(layers: &mut Layers, problems: &mut Vec<Problem>) -> Decoded {
    let mut decoder = Decoder {
        origins: &layers.origins,
        problems,
        left_out: LeftOut::default(),
    };
    let keep = decoder.walk(&mut layers.tree, &KeyPath::root(), Shape::root());
    let config = if keep {
        decoder.read(&mut layers.tree)
    } else {
        None
    };
    Decoded {
        config,
        left_out: decoder.left_out,
    }
}

struct Decoder<'a> {
    origins: &'a Origins,
    problems: &'a mut Vec<Problem>,
    left_out: LeftOut,
}

impl Decoder<'_> {
    fn report(&mut self, path: &KeyPath, message: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem {
                path: path.to_string(),
                origin: self.origins.near(path),
                message: message.into(),
            });
        }
    }

    /// Looks for keys that are unknown or missing; `false` when the node cannot be kept.
    fn walk(&mut self, node: &mut Value, path: &KeyPath, shape: Shape) -> bool {
        match node {
            Value::Tagged(_) => {
                self.report(
                    path,
                    "YAML tags (`!name`) mean nothing here; write the plain value",
                );
                self.left_out.places.push(path.clone());
                false
            }
            Value::Mapping(_) if shape.is_secret() => true,
            Value::Mapping(map) => match (shape.properties(), shape.values()) {
                (Some(properties), _) => self.walk_section(map, path, shape, properties),
                (None, Some(values)) => {
                    self.walk_map(map, path, values);
                    true
                }
                (None, None) => true,
            },
            Value::Sequence(list) => {
                if let Some(items) = shape.items() {
                    let mut index = 0;
                    list.retain_mut(|each| {
                        let inner = path.index(index);
                        let keep = self.walk(each, &inner, items);
                        if !keep {
                            self.left_out.elements.push((path.clone(), index));
                        }
                        index += 1;
                        keep
                    });
                }
                true
            }
            _ => true,
        }
    }

    fn walk_section(
        &mut self,
        map: &mut serde_yaml::Mapping,
        path: &KeyPath,
        shape: Shape,
        properties: &'static serde_json::Map<String, serde_json::Value>,
    ) -> bool {
        let mut keep_section = true;
        let required: Vec<&str> = shape.required().collect();
        map.retain(|key, value| {
            let Some(key) = key.as_str() else {
                self.odd_key(path, key);
                return false;
            };
            let inner = path.key(key);
            let Some(child) = properties
                .contains_key(key)
                .then(|| shape.key(key))
                .flatten()
            else {
                self.unknown(&inner, key, properties.keys().map(String::as_str));
                return false;
            };
            // A key without a value takes back what lower layers said: its default holds.
            if value.is_null() {
                return false;
            }
            let keep = self.walk(value, &inner, child);
            if !keep {
                self.left_out.places.push(inner);
                keep_section &= !required.contains(&key);
            }
            keep
        });
        for key in required {
            let inner = path.key(key);
            if !map.contains_key(key) && !self.left_out.places.contains(&inner) {
                let what = shape
                    .key(key)
                    .and_then(Shape::description)
                    .map(first_sentence)
                    .unwrap_or_default();
                self.report(path, format!("`{key}` is missing; add it: {what}"));
                keep_section = false;
            }
        }
        if !keep_section {
            self.left_out.places.push(path.clone());
        }
        keep_section
    }

    fn walk_map(&mut self, map: &mut serde_yaml::Mapping, path: &KeyPath, values: Shape) {
        map.retain(|key, value| {
            let Some(key) = key.as_str() else {
                self.odd_key(path, key);
                return false;
            };
            let inner = path.key(key);
            self.walk(value, &inner, values)
        });
    }

    fn odd_key(&mut self, path: &KeyPath, key: &Value) {
        let shown = serde_yaml::to_string(key).unwrap_or_default();
        self.report(
            path,
            format!(
                "the key `{}` is not a text; write it in quotes",
                shown.trim()
            ),
        );
    }

    fn unknown<'k>(
        &mut self,
        path: &KeyPath,
        key: &str,
        known: impl Iterator<Item = &'k str> + Clone,
    ) {
        self.left_out.places.push(path.clone());
        let message = if let Some(near) = nearest(key, known.clone()) {
            format!("this key is unknown; did you mean `{near}`?")
        } else {
            let known: Vec<&str> = known.collect();
            format!(
                "this key is unknown; remove it, or use one of: {}",
                known.join(", ")
            )
        };
        self.report(path, message);
    }

    /// Reads until nothing is wrong any more, dropping what does not fit.
    fn read(&mut self, tree: &mut Value) -> Option<Config> {
        for _ in 0..MAX_PROBLEMS {
            let error = match serde_path_to_error::deserialize::<_, Config>(tree.clone()) {
                Ok(config) => return Some(config),
                Err(error) => error,
            };
            let current: KeyPath = error
                .path()
                .iter()
                .filter_map(|segment| match segment {
                    serde_path_to_error::Segment::Seq { index } => Some(Segment::Index(*index)),
                    serde_path_to_error::Segment::Map { key } => Some(Segment::Key(key.clone())),
                    _ => None,
                })
                .collect();
            let written = self.left_out.as_written(&current);
            let message = plain_words(&error.inner().to_string(), Shape::at(&written));
            self.report(&written, message);
            if !self.drop_node(tree, current) {
                return None;
            }
        }
        None
    }

    /// Takes a node out; with it what cannot be without it. `false` when nothing is left.
    fn drop_node(&mut self, tree: &mut Value, mut path: KeyPath) -> bool {
        loop {
            let written = self.left_out.as_written(&path);
            self.left_out.places.push(written.clone());
            let Some((outer, last)) = path.split_last() else {
                return false;
            };
            let Some((written_up, _)) = written.split_last() else {
                return false;
            };
            let parent =
                outer
                    .segments()
                    .iter()
                    .try_fold(&mut *tree, |node, segment| match segment {
                        Segment::Key(key) => node.as_mapping_mut()?.get_mut(key.as_str()),
                        Segment::Index(index) => node.as_sequence_mut()?.get_mut(*index),
                    });
            match (parent, last, written.segments().last()) {
                (Some(Value::Mapping(map)), Segment::Key(key), _) => {
                    if map.remove(key.as_str()).is_none() {
                        return false;
                    }
                    let needed = Shape::at(&written_up)
                        .is_some_and(|shape| shape.required().any(|each| each == key));
                    if !needed {
                        return true;
                    }
                }
                (
                    Some(Value::Sequence(elements)),
                    Segment::Index(index),
                    Some(Segment::Index(as_written)),
                ) if *index < elements.len() => {
                    elements.remove(*index);
                    self.left_out.elements.push((written_up, *as_written));
                    return true;
                }
                _ => return false,
            }
            path = outer;
        }
    }
}

/// The message of the deserialiser in the words of this configuration.
fn plain_words(message: &str, shape: Option<Shape>) -> String {
    let mut text = message.strip_prefix("invalid type: ").map_or_else(
        || message.to_owned(),
        |rest| match rest.split_once(", expected ") {
            Some((found, wanted)) => format!(
                "this is {}, but must be {}",
                found_words(found),
                wanted_words(wanted)
            ),
            None => rest.to_owned(),
        },
    );
    if let Some(rest) = message.strip_prefix("unknown variant `")
        && let Some((found, wanted)) = rest.split_once("`, expected ")
    {
        let known: Vec<&str> = wanted.split('`').skip(1).step_by(2).collect();
        let hint = nearest(found, known.iter().copied())
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        text = format!("`{found}` is none of {}{hint}", known.join(", "));
    }
    if let Some(rest) = message.strip_prefix("invalid value: ")
        && let Some((found, wanted)) = rest.split_once(", expected ")
    {
        text = format!(
            "this is {}, but must be {}",
            found_words(found),
            wanted_words(wanted)
        );
    }
    if shape.is_some_and(Shape::is_list) && message.starts_with("invalid type: string") {
        text.push_str(", as in [a, b]");
    }
    text
}

fn found_words(found: &str) -> String {
    match found {
        "unit value" => "empty".to_owned(),
        "map" => "a section of keys".to_owned(),
        "sequence" => "a list".to_owned(),
        other => match other.split_once(' ') {
            Some(("string", text)) => format!("the text {text}"),
            Some(("integer", number)) => format!("the number {number}"),
            Some(("floating", rest)) => {
                format!("the number {}", rest.strip_prefix("point ").unwrap_or(rest))
            }
            Some(("boolean", value)) => format!("the truth value {value}"),
            _ => other.to_owned(),
        },
    }
}

fn wanted_words(wanted: &str) -> String {
    match wanted {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of that size".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "a borrowed string" | "path string" => {
            "a text (write it in quotes)".to_owned()
        }
        "a sequence" => "a list".to_owned(),
        "a map" => "a section of keys".to_owned(),
        other if other.starts_with("struct ") => "a section of keys".to_owned(),
        other => other.to_owned(),
    }
}

fn first_sentence(text: &str) -> String {
    let end = text.find(". ").map_or(text.len(), |at| at + 1);
    text[..end].replace('\n', " ")
}
