//! One JSON-RPC message, read in one pass that borrows from the body.

mod params;
mod reach;

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use self::params::Params;
use super::Call;
use super::alike::is_alike;
use super::json::{Fault, Scanner, Text};
use super::unreadable::{Unreadable, Why};

/// Longest `id`, as it is written.
const MAX_ID: usize = 256;
/// Longest method.
const MAX_METHOD: usize = 128;
/// Longest text of `_meta` that is kept.
const MAX_META: usize = 128;

/// The members of a message that JSON-RPC 2.0 knows.
const MEMBERS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// A message, and what else it says of itself.
pub(super) struct Read<'a> {
    pub(super) call: Call,
    /// `io.modelcontextprotocol/protocolVersion` of its `_meta`.
    pub(super) version: Option<Cow<'a, str>>,
}

/// Reads one message, which begins where the scanner stands.
///
/// # Errors
/// What is no JSON, no JSON-RPC 2.0 message, could be read in two ways, or does not say what it reaches.
pub(super) fn read<'a>(scanner: &mut Scanner<'a>, body: &Bytes) -> Result<Read<'a>, Unreadable> {
    let mut envelope = Envelope::default();
    let judged = match envelope.scan(scanner) {
        Ok(()) => envelope.judge(body),
        Err(fault) => Err(fault.into()),
    };
    judged.map_err(|why| {
        let id = match (&why, envelope.id(body)) {
            (Why::Invalid(_) | Why::Params(_), Ok(id)) => id.map(Box::from),
            _ => None,
        };
        Unreadable { why, id }
    })
}

/// A member that should be a text.
#[derive(Clone, Copy, Default)]
enum Field<'a> {
    #[default]
    Absent,
    Text(Text<'a>),
    Other,
}

impl<'a> Field<'a> {
    fn scan(scanner: &mut Scanner<'a>) -> Result<Self, Fault> {
        Ok(scanner.text()?.map_or(Self::Other, Self::Text))
    }

    fn is_absent(self) -> bool {
        matches!(self, Self::Absent)
    }

    fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text.decoded()),
            Self::Absent | Self::Other => None,
        }
    }
}

#[derive(Default)]
struct Envelope<'a> {
    jsonrpc: Field<'a>,
    id: Option<Range<usize>>,
    method: Field<'a>,
    params: Params<'a>,
    answers: bool,
}

impl<'a> Envelope<'a> {
    fn scan(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        if scanner.peek()? != b'{' {
            scanner.value()?;
            return Err(Fault::Shape("a message is no object"));
        }
        scanner.object(|scanner, name| {
            match name {
                "jsonrpc" => self.jsonrpc = Field::scan(scanner)?,
                "id" => self.id = Some(scanner.span()?),
                "method" => self.method = Field::scan(scanner)?,
                "params" => self.params.scan(scanner)?,
                "result" | "error" => {
                    self.answers = true;
                    scanner.value()?;
                }
                other => {
                    known(other, &MEMBERS)?;
                    scanner.value()?;
                }
            }
            Ok(())
        })
    }

    /// MCP takes texts and whole numbers for ids; an answer to what could not be read has `null`.
    fn id<'b>(&self, body: &'b Bytes) -> Result<Option<&'b str>, Why> {
        let Some(range) = self.id.clone() else {
            return Ok(None);
        };
        let written = body.get(range).unwrap_or_default();
        let whole = |digit: &u8| digit.is_ascii_digit();
        let is_good = match written {
            [b'"', ..] => true,
            [b'n', ..] if self.answers => return Ok(None),
            [b'-', digits @ ..] | digits => digits.iter().all(whole),
        };
        if !is_good {
            return Err(Why::Invalid("`id` is neither a text nor a whole number"));
        }
        if written.len() > MAX_ID {
            return Err(Why::Invalid("`id` is too long"));
        }
        Ok(std::str::from_utf8(written).ok())
    }

    fn judge(&self, body: &Bytes) -> Result<Read<'a>, Why> {
        let invalid = |what| Err(Why::Invalid(what));
        let id = self.id(body)?.map(Box::from);
        if self.jsonrpc.text().as_deref() != Some("2.0") {
            return invalid("`jsonrpc` is not \"2.0\"");
        }
        let method = match self.method {
            Field::Absent if self.answers => {
                let call = Call {
                    id,
                    ..Call::default()
                };
                return Ok(Read {
                    call,
                    version: None,
                });
            }
            Field::Absent => return invalid("there is neither `method` nor an answer"),
            Field::Other => return invalid("`method` is not a text"),
            Field::Text(_) if self.answers => {
                return invalid("it is a request and an answer at once");
            }
            Field::Text(method) => method.decoded(),
        };
        if method.is_empty() || method.len() > MAX_METHOD {
            return invalid("`method` is empty or too long");
        }
        // Headers and rules repeat it, and some servers would trim or fold it.
        if !method.bytes().all(|byte| byte.is_ascii_graphic()) || is_alike(&method, &reach::METHODS)
        {
            return invalid("`method` is not written as methods are");
        }
        let reach = reach::of(&method, &self.params)?;
        let version = match self.params.version {
            Field::Other => {
                return Err(Why::Params("the protocol version in `_meta` is not a text"));
            }
            field => field.text(),
        };
        let arguments = match &*method {
            "tools/call" | "prompts/get" => self.params.arguments.clone(),
            _ => None,
        };
        let trace = self
            .params
            .trace
            .text()
            .filter(|trace| trace.len() <= MAX_META);
        Ok(Read {
            call: Call {
                id,
                method: Some(method.into()),
                reach,
                arguments: arguments.map(|range| body.slice(range)),
                trace: trace.map(Box::from),
            },
            version,
        })
    }
}

/// That a name which is not of the protocol's is not taken for one of it by anybody.
fn known(name: &str, known: &[&str]) -> Result<(), Fault> {
    if is_alike(name, known) {
        return Err(Fault::Shape(
            "some servers would take a member for one of the protocol's that is written differently",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
