//! What an operator asks about a person: what they have open, and that it ends.

use std::sync::Arc;

use serde::Serialize;

use crate::ids::Subject;
use crate::issuer::Grants;
use crate::secret::Digest;
use crate::session::{NotEnded, Sessions};
use crate::store::Unavailable;

/// Where logins and grants are.
#[derive(Clone, Debug)]
pub struct Subjects {
    /// Browser sessions and the logins behind them.
    pub sessions: Arc<Sessions>,
    /// Grants of MCP clients, where the proxy gives any.
    pub grants: Option<Arc<Grants>>,
}

/// What a subject has open.
#[derive(Debug, Serialize)]
pub struct Open {
    /// Living logins, each with its browser session or grants.
    pub logins: Vec<Login>,
    /// Living grants of MCP clients.
    pub grants: usize,
}

/// One login.
#[derive(Debug, Serialize)]
pub struct Login {
    /// The first half of the SHA-256 of its id, in hex: names it without being of use to anybody.
    pub id: String,
    /// When it ends at the latest (RFC 3339).
    pub ends: String,
}

/// What was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// Logins, with their browser sessions.
    pub logins: usize,
    /// Grants of MCP clients.
    pub grants: usize,
}

/// That everything was ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndedAll {
    /// Always `everything`.
    pub ended: &'static str,
    /// Until when that was made which ended (RFC 3339): a few seconds from now.
    pub made_until: String,
}

impl Subjects {
    /// What a subject has open.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn open(&self, subject: &Subject) -> Result<Open, Unavailable> {
        let mut logins = Vec::new();
        for id in self.sessions.logins_of(subject).await? {
            if let Some(login) = self.sessions.login(&id).await? {
                logins.push(Login {
                    id: digest(&id),
                    ends: String::from_utf8_lossy(&login.ends.rfc3339()).into_owned(),
                });
            }
        }
        let grants = match &self.grants {
            Some(grants) => grants.count_of(subject).await?,
            None => 0,
        };
        Ok(Open { logins, grants })
    }

    /// Ends all that a subject has open, on every replica. Logins first: what is made of them from then on is over
    /// at once.
    ///
    /// # Errors
    /// The store cannot be asked. Part of it may have ended; doing it again ends the rest.
    pub async fn end(&self, subject: &Subject) -> Result<Ended, Unavailable> {
        let logins = self.sessions.end_all_of(subject).await?;
        let grants = match &self.grants {
            Some(grants) => grants.end_of(subject).await?,
            None => 0,
        };
        tracing::warn!(
            issuer = %subject.issuer,
            subject = %subject.subject,
            logins,
            grants,
            "an operator ended all that a subject had open"
        );
        Ok(Ended { logins, grants })
    }

    /// Ends all that anybody has open, on every replica.
    ///
    /// # Errors
    /// See [`NotEnded`]; doing it again does no harm.
    pub async fn end_everything(&self) -> Result<EndedAll, NotEnded> {
        let until = self.sessions.end_everything().await?;
        let made_until = String::from_utf8_lossy(&until.rfc3339()).into_owned();
        tracing::warn!(%made_until, "an operator ended every session, login and grant");
        Ok(EndedAll {
            ended: "everything",
            made_until,
        })
    }
}

fn digest(id: &str) -> String {
    use std::fmt::Write;
    let digest = Digest::of(id);
    digest.as_bytes()[..16]
        .iter()
        .fold(String::with_capacity(32), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
