//! Keycloak. Groups have a leading slash (`/engineering`), which is kept: without it a group could be taken for a role of
//! the same name.

use super::{Profile, generic};
use crate::config::oidc::Kind;

pub(super) static PROFILE: Profile = Profile {
    kind: Kind::Keycloak,
    ..generic::PROFILE
};
