//! Which logins a subject has, and which are on one of the provider's own sessions.
//!
//! An index is named by a keyed digest, so that the store does not tell who it is about. It is written under the
//! first root of the key ring and looked up under all of them.

use futures_util::future::try_join_all;

use super::record::LoginRecord;
use super::ticket::{LoginId, hex};
use super::{Inner, Sessions};
use crate::ids::Subject;
use crate::keys::Purpose;
use crate::store::{Key, Space, Unavailable};

impl Sessions {
    /// The ids of the living logins of a subject, at most 1,000 for each root of the key ring.
    pub async fn logins_of(&self, subject: &Subject) -> Result<Vec<String>, Unavailable> {
        self.0.listed(&subject_name(subject)).await
    }

    /// The ids of the living logins on one of the provider's own sessions (`sid`), at most 1,000 for each root.
    pub async fn logins_of_provider_session(
        &self,
        issuer: &str,
        sid: &str,
    ) -> Result<Vec<String>, Unavailable> {
        self.0.listed(&provider_session_name(issuer, sid)).await
    }
}

impl Inner {
    /// Index entries come before the record, so that no login exists that its subject's index does not name.
    pub(super) async fn add_to_indexes(
        &self,
        login: &LoginRecord,
        id: LoginId,
    ) -> Result<(), Unavailable> {
        let member = id.hex();
        let indexes: Vec<Key> = self.indexes(login).collect();
        try_join_all(
            indexes
                .iter()
                .map(|index| self.store.index_add(index, &member, login.ends)),
        )
        .await
        .map(drop)
    }

    /// Takes a login that ended out of its indexes. An entry that stays expires by itself.
    pub(super) async fn remove_from_indexes(&self, login: &LoginRecord, id: LoginId) {
        for index in self.indexes(login) {
            if let Err(error) = self.store.index_remove(&index, &id.hex()).await {
                tracing::debug!(%error, "An index entry of an ended login stays until it expires.");
            }
        }
    }

    /// Takes logins out of their subject's index, under all roots.
    pub(super) async fn remove_all_from_index(
        &self,
        subject: &Subject,
        logins: &[String],
    ) -> Result<(), Unavailable> {
        for mac in self.keys.macs(Purpose::Index, &subject_name(subject)) {
            let index = index_key(mac);
            for login in logins {
                self.store.index_remove(&index, login).await?;
            }
        }
        Ok(())
    }

    fn indexes(&self, login: &LoginRecord) -> impl Iterator<Item = Key> {
        let subject = &login.claims.subject;
        let by_session = login
            .provider_session()
            .map(|sid| provider_session_name(&subject.issuer, sid));
        std::iter::once(subject_name(subject))
            .chain(by_session)
            .map(|name| index_key(self.keys.mac(Purpose::Index, &name)))
    }

    async fn listed(&self, name: &[u8]) -> Result<Vec<String>, Unavailable> {
        let now = self.ambient.now();
        let indexes: Vec<Key> = self
            .keys
            .macs(Purpose::Index, name)
            .map(index_key)
            .collect();
        let lists = try_join_all(
            indexes
                .iter()
                .map(|index| self.store.index_list(index, now)),
        )
        .await?;
        let mut members = lists.concat();
        members.sort_unstable();
        members.dedup();
        Ok(members)
    }
}

fn index_key(mac: [u8; 32]) -> Key {
    Key::new(Space::Index, hex(&mac))
}

fn subject_name(subject: &Subject) -> Vec<u8> {
    [
        b"subject\0",
        subject.issuer.as_bytes(),
        b"\0",
        subject.subject.as_bytes(),
    ]
    .concat()
}

fn provider_session_name(issuer: &str, sid: &str) -> Vec<u8> {
    [b"sid\0", issuer.as_bytes(), b"\0", sid.as_bytes()].concat()
}
