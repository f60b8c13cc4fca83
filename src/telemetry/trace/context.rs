//! Trace contexts as they travel: W3C Trace Context, `traceparent`.

/// One span, named the same everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace that it belongs to; never all zero.
    pub trace: [u8; 16],
    /// The span; never all zero.
    pub span: [u8; 8],
    /// Whether whoever began the trace records it.
    pub sampled: bool,
}

/// Bytes of a `traceparent` of version 00.
pub(super) const LENGTH: usize = 55;

impl Context {
    /// Reads a `traceparent` (W3C Trace Context, section 3.2.2). A later version may have more behind the part that is
    /// known; version `ff` and ids of zeros mean nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let version = hex::<1>(bytes.get(..2)?)?;
        let known = match (version, bytes.len()) {
            ([0xff], _) => false,
            ([0], length) => length == LENGTH,
            (_, length) => length == LENGTH || bytes.get(LENGTH) == Some(&b'-'),
        };
        let dashes = [2, 35, 52].map(|at| bytes.get(at) == Some(&b'-'));
        if !known || dashes.contains(&false) {
            return None;
        }
        let trace = hex(bytes.get(3..35)?)?;
        let span = hex(bytes.get(36..52)?)?;
        let [flags] = hex(bytes.get(53..55)?)?;
        (trace != [0; 16] && span != [0; 8]).then_some(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
        })
    }

    /// The `traceparent` of this span.
    pub fn write(&self) -> [u8; LENGTH] {
        let mut out = [b'-'; LENGTH];
        out[..2].copy_from_slice(b"00");
        put(&mut out[3..35], &self.trace);
        put(&mut out[36..52], &self.span);
        put(&mut out[53..], &[u8::from(self.sampled)]);
        out
    }

    /// The trace's id in hex.
    pub fn trace_hex(&self) -> [u8; 32] {
        let mut out = [0; 32];
        put(&mut out, &self.trace);
        out
    }

    /// The span's id in hex.
    pub fn span_hex(&self) -> [u8; 16] {
        let mut out = [0; 16];
        put(&mut out, &self.span);
        out
    }
}

/// Lower-case hex only, as the specification demands.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    if text.len() != N * 2 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

fn put(out: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_specification_is_read_and_written() {
        let context = Context::parse(GOOD).unwrap();
        assert!(context.sampled);
        assert_eq!(std::str::from_utf8(&context.write()).unwrap(), GOOD);
        assert_eq!(&context.trace_hex(), b"4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(&context.span_hex(), b"00f067aa0ba902b7");
    }

    #[test]
    fn what_is_none_is_not_guessed_at() {
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
        ] {
            assert_eq!(Context::parse(bad), None, "{bad}");
        }
        assert!(
            Context::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-new").is_some()
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in "\\PC{0,80}") {
            let _ = Context::parse(&text);
        }

        #[test]
        fn what_is_written_is_read_again(trace in any::<[u8; 16]>(), span in any::<[u8; 8]>(), sampled: bool) {
            let context = Context { trace, span, sampled };
            let again = Context::parse(std::str::from_utf8(&context.write()).unwrap());
            prop_assert_eq!(again, (trace != [0; 16] && span != [0; 8]).then_some(context));
        }
    }
}
