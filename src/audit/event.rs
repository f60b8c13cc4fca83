//! What can be recorded, and what a record says.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use super::redact::Redacted;
use crate::clock::Timestamp;
use crate::ids::{RequestId, Subject};
use crate::reject::{Fault, Reject};

macro_rules! kinds {
    ($($variant:ident = $name:literal, $class:ident, $help:literal;)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each carries its help text")]
        pub enum Kind { $($variant),* }

        impl Kind {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in records. Never renamed.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// What it says, for the documentation.
            pub fn help(self) -> &'static str {
                match self { $(Self::$variant => $help),* }
            }

            /// What it belongs to.
            pub fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class),* }
            }
        }
    };
}

kinds! {
    Login = "auth.login", Authentication, "Somebody signed in at the provider and came back, or that failed.";
    Logout = "auth.logout", Authentication, "Somebody signed out, here or at the provider.";
    Refused = "auth.refused", Authentication, "A request had no credential, or one that does not count.";
    SessionCreated = "session.created", Session, "A browser session began.";
    SessionEnded = "session.ended", Session, "A browser session ended.";
    SessionRevoked = "session.revoked", Session, "All that somebody had open was ended.";
    ConsentGiven = "consent.given", Grant, "Somebody let an MCP client act for them.";
    ConsentDenied = "consent.denied", Grant, "Somebody was asked to let an MCP client act for them, and said no.";
    ClientRegistered = "client.registered", Grant, "An MCP client registered itself, or that was refused.";
    CodeIssued = "code.issued", Grant, "An MCP client got an authorization code.";
    TokenIssued = "token.issued", Grant, "An MCP client got an access token.";
    TokenRefreshed = "token.refreshed", Grant, "An MCP client renewed its access token.";
    TokenRefused = "token.refused", Grant, "The token endpoint refused a client.";
    TokenRevoked = "token.revoked", Grant, "An MCP client gave its token back.";
    GrantEnded = "grant.ended", Grant, "What an MCP client was granted ended; the reason says whether it was replayed.";
    Decision = "access.decided", Access, "A rule let a request or a single call through, or did not.";
    Result = "access.result", Access, "What became of a request or call that was let through.";
    McpSessionOpened = "mcp.session.opened", Session, "A backend opened an MCP session.";
    McpSessionEnded = "mcp.session.ended", Session, "An MCP session ended.";
    McpSessionRefused = "mcp.session.refused", Session, "A session id was forged, foreign or used elsewhere, or there are too many sessions.";
    Started = "process.started", Administration, "The proxy began to serve.";
    Stopped = "process.stopped", Administration, "The proxy ended in order.";
    Draining = "process.draining", Administration, "The proxy was told to end.";
    Reloaded = "config.reloaded", Administration, "Another configuration was taken over, or could not be.";
    Looked = "admin.looked", Administration, "An operator looked at what somebody has open.";
    Revoked = "admin.revoked", Administration, "An operator ended what somebody has open.";
    LogOpened = "log.opened", Log, "First record of each file: which chain, which file, what came before, and the public key.";
    LogCheckpoint = "log.checkpoint", Log, "Signed: all records before it, by the hash of the last of them.";
    LogRecovered = "log.recovered", Log, "First record after an end that was not orderly, with what was torn.";
    LogRemoved = "log.removed", Log, "A full file was removed, as `audit.file.keep` says.";
    LogDropped = "log.dropped", Log, "Records that could not be written were counted here.";
}

