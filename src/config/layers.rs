//! Layers of values, one over the other, and who set what. Maps merge key by key, lists replace.

use serde_yaml::{Mapping, Value};

use super::path::{KeyPath, Origin, Origins, Segment};
use super::shape::Shape;

/// The values of all layers so far.
#[derive(Clone)]
pub(super) struct Layers {
    pub(super) tree: Value,
    pub(super) origins: Origins,
}

impl Layers {
    pub(super) fn new() -> Self {
        Self {
            tree: Value::Mapping(Mapping::new()),
            origins: Origins::default(),
        }
    }

    /// Lays a whole tree over what is there.
    pub(super) fn merge(&mut self, tree: Value, origins: &Origins) {
        let path = KeyPath::root();
        if self.origins.of(&path) == Origin::Default {
            self.origins.set(path.clone(), origins.of(&path));
        }
        merge_into(&mut self.tree, &path, tree, &mut self.origins, origins);
    }

    /// Lays one value over what is there. The message of an error says why its place cannot be reached.
    pub(super) fn set(
        &mut self,
        path: &KeyPath,
        value: Value,
        origin: &Origin,
    ) -> Result<(), String> {
        let mut theirs = Origins::default();
        note_all(path, &value, origin, &mut theirs);
        let mut here = KeyPath::root();
        let mut node = &mut self.tree;
        for segment in path.segments() {
            let inside_secret = Shape::at(&here).is_some_and(Shape::is_secret);
            match segment {
                Segment::Key(key) => {
                    // `{ env }`, `{ file }` and the like exclude each other, so a new source starts from nothing.
                    if !node.is_mapping() || inside_secret {
                        *node = Value::Mapping(Mapping::new());
                        self.origins.forget(&here);
                    }
                    note_if_new(&mut self.origins, &here, origin);
                    let Value::Mapping(map) = node else {
                        return Err("this is no section".to_owned());
                    };
                    node = map.entry(Value::String(key.clone())).or_insert(Value::Null);
                }
                Segment::Index(index) => {
                    if !node.is_sequence() {
                        *node = default_list(&here);
                        self.origins.forget(&here);
                    }
                    note_if_new(&mut self.origins, &here, origin);
                    let Value::Sequence(list) = node else {
                        return Err("this is no list".to_owned());
                    };
                    if *index > list.len() {
                        return Err(format!(
                            "the list {here} has {} entries; the next index is {}",
                            list.len(),
                            list.len()
                        ));
                    }
                    if *index == list.len() {
                        list.push(Value::Null);
                    }
                    node = &mut list[*index];
                }
            }
            here = here.then(segment.clone());
        }
        merge_into(node, path, value, &mut self.origins, &theirs);
        Ok(())
    }

    /// Puts an element into a list: at its front or its end.
    pub(super) fn insert(
        &mut self,
        list: &KeyPath,
        front: bool,
        value: Value,
        origin: &Origin,
    ) -> Result<(), String> {
        let length = match self.get(list) {
            Some(Value::Sequence(entries)) => entries.len(),
            _ => 0,
        };
        if front {
            // Later elements move up, and their origins with them.
            let moved: Vec<(KeyPath, Origin)> = self
                .origins
                .within(list)
                .map(|(path, origin)| (shift(path, list), origin.clone()))
                .collect();
            if let Some(Value::Sequence(entries)) = self.get_mut(list) {
                entries.insert(0, Value::Null);
            }
            self.origins.forget(list);
            for (path, origin) in moved {
                self.origins.set(path, origin);
            }
        }
        self.set(&list.index(if front { 0 } else { length }), value, origin)
    }

    pub(super) fn get(&self, path: &KeyPath) -> Option<&Value> {
        path.segments()
            .iter()
            .try_fold(&self.tree, |node, segment| match segment {
                Segment::Key(key) => node.as_mapping()?.get(key.as_str()),
                Segment::Index(index) => node.as_sequence()?.get(*index),
            })
    }

    fn get_mut(&mut self, path: &KeyPath) -> Option<&mut Value> {
        path.segments()
            .iter()
            .try_fold(&mut self.tree, |node, segment| match segment {
                Segment::Key(key) => node.as_mapping_mut()?.get_mut(key.as_str()),
                Segment::Index(index) => node.as_sequence_mut()?.get_mut(*index),
            })
    }
}

fn note_if_new(origins: &mut Origins, path: &KeyPath, origin: &Origin) {
    // The whole belongs to the first file, if to anybody: that is where something missing is looked for.
    if !path.is_root() && origins.of(path) == Origin::Default {
        origins.set(path.clone(), origin.clone());
    }
}

