//! Auth0. The final slash belongs to its issuer. Own claims have names that are addresses. Tenants whose document names
//! no endpoint for signing out have an older one.

use super::{Offline, Profile, SignOut, generic};
use crate::config::oidc::Kind;

pub(super) static PROFILE: Profile = Profile {
    kind: Kind::Auth0,
    offline: Offline::Always,
    sign_out: SignOut::Own {
        path: "/v2/logout",
        back: "returnTo",
        always: false,
    },
    ..generic::PROFILE
};
