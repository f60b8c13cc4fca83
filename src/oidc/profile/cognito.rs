//! Amazon Cognito. Refresh tokens come without asking, and `offline_access` is refused. Signing out has an address of its
//! own, which takes no `id_token_hint` and only a registered address to come back to.

use super::{DefaultClaims, Offline, Profile, SignOut, generic};
use crate::config::oidc::Kind;

pub(super) static PROFILE: Profile = Profile {
    kind: Kind::Cognito,
    offline: Offline::Never,
    claims: DefaultClaims {
        preferred_username: "cognito:username",
        groups: &["cognito:groups"],
    },
    sign_out: SignOut::Own {
        path: "/logout",
        back: "logout_uri",
        always: true,
    },
    ..generic::PROFILE
};