fn merge_into(
    base: &mut Value,
    path: &KeyPath,
    over: Value,
    origins: &mut Origins,
    theirs: &Origins,
) {
    let replaces_whole = Shape::at(path).is_some_and(Shape::is_secret);
    match (base, over) {
        (Value::Mapping(base), Value::Mapping(over)) if !replaces_whole => {
            for (key, value) in over {
                let inner = path.key(
                    key.as_str()
                        .map_or_else(|| format!("{key:?}"), str::to_owned),
                );
                if let Some(old) = base.get_mut(&key) {
                    merge_into(old, &inner, value, origins, theirs);
                } else {
                    take_origins(&inner, origins, theirs);
                    base.insert(key, value);
                }
            }
        }
        (base, over) => {
            take_origins(path, origins, theirs);
            *base = over;
        }
    }
}

fn take_origins(path: &KeyPath, origins: &mut Origins, theirs: &Origins) {
    origins.forget(path);
    for (each, origin) in theirs.within(path) {
        origins.set(each.clone(), origin.clone());
    }
}

fn note_all(path: &KeyPath, value: &Value, origin: &Origin, into: &mut Origins) {
    into.set(path.clone(), origin.clone());
    match value {
        Value::Mapping(map) => {
            for (key, value) in map {
                if let Some(key) = key.as_str() {
                    note_all(&path.key(key), value, origin, into);
                }
            }
        }
        Value::Sequence(list) => {
            for (index, value) in list.iter().enumerate() {
                note_all(&path.index(index), value, origin, into);
            }
        }
        _ => {}
    }
}

fn shift(path: &KeyPath, list: &KeyPath) -> KeyPath {
    let depth = list.segments().len();
    path.segments()
        .iter()
        .enumerate()
        .map(|(at, segment)| match segment {
            Segment::Index(index) if at == depth => Segment::Index(index + 1),
            other => other.clone(),
        })
        .collect()
}

/// The list that is meant when an element is set in a list that no layer has.
fn default_list(path: &KeyPath) -> Value {
    let list = Shape::at(path).and_then(Shape::default_value);
    list.and_then(|json| serde_yaml::to_value(json).ok())
        .filter(Value::is_sequence)
        .unwrap_or_else(|| Value::Sequence(Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(text: &str) -> Layers {
        let mut layers = Layers::new();
        layers.merge(serde_yaml::from_str(text).unwrap(), &Origins::default());
        layers
    }

    fn set(layers: &mut Layers, path: &str, value: &str) -> Result<(), String> {
        let origin = Origin::Env(path.to_owned());
        layers.set(
            &KeyPath::parse(path).unwrap(),
            serde_yaml::from_str(value).unwrap(),
            &origin,
        )
    }

    fn shown(layers: &Layers, path: &str) -> String {
        let value = layers.get(&KeyPath::parse(path).unwrap()).unwrap();
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn maps_merge_and_lists_replace() {
        let mut all = layers("a: { x: 1, y: 2 }\nl: [1, 2, 3]\n");
        all.merge(
            serde_yaml::from_str("a: { y: 3 }\nl: [9]\n").unwrap(),
            &Origins::default(),
        );
        assert_eq!(
            serde_json::to_string(&all.tree).unwrap(),
            r#"{"a":{"x":1,"y":3},"l":[9]}"#
        );
    }

    #[test]
    fn a_secret_is_replaced_as_a_whole() {
        let mut all = layers("oidc: { client_secret: { env: A } }");
        set(&mut all, "oidc.client_secret.file", "/x").unwrap();
        assert_eq!(shown(&all, "oidc.client_secret"), r#"{"file":"/x"}"#);
        all.merge(
            serde_yaml::from_str("oidc: { client_secret: { env: B } }").unwrap(),
            &Origins::default(),
        );
        assert_eq!(shown(&all, "oidc.client_secret"), r#"{"env":"B"}"#);
    }

    #[test]
    fn elements_are_set_in_the_default_list_too() {
        let mut all = layers("version: 1");
        set(&mut all, "listen[0].redirect_to_https", "true").unwrap();
        assert!(shown(&all, "listen").contains("0.0.0.0:8080"));
        assert!(
            set(&mut all, "listen[5].address", "x")
                .unwrap_err()
                .contains("the next index is 1")
        );
    }

    #[test]
    fn origins_move_with_an_insertion_at_the_front() {
        let mut all = layers("version: 1");
        set(&mut all, "secret_keys[0]", "old").unwrap();
        let keys = KeyPath::parse("secret_keys").unwrap();
        all.insert(
            &keys,
            true,
            Value::String("new".to_owned()),
            &Origin::Env("N".to_owned()),
        )
        .unwrap();
        assert_eq!(shown(&all, "secret_keys"), r#"["new","old"]"#);
        assert_eq!(all.origins.of(&keys.index(0)), Origin::Env("N".to_owned()));
        assert_eq!(
            all.origins.of(&keys.index(1)),
            Origin::Env("secret_keys[0]".to_owned())
        );
    }
}
