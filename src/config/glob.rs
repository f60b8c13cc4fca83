//! Globs of rules: `*` is any run of characters, also none and also across `/`; `?` is exactly one character. All else
//! is itself: upper and lower case differ, nothing is normalised, and the whole text has to fit.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

/// Longest glob, in bytes: no name or address that a client may send is longer.
const MAX_LEN: usize = 2048;

/// Most `*` in a glob, so that a look takes a bounded time.
const MAX_STARS: usize = 16;

/// A pattern that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Box<str>);

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// For an empty one, one that is too long, two `*` in a row, and control characters, which no name can have.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(
                "the pattern is empty, so it fits nothing; write a name, or `*` for all".to_owned(),
            );
        }
        if text.len() > MAX_LEN {
            return Err(format!("the pattern is longer than {MAX_LEN} bytes"));
        }
        if text.contains("**") {
            return Err(format!(
                "`{text}` has `**`; one `*` fits any run of characters already, also across `/`"
            ));
        }
        if text.bytes().filter(|byte| *byte == b'*').count() > MAX_STARS {
            return Err(format!(
                "the pattern has more than {MAX_STARS} `*`; write several patterns"
            ));
        }
        if text.chars().any(char::is_control) {
            return Err("the pattern has a control character; remove it".to_owned());
        }
        Ok(Self(text.into()))
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole of a text fits. Takes at most the product of both lengths.
    pub fn matches(&self, text: &str) -> bool {
        let (glob, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut at, mut seen) = (0, 0);
        // Where to go on when what follows the last `*` does not fit: the `*` takes one byte more.
        let mut retry: Option<(usize, usize)> = None;
        while seen < text.len() {
            match glob.get(at) {
                Some(b'*') => {
                    at += 1;
                    retry = Some((at, seen));
                    continue;
                }
                Some(b'?') => {
                    at += 1;
                    seen += width(text[seen]);
                    continue;
                }
                Some(byte) if *byte == text[seen] => {
                    at += 1;
                    seen += 1;
                    continue;
                }
                _ => {}
            }
            let Some((after, from)) = retry else {
                return false;
            };
            let from = from + width(text[from]);
            (at, seen) = (after, from);
            retry = Some((after, from));
        }
        glob[at..].iter().all(|byte| *byte == b'*')
    }

    /// Whether everything that fits `other` fits this one too.
    pub fn covers(&self, other: &Self) -> bool {
        let (wide, narrow) = (symbols(&self.0), symbols(&other.0));
        // row[j]: whether the symbols of `wide` so far cover the first j of `narrow`.
        let mut row: Vec<bool> = vec![false; narrow.len() + 1];
        row[0] = true;
        for symbol in wide {
            let mut next = vec![false; narrow.len() + 1];
            next[0] = row[0] && symbol == Symbol::Run;
            for (j, inner) in narrow.iter().enumerate() {
                next[j + 1] = match symbol {
                    Symbol::Run => row[j + 1] || next[j],
                    Symbol::One => row[j] && *inner != Symbol::Run,
                    Symbol::Char(_) => row[j] && *inner == symbol,
                };
            }
            row = next;
        }
        row.last().copied().unwrap_or(false)
    }

    /// Whether some text fits both.
    pub fn meets(&self, other: &Self) -> bool {
        let (one, two) = (symbols(&self.0), symbols(&other.0));
        let mut row: Vec<bool> = vec![false; two.len() + 1];
        row[0] = true;
        for (j, symbol) in two.iter().enumerate() {
            row[j + 1] = row[j] && *symbol == Symbol::Run;
        }
        for symbol in one {
            let mut next = vec![false; two.len() + 1];
            next[0] = row[0] && symbol == Symbol::Run;
            for (j, other) in two.iter().enumerate() {
                next[j + 1] = if symbol == Symbol::Run || *other == Symbol::Run {
                    row[j + 1] || next[j] || row[j]
                } else {
                    row[j] && (symbol == *other || symbol == Symbol::One || *other == Symbol::One)
                };
            }
            row = next;
        }
        row.last().copied().unwrap_or(false)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Symbol {
    Char(char),
    One,
    Run,
}

/// The pattern in its plainest form: in a row of wildcards, first all `?`, then at most one `*`.
fn symbols(glob: &str) -> Vec<Symbol> {
    let mut out = Vec::with_capacity(glob.len());
    let mut run = false;
    for c in glob.chars() {
        match c {
            '*' => run = true,
            '?' => out.push(Symbol::One),
            c => {
                if std::mem::take(&mut run) {
                    out.push(Symbol::Run);
                }
                out.push(Symbol::Char(c));
            }
        }
    }
    if run {
        out.push(Symbol::Run);
    }
    out
}

/// Bytes of the character that begins with this byte of a text.
fn width(first: u8) -> usize {
    match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Glob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for Glob {
    fn schema_name() -> Cow<'static, str> {
        "Glob".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": MAX_LEN })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(text: &str) -> Glob {
        Glob::parse(text).unwrap()
    }

    /// Slow, and plainly right.
    fn naive(glob: &[char], text: &[char]) -> bool {
        match glob.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|from| naive(rest, &text[from..])),
            Some(('?', rest)) => !text.is_empty() && naive(rest, &text[1..]),
            Some((c, rest)) => text.first() == Some(c) && naive(rest, &text[1..]),
        }
    }

    fn slow(glob: &str, text: &str) -> bool {
        naive(
            &glob.chars().collect::<Vec<_>>(),
            &text.chars().collect::<Vec<_>>(),
        )
    }

    #[test]
    fn the_whole_text_fits_byte_for_byte() {
        for (pattern, text, fits) in [
            ("delete_*", "delete_", true),
            ("delete_*", "delete_x", true),
            ("delete_*", "Delete_x", false),
            ("delete_*", " delete_x", false),
            ("delete", "delete ", false),
            ("delete", "delet", false),
            ("*", "", true),
            ("?", "", false),
            ("?", "\u{e4}", true),
            ("??", "\u{1f600}", false),
            ("file:///docs/*", "file:///docs/a/b", true),
            ("*.md", "a.md.exe", false),
            ("a*b*c", "a-b-b-c", true),
            // Composed and decomposed are different texts.
            ("caf\u{e9}", "cafe\u{301}", false),
            ("[ab]", "a", false),
        ] {
            assert_eq!(glob(pattern).matches(text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        for text in [
            "",
            "a**b",
            "a\nb",
            &"x".repeat(MAX_LEN + 1),
            &"a*".repeat(MAX_STARS + 1),
        ] {
            assert!(Glob::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_are_compared() {
        for (wide, narrow, covers, meets) in [
            ("*", "delete_*", true, true),
            ("delete_*", "*", false, true),
            ("delete_*", "delete_a?", true, true),
            ("a?c", "a*c", false, true),
            ("?*", "*?", true, true),
            ("*a", "a*", false, true),
            ("a*", "b*", false, false),
            ("a", "a", true, true),
            ("??", "?", false, false),
            ("*b*", "abc", true, true),
        ] {
            assert_eq!(
                (
                    glob(wide).covers(&glob(narrow)),
                    glob(wide).meets(&glob(narrow))
                ),
                (covers, meets),
                "{wide} {narrow}"
            );
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_slow_look(pattern in "[ab\u{e4}*?]{1,8}", text in "[ab\u{e4}]{0,8}") {
            if let Ok(glob) = Glob::parse(&pattern) {
                prop_assert_eq!(glob.matches(&text), slow(&pattern, &text));
            }
        }

        #[test]
        fn covering_and_meeting_hold_for_texts(one in "[ab*?]{1,6}", two in "[ab*?]{1,6}", text in "[ab]{0,6}") {
            if let (Ok(one), Ok(two)) = (Glob::parse(&one), Glob::parse(&two)) {
                let (a, b) = (one.matches(&text), two.matches(&text));
                prop_assert!(!one.covers(&two) || !b || a);
                prop_assert!(!(a && b) || one.meets(&two));
            }
        }

        #[test]
        fn any_text_is_looked_at_in_time(pattern in "\\PC{1,20}", text in "\\PC{0,200}") {
            if let Ok(glob) = Glob::parse(&pattern) {
                let _ = glob.matches(&text);
            }
        }
    }
}