/// What a kind belongs to: a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Who somebody is.
    Authentication,
    /// Browser and MCP sessions.
    Session,
    /// Consent, tokens, clients.
    Grant,
    /// What may be done, and what was done.
    Access,
    /// Operators and the process.
    Administration,
    /// The log itself.
    Log,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Authentication,
        Self::Session,
        Self::Grant,
        Self::Access,
        Self::Administration,
        Self::Log,
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::Session => "session",
            Self::Grant => "grant",
            Self::Access => "access",
            Self::Administration => "administration",
            Self::Log => "log",
        }
    }
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done, or allowed.
    Success,
    /// A rule or a person said no.
    Denied,
    /// Whoever asked did something wrong.
    Failure,
    /// We, the provider or the backend could not.
    Error,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Success, Self::Denied, Self::Failure, Self::Error];

    /// The name in records: a metric label too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denied => "denied",
            Self::Failure => "failure",
            Self::Error => "error",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Event {
    pub(super) kind: Kind,
    pub(super) outcome: Outcome,
    pub(super) at: Option<Timestamp>,
    pub(super) reason: Option<Cow<'static, str>>,
    pub(super) detail: Option<Box<str>>,
    pub(super) who: Who,
    pub(super) place: Place,
    pub(super) what: What,
    pub(super) done: Option<Done>,
    pub(super) repeated: Option<Repeated>,
    pub(super) log: Option<Box<Log>>,
}

impl Event {
    /// Something that happened now.
    pub fn new(kind: Kind, outcome: Outcome) -> Self {
        Self {
            kind,
            outcome,
            at: None,
            reason: None,
            detail: None,
            who: Who::default(),
            place: Place::default(),
            what: What::default(),
            done: None,
            repeated: None,
            log: None,
        }
    }

    /// It went well.
    pub fn ok(kind: Kind) -> Self {
        Self::new(kind, Outcome::Success)
    }

    /// The result of what was allowed and then not done, because its record could not be written in time.
    pub(super) fn taken_back(decision: &Self) -> Self {
        Self::new(Kind::Result, Outcome::Error)
            .because("audit_log_unavailable")
            .by(decision.who.clone())
            .at(decision.place.clone())
    }

    /// What a rejection says: its stable code, and the cause for eyes.
    pub fn rejected(kind: Kind, reject: &Reject) -> Self {
        let outcome = match reject.fault() {
            Fault::Client => Outcome::Failure,
            Fault::Provider | Fault::Backend | Fault::Proxy => Outcome::Error,
        };
        let event = Self::new(kind, outcome).because(reject.code().as_str());
        match reject.reason() {
            Some(reason) => event.detail(reason),
            None => event,
        }
    }

    /// A stable code that says why.
    #[must_use]
    pub fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// More, for eyes. Never a secret.
    #[must_use]
    pub fn detail(mut self, detail: &str) -> Self {
        self.detail = Some(clip(detail));
        self
    }

    /// Without what is for eyes only: the reason says it all.
    #[must_use]
    pub fn without_detail(mut self) -> Self {
        self.detail = None;
        self
    }

    /// By whom.
    #[must_use]
    pub fn by(mut self, who: Who) -> Self {
        self.who = who;
        self
    }

    /// In which request.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// What was asked for.
    #[must_use]
    pub fn what(mut self, what: What) -> Self {
        self.what = what;
        self
    }

    /// What became of it.
    #[must_use]
    pub fn done(mut self, done: Done) -> Self {
        self.done = Some(done);
        self
    }

    /// What happened.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How it went.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }
}

/// Who. Made by [`super::Audit::who`] where claims are known, so that only what shall be written is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// The `iss` that vouches for the subject.
    pub issuer: Option<Arc<str>>,
    /// The `sub`.
    pub subject: Option<Arc<str>>,
    /// E-mail address; only where configured.
    pub email: Option<Box<str>>,
    /// Groups; only where configured.
    pub groups: Vec<Box<str>>,
    /// What proved it.
    pub credential: Option<&'static str>,
    /// The OAuth client.
    pub client_id: Option<Box<str>>,
    /// Digest of the session's id.
    pub session: Option<Box<str>>,
    /// The grant's id.
    pub grant: Option<Box<str>>,
}

impl Who {
    /// A subject, of whom no claims are known here.
    pub fn subject(subject: &Subject) -> Self {
        Self {
            issuer: Some(shared_clip(&subject.issuer)),
            subject: Some(shared_clip(&subject.subject)),
            ..Self::default()
        }
    }

