//! Looks at the JSON-RPC messages of a backend while their bytes pass: which are answers, what became of the request,
//! and which lists they carry. It takes in pieces of any size, keeps a few hundred bytes, and does not judge whether
//! the JSON is good: that is done before anything is taken out of it.

mod text;

use memchr::memchr2;

use self::text::Text;
use crate::mcp::Kind;

/// A list of what a backend offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// `tools` of `tools/list`.
    Tools,
    /// `prompts` of `prompts/list`.
    Prompts,
    /// `resources` of `resources/list`.
    Resources,
    /// `resourceTemplates` of `resources/templates/list`.
    Templates,
}

impl List {
    /// By the member of `result` that holds it.
    pub(super) fn of(member: &str) -> Option<Self> {
        Some(match member {
            "tools" => Self::Tools,
            "prompts" => Self::Prompts,
            "resources" => Self::Resources,
            "resourceTemplates" => Self::Templates,
            _ => return None,
        })
    }

    /// The member that an element is called by.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }
}

/// What is told of the messages.
pub(super) trait Sink {
    /// The result of a message has a list.
    fn list(&mut self, list: List);
    /// A tool of a list is called so.
    fn tool(&mut self, name: &str);
    /// A message is complete.
    fn message(&mut self, message: &Message<'_>);
}

/// A message that is complete.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// The `id` as it is written, if it is of a length that ids have.
    pub(super) id: Option<&'a [u8]>,
    /// What became of the request; `None` when the message is no answer.
    pub(super) kind: Option<Kind>,
    /// Whether the result goes on behind a cursor.
    pub(super) more: bool,
}

/// Where the scanner stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Outside,
    Batch,
    Message,
    Result,
    Error,
    List(List),
    Item(List),
}

/// The member of an object whose value comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Member {
    #[default]
    Other,
    Id,
    Method,
    Result,
    Error,
    IsError,
    ResultType,
    Task,
    Cursor,
    Code,
    List(List),
    Name,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Token {
    #[default]
    Between,
    Text,
    Escape,
    Literal,
}

/// Goes through messages that come one after another, or in an array.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    place: Place,
    batch: bool,
    /// Open brackets of what is of no interest.
    skipped: usize,
    token: Token,
    /// In an object: a value is awaited, or has been read, and not a name.
    valued: bool,
    member: Member,
    /// Whether the present token is kept.
    keeps: bool,
    text: Text,
    id: Text,
    facts: Facts,
}

/// Of the present message.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that come in any order and in any combination"
)]
struct Facts {
    method: bool,
    result: bool,
    error: bool,
    failed: bool,
    asks: bool,
    task: bool,
    more: bool,
    code: i64,
}

impl Facts {
    fn kind(&self) -> Option<Kind> {
        if self.method {
            return None;
        }
        if self.error {
            return Some(Kind::ProtocolError(self.code));
        }
        self.result.then_some(match self {
            Self { failed: true, .. } => Kind::ToolError,
            Self { asks: true, .. } => Kind::InputRequired,
            Self { task: true, .. } => Kind::Task,
            _ => Kind::Ok,
        })
    }
}

