//! What is read of a message's `params`.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::again;
use crate::mcp::strict::{Names, Strict, each};

/// Resources or tasks of one `subscriptions/listen` at most.
const MAX_SUBSCRIPTIONS: usize = 256;

#[derive(Default)]
pub(super) struct Params<'a> {
    pub(super) name: Field<'a>,
    pub(super) uri: Field<'a>,
    pub(super) task: Field<'a>,
    pub(super) arguments: Option<&'a RawValue>,
    pub(super) reference: Reference<'a>,
    pub(super) version: Field<'a>,
    pub(super) trace: Field<'a>,
    pub(super) resources: Vec<Cow<'a, str>>,
    pub(super) tasks: Vec<Cow<'a, str>>,
}

/// `ref` of `completion/complete`.
#[derive(Default)]
pub(super) struct Reference<'a> {
    pub(super) kind: Field<'a>,
    pub(super) name: Field<'a>,
    pub(super) uri: Field<'a>,
}

/// A member that should be a text.
#[derive(Default)]
pub(super) enum Field<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Other,
}

impl<'a> Field<'a> {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Absent | Self::Other => None,
        }
    }

    pub(super) fn into_text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text),
            Self::Absent | Self::Other => None,
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

pub(super) struct ParamsSeed<'n>(pub(super) &'n mut Names);

impl<'de> DeserializeSeed<'de> for ParamsSeed<'_> {
    type Value = Option<Params<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ParamsSeed<'_> {
    type Value = Option<Params<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object as `params`")
    }

    /// `null` says what nothing says.
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        const KNOWN: &[&str] = &[
            "name",
            "uri",
            "taskId",
            "arguments",
            "ref",
            "_meta",
            "notifications",
            "resourceSubscriptions",
            "taskIds",
        ];
        let mut found = Params::default();
        each(&mut map, self.0, KNOWN, |map, names, member| {
            match member {
                Some(0) => found.name = map.next_value_seed(FieldSeed(names))?,
                Some(1) => found.uri = map.next_value_seed(FieldSeed(names))?,
                Some(2) => found.task = map.next_value_seed(FieldSeed(names))?,
                Some(3) => {
                    let raw: &RawValue = map.next_value()?;
                    again(raw, names)?;
                    found.arguments = Some(raw);
                }
                Some(4) => map.next_value_seed(Part(names, &mut Referred(&mut found.reference)))?,
                Some(5) => map.next_value_seed(Part(names, &mut Meta(&mut found)))?,
                Some(6) => map.next_value_seed(Part(names, &mut Wanted(&mut found)))?,
                Some(7) => map.next_value_seed(Texts(names, &mut found.resources))?,
                Some(8) => map.next_value_seed(Texts(names, &mut found.tasks))?,
                _ => map.next_value_seed(Strict(names))?,
            }
            Ok(())
        })?;
        Ok(Some(found))
    }
}

/// An object inside of `params` of which some members are known.
trait Members<'de> {
    const KNOWN: &'static [&'static str];

    fn take<A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
        names: &mut Names,
        member: usize,
    ) -> Result<(), A::Error>;
}

struct Referred<'f, 'a>(&'f mut Reference<'a>);

impl<'de> Members<'de> for Referred<'_, 'de> {
    const KNOWN: &'static [&'static str] = &["type", "name", "uri"];

    fn take<A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
        names: &mut Names,
        member: usize,
    ) -> Result<(), A::Error> {
        let field = match member {
            0 => &mut self.0.kind,
            1 => &mut self.0.name,
            _ => &mut self.0.uri,
        };
        *field = map.next_value_seed(FieldSeed(names))?;
        Ok(())
    }
}

struct Meta<'f, 'a>(&'f mut Params<'a>);

impl<'de> Members<'de> for Meta<'_, 'de> {
    const KNOWN: &'static [&'static str] =
        &["io.modelcontextprotocol/protocolVersion", "traceparent"];

    fn take<A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
        names: &mut Names,
        member: usize,
    ) -> Result<(), A::Error> {
        let field = match member {
            0 => &mut self.0.version,
            _ => &mut self.0.trace,
        };
        *field = map.next_value_seed(FieldSeed(names))?;
        Ok(())
    }
}

/// `notifications` of `subscriptions/listen`.
struct Wanted<'f, 'a>(&'f mut Params<'a>);

impl<'de> Members<'de> for Wanted<'_, 'de> {
    const KNOWN: &'static [&'static str] = &["resourceSubscriptions", "taskIds"];

    fn take<A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
        names: &mut Names,
        member: usize,
    ) -> Result<(), A::Error> {
        let list = match member {
            0 => &mut self.0.resources,
            _ => &mut self.0.tasks,
        };
        map.next_value_seed(Texts(names, list))
    }
}

/// Reads an object whose members `M` knows; anything else is passed over.
struct Part<'n, 'm, M>(&'n mut Names, &'m mut M);

impl<'de, M: Members<'de>> DeserializeSeed<'de> for Part<'_, '_, M> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, M: Members<'de>> Visitor<'de> for Part<'_, '_, M> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(names, members) = self;
        each(
            &mut map,
            names,
            M::KNOWN,
            |map, names, member| match member {
                Some(member) => members.take(map, names, member),
                None => map.next_value_seed(Strict(names)),
            },
        )
    }
}

/// Reads a list of texts onto another.
struct Texts<'n, 'm, 'a>(&'n mut Names, &'m mut Vec<Cow<'a, str>>);

impl<'de> DeserializeSeed<'de> for Texts<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Texts<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(field) = seq.next_element_seed(FieldSeed(self.0))? {
            let Field::Text(text) = field else {
                return Err(A::Error::custom("a list of texts has something else in it"));
            };
            if self.1.len() == MAX_SUBSCRIPTIONS {
                return Err(A::Error::custom("too many resources or tasks to listen to"));
            }
            self.1.push(text);
        }
        Ok(())
    }
}

/// Reads a text; anything else is gone through and noted as such.
pub(super) struct FieldSeed<'n>(pub(super) &'n mut Names);

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = Field<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_> {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Field::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Field::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Field::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Field::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Field::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Field::Other)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Field::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        Strict(self.0).visit_seq(seq).map(|()| Field::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Strict(self.0).visit_map(map).map(|()| Field::Other)
    }
}
