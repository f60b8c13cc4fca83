//! JSON read so that no two readers can disagree about it: a name that stands twice in an object is an error at every
//! depth, and so is every text that is not Unicode.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Names of an object beyond which they are looked up rather than gone through.
const FEW: usize = 24;

/// The names of the objects that are being read, as digests under a key of their own. Two names that share a digest
/// count as one, which refuses a message in 2^64.
#[derive(Default)]
pub(super) struct Names {
    open: Vec<u64>,
    hasher: RandomState,
}

/// The names of one object, while it is read.
#[derive(Default)]
pub(super) struct Object {
    from: usize,
    many: Option<HashSet<u64>>,
}

impl Names {
    pub(super) fn enter(&self) -> Object {
        Object {
            from: self.open.len(),
            many: None,
        }
    }

    pub(super) fn leave(&mut self, object: &Object) {
        self.open.truncate(object.from);
    }

    /// Whether a name is new in its object.
    fn is_new(&mut self, object: &mut Object, name: &str) -> bool {
        let digest = self.hasher.hash_one(name);
        if let Some(many) = &mut object.many {
            return many.insert(digest);
        }
        let own = &self.open[object.from..];
        if own.contains(&digest) {
            return false;
        }
        if own.len() == FEW {
            let mut many: HashSet<u64> = own.iter().copied().collect();
            many.insert(digest);
            object.many = Some(many);
        } else {
            self.open.push(digest);
        }
        true
    }
}

/// Reads one name of an object: its place among those that are known there, or `None`.
pub(super) struct Name<'a> {
    pub(super) names: &'a mut Names,
    pub(super) object: &'a mut Object,
    pub(super) known: &'static [&'static str],
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        if !self.names.is_new(self.object, name) {
            return Err(E::custom("a member stands twice in one object"));
        }
        let found = self.known.iter().position(|known| *known == name);
        if found.is_none()
            && self
                .known
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
        {
            // Some readers do not care about case, and would take it for the member itself.
            return Err(E::custom(
                "a member differs from one of the protocol's only in upper and lower case",
            ));
        }
        Ok(found)
    }
}

/// Reads any value and keeps nothing of it.
pub(super) struct Strict<'a>(pub(super) &'a mut Names);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Strict(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        each(&mut map, self.0, &[], |map, names, _| {
            map.next_value_seed(Strict(names))
        })
    }
}

/// Goes through the members of an object; `take` has to read the value of each, whose place among the known names it
/// is given.
pub(super) fn each<'de, A: MapAccess<'de>>(
    map: &mut A,
    names: &mut Names,
    known: &'static [&'static str],
    mut take: impl FnMut(&mut A, &mut Names, Option<usize>) -> Result<(), A::Error>,
) -> Result<(), A::Error> {
    let mut object = names.enter();
    while let Some(found) = map.next_key_seed(Name {
        names,
        object: &mut object,
        known,
    })? {
        take(map, names, found)?;
    }
    names.leave(&object);
    Ok(())
}