    /// An OAuth client, for nobody or for somebody who is not known yet.
    pub fn client(client_id: &str) -> Self {
        Self {
            client_id: Some(clip(client_id)),
            ..Self::default()
        }
    }

    /// The same with the OAuth client.
    #[must_use]
    pub fn with_client(mut self, client_id: Option<&str>) -> Self {
        self.client_id = client_id.map(clip);
        self
    }

    /// The same with the grant.
    #[must_use]
    pub fn with_grant(mut self, grant: &str) -> Self {
        self.grant = Some(clip(grant));
        self
    }

    /// The same with what proved it.
    #[must_use]
    pub fn with_credential(mut self, credential: &'static str) -> Self {
        self.credential = Some(credential);
        self
    }

    /// The same with a session, by the digest of its name.
    #[must_use]
    pub fn with_session(mut self, name: impl AsRef<[u8]>) -> Self {
        self.session = Some(digest(name));
        self
    }
}

/// A name that shall be recognised and not be used: the first 8 bytes of its SHA-256, in hex.
pub fn digest(name: impl AsRef<[u8]>) -> Box<str> {
    let digest = crate::secret::Digest::of(name);
    let mut hex = super::chain::hex(digest.as_bytes());
    hex.truncate(16);
    hex.into()
}

/// In which request, from where, to where.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The client's address, as far as it is believed.
    pub client: Option<IpAddr>,
    /// The route's name.
    pub route: Option<Arc<str>>,
    /// The backend's name.
    pub backend: Option<Arc<str>>,
    /// The request, as in the access record.
    pub request: Option<RequestId>,
    /// Which call of a batch, from 0; decision and result of one call have the same.
    pub index: Option<u32>,
    /// The trace, where the client sent one.
    pub trace: Option<Box<str>>,
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct What {
    /// JSON-RPC method; the HTTP method where there is none.
    pub method: Option<Box<str>>,
    /// Path without query, on routes of kind `http`.
    pub path: Option<Box<str>>,
    /// Tool.
    pub tool: Option<Box<str>>,
    /// Prompt.
    pub prompt: Option<Box<str>>,
    /// Resource URI.
    pub resource: Option<Box<str>>,
    /// Task.
    pub task: Option<Box<str>>,
    /// Arguments, where configured.
    pub arguments: Option<Redacted>,
    /// Scopes that were asked for or given.
    pub scopes: Vec<Box<str>>,
    /// The rule that decided.
    pub rule: Option<Arc<str>>,
    /// Digest of the MCP session's id.
    pub mcp_session: Option<Box<str>>,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// HTTP status.
    pub status: Option<u16>,
    /// Of a call: `ok`, `tool_error`, `protocol_error`, `http_error`, `cut`.
    pub outcome: Option<&'static str>,
    /// From the head of the request to the end of the answer, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Bytes of the answer's body.
    pub bytes: Option<u64>,
}

/// Several alike, written once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeated {
    pub(super) count: u64,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

/// What records about the log itself say.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) file: Option<Box<str>>,
    pub(super) number: Option<u64>,
    pub(super) version: Option<&'static str>,
    pub(super) key: Option<Box<str>>,
    pub(super) previous_file: Option<Box<str>>,
    pub(super) last_seq: Option<u64>,
    pub(super) last_hash: Option<Box<str>>,
    pub(super) records: Option<u64>,
    pub(super) end: bool,
    pub(super) torn_bytes: Option<u64>,
    pub(super) torn_sha256: Option<Box<str>>,
    pub(super) damaged: bool,
    pub(super) count: Option<u64>,
}

/// Longest text of a field, in bytes.
pub(super) const MAX_TEXT: usize = 512;
/// Most elements of a list.
pub(super) const MAX_LIST: usize = 64;

/// The same text where it is short enough.
pub(super) fn shared_clip(text: &Arc<str>) -> Arc<str> {
    if text.len() <= MAX_TEXT {
        Arc::clone(text)
    } else {
        clip(text).into()
    }
}

/// A text cut to 512 bytes at a character's end.
pub fn clip(text: &str) -> Box<str> {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}
