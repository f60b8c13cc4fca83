//! One YAML file: its values, where each stands, and what the YAML itself has wrong.
//!
//! The values come from the YAML crate, which shows no places; the places come from the markers of a second
//! parser that shows no values.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser};
use serde_yaml::Value;

use super::path::{KeyPath, Origin, Origins};
use super::problem::Problem;

/// Largest file that is read, in bytes.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// A file's values and their places.
pub(super) struct Parsed {
    pub(super) tree: Value,
    pub(super) origins: Origins,
}

/// Reads a file's text. An empty file is an empty map.
pub(super) fn parse(file: &Arc<PathBuf>, text: &str) -> Result<Parsed, Vec<Problem>> {
    let at = |line: usize, column: usize| Origin::File {
        file: Arc::clone(file),
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
    };
    let problem = |path: &KeyPath, origin, message| Problem {
        path: path.to_string(),
        origin,
        message,
    };
    let mut index = Index {
        origins: Origins::default(),
        problems: Vec::new(),
        at: &at,
    };
    if let Err(message) = index.read(text) {
        return Err(vec![message]);
    }
    let Index {
        mut origins,
        mut problems,
        ..
    } = index;
    if !problems.is_empty() {
        problems.truncate(super::problem::MAX_PROBLEMS);
        return Err(problems);
    }
    let root = KeyPath::root();
    let mut tree: Value = serde_yaml::from_str(text).map_err(|error| {
        let origin = error
            .location()
            .map_or_else(|| at(0, 0), |place| at(place.line(), place.column()));
        vec![problem(
            &root,
            origin,
            format!("the YAML cannot be read: {error}"),
        )]
    })?;
    if tree.is_null() {
        tree = Value::Mapping(serde_yaml::Mapping::new());
    }
    if !tree.is_mapping() {
        return Err(vec![problem(
            &root,
            at(1, 1),
            "the file must hold keys and values, such as `version: 1`".to_owned(),
        )]);
    }
    tree.apply_merge().map_err(|error| {
        vec![problem(
            &root,
            at(0, 0),
            format!("a merge key (`<<`) cannot be applied: {error}"),
        )]
    })?;
    fill(&tree, &root, &mut origins);
    Ok(Parsed { tree, origins })
}

/// Gives what came by an alias or a merge key the place of what holds it.
fn fill(node: &Value, path: &KeyPath, origins: &mut Origins) {
    if origins.of(path) == Origin::Default {
        let near = origins.near(path);
        origins.set(path.clone(), near);
    }
    match node {
        Value::Mapping(map) => {
            for (key, value) in map {
                if let Some(key) = key.as_str() {
                    fill(value, &path.key(key), origins);
                }
            }
        }
        Value::Sequence(list) => {
            for (index, value) in list.iter().enumerate() {
                fill(value, &path.index(index), origins);
            }
        }
        _ => {}
    }
}

struct Index<'a> {
    origins: Origins,
    problems: Vec<Problem>,
    at: &'a dyn Fn(usize, usize) -> Origin,
}

/// An open map or list.
enum Open {
    Map {
        path: KeyPath,
        keys: HashSet<String>,
        key: Option<Key>,
    },
    List {
        path: KeyPath,
        next: usize,
    },
    /// Something inside a key that is not a text, which the values' parser judges.
    Odd,
}

/// A key whose value comes next.
enum Key {
    Plain(KeyPath),
    /// Not a text; the values' parser judges it.
    Odd,
}

