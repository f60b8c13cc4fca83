//! Names that strangers chose, made fit for a page.

/// Characters of a name that are shown.
const MOST: usize = 64;

/// A stranger's name for a page: cut at 64 characters; without characters that control, hide or turn text around;
/// white space as one space. `None` when nothing is left.
pub(crate) fn shown(name: &str) -> Option<String> {
    let mut out = String::new();
    let mut count = 0;
    for c in name.chars().filter(|c| !is_tricky(*c)) {
        let c = if c.is_whitespace() { ' ' } else { c };
        if c == ' ' && (out.is_empty() || out.ends_with(' ')) {
            continue;
        }
        if count == MOST {
            out.truncate(out.trim_end().len());
            out.push('…');
            return Some(out);
        }
        out.push(c);
        count += 1;
    }
    out.truncate(out.trim_end().len());
    (!out.is_empty()).then_some(out)
}

/// Control characters, format characters of Unicode (category Cf: direction, joiners, tags), line and paragraph
/// separators, variation selectors, fillers that look like nothing, private use, and what is no character.
fn is_tricky(c: char) -> bool {
    (c.is_control() && !c.is_whitespace())
        || matches!(u32::from(c),
            0x00ad | 0x034f | 0x0600..=0x0605 | 0x061c | 0x06dd | 0x070f | 0x0890 | 0x0891 | 0x08e2
            | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f | 0x2028..=0x202e
            | 0x2060..=0x206f | 0x2800 | 0x3164 | 0xe000..=0xf8ff | 0xfdd0..=0xfdef | 0xfe00..=0xfe0f
            | 0xfeff | 0xffa0 | 0xfff0..=0xffff | 0x1_10bd | 0x1_10cd | 0x1_3430..=0x1_345f
            | 0x1_bca0..=0x1_bca3 | 0x1_d173..=0x1_d17a | 0xe_0000..=0xe_0fff | 0xf_0000..=0x10_ffff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_cut_and_cleaned() {
        assert_eq!(shown("Claude").as_deref(), Some("Claude"));
        assert_eq!(shown(" a \n\t b ").as_deref(), Some("a b"));
        assert_eq!(
            shown("safe\u{202e}gpj.exe\u{200b}\u{0}\u{7f}").as_deref(),
            Some("safegpj.exe")
        );
        assert_eq!(shown("\u{202e}\u{3164} \u{200f}"), None);
        assert_eq!(shown(""), None);
        let long = shown(&"x".repeat(5000)).unwrap();
        assert_eq!(long.chars().count(), MOST + 1);
        assert!(long.ends_with('…'));
        assert_eq!(shown("日本語のアプリ").as_deref(), Some("日本語のアプリ"));
    }

    proptest! {
        #[test]
        fn whatever_the_name_what_is_shown_is_short_and_plain(name in "\\PC{0,200}|.{0,200}") {
            if let Some(shown) = shown(&name) {
                prop_assert!(shown.chars().count() <= MOST + 1);
                prop_assert!(!shown.chars().any(|c| c.is_control() || is_tricky(c)));
                prop_assert_eq!(shown.trim(), shown.as_str());
            }
        }
    }
}
