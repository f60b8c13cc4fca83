//! Dex. Groups come with a scope of that name.

use super::{Profile, generic};
use crate::config::oidc::Kind;

pub(super) static PROFILE: Profile = Profile {
    kind: Kind::Dex,
    offered_scopes: &["groups"],
    ..generic::PROFILE
};