impl Index<'_> {
    fn read(&mut self, text: &str) -> Result<(), Problem> {
        let mut open: Vec<Open> = Vec::new();
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| {
                let mark = error.marker();
                Problem {
                    path: String::new(),
                    origin: (self.at)(mark.line(), mark.col() + 1),
                    message: format!("the YAML cannot be read: {}", error.info()),
                }
            })?;
            match event {
                Event::Scalar(text, ..) => {
                    self.node(&mut open, span.start, Some(&text));
                }
                Event::Alias(_) => {
                    self.node(&mut open, span.start, None);
                }
                Event::MappingStart(..) => {
                    let next = match self.node(&mut open, span.start, None) {
                        Some(path) => Open::Map {
                            path,
                            keys: HashSet::new(),
                            key: None,
                        },
                        None => Open::Odd,
                    };
                    open.push(next);
                }
                Event::SequenceStart(..) => {
                    let next = match self.node(&mut open, span.start, None) {
                        Some(path) => Open::List { path, next: 0 },
                        None => Open::Odd,
                    };
                    open.push(next);
                }
                Event::MappingEnd | Event::SequenceEnd => {
                    open.pop();
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A node begins: gives its path; `None` when it is a key, or inside something that is not followed.
    fn node(&mut self, open: &mut [Open], mark: Marker, text: Option<&str>) -> Option<KeyPath> {
        let origin = (self.at)(mark.line(), mark.col() + 1);
        match open.last_mut() {
            None => {
                self.origins.set(KeyPath::root(), origin);
                Some(KeyPath::root())
            }
            Some(Open::Odd) => None,
            Some(Open::List { path, next }) => {
                let path = path.index(*next);
                *next += 1;
                self.origins.set(path.clone(), origin);
                Some(path)
            }
            // The value of a key has the place of its key.
            Some(Open::Map {
                key: key @ Some(_), ..
            }) => match key.take() {
                Some(Key::Plain(path)) => Some(path),
                _ => None,
            },
            Some(Open::Map { path, keys, key }) => {
                let Some(text) = text else {
                    *key = Some(Key::Odd);
                    return None;
                };
                let path = path.key(text);
                if text != "<<" && !keys.insert(text.to_owned()) {
                    self.problems.push(Problem {
                        path: path.to_string(),
                        origin: origin.clone(),
                        message: "this key is written twice; keep one of them".to_owned(),
                    });
                }
                self.origins.set(path.clone(), origin);
                *key = Some(Key::Plain(path));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Parsed, Vec<Problem>> {
        parse(&Arc::new(PathBuf::from("c.yaml")), text)
    }

    fn place(parsed: &Parsed, path: &str) -> String {
        parsed
            .origins
            .of(&KeyPath::parse(path).unwrap())
            .to_string()
    }

    #[test]
    fn each_value_has_its_place() {
        let parsed = read(
            "version: 1\nroutes:\n  - path: /a\n    backend: b\n  - { path: /c, backend: d }\n",
        )
        .unwrap();
        assert_eq!(place(&parsed, "version"), "c.yaml:1:1");
        assert_eq!(place(&parsed, "routes[0]"), "c.yaml:3:5");
        assert_eq!(place(&parsed, "routes[0].backend"), "c.yaml:4:5");
        assert_eq!(place(&parsed, "routes[1].backend"), "c.yaml:5:17");
    }

    #[test]
    fn a_key_written_twice_is_named_at_its_second_place() {
        let problems = read("a: 1\nb:\n  c: 1\n  c: 2\na: 2\n").err().unwrap();
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown[0],
            "c.yaml:4:3: b.c: this key is written twice; keep one of them"
        );
        assert!(shown[1].starts_with("c.yaml:5:1: a: "));
    }

    #[test]
    fn broken_yaml_has_a_place() {
        let problems = read("a:\n  - b\n c: [\n").err().unwrap();
        assert!(
            problems[0].to_string().starts_with("c.yaml:3:"),
            "{}",
            problems[0]
        );
        assert!(problems[0].message.contains("cannot be read"));
    }

    #[test]
    fn what_an_alias_brings_has_the_place_of_the_alias() {
        let parsed = read("a: &x { k: 1 }\nb: *x\nc:\n  <<: *x\n").unwrap();
        assert_eq!(place(&parsed, "b.k"), "c.yaml:2:1");
        assert_eq!(place(&parsed, "c.k"), "c.yaml:3:1");
    }

    #[test]
    fn aliases_do_not_confuse_the_places() {
        let parsed = read("a: &x { k: 1 }\nb: *x\nc: 2\n? [odd, key]\n: v\nd: 3\n");
        // Whatever the values' parser says to the odd key, the places must hold.
        if let Ok(parsed) = parsed {
            assert_eq!(place(&parsed, "c"), "c.yaml:3:1");
            assert_eq!(place(&parsed, "d"), "c.yaml:6:1");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ -~\\n]{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn nor_does_yaml_like_text(text in "([a-c]: |- |\\{|\\}|\\[|\\]|\n|  |&x |\\*x|\"|'|<<: |!t ){0,40}") {
            let _ = read(&text);
        }
    }
}
