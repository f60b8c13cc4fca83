//! Google. A refresh token comes only with `access_type=offline` and a consent that is shown; there are no groups; the
//! organisation of an account is in `hd`; older tokens name the issuer without `https://`.

use serde_json::{Map, Value};

use super::{DefaultClaims, Issuers, Offline, Profile, generic};
use crate::config::oidc::{Kind, Oidc};

pub(super) static PROFILE: Profile = Profile {
    kind: Kind::Google,
    issuers: Issuers::SchemeOptional,
    parameters: &[("access_type", "offline")],
    prompt: Some("consent"),
    offline: Offline::Never,
    claims: DefaultClaims {
        preferred_username: "email",
        groups: &[],
    },
    judge: organisation,
    ..generic::PROFILE
};

/// `hd` of the request is a hint for Google's page and binds nobody; the one of the ID token does.
fn organisation(config: &Oidc, claims: &Map<String, Value>) -> Result<(), String> {
    let found = claims.get("hd").and_then(Value::as_str);
    match config.authorization_params.get("hd").map(String::as_str) {
        None => Ok(()),
        Some("*") if found.is_some() => Ok(()),
        Some(wanted) if found == Some(wanted) => Ok(()),
        Some(wanted) => Err(format!(
            "the account does not belong to `{wanted}`, which oidc.authorization_params.hd demands"
        )),
    }
}
