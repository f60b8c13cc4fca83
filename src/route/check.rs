//! Request-target hygiene: what two readers could read differently is refused, so that what is judged here and
//! what a backend sees are the same.
//!
//! Refused in a path: empty segments before the last one; dot segments; `/ \ # ? ; %` and NUL behind a percent
//! sign; escapes that are not UTF-8 or hide control characters; look-alikes that compatibility forms turn into
//! separators; a backslash; matrix parameters (`;`), which some servers cut off before they look for the page;
//! everything that RFC 3986 does not allow in a path except `[ ] | ^`, which browsers leave as they are.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Longest path, and longest query, in bytes.
pub(super) const MAX_LENGTH: usize = 8 << 10;

/// Why a path or query cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unjudgeable {
    #[error("the address is longer than 8 KiB")]
    TooLong,
    #[error("the path does not start with a slash")]
    NotAPath,
    #[error("the path has an empty segment (`//`)")]
    EmptySegment,
    #[error("the path has a segment of dots or blanks only")]
    DotSegment,
    #[error("the path has a character that servers read in different ways")]
    Character,
    #[error("the path has a percent escape that servers read in different ways")]
    Escape,
    #[error("the query has a control or non-ASCII character")]
    Query,
}

/// A path that was found clean. `folded` is how the most lenient reader would see it, when that differs from the
/// path: decoded, lower case, without dots and blanks at the end of segments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Clean<'a> {
    pub(super) path: &'a str,
    pub(super) folded: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Refused,
    Plain,
    Slash,
    Dot,
    Upper,
    Percent,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Refused; 256];
    let mut byte = 0x21_u8;
    while byte < 0x7f {
        classes[byte as usize] = match byte {
            b'/' => Class::Slash,
            b'.' => Class::Dot,
            b'%' => Class::Percent,
            b'A'..=b'Z' => Class::Upper,
            b'\\' | b'#' | b'?' | b';' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' => Class::Refused,
            _ => Class::Plain,
        };
        byte += 1;
    }
    classes
};

/// Judges a path in one pass; only escapes, capitals and dots at the end of a segment cost a second one.
pub(super) fn path(path: &str) -> Result<Clean<'_>, Unjudgeable> {
    let bytes = path.as_bytes();
    if bytes.len() > MAX_LENGTH {
        return Err(Unjudgeable::TooLong);
    }
    if bytes.first() != Some(&b'/') {
        return Err(Unjudgeable::NotAPath);
    }
    let (mut escaped, mut folds) = (false, false);
    let mut previous = Class::Slash;
    let mut only_dots = true;
    for byte in &bytes[1..] {
        let class = CLASSES[usize::from(*byte)];
        match class {
            Class::Refused => return Err(Unjudgeable::Character),
            Class::Slash => {
                if previous == Class::Slash {
                    return Err(Unjudgeable::EmptySegment);
                }
                if only_dots {
                    return Err(Unjudgeable::DotSegment);
                }
                folds |= previous == Class::Dot;
                only_dots = true;
            }
            Class::Dot => {}
            Class::Plain => only_dots = false,
            Class::Upper => (only_dots, folds) = (false, true),
            Class::Percent => (only_dots, escaped) = (false, true),
        }
        previous = class;
    }
    if only_dots && previous == Class::Dot {
        return Err(Unjudgeable::DotSegment);
    }
    folds |= previous == Class::Dot;
    let folded = if escaped || folds {
        Some(fold(path)?)
    } else {
        None
    };
    Ok(Clean { path, folded })
}

/// Judges a query (without its question mark). It is not read here, only passed on.
pub(super) fn query(query: &str) -> Result<(), Unjudgeable> {
    if query.len() > MAX_LENGTH {
        return Err(Unjudgeable::TooLong);
    }
    if query.bytes().all(|b| matches!(b, 0x21..=0x7e) && b != b'#') {
        Ok(())
    } else {
        Err(Unjudgeable::Query)
    }
}

fn fold(path: &str) -> Result<String, Unjudgeable> {
    let mut folded = String::with_capacity(path.len());
    for segment in path[1..].split('/') {
        let decoded = decode(segment)?;
        let lower = decoded.to_lowercase();
        let trimmed = lower.trim_end_matches(|c: char| c == '.' || c.is_whitespace());
        if trimmed.is_empty() && !segment.is_empty() {
            return Err(Unjudgeable::DotSegment);
        }
        folded.push('/');
        folded.push_str(trimmed);
    }
    Ok(folded)
}

