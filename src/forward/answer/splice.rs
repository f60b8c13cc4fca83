//! Takes out of lists what their reader may not see, by cutting it from the original bytes: order, spelling and
//! everything else stay as the backend wrote them.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::scan::List;

/// How long a client may keep a list that is its reader's own: as long as the proxy itself keeps claims without
/// looking at them again. In milliseconds, as in `ttlMs`.
const LONGEST_TTL: u32 = 60_000;

/// Why nothing can be taken out of a message: it is no JSON, or could be read in two ways.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::forward) struct Unreadable(#[from] serde_json::Error);

/// Decides which elements of lists are shown, by the member that they are called by.
pub(super) type Shows<'a> = dyn Fn(List, &str) -> bool + 'a;

/// What has to change in a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Edits {
    /// In order, without overlaps.
    edits: Vec<(Range<usize>, Cow<'static, str>)>,
    /// Whether there is a list in it.
    pub(super) lists: bool,
}

impl Edits {
    /// Finds what has to change in a message, or in an array of messages, so that its reader sees what is shown.
    ///
    /// # Errors
    /// When it cannot be read in exactly one way.
    pub(super) fn find(text: &[u8], shows: &Shows<'_>) -> Result<Self, Unreadable> {
        let all: &RawValue = serde_json::from_slice(text)?;
        let mut finder = Finder {
            base: text.as_ptr().addr(),
            shows,
            found: Self::default(),
        };
        if all.get().starts_with('[') {
            for message in elements(all)? {
                finder.message(message)?;
            }
        } else {
            finder.message(all)?;
        }
        finder.found.edits.sort_by_key(|(range, _)| range.start);
        Ok(finder.found)
    }

    /// Whether nothing has to change.
    pub(super) fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Makes the changes; `place` leads from places in the text that was read to places in `text`.
    pub(super) fn apply(&self, text: &[u8], place: impl Fn(usize) -> usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut from = 0;
        for (range, instead) in &self.edits {
            out.extend_from_slice(text.get(from..place(range.start)).unwrap_or_default());
            out.extend_from_slice(instead.as_bytes());
            from = place(range.end);
        }
        out.extend_from_slice(text.get(from..).unwrap_or_default());
        out
    }
}

struct Finder<'s> {
    base: usize,
    shows: &'s Shows<'s>,
    found: Edits,
}

impl Finder<'_> {
    fn message(&mut self, message: &RawValue) -> Result<(), Unreadable> {
        if !message.get().starts_with('{') {
            return Ok(());
        }
        let result = members(message)?
            .into_iter()
            .find(|(name, _)| name == "result");
        match result {
            Some((_, result)) if result.get().starts_with('{') => self.result(result),
            _ => Ok(()),
        }
    }

    fn result(&mut self, result: &RawValue) -> Result<(), Unreadable> {
        let members = members(result)?;
        let mut has_list = false;
        for (name, value) in &members {
            let Some(list) = List::of(name) else { continue };
            match value.get().as_bytes().first() {
                Some(b'[') => self.list(list, value)?,
                Some(b'n') => continue,
                _ => return Err(serde_json::Error::custom("a list is no array").into()),
            }
            has_list = true;
        }
        if has_list {
            self.found.lists = true;
            for (name, value) in &members {
                self.caching(name, value);
            }
        }
        Ok(())
    }

    /// What was filtered for one reader is nobody else's, and not for long.
    fn caching(&mut self, name: &str, value: &RawValue) {
        let instead = match name {
            "cacheScope" => {
                let is_private = serde_json::from_str::<Cow<'_, str>>(value.get())
                    .is_ok_and(|scope| scope == "private");
                (!is_private).then_some(Cow::Borrowed("\"private\""))
            }
            "ttlMs" => {
                let is_short = serde_json::from_str::<f64>(value.get())
                    .is_ok_and(|ttl| ttl <= f64::from(LONGEST_TTL));
                (!is_short).then(|| LONGEST_TTL.to_string().into())
            }
            _ => None,
        };
        if let Some(instead) = instead {
            let range = self.place(value);
            self.found.edits.push((range, instead));
        }
    }

    fn list(&mut self, list: List, array: &RawValue) -> Result<(), Unreadable> {
        let elements = elements(array)?;
        let mut kept = false;
        for (at, element) in elements.iter().enumerate() {
            if self.is_shown(list, element) {
                kept = true;
                continue;
            }
            // One comma goes along: the one before the element, or, at the beginning of the list, the one behind it.
            let mut range = self.place(element);
            if kept {
                let before = elements.get(at.wrapping_sub(1));
                range.start = before.map_or(range.start, |before| self.place(before).end);
            } else if let Some(next) = elements.get(at + 1) {
                range.end = self.place(next).start;
            }
            self.found.edits.push((range, Cow::Borrowed("")));
        }
        Ok(())
    }

    /// An element that cannot be judged is not shown.
    fn is_shown(&self, list: List, element: &RawValue) -> bool {
        if !element.get().starts_with('{') {
            return false;
        }
        let Ok(members) = members(element) else {
            return false;
        };
        members
            .iter()
            .find(|(name, _)| name == list.name())
            .and_then(|(_, value)| serde_json::from_str::<Cow<'_, str>>(value.get()).ok())
            .is_some_and(|name| (self.shows)(list, &name))
    }

    /// Where a part stands in the text.
    fn place(&self, part: &RawValue) -> Range<usize> {
        let from = part.get().as_ptr().addr().saturating_sub(self.base);
        from..from + part.get().len()
    }
}

/// The members of an object in their order; a name that stands twice is an error, for readers differ in which of the
/// values they take.
fn members(object: &RawValue) -> Result<Vec<(Cow<'_, str>, &RawValue)>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(object.get());
    reader.deserialize_map(Members)
}

fn elements(array: &RawValue) -> Result<Vec<&RawValue>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(array.get());
    reader.deserialize_seq(Elements)
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            members.push((name, map.next_value()?));
        }
        let mut names: Vec<&str> = members
            .iter()
            .map(|(name, _): &(Cow<'_, str>, _)| &**name)
            .collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(A::Error::custom("a member stands twice in one object"));
        }
        Ok(members)
    }
}

struct Name<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(elements)
    }
}

#[cfg(test)]
mod tests;
