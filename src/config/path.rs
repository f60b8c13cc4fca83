//! Where in the configuration something is (`routes[0].backend`), and who put it there.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// One step into the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// A key of a map.
    Key(String),
    /// A place in a list, from 0.
    Index(usize),
}

/// The path to a value: `routes[0].backend`. A key that is not a plain word is quoted: `claims["a.b"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPath(Vec<Segment>);

impl KeyPath {
    /// The whole configuration.
    pub fn root() -> Self {
        Self::default()
    }

    /// Reads `routes[0].backend`, `routes.0.backend` or `claims["a.b"]`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!("`{text}` is not a key path ({what}); write one like listen[0].address")
        };
        let mut path = Self::root();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(quoted) = rest.strip_prefix("[\"") {
                let (key, after) = quoted
                    .split_once("\"]")
                    .ok_or_else(|| wrong("a quote is not closed"))?;
                path.0.push(Segment::Key(key.to_owned()));
                rest = after;
            } else if let Some(index) = rest.strip_prefix('[') {
                let (digits, after) = index
                    .split_once(']')
                    .ok_or_else(|| wrong("a bracket is not closed"))?;
                path.0.push(Segment::Index(
                    digits
                        .parse()
                        .map_err(|_| wrong("an index is not a number"))?,
                ));
                rest = after;
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                if word.is_empty() {
                    return Err(wrong("a key is empty"));
                }
                path.0.push(match word.parse() {
                    Ok(index) => Segment::Index(index),
                    Err(_) => Segment::Key(word.to_owned()),
                });
                rest = after;
            }
            if let Some(after) = rest.strip_prefix('.') {
                if after.is_empty() {
                    return Err(wrong("it ends with a dot"));
                }
                rest = after;
            }
        }
        if path.0.is_empty() {
            Err(wrong("it is empty"))
        } else {
            Ok(path)
        }
    }

    /// The steps.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Whether this is the whole configuration.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Goes one key deeper.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.then(Segment::Key(key.into()))
    }

    /// Goes one list element deeper.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.then(Segment::Index(index))
    }

    /// Goes one step deeper.
    #[must_use]
    pub fn then(&self, segment: Segment) -> Self {
        let mut longer = self.clone();
        longer.0.push(segment);
        longer
    }

    /// One step up, with the step that was undone; `None` at the root.
    pub fn split_last(&self) -> Option<(Self, &Segment)> {
        self.0
            .split_last()
            .map(|(last, rest)| (Self(rest.to_vec()), last))
    }

    /// Whether this is `other` or inside it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl FromIterator<Segment> for KeyPath {
    fn from_iter<T: IntoIterator<Item = Segment>>(segments: T) -> Self {
        Self(segments.into_iter().collect())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if is_word(key) => {
                    if at > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(key)?;
                }
                Segment::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

fn is_word(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// Who set a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nobody; it is the default.
    #[default]
    Default,
    /// A file, at a line and column (both from 1).
    File {
        /// The file, as it was named.
        file: Arc<PathBuf>,
        /// Line, from 1.
        line: u32,
        /// Column in characters, from 1.
        column: u32,
    },
    /// An environment variable of this name.
    Env(String),
    /// A flag of this name.
    Flag(String),
}

/// `config.yaml:12:5`, `environment PORT`, `flag --port` or `default`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Who set what: an entry for each node that a layer has set.
#[derive(Clone, Debug, Default)]
pub struct Origins(BTreeMap<KeyPath, Origin>);

impl Origins {
    /// Who set exactly this value; [`Origin::Default`] when nobody did.
    pub fn of(&self, path: &KeyPath) -> Origin {
        self.0.get(path).cloned().unwrap_or_default()
    }

    /// Who set this value or, failing that, the nearest thing around it: the place to look for a mistake.
    pub fn near(&self, path: &KeyPath) -> Origin {
        let mut at = path.clone();
        loop {
            if let Some(origin) = self.0.get(&at) {
                return origin.clone();
            }
            match at.split_last() {
                Some((up, _)) => at = up,
                None => return Origin::Default,
            }
        }
    }

    /// Notes who set a value.
    pub fn set(&mut self, path: KeyPath, origin: Origin) {
        self.0.insert(path, origin);
    }

    /// Forgets a value and everything inside it.
    pub fn forget(&mut self, path: &KeyPath) {
        self.0.retain(|each, _| !each.is_within(path));
    }

    /// The entries at and inside a path.
    pub fn within<'a>(
        &'a self,
        path: &'a KeyPath,
    ) -> impl Iterator<Item = (&'a KeyPath, &'a Origin)> {
        self.0
            .range(path.clone()..)
            .take_while(move |(each, _)| each.is_within(path))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_read_and_show_themselves() {
        for (text, shown) in [
            ("routes[0].backend", "routes[0].backend"),
            ("routes.0.backend", "routes[0].backend"),
            (
                "identity_headers.claims[\"X-A.b\"]",
                "identity_headers.claims[\"X-A.b\"]",
            ),
            ("a[\"b\"].c", "a.b.c"),
        ] {
            assert_eq!(KeyPath::parse(text).unwrap().to_string(), shown);
        }
        for bad in ["", ".", "a.", "a..b", "a[", "a[x]", "a[\"x"] {
            assert!(KeyPath::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_nearest_known_place_is_named() {
        let mut origins = Origins::default();
        let routes = KeyPath::parse("routes[0]").unwrap();
        origins.set(routes.clone(), Origin::Env("X".to_owned()));
        assert_eq!(
            origins.near(&routes.key("backend")),
            Origin::Env("X".to_owned())
        );
        assert_eq!(origins.of(&routes.key("backend")), Origin::Default);
        origins.forget(&KeyPath::parse("routes").unwrap());
        assert_eq!(origins.near(&routes), Origin::Default);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            if let Ok(path) = KeyPath::parse(&text) {
                let _ = path.to_string();
            }
        }
    }
}
