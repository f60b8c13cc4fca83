//! OAuth scopes (RFC 6749 section 3.3): a set that keeps the order in which it was written.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Scopes of one set at most; further ones are not read.
const MAX_SCOPES: usize = 256;

/// A set of scopes, in the order of their first mention. Written as one text with spaces between.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScopeSet(Vec<Box<str>>);

impl ScopeSet {
    /// Reads a `scope` parameter. `None` when a part has a character that scopes cannot have
    /// (RFC 6749 section 3.3: printable ASCII without space, `"` and `\`).
    pub fn parse(text: &str) -> Option<Self> {
        let mut set = Self::default();
        for part in text.split(' ').filter(|part| !part.is_empty()) {
            if !is_scope(part) {
                return None;
            }
            set.add(part);
        }
        Some(set)
    }

    /// The set of the given scopes; what is no scope is left out.
    pub fn of<T: AsRef<str>>(scopes: impl IntoIterator<Item = T>) -> Self {
        let mut set = Self::default();
        for scope in scopes {
            if is_scope(scope.as_ref()) {
                set.add(scope.as_ref());
            }
        }
        set
    }

    /// Adds a scope unless it is there, or the set is full.
    fn add(&mut self, scope: &str) {
        if self.0.len() < MAX_SCOPES && !self.contains(scope) {
            self.0.push(scope.into());
        }
    }

    /// Whether a scope is in it.
    pub fn contains(&self, scope: &str) -> bool {
        self.0.iter().any(|each| **each == *scope)
    }

    /// Whether every scope of `other` is in it.
    pub fn covers(&self, other: &Self) -> bool {
        other.iter().all(|scope| self.contains(scope))
    }

    /// Those that are in both, in the order of this one.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        Self::of(self.iter().filter(|scope| other.contains(scope)))
    }

    /// Those of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::of(self.iter().chain(other.iter()))
    }

    /// The scopes.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|scope| &**scope)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The scopes as a slice, as identities carry them.
    pub fn as_slice(&self) -> &[Box<str>] {
        &self.0
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, scope) in self.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope)?;
        }
        Ok(())
    }
}

fn is_scope(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_read_once_in_order() {
        let set = ScopeSet::parse(" b a  b c").unwrap();
        assert_eq!(set.to_string(), "b a c");
        assert!(set.contains("a") && !set.contains("A"));
        assert_eq!(ScopeSet::parse("a \"b"), None);
        assert_eq!(ScopeSet::parse("a\u{7f}"), None);
        assert!(ScopeSet::parse("").unwrap().is_empty());
    }

    #[test]
    fn sets_are_compared() {
        let all = ScopeSet::of(["a", "b", "c"]);
        let some = ScopeSet::of(["c", "x"]);
        assert_eq!(all.common(&some).to_string(), "c");
        assert_eq!(all.union(&some).to_string(), "a b c x");
        assert!(all.covers(&ScopeSet::of(["b"])) && !all.covers(&some));
    }
}
