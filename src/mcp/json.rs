//! JSON read so that no two readers can disagree about it, in one pass that copies nothing but names with escapes.
//!
//! It takes what RFC 8259 calls JSON, and refuses what readers treat in different ways: a name that stands twice in
//! one object (by its meaning, not by its spelling), half of a surrogate pair, a number beyond all floating point,
//! nesting too deep for others.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

/// Most objects and lists inside of each other: what `serde_json` reads too, so that later readers get as far.
const MAX_DEPTH: u8 = 127;

/// Names of one object beyond which they are looked up rather than gone through.
const FEW: usize = 32;

/// Digits beyond which a number could be out of range without an exponent.
const LONG_NUMBER: usize = 300;

/// Why a text is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// No JSON.
    #[error("it is not JSON: {what} at byte {at}")]
    Syntax {
        /// What is wrong.
        what: &'static str,
        /// Where, in bytes from the start.
        at: usize,
    },
    /// JSON that two readers could take for different things, or of a shape that nobody expects.
    #[error("{0}")]
    Shape(&'static str),
}

/// A text as it is written, without its quotes. Its escapes are known to be right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Text<'a> {
    /// What it means.
    pub(super) fn decoded(self) -> Cow<'a, str> {
        if self.escaped {
            Cow::Owned(unescaped(self.raw))
        } else {
            Cow::Borrowed(self.raw)
        }
    }
}

/// Goes through a JSON text. Every method begins at the next thing that is no white space; after an error the scanner
/// is of no more use.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: u8,
    /// The names of the objects that are open, the innermost last.
    names: Vec<Cow<'a, str>>,
}

