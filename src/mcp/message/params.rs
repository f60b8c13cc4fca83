//! `params` of a message, whatever its method.

use std::borrow::Cow;
use std::ops::Range;

use super::{Field, known};
use crate::mcp::json::{Fault, Scanner};

/// Resources or tasks of one `subscriptions/listen` at most.
const MAX_SUBSCRIPTIONS: usize = 256;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const TRACE: &str = "traceparent";

const MEMBERS: [&str; 9] = [
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

/// What may say what a message reaches. Which of it counts depends on the method, which may come later; members that
/// are not what the protocol makes of them are kept as such, for other methods may have them otherwise.
#[derive(Default)]
pub(super) struct Params<'a> {
    pub(super) name: Field<'a>,
    pub(super) uri: Field<'a>,
    pub(super) task: Field<'a>,
    /// Where the arguments stand in the body.
    pub(super) arguments: Option<Range<usize>>,
    pub(super) reference: Reference<'a>,
    pub(super) version: Field<'a>,
    pub(super) trace: Field<'a>,
    pub(super) resources: List<'a>,
    pub(super) tasks: List<'a>,
    /// `notifications` is there, but no object.
    pub(super) odd: bool,
}

/// `ref` of `completion/complete`.
#[derive(Default)]
pub(super) struct Reference<'a> {
    pub(super) kind: Field<'a>,
    pub(super) name: Field<'a>,
    pub(super) uri: Field<'a>,
}

/// A member that should be a list of texts.
#[derive(Default)]
pub(super) struct List<'a> {
    pub(super) texts: Vec<Cow<'a, str>>,
    /// Why it cannot be judged.
    pub(super) fault: Option<&'static str>,
}

impl<'a> Params<'a> {
    pub(super) fn scan(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        if !object(scanner, "`params` is no object")? {
            return Ok(());
        }
        scanner.object(|scanner, name| {
            match name {
                "name" => self.name = Field::scan(scanner)?,
                "uri" => self.uri = Field::scan(scanner)?,
                "taskId" => self.task = Field::scan(scanner)?,
                "arguments" => self.arguments = Some(scanner.span()?),
                "ref" => self.reference.scan(scanner)?,
                "_meta" => self.meta(scanner)?,
                "notifications" => self.wanted(scanner)?,
                "resourceSubscriptions" => self.resources.scan(scanner)?,
                "taskIds" => self.tasks.scan(scanner)?,
                other => {
                    known(other, &MEMBERS)?;
                    scanner.value()?;
                }
            }
            Ok(())
        })
    }

    fn meta(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        if !object(scanner, "`params._meta` is no object")? {
            return Ok(());
        }
        scanner.object(|scanner, name| {
            match name {
                VERSION => self.version = Field::scan(scanner)?,
                TRACE => self.trace = Field::scan(scanner)?,
                other => {
                    known(other, &[VERSION, TRACE])?;
                    scanner.value()?;
                }
            }
            Ok(())
        })
    }

    /// `notifications` of `subscriptions/listen`.
    fn wanted(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        if scanner.peek()? != b'{' {
            self.odd = true;
            return scanner.value();
        }
        scanner.object(|scanner, name| match name {
            "resourceSubscriptions" => self.resources.scan(scanner),
            "taskIds" => self.tasks.scan(scanner),
            other => {
                known(other, &["resourceSubscriptions", "taskIds"])?;
                scanner.value()
            }
        })
    }
}

impl<'a> Reference<'a> {
    fn scan(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        if scanner.peek()? != b'{' {
            return scanner.value();
        }
        scanner.object(|scanner, name| {
            match name {
                "type" => self.kind = Field::scan(scanner)?,
                "name" => self.name = Field::scan(scanner)?,
                "uri" => self.uri = Field::scan(scanner)?,
                other => {
                    known(other, &["type", "name", "uri"])?;
                    scanner.value()?;
                }
            }
            Ok(())
        })
    }
}

impl<'a> List<'a> {
    fn scan(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        match scanner.peek()? {
            b'[' => {}
            b'n' => return scanner.value(),
            _ => {
                self.fault = Some("what to listen to is no list");
                return scanner.value();
            }
        }
        scanner.array(|scanner| {
            match scanner.text()? {
                None => self.fault = Some("what to listen to has something else than texts in it"),
                Some(_) if self.texts.len() == MAX_SUBSCRIPTIONS => {
                    self.fault = Some("there is too much to listen to");
                }
                Some(text) => self.texts.push(text.decoded()),
            }
            Ok(())
        })
    }
}

/// Whether an object comes next. `null` says what nothing says, and is gone past; anything else is an error.
fn object(scanner: &mut Scanner<'_>, what: &'static str) -> Result<bool, Fault> {
    match scanner.peek()? {
        b'{' => Ok(true),
        b'n' => scanner.value().map(|()| false),
        _ => {
            scanner.value()?;
            Err(Fault::Shape(what))
        }
    }
}