/// Decodes a segment once, and refuses what a second decoding or a lenient reader would take for syntax.
fn decode(segment: &str) -> Result<Cow<'_, str>, Unjudgeable> {
    if !segment.contains('%') {
        return Ok(Cow::Borrowed(segment));
    }
    let hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let is_escape = |bytes: &[u8], at: usize| hex(bytes.get(at + 1)) && hex(bytes.get(at + 2));
    let raw = segment.as_bytes();
    if (0..raw.len()).any(|at| raw[at] == b'%' && !is_escape(raw, at)) {
        return Err(Unjudgeable::Escape);
    }
    let decoded = percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| Unjudgeable::Escape)?;
    let bytes = decoded.as_bytes();
    let escape_again = (0..bytes.len()).any(|at| bytes[at] == b'%' && is_escape(bytes, at));
    if escape_again || decoded.chars().any(confusing) {
        return Err(Unjudgeable::Escape);
    }
    Ok(decoded)
}

/// Syntax, control characters, and characters that compatibility decomposition or best-fit conversion turns
/// into syntax.
fn confusing(c: char) -> bool {
    matches!(c, '/' | '\\' | '#' | '?' | ';')
        || c.is_control()
        || matches!(
            c,
            '\u{ff0f}' | '\u{ff3c}' | '\u{ff0e}' | '\u{ff05}' | '\u{ff1b}' | '\u{ff1f}' | '\u{ff03}' // full-width
                | '\u{fe52}' | '\u{fe68}' | '\u{fe6a}' | '\u{fe54}' | '\u{fe56}' | '\u{fe5f}' // small forms
                | '\u{2024}'..='\u{2026}' // dot leaders
                | '\u{2044}' | '\u{2215}' | '\u{29f5}' | '\u{29f8}' | '\u{2216}' // further slashes
                | '\u{37e}' // Greek question mark, a semicolon in compatibility form
                | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' // invisible
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_paths_pass_unchanged() {
        for good in [
            "/",
            "/mcp",
            "/a/b/",
            "/a.b/c..d",
            "/a-b_c~d/!$&'()*+,=:@",
            "/[x]|^",
            "/.well-known/x",
        ] {
            assert_eq!(
                path(good),
                Ok(Clean {
                    path: good,
                    folded: None
                }),
                "{good}"
            );
        }
    }

    #[test]
    fn what_a_lenient_reader_would_see() {
        for (given, folded) in [
            ("/A/b", "/a/b"),
            ("/%61dmin", "/admin"),
            ("/admin./x", "/admin/x"),
            ("/admin%20", "/admin"),
            ("/100%25", "/100%"),
            ("/%C3%84/", "/\u{e4}/"),
            ("/a%2Eb", "/a.b"),
        ] {
            assert_eq!(
                path(given).unwrap().folded.as_deref(),
                Some(folded),
                "{given}"
            );
        }
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        for bad in [
            "",
            "x",
            "*",
            "//",
            "/a//b",
            "/a//",
            "/./a",
            "/a/..",
            "/a/../b",
            "/.",
            "/..",
            "/...",
            "/%2e/a",
            "/a/%2E%2e",
            "/.%2e/a",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0d%0a",
            "/a%7f",
            "/a#b",
            "/a%23b",
            "/a;b",
            "/a;b/c",
            "/a%3bb",
            "/a%3Fb",
            "/%252f",
            "/%25%32%66",
            "/%2561",
            "/%c0%af",
            "/%c0%ae/",
            "/%ff",
            "/%u002f",
            "/%",
            "/%4",
            "/%zz",
            "/%ef%bc%8f",
            "/%ef%bc%8e%ef%bc%8e/",
            "/%e2%80%a4",
            "/\u{e4}",
            "/a b",
            "/a\tb",
            "/{a}",
            "/a\"",
            "/%20",
            "/%e2%80%8b",
            "/.%20/a",
            "/%c2%85",
        ] {
            assert!(path(bad).is_err(), "{bad}");
        }
        assert_eq!(
            path(&format!("/{}", "a".repeat(MAX_LENGTH))),
            Err(Unjudgeable::TooLong)
        );
    }

    #[test]
    fn queries_pass_as_they_are() {
        assert_eq!(query("a=b&c=%2f..//;\\"), Ok(()));
        for bad in ["\u{e4}", "a b", "a\0", "a#b"] {
            assert_eq!(query(bad), Err(Unjudgeable::Query), "{bad}");
        }
    }
}
