//! GitHub: plain OAuth. The endpoints are known, who somebody is says the API.

use super::{DefaultClaims, Offline, Profile, generic};
use crate::config::oidc::Kind;

pub(super) static PROFILE: Profile = Profile {
    kind: Kind::Github,
    scopes: Some(&["read:user", "user:email", "read:org"]),
    offline: Offline::Never,
    claims: DefaultClaims {
        preferred_username: "login",
        groups: &["groups"],
    },
    ..generic::PROFILE
};
