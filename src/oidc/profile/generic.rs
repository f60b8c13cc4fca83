//! By the book.

use super::{DefaultClaims, Issuers, Offline, Profile, SignOut};
use crate::config::oidc::{Kind, Userinfo};

pub(super) const PROFILE: Profile = Profile {
    kind: Kind::Generic,
    document: |_| None,
    issuers: Issuers::Exact,
    parameters: &[],
    prompt: None,
    refuses: &[],
    scopes: None,
    offered_scopes: &[],
    offline: Offline::WhenOffered,
    claims: DefaultClaims {
        preferred_username: "preferred_username",
        groups: &["groups"],
    },
    userinfo: Userinfo::Auto,
    sign_out: SignOut::Standard,
    judge: |_, _| Ok(()),
    mend: |_| (),
    audience: |_| None,
};
