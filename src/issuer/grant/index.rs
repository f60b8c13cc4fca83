//! Which grants a subject has, and which rest on a login. Named by keyed digests, so that the store does not tell who
//! an index is about; written under the first root of the key ring, looked up under all.

use std::sync::Arc;

use super::ticket::GrantId;
use super::{About, Basis, Inner, SLACK};
use crate::ids::Subject;
use crate::keys::Purpose;
use crate::store::{Key, Space, Unavailable};

impl Inner {
    /// Before the record, so that no grant exists that its indexes do not name.
    pub(super) async fn add_to_index(&self, about: &About, id: GrantId) -> Result<(), Unavailable> {
        let member = id.hex();
        let until = about.ends.plus(SLACK);
        for name in names(about) {
            let index = self.index(&name);
            self.store.index_add(&index, &member, until).await?;
        }
        Ok(())
    }

    /// The grants of a subject, living or not.
    pub(super) async fn of_subject(&self, subject: &Subject) -> Result<Vec<GrantId>, Unavailable> {
        self.listed(&subject_name(subject)).await
    }

    /// Takes a grant that ended out of its indexes. The login that it was the last one of may go, when its browser
    /// session is over too. What stays expires by itself.
    pub(super) async fn leave_login(&self, about: &About, id: GrantId) {
        for name in names(about) {
            if let Err(error) = self.store.index_remove(&self.index(&name), &id.hex()).await {
                tracing::debug!(%error, "An index entry of an ended grant stays until it expires.");
            }
        }
        let Basis::Login(login) = &about.basis else {
            return;
        };
        let last = match self.listed(&login_name(login)).await {
            Ok(others) => others.is_empty(),
            Err(error) => {
                tracing::debug!(%error, "Whether other grants rest on a login cannot be told; it stays until it expires.");
                false
            }
        };
        if last && let Err(error) = self.sessions.release(login).await {
            tracing::debug!(%error, "A login that no grant rests on any more stays until it expires.");
        }
    }

    async fn listed(&self, name: &[u8]) -> Result<Vec<GrantId>, Unavailable> {
        let now = self.ambient.now();
        let mut found = Vec::new();
        for mac in self.keys.macs(Purpose::Index, name) {
            let members = self.store.index_list(&key(&mac), now).await?;
            for id in members.iter().filter_map(|member| GrantId::parse(member)) {
                if !found.contains(&id) {
                    found.push(id);
                }
            }
        }
        Ok(found)
    }

    fn index(&self, name: &[u8]) -> Key {
        key(&self.keys.mac(Purpose::Index, name))
    }
}

fn names(about: &About) -> impl Iterator<Item = Vec<u8>> {
    let login = match &about.basis {
        Basis::Login(login) => Some(login_name(login)),
        Basis::Here(_) => None,
    };
    std::iter::once(subject_name(&about.subject)).chain(login)
}

/// Apart from the names of the session's indexes, which begin otherwise; the lengths keep issuer and subject apart.
fn subject_name(subject: &Subject) -> Vec<u8> {
    let Subject { issuer, subject } = subject;
    format!("grants of subject {}:{issuer}{subject}", issuer.len()).into_bytes()
}

fn login_name(login: &Arc<str>) -> Vec<u8> {
    format!("grants of login {login}").into_bytes()
}

fn key(mac: &[u8; 32]) -> Key {
    use std::fmt::Write;
    let id = mac.iter().fold(String::with_capacity(64), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    });
    Key::new(Space::Index, id)
}
