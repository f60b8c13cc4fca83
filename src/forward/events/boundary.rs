//! Where events end in a stream (HTML Standard, section 9.2.5 and 9.2.6): at an empty line, whatever ends lines.

/// Follows the bytes of an event stream and knows whether it stands between two events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::forward) struct Boundary(State);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Between two events.
    #[default]
    Between,
    /// Inside a line.
    Line,
    /// Behind a line of an event, ended by `\n` or `\r\n`.
    Start,
    /// Behind a line of an event, ended by `\r`; an `\n` would belong to it.
    StartCr,
    /// Behind an empty line ended by `\r` in a stream whose lines end so: between two events, though an `\n` would
    /// still belong to the line.
    BetweenCr,
    /// Behind an empty line of which the `\r` has come and the `\n` is still to come.
    Half,
}

impl Boundary {
    /// Whether a comment may be put here, or the stream may end here.
    pub(in crate::forward) fn is_between(self) -> bool {
        matches!(self.0, State::Between | State::BetweenCr)
    }

    /// Takes in a piece of the stream. Looks only at the line ends with which it ends.
    pub(in crate::forward) fn advance(&mut self, piece: &[u8]) {
        let ends = piece
            .iter()
            .rev()
            .take_while(|byte| matches!(byte, b'\n' | b'\r'))
            .count();
        if ends < piece.len() {
            self.0 = State::Line;
        }
        for byte in &piece[piece.len() - ends..] {
            self.step(*byte);
        }
    }

    /// The length of the part of `piece` that completes the present event; `None` when it goes on beyond.
    pub(in crate::forward) fn first_end(mut self, piece: &[u8]) -> Option<usize> {
        for (at, byte) in piece.iter().enumerate() {
            self.step(*byte);
            if self.is_between() {
                return Some(at + 1);
            }
        }
        None
    }

    fn step(&mut self, byte: u8) {
        use State::{Between, BetweenCr, Half, Line, Start, StartCr};

        self.0 = match (self.0, byte) {
            (Line | StartCr, b'\n') => Start,
            (Line, b'\r') => StartCr,
            (Start | Half | Between | BetweenCr, b'\n') => Between,
            (Start, b'\r') => Half,
            (StartCr | Half | Between | BetweenCr, b'\r') => BetweenCr,
            _ => Line,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(pieces: &[&str]) -> bool {
        let mut boundary = Boundary::default();
        for piece in pieces {
            boundary.advance(piece.as_bytes());
        }
        boundary.is_between()
    }

    #[test]
    fn all_line_ends_make_boundaries() {
        for whole in [
            "data: x\n\n",
            "data: x\r\n\r\n",
            "data: x\r\r",
            "data: x\n\r\n",
            "data: x\r\n\n",
            "",
            "\n",
        ] {
            assert!(after(&[whole]), "{whole:?}");
        }
        for part in [
            "data: x",
            "data: x\n",
            "data: x\r\n",
            "data: x\r",
            "data: x\r\n\r",
            "a\n\nb",
            "a\n\n:c\n",
        ] {
            assert!(!after(&[part]), "{part:?}");
        }
        assert!(after(&["data: x\r\n\r", "\n"]));
        assert!(after(&["data: x\n", "\n"]));
        assert!(!after(&["data: x\r", "\n"]));
    }

    #[test]
    fn the_first_end_completes_the_present_event() {
        let mut boundary = Boundary::default();
        boundary.advance(b"data: a\nda");
        assert_eq!(boundary.first_end(b"ta: b\n\ndata: c\n\n"), Some(7));
        assert_eq!(boundary.first_end(b"ta: b\ndata: c\n"), None);
    }

    proptest! {
        /// However a stream is cut up, the state behind it is that of going byte by byte.
        #[test]
        fn cuts_do_not_matter(stream in "[a:\n\r]{0,40}", cuts in proptest::collection::vec(0usize..41, 0..6)) {
            let mut slow = Boundary::default();
            for byte in stream.bytes() {
                slow.step(byte);
            }
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.sort_unstable();
            let mut fast = Boundary::default();
            let mut from = 0;
            for to in cuts.into_iter().chain([stream.len()]) {
                fast.advance(&stream.as_bytes()[from..to]);
                from = to;
            }
            prop_assert_eq!(slow, fast);
        }
    }
}
