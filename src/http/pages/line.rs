//! A line of text in which foreign words stand: our own words as they are, foreign ones marked and escaped.

use std::fmt;

use askama::filters::{Escaper, Html, HtmlSafe};

/// A piece of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'a> {
    /// Our own words.
    T(&'static str),
    /// A foreign name: kept from turning the text around it by its own direction of writing.
    N(&'a str),
    /// A foreign name that a decision hangs on.
    S(&'a str),
}

/// A line. Shown as HTML with everything escaped; [`Self::plain`] is for titles.
#[derive(Clone, Debug)]
pub(crate) struct Line<'a>(Vec<Part<'a>>);

impl<'a> Line<'a> {
    /// Of these parts.
    pub(crate) fn of(parts: &[Part<'a>]) -> Self {
        Self(parts.to_vec())
    }

    /// Without marks, not escaped.
    pub(crate) fn plain(&self) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::T(text) | Part::N(text) | Part::S(text) => *text,
            })
            .collect()
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::T(text) => Html.write_escaped_str(&mut *f, text)?,
                Part::N(text) => {
                    f.write_str("<bdi>")?;
                    Html.write_escaped_str(&mut *f, text)?;
                    f.write_str("</bdi>")?;
                }
                Part::S(text) => {
                    f.write_str("<strong><bdi>")?;
                    Html.write_escaped_str(&mut *f, text)?;
                    f.write_str("</bdi></strong>")?;
                }
            }
        }
        Ok(())
    }
}

impl HtmlSafe for Line<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_words_are_marked_and_escaped() {
        let line = Line::of(&[
            Part::T("Allow “"),
            Part::N("<b>x"),
            Part::T("” & "),
            Part::S("y"),
        ]);
        assert_eq!(
            line.to_string(),
            "Allow “<bdi>&#60;b&#62;x</bdi>” &#38; <strong><bdi>y</bdi></strong>"
        );
        assert_eq!(line.plain(), "Allow “<b>x” & y");
    }
}
