//! What is wrong with a configuration: all of it, each with its place and what to do.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::path::Origin;

/// The most problems that are kept; a file with more has one cause.
pub const MAX_PROBLEMS: usize = 100;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key path (`routes[0].backend`); empty when it is about a whole file.
    pub path: String,
    /// Where the value was set.
    pub origin: Origin,
    /// What is wrong and what to do.
    pub message: String,
}

impl Problem {
    /// The file, when a file set the value.
    pub fn file(&self) -> Option<&Path> {
        match &self.origin {
            Origin::File { file, .. } => Some(file.as_path()),
            _ => None,
        }
    }

    /// The line in the file, from 1.
    pub fn line(&self) -> Option<u32> {
        match self.origin {
            Origin::File { line, .. } => Some(line),
            _ => None,
        }
    }

    /// The column in the file, in characters from 1.
    pub fn column(&self) -> Option<u32> {
        match self.origin {
            Origin::File { column, .. } => Some(column),
            _ => None,
        }
    }
}

/// `config.yaml:12:5: routes[0].backend: what is wrong`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => {}
            // Line 0 stands for a file as a whole: one that cannot be read.
            Origin::File { file, line: 0, .. } => write!(f, "{}: ", file.display())?,
            origin => write!(f, "{origin}: ")?,
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// As `check-config --format json` shows it.
impl Serialize for Problem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = serializer.serialize_struct("Problem", 6)?;
        out.serialize_field("path", &self.path)?;
        out.serialize_field("file", &self.file())?;
        out.serialize_field("line", &self.line().filter(|line| *line > 0))?;
        out.serialize_field("column", &self.column().filter(|column| *column > 0))?;
        let set_by = match &self.origin {
            Origin::Env(name) | Origin::Flag(name) => Some(name),
            Origin::Default | Origin::File { .. } => None,
        };
        out.serialize_field("set_by", &set_by)?;
        out.serialize_field("message", &self.message)?;
        out.end()
    }
}

/// All that is wrong, in the order of files and lines; never empty, at most [`MAX_PROBLEMS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems, sorted by place and without repetitions; `None` when there are none.
    pub(super) fn of(mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort_by_key(|each| {
            let kind = match each.origin {
                Origin::File { .. } => 0,
                Origin::Env(_) => 1,
                Origin::Flag(_) => 2,
                Origin::Default => 3,
            };
            (
                kind,
                each.file().map(Path::to_owned),
                each.line(),
                each.column(),
            )
        });
        problems.dedup();
        problems.truncate(MAX_PROBLEMS);
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// A single one.
    pub(super) fn one(problem: Problem) -> Self {
        Self(vec![problem])
    }

    /// The single problems.
    pub fn all(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The one of `known` that was probably meant: at most two slips away, and fewer than half of its letters.
pub(crate) fn nearest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|each| {
            (
                distance(&written.to_ascii_lowercase(), &each.to_ascii_lowercase()),
                each,
            )
        })
        .filter(|(slips, each)| *slips <= 2 && slips * 2 < each.len())
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, each)| each)
}

/// Number of letters to insert, drop or change (Levenshtein). Long texts are not compared.
fn distance(one: &str, other: &str) -> usize {
    if one.len() > 64 || other.len() > 64 {
        return usize::MAX / 2;
    }
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_found_and_far_ones_are_not() {
        let keys = ["public_url", "listen", "sessions", "oidc"];
        assert_eq!(nearest("pubic_url", keys), Some("public_url"));
        assert_eq!(nearest("listne", keys), Some("listen"));
        assert_eq!(nearest("Sessions", keys), Some("sessions"));
        assert_eq!(nearest("xyz", keys), None);
        assert_eq!(nearest("ab", keys), None);
    }
}