impl Scanner {
    /// Takes in a piece.
    pub(super) fn feed(&mut self, piece: &[u8], sink: &mut impl Sink) {
        let mut rest = piece;
        while let Some(&byte) = rest.first() {
            let used = match self.token {
                Token::Between if self.skipped > 0 => self.skip(rest),
                Token::Between => {
                    self.between(byte, sink);
                    1
                }
                Token::Text => self.text(rest, sink),
                Token::Escape => {
                    self.keep(&[byte]);
                    self.token = Token::Text;
                    1
                }
                Token::Literal => self.literal(rest),
            };
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    /// Begins anew, whatever was left open.
    pub(super) fn reset(&mut self) {
        self.place = Place::Outside;
        self.batch = false;
        self.skipped = 0;
        self.token = Token::Between;
        self.valued = false;
        self.member = Member::Other;
        self.keeps = false;
        self.begin();
    }

    fn begin(&mut self) {
        self.facts = Facts::default();
        self.id.clear();
    }

    /// Inside of what is of no interest: only brackets count, and texts, for brackets may stand in them.
    fn skip(&mut self, piece: &[u8]) -> usize {
        for (at, byte) in piece.iter().enumerate() {
            match byte {
                b'"' => {
                    self.token = Token::Text;
                    self.keeps = false;
                    return at + 1;
                }
                b'{' | b'[' => self.skipped += 1,
                b'}' | b']' => {
                    self.skipped -= 1;
                    if self.skipped == 0 {
                        return at + 1;
                    }
                }
                _ => {}
            }
        }
        piece.len()
    }

    fn between(&mut self, byte: u8, sink: &mut impl Sink) {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => {}
            b'"' => {
                self.token = Token::Text;
                self.value();
                self.keeps = self.is_object() && (!self.valued || self.wants_text());
                self.text.clear();
            }
            b':' => self.valued = true,
            b',' => {
                self.valued = false;
                self.member = Member::Other;
            }
            b'{' => self.open(false, sink),
            b'[' => self.open(true, sink),
            b'}' | b']' => self.close(sink),
            byte => {
                self.token = Token::Literal;
                self.value();
                self.keeps = self.valued
                    && matches!(self.member, Member::Id | Member::IsError | Member::Code);
                self.text.clear();
                self.keep(&[byte]);
            }
        }
    }

    /// A value begins; some count whatever it is.
    fn value(&mut self) {
        if self.valued && self.member == Member::Method {
            self.facts.method = true;
        }
    }

    fn is_object(&self) -> bool {
        matches!(
            self.place,
            Place::Message | Place::Result | Place::Error | Place::Item(_)
        )
    }

    fn wants_text(&self) -> bool {
        matches!(
            self.member,
            Member::Id | Member::ResultType | Member::Cursor | Member::Name
        )
    }

    fn open(&mut self, array: bool, sink: &mut impl Sink) {
        self.value();
        let member = if self.valued {
            self.member
        } else {
            Member::Other
        };
        let next = match (self.place, member) {
            (Place::Outside, _) if array => {
                self.batch = true;
                Some(Place::Batch)
            }
            (Place::Outside | Place::Batch, _) if !array => {
                self.begin();
                Some(Place::Message)
            }
            (Place::Message, Member::Result) if !array => Some(Place::Result),
            (Place::Message, Member::Error) if !array => Some(Place::Error),
            (Place::Result, Member::List(list)) => {
                sink.list(list);
                array.then_some(Place::List(list))
            }
            (Place::Result, Member::Task) => {
                self.facts.task = true;
                None
            }
            (Place::List(list), _) if !array => Some(Place::Item(list)),
            _ => None,
        };
        match next {
            Some(place) => {
                self.place = place;
                self.valued = false;
                self.member = Member::Other;
            }
            None => self.skipped = 1,
        }
    }

    fn close(&mut self, sink: &mut impl Sink) {
        self.place = match self.place {
            Place::Item(list) => Place::List(list),
            Place::List(_) => Place::Result,
            Place::Result | Place::Error => Place::Message,
            Place::Message => {
                sink.message(&Message {
                    id: self.id.get(),
                    kind: self.facts.kind(),
                    more: self.facts.more,
                });
                if self.batch {
                    Place::Batch
                } else {
                    Place::Outside
                }
            }
            Place::Batch | Place::Outside => {
                self.batch = false;
                Place::Outside
            }
        };
        // What was closed was a value, of a member of no interest from now on.
        self.valued = true;
        self.member = Member::Other;
    }

    fn text(&mut self, piece: &[u8], sink: &mut impl Sink) -> usize {
        let Some(at) = memchr2(b'"', b'\\', piece) else {
            self.keep(piece);
            return piece.len();
        };
        self.keep(&piece[..at]);
        if piece[at] == b'\\' {
            self.keep(b"\\");
            self.token = Token::Escape;
        } else {
            self.token = Token::Between;
            if self.keeps {
                self.read(sink);
            }
        }
        at + 1
    }

    /// A text that was kept is complete.
    fn read(&mut self, sink: &mut impl Sink) {
        let text = self.text.unescaped();
        if !self.valued {
            self.member = text.map_or(Member::Other, |name| member(self.place, &name));
            match self.member {
                Member::Result => self.facts.result = true,
                Member::Error => self.facts.error = true,
                _ => {}
            }
            return;
        }
        match (self.member, text) {
            (Member::ResultType, Some(text)) => match &*text {
                "input_required" => self.facts.asks = true,
                "task" => self.facts.task = true,
                _ => {}
            },
            (Member::Cursor, _) => self.facts.more = true,
            (Member::Name, Some(text)) if self.place == Place::Item(List::Tools) => {
                sink.tool(&text);
            }
            (Member::Id, _) => self.id.quote(&self.text),
            _ => {}
        }
    }

    fn literal(&mut self, piece: &[u8]) -> usize {
        let ends = |byte: &u8| {
            matches!(byte, b',' | b':' | b'{' | b'}' | b'[' | b']' | b'"') || *byte <= b' '
        };
        let end = piece.iter().position(ends);
        self.keep(&piece[..end.unwrap_or(piece.len())]);
        let Some(end) = end else { return piece.len() };
        self.token = Token::Between;
        if self.keeps {
            match self.member {
                Member::Id => self.id = self.text,
                Member::IsError => self.facts.failed = self.text.get() == Some(b"true"),
                Member::Code => self.facts.code = self.text.number().unwrap_or_default(),
                _ => {}
            }
        }
        end
    }

    fn keep(&mut self, piece: &[u8]) {
        if self.keeps {
            self.text.push(piece);
        }
    }
}

fn member(place: Place, name: &str) -> Member {
    match (place, name) {
        (Place::Message, "id") => Member::Id,
        (Place::Message, "method") => Member::Method,
        (Place::Message, "result") => Member::Result,
        (Place::Message, "error") => Member::Error,
        (Place::Result, "isError") => Member::IsError,
        (Place::Result, "resultType") => Member::ResultType,
        (Place::Result, "task") => Member::Task,
        (Place::Result, "nextCursor") => Member::Cursor,
        (Place::Result, name) => List::of(name).map_or(Member::Other, Member::List),
        (Place::Error, "code") => Member::Code,
        (Place::Item(list), name) if name == list.name() => Member::Name,
        _ => Member::Other,
    }
}

#[cfg(test)]
mod tests;
