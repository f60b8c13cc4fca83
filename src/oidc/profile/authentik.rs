//! authentik. Each application is an issuer of its own; refresh tokens only with `offline_access`, where the application
//! has that scope.

use super::{Profile, generic};
use crate::config::oidc::Kind;

pub(super) static PROFILE: Profile = Profile {
    kind: Kind::Authentik,
    ..generic::PROFILE
};
