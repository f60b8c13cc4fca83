//! Reads an event stream (HTML Standard, section 9.2.6) as its bytes pass: where events end, and what their data says.

use memchr::memchr2;

use super::scan::{Scanner, Sink};

/// Follows an event stream.
#[derive(Debug, Default)]
pub(super) struct Lines {
    scanner: Scanner,
    state: State,
    /// A `\n` that comes next belongs to the line that has ended.
    after_cr: bool,
    /// Behind the first line of the stream, before which there may be a byte order mark.
    began: bool,
    /// The present event has data.
    data: bool,
}

/// In which part of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the name of the field, of which this is read; longer ones are not `data`.
    Field([u8; 8], u8),
    /// Behind the colon of `data`, where one space is no part of the value.
    Colon,
    /// In a value of `data`.
    Data,
    /// In what is of no interest.
    Other,
}

impl Default for State {
    fn default() -> Self {
        Self::Field([0; 8], 0)
    }
}

const DATA: &[u8] = b"data";
const MARK: &[u8] = b"\xef\xbb\xbf";

impl Lines {
    /// Takes in a piece up to the end of the present event, and gives how much that was; `None` when the event goes on
    /// beyond the piece, all of which was taken in then.
    pub(super) fn event(&mut self, piece: &[u8], sink: &mut impl Sink) -> Option<usize> {
        let mut at = 0;
        while let Some(&byte) = piece.get(at) {
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                at += 1;
                continue;
            }
            let rest = &piece[at..];
            let Some(end) = memchr2(b'\n', b'\r', rest) else {
                self.part(rest, sink);
                return None;
            };
            self.part(&rest[..end], sink);
            at += end + 1;
            self.after_cr = rest[end] == b'\r';
            if self.line(sink) {
                if self.after_cr && piece.get(at) == Some(&b'\n') {
                    self.after_cr = false;
                    at += 1;
                }
                return Some(at);
            }
        }
        None
    }

    /// Whether the present event, or the one that has just ended, has data.
    pub(super) fn has_data(&self) -> bool {
        self.data
    }

    /// Begins the next event.
    pub(super) fn next(&mut self) {
        self.scanner.reset();
        self.data = false;
    }

    /// A part of a line, or the rest of it.
    fn part(&mut self, part: &[u8], sink: &mut impl Sink) {
        let mut rest = part;
        while let Some(&byte) = rest.first() {
            match &mut self.state {
                State::Field(name, length) => {
                    rest = &rest[1..];
                    if byte == b':' {
                        self.state = if self.is_data() {
                            self.data = true;
                            State::Colon
                        } else {
                            State::Other
                        };
                    } else if let Some(room) = name.get_mut(usize::from(*length)) {
                        *room = byte;
                        *length += 1;
                    } else {
                        self.state = State::Other;
                    }
                }
                State::Colon => {
                    self.state = State::Data;
                    if byte == b' ' {
                        rest = &rest[1..];
                    }
                }
                State::Data => {
                    self.scanner.feed(rest, sink);
                    return;
                }
                State::Other => return,
            }
        }
    }

    /// A line has ended; gives whether it was empty and so ended the event.
    fn line(&mut self, sink: &mut impl Sink) -> bool {
        let state = std::mem::take(&mut self.state);
        let empty = match state {
            State::Field(_, 0) => true,
            State::Field(name, length) => {
                let only_a_mark = !self.began && name.get(..usize::from(length)) == Some(MARK);
                if name.get(..usize::from(length)) == Some(DATA) {
                    self.data = true;
                }
                only_a_mark
            }
            State::Data => {
                self.scanner.feed(b"\n", sink);
                false
            }
            State::Colon | State::Other => false,
        };
        self.began = true;
        empty
    }

    fn is_data(&self) -> bool {
        let State::Field(name, length) = self.state else {
            return false;
        };
        let name = name.get(..usize::from(length)).unwrap_or_default();
        name == DATA || !self.began && name.strip_prefix(MARK) == Some(DATA)
    }
}

/// The values of `data` in a whole event, each with its place.
pub(super) fn data(event: &[u8], first: bool) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut at = if first && event.starts_with(MARK) {
        MARK.len()
    } else {
        0
    };
    std::iter::from_fn(move || {
        loop {
            let rest = event.get(at..).filter(|rest| !rest.is_empty())?;
            let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let line = &rest[..length];
            let begin = at;
            at += length + 1;
            let value = match line.strip_prefix(DATA) {
                Some([]) => length,
                Some([b':', b' ', ..]) => DATA.len() + 2,
                Some([b':', ..]) => DATA.len() + 1,
                _ => continue,
            };
            return Some(begin + value..begin + length);
        }
    })
}