/// The names of one object.
struct Own<'a> {
    from: usize,
    /// All of them, once they are many.
    many: Option<HashSet<Cow<'a, str>>>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
            names: Vec::with_capacity(16),
        }
    }

    /// The first byte of what comes next.
    pub(super) fn peek(&mut self) -> Result<u8, Fault> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                other => return Ok(*other),
            }
        }
        Err(self.syntax("it ends too early"))
    }

    /// That nothing more comes.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Err(_) => Ok(()),
            Ok(_) => Err(self.syntax("something follows")),
        }
    }

    /// Goes through any value.
    pub(super) fn value(&mut self) -> Result<(), Fault> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'{' => self.object(|inner, _| inner.value()),
            b'[' => self.array(Self::value),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => Err(self.syntax("a value is missing")),
        }
    }

    /// Goes through any value, and tells where it stands.
    pub(super) fn span(&mut self) -> Result<Range<usize>, Fault> {
        self.peek()?;
        let from = self.at;
        self.value()?;
        Ok(from..self.at)
    }

    /// Reads a text; anything else is gone through and gives `None`.
    pub(super) fn text(&mut self) -> Result<Option<Text<'a>>, Fault> {
        if self.peek()? == b'"' {
            return self.string().map(Some);
        }
        self.value().map(|()| None)
    }

    /// Reads an object; `take` is given the name of each member, and has to read its value.
    pub(super) fn object(
        &mut self,
        mut take: impl FnMut(&mut Self, &str) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.enter(b'{')?;
        let mut own = Own {
            from: self.names.len(),
            many: None,
        };
        if self.peek()? == b'}' {
            self.at += 1;
        } else {
            loop {
                if self.peek()? != b'"' {
                    return Err(self.syntax("a name is missing"));
                }
                let name = self.string()?.decoded();
                self.note(&mut own, &name)?;
                if self.peek()? != b':' {
                    return Err(self.syntax("a colon is missing"));
                }
                self.at += 1;
                take(self, &name)?;
                if self.is_last(b'}')? {
                    break;
                }
            }
        }
        self.names.truncate(own.from);
        self.depth -= 1;
        Ok(())
    }

    /// Reads a list; `take` has to read each of its values.
    pub(super) fn array<E: From<Fault>>(
        &mut self,
        mut take: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter(b'[')?;
        if self.peek()? == b']' {
            self.at += 1;
        } else {
            loop {
                take(self)?;
                if self.is_last(b']')? {
                    break;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn syntax(&self, what: &'static str) -> Fault {
        Fault::Syntax { what, at: self.at }
    }

    fn enter(&mut self, bracket: u8) -> Result<(), Fault> {
        if self.peek()? != bracket {
            return Err(self.syntax("something else was expected"));
        }
        if self.depth == MAX_DEPTH {
            return Err(self.syntax("it is nested too deeply"));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// After a value: whether the closing bracket follows rather than a comma.
    fn is_last(&mut self, bracket: u8) -> Result<bool, Fault> {
        let next = self.peek()?;
        if next != b',' && next != bracket {
            return Err(self.syntax("a comma or a bracket is missing"));
        }
        self.at += 1;
        Ok(next == bracket)
    }

    /// Keeps a name, which has to be new in its object.
    #[expect(
        clippy::ptr_arg,
        reason = "a name that is borrowed from the text is kept without a copy"
    )]
    fn note(&mut self, own: &mut Own<'a>, name: &Cow<'a, str>) -> Result<(), Fault> {
        let known = self.names.get(own.from..).unwrap_or_default();
        let is_new = if let Some(many) = &mut own.many {
            many.insert(name.clone())
        } else if known.len() < FEW {
            let is_new = !known.contains(name);
            self.names.push(name.clone());
            is_new
        } else {
            let mut many: HashSet<_> = self.names.drain(own.from..).collect();
            let is_new = many.insert(name.clone());
            own.many = Some(many);
            is_new
        };
        if is_new {
            Ok(())
        } else {
            Err(Fault::Shape("a member stands twice in one object"))
        }
    }

    fn word(&mut self, word: &'static str) -> Result<(), Fault> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(self.syntax("a value is missing"));
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        let from = self.at;
        self.skip(b"-");
        match self.digits() {
            0 => return Err(self.syntax("a digit is missing")),
            1 => {}
            count if self.byte(self.at - count) == Some(b'0') => {
                return Err(self.syntax("a number begins with a zero"));
            }
            _ => {}
        }
        if self.skip(b".") && self.digits() == 0 {
            return Err(self.syntax("a digit is missing"));
        }
        let scaled = self.skip(b"eE");
        if scaled {
            self.skip(b"+-");
            if self.digits() == 0 {
                return Err(self.syntax("a digit is missing"));
            }
        }
        if scaled || self.at - from > LONG_NUMBER {
            let number = self.text.get(from..self.at).map(str::parse::<f64>);
            if !matches!(number, Some(Ok(number)) if number.is_finite()) {
                return Err(self.syntax("a number is out of range"));
            }
        }
        Ok(())
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    /// Goes past one of these bytes, if it is there.
    fn skip(&mut self, any: &[u8]) -> bool {
        let is_there = self.byte(self.at).is_some_and(|byte| any.contains(&byte));
        self.at += usize::from(is_there);
        is_there
    }

    /// Goes past digits, and counts them.
    fn digits(&mut self) -> usize {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    /// Reads a text, at its first quote.
    fn string(&mut self) -> Result<Text<'a>, Fault> {
        self.at += 1;
        let from = self.at;
        let mut escaped = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            self.at += plain(rest);
            match self.byte(self.at) {
                Some(b'"') => {
                    // Both ends are at quotes, which are never inside of a character.
                    let raw = self.text.get(from..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(Text { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.syntax("a text has a control character in it")),
                None => return Err(self.syntax("a text does not end")),
            }
        }
    }

    /// Goes past an escape, at its backslash.
    fn escape(&mut self) -> Result<(), Fault> {
        let kind = self.byte(self.at + 1);
        match kind {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                return Ok(());
            }
            Some(b'u') => {}
            _ => return Err(self.syntax("an escape is unknown")),
        }
        match self.unit() {
            Some(0xd800..=0xdbff) => {
                self.at += 6;
                match self.unit() {
                    Some(0xdc00..=0xdfff) => {}
                    _ => return Err(self.syntax("half of a surrogate pair is missing")),
                }
            }
            Some(0xdc00..=0xdfff) => {
                return Err(self.syntax("half of a surrogate pair is missing"));
            }
            Some(_) => {}
            None => return Err(self.syntax("an escape is too short")),
        }
        self.at += 6;
        Ok(())
    }

    /// The UTF-16 unit of the escape that stands here, written as `\u` and four digits.
    fn unit(&self) -> Option<u16> {
        unit(self.text.as_bytes().get(self.at..)?)
    }
}

/// The UTF-16 unit of the escape, `\u` and four digits, that a text begins with.
fn unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.get(..6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0u16, |unit, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}

/// How many bytes at the start of a text stand for themselves: no quote, no backslash, no control character.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    // The lowest bit that is set is right; those above it need not be.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let equal = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let (words, rest) = bytes.as_chunks::<8>();
    let mut count = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let found = (below(word, 0x20) | equal(word, b'"') | equal(word, b'\\')) & HIGHS;
        if found != 0 {
            return count + found.trailing_zeros() as usize / 8;
        }
        count += 8;
    }
    let is_plain = |byte: &&u8| **byte >= 0x20 && **byte != b'"' && **byte != b'\\';
    count + rest.iter().take_while(is_plain).count()
}

/// What a text with right escapes means.
fn unescaped(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let mut after = after.chars();
        let simple = match after.next() {
            Some('u') => None,
            Some('b') => Some('\u{8}'),
            Some('f') => Some('\u{c}'),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            other => other,
        };
        if let Some(simple) = simple {
            out.push(simple);
            rest = after.as_str();
            continue;
        }
        let escapes = rest.as_bytes().get(before.len()..).unwrap_or_default();
        let units = [unit(escapes), escapes.get(6..).and_then(unit)];
        let first = char::decode_utf16(units.into_iter().flatten()).next();
        let meant = first
            .and_then(Result::ok)
            .unwrap_or(char::REPLACEMENT_CHARACTER);
        out.push(meant);
        let used = before.len() + 6 * meant.len_utf16();
        rest = rest.get(used..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests;
