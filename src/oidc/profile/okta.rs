//! Okta. A custom authorization server is its own issuer (`/oauth2/default`), whose groups come by a claim that an
//! administrator adds; the organisation's server has a scope for them.

use super::{Profile, generic};
use crate::config::oidc::Kind;

pub(super) static PROFILE: Profile = Profile {
    kind: Kind::Okta,
    offered_scopes: &["groups"],
    ..generic::PROFILE
};
