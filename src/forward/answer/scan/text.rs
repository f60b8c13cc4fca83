//! A short text of a message.

use std::borrow::Cow;

/// Longest text that is looked at, as it is written.
pub(super) const MAX_TEXT: usize = 256;

/// A short text as it is written, without its quotes.
#[derive(Clone, Copy)]
pub(super) struct Text {
    bytes: [u8; MAX_TEXT],
    length: usize,
    /// It is longer than what is kept.
    over: bool,
    there: bool,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            bytes: [0; MAX_TEXT],
            length: 0,
            over: false,
            there: false,
        }
    }
}

impl Text {
    pub(super) fn clear(&mut self) {
        self.length = 0;
        self.over = false;
        self.there = false;
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
        self.there = true;
        match self.bytes.get_mut(self.length..self.length + piece.len()) {
            Some(room) if !self.over => {
                room.copy_from_slice(piece);
                self.length += piece.len();
            }
            _ => self.over = true,
        }
    }

    /// Becomes the other text with its quotes.
    pub(super) fn quote(&mut self, other: &Self) {
        self.clear();
        self.push(b"\"");
        self.push(&other.bytes[..other.length]);
        self.push(b"\"");
        self.over |= other.over;
    }

    pub(super) fn get(&self) -> Option<&[u8]> {
        (self.there && !self.over).then(|| &self.bytes[..self.length])
    }

    pub(super) fn number(&self) -> Option<i64> {
        std::str::from_utf8(self.get()?).ok()?.parse().ok()
    }

    pub(super) fn unescaped(&self) -> Option<Cow<'_, str>> {
        if self.over {
            return None;
        }
        let raw = std::str::from_utf8(&self.bytes[..self.length]).ok()?;
        if raw.contains('\\') {
            serde_json::from_str(&format!("\"{raw}\""))
                .ok()
                .map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(raw))
        }
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.get().map(String::from_utf8_lossy))
    }
}
