//! A grant's record, and what its times say.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::About;
use crate::clock::Timestamp;

/// A grant as it is kept, before it is sealed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) about: About,
    /// SHA-256 of the code's secret part, to recognise one that is presented again.
    pub(super) code: Option<[u8; 32]>,
    pub(super) state: State,
}

/// How far it is. Every change is one replacement of the record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum State {
    /// Its code was not redeemed yet.
    Coded {
        challenge: String,
        redirect_uri: String,
        expires: Timestamp,
    },
    /// It gives access.
    Active {
        /// Of the newest refresh token; 0 when there is none.
        generation: u64,
        /// Generations that were first presented a moment ago, and when: the one before each is good for a moment more.
        presented: Vec<(u64, Timestamp)>,
        /// When it was last used at the token endpoint.
        used: Timestamp,
    },
    /// It is over. Kept until the last access token is over too.
    Ended { why: Ending, until: Timestamp },
}

/// Why a grant ended: for logs, audit and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    /// The client gave it back (RFC 7009).
    Revoked,
    /// A code was presented twice.
    CodeReplayed,
    /// A code was presented without the proof that it belongs to (RFC 7636), or with another redirect URI.
    CodeMisused,
    /// A refresh token was presented after its time.
    RefreshReplayed,
    /// An operator ended it.
    Operator,
    /// The login behind it is over.
    Login,
}

impl Ending {
    /// Whether somebody did what no honest client does.
    pub(crate) fn is_misuse(self) -> bool {
        matches!(
            self,
            Self::CodeReplayed | Self::CodeMisused | Self::RefreshReplayed
        )
    }

    /// Name for logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::CodeReplayed => "code_replayed",
            Self::CodeMisused => "code_misused",
            Self::RefreshReplayed => "refresh_replayed",
            Self::Operator => "operator",
            Self::Login => "login_ended",
        }
    }
}

impl Record {
    /// When the record says nothing any more.
    pub(super) fn end(&self, idle: Duration) -> Timestamp {
        match &self.state {
            // Longer than the code is good, so that a late one is told from an unknown one, and is never made twice.
            State::Coded { expires, .. } => *expires,
            State::Active { used, .. } => used.plus(idle).min(self.about.ends),
            State::Ended { until, .. } => *until,
        }
    }

    /// Whether it gives access.
    pub(super) fn lives(&self, now: Timestamp, idle: Duration) -> bool {
        matches!(self.state, State::Active { .. }) && now < self.end(idle)
    }
}
