//! Path patterns, and the index that finds the one that a path belongs to.

use std::collections::HashMap;

use super::check;

/// `/x` (exactly this path, with or without a final slash), `/x/*` (the subtree, and `/x` itself), `/*` (all).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// The path without its final slash; empty for the root.
    pub(super) base: Box<str>,
    /// Whether everything below belongs to it.
    pub(super) subtree: bool,
}

impl Pattern {
    /// Reads a pattern; the error says what is wrong and what to write.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!(
                "`{text}` does not start with a slash; write /x, /x/* or /*"
            ));
        }
        let (base, subtree) = match text.strip_suffix("/*") {
            Some(base) => (base, true),
            None => (text.strip_suffix('/').unwrap_or(text), false),
        };
        if base.contains('*') {
            return Err(format!(
                "`{text}` has a `*` that is not the whole last segment; only /x/* and /* are patterns"
            ));
        }
        if base.contains('%') {
            return Err(format!(
                "`{text}` has a percent escape; routes are plain letters, digits and - . _ ~"
            ));
        }
        if !base.is_empty() {
            let clean = check::path(base)
                .map_err(|error| format!("`{text}` cannot be a route: {error}"))?;
            if clean
                .folded
                .is_some_and(|folded| folded != base.to_lowercase())
            {
                return Err(format!(
                    "`{text}` has a segment that ends in a dot, which some servers cut off"
                ));
            }
        }
        Ok(Self {
            base: base.into(),
            subtree,
        })
    }
}

/// Finds the pattern of a path: exact before subtree, longer before shorter.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: HashMap<Box<str>, Entry>,
    /// Segments of the longest subtree; no longer prefix has to be tried.
    depth: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    exact: Option<u32>,
    subtree: Option<u32>,
}

impl Index {
    /// Adds a pattern; the first one of its kind stays.
    pub(super) fn add(&mut self, base: &str, subtree: bool, value: u32) {
        let entry = self.entries.entry(base.into()).or_default();
        let slot = if subtree {
            &mut entry.subtree
        } else {
            &mut entry.exact
        };
        slot.get_or_insert(value);
        if subtree {
            self.depth = self.depth.max(base.matches('/').count());
        }
    }

    /// The value of the pattern that a clean path belongs to.
    pub(super) fn find(&self, path: &str) -> Option<u32> {
        let path = path.strip_suffix('/').unwrap_or(path);
        if let Some(entry) = self.entries.get(path)
            && let Some(found) = entry.exact.or(entry.subtree)
        {
            return Some(found);
        }
        // No prefix with more segments than the longest subtree can be one.
        let mut end = memchr::memchr_iter(b'/', path.as_bytes())
            .nth(self.depth)
            .unwrap_or(path.len());
        loop {
            if end < path.len()
                && let Some(found) = self
                    .entries
                    .get(&path[..end])
                    .and_then(|entry| entry.subtree)
            {
                return Some(found);
            }
            end = memchr::memrchr(b'/', &path.as_bytes()[..end])?;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Pattern {
        /// Whether a clean path belongs to it, asked in the slow and obvious way.
        fn holds(&self, path: &str) -> bool {
            let path = path.strip_suffix('/').unwrap_or(path);
            match path.strip_prefix(&*self.base) {
                Some("") => true,
                Some(rest) => self.subtree && rest.starts_with('/'),
                None => false,
            }
        }
    }

    #[test]
    fn patterns_are_read_strictly() {
        assert_eq!(
            Pattern::parse("/x/").unwrap(),
            Pattern {
                base: "/x".into(),
                subtree: false
            }
        );
        assert_eq!(
            Pattern::parse("/*").unwrap(),
            Pattern {
                base: "".into(),
                subtree: true
            }
        );
        assert_eq!(
            Pattern::parse("/").unwrap(),
            Pattern {
                base: "".into(),
                subtree: false
            }
        );
        for bad in [
            "", "x", "/a*", "/*/a", "/a//b", "/a/../b", "/a b", "/%61", "/a;b", "/a./b", "/a?b",
            "/**",
        ] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    fn joined(segments: &[String]) -> String {
        segments.iter().flat_map(|segment| ["/", segment]).collect()
    }

    fn segment() -> impl Strategy<Value = String> {
        "[ab]{1,2}"
    }

    fn some_path() -> impl Strategy<Value = String> {
        (proptest::collection::vec(segment(), 0..5), any::<bool>()).prop_map(|(segments, slash)| {
            let path = joined(&segments);
            if slash || path.is_empty() {
                path + "/"
            } else {
                path
            }
        })
    }

    proptest! {
        /// The index agrees with asking every pattern in turn.
        #[test]
        fn the_longest_match_wins(
            patterns in proptest::collection::vec((proptest::collection::vec(segment(), 0..4), any::<bool>()), 0..12),
            path in some_path(),
        ) {
            let mut index = Index::default();
            let mut kept: Vec<Pattern> = Vec::new();
            for (segments, subtree) in patterns {
                let base = joined(&segments);
                let pattern = Pattern { base: base.into(), subtree };
                if !kept.contains(&pattern) {
                    index.add(&pattern.base, subtree, u32::try_from(kept.len()).unwrap());
                    kept.push(pattern);
                }
            }
            let slow = kept
                .iter()
                .enumerate()
                .filter(|(_, pattern)| pattern.holds(&path))
                .max_by_key(|(_, pattern)| (pattern.base.len(), !pattern.subtree))
                .map(|(at, _)| u32::try_from(at).unwrap());
            prop_assert_eq!(index.find(&path), slow);
        }
    }
}
