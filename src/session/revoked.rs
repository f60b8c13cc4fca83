//! Ending all logins of a subject, also those that are being made at the same moment.
//!
//! A mark says from when on logins of a subject count. It is set before the subject's logins are listed and ended, and
//! looked at after a login was written: whichever of the two comes first, the other one finds it.

use std::sync::Arc;

use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::ticket::{LoginId, hex};
use super::{Inner, SLACK, Sessions};
use crate::clock::Timestamp;
use crate::ids::Subject;
use crate::keys::Purpose;
use crate::store::{Key, Space, Unavailable, records};

/// Logins that were begun up to this moment do not count.
#[derive(Serialize, Deserialize)]
struct Mark {
    until: Timestamp,
}

impl Sessions {
    /// Ends all logins of a subject on every replica, with their sessions; tells how many logins were living. One
    /// that was begun before is over when it comes to be.
    pub async fn end_all_of(&self, subject: &Subject) -> Result<usize, Unavailable> {
        let inner = &*self.0;
        inner.mark_revoked(subject).await?;
        let mut ended = 0;
        for _ in 0..ROUNDS {
            let logins = self.logins_of(subject).await?;
            if logins.is_empty() {
                break;
            }
            for id in logins.iter().filter_map(|login| LoginId::parse(login)) {
                ended += usize::from(inner.end_login(id).await?.is_some());
            }
            // Also the entries of logins that ended by themselves, or else the list would never be empty.
            inner.remove_all_from_index(subject, &logins).await?;
        }
        inner.count_active().await;
        Ok(ended)
    }
}

impl Inner {
    /// Whether the logins of a subject were ended at or after the moment at which one began.
    pub(super) async fn is_revoked(
        &self,
        subject: &Subject,
        began: Timestamp,
    ) -> Result<bool, Unavailable> {
        if self.is_cut_off(began).await? {
            return Ok(true);
        }
        let keys = self.marks(subject);
        let found = try_join_all(keys.iter().map(|key| self.store.get(key))).await?;
        Ok(keys.iter().zip(found).any(|(key, stored)| {
            stored
                .and_then(|stored| records::open::<Mark>(&self.logins, key, &stored))
                .is_some_and(|mark| began <= mark.until)
        }))
    }

    async fn mark_revoked(&self, subject: &Subject) -> Result<(), Unavailable> {
        let mark = Mark {
            until: self.ambient.now(),
        };
        // As long as a session lives that began before; a flow under way is much shorter.
        let ttl = self.absolute + SLACK;
        // Under all roots: a replica whose key ring is about to change looks under another first one.
        let keys = self.marks(subject);
        try_join_all(keys.iter().map(|key| {
            let blob = records::seal(&self.logins, key, &mark);
            self.store.put(key, blob, ttl)
        }))
        .await
        .map(drop)
    }

    fn marks(&self, subject: &Subject) -> Vec<Key> {
        let name = [
            b"revoked\0",
            subject.issuer.as_bytes(),
            b"\0",
            subject.subject.as_bytes(),
        ]
        .concat();
        self.keys
            .macs(Purpose::Index, &name)
            .map(|mac| Key::new(Space::Revoked, hex(&mac) as Arc<str>))
            .collect()
    }
}

/// Times that the index is listed: it holds 1,000 logins, and more may come while they are ended.
const ROUNDS: usize = 8;

#[cfg(test)]
mod tests {
    use super::super::tests::{World, login};
    use super::*;

    fn subject() -> Subject {
        login().claims.subject
    }

    #[tokio::test]
    async fn all_sessions_of_a_subject_end_and_new_ones_count() {
        let world = World::new();
        let sessions = world.replica();
        let (_, first) = sessions.create(login()).await.unwrap();
        let (_, second) = sessions.create(login()).await.unwrap();
        assert!(sessions.find(&first).await.unwrap().is_some());
        assert_eq!(sessions.end_all_of(&subject()).await.unwrap(), 2);
        assert!(sessions.find(&first).await.unwrap().is_none());
        assert!(sessions.find(&second).await.unwrap().is_none());
        assert!(sessions.logins_of(&subject()).await.unwrap().is_empty());
        assert_eq!(sessions.end_all_of(&subject()).await.unwrap(), 0);

        world.clock.advance(std::time::Duration::from_millis(1));
        let (_, later) = sessions.create(login()).await.unwrap();
        assert!(sessions.find(&later).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_login_that_was_under_way_loses() {
        let world = World::new();
        let sessions = world.replica();
        let began = world.ambient.now();
        world.clock.advance(std::time::Duration::from_secs(5));
        sessions.end_all_of(&subject()).await.unwrap();
        world.clock.advance(std::time::Duration::from_secs(5));
        let (_, ticket) = sessions.create_since(login(), began).await.unwrap();
        assert!(sessions.find(&ticket).await.unwrap().is_none());
        assert!(sessions.logins_of(&subject()).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_login_that_its_index_lost_ends_when_it_is_next_written() {
        let world = World::new();
        let sessions = world.replica();
        let (session, ticket) = sessions.create(login()).await.unwrap();
        let all = [session.login.to_string()];
        sessions
            .0
            .remove_all_from_index(&subject(), &all)
            .await
            .unwrap();
        assert_eq!(sessions.end_all_of(&subject()).await.unwrap(), 0);
        world.clock.advance(std::time::Duration::from_secs(61));
        assert!(sessions.find(&ticket).await.unwrap().is_none());
    }
}
