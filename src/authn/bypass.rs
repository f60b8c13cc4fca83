//! `AUTH_MODE=bypass`: one fixed user, for loopback.

use std::sync::Arc;

use super::{Credential, Identity};
use crate::claims::{Claims, Tag};
use crate::ids::Subject;

/// Who everybody is in bypass mode.
pub(super) fn fixed_user() -> Identity {
    let all = serde_json::Map::from_iter([("sub".to_owned(), "bypass-user".into())]);
    Identity {
        claims: Arc::new(Claims {
            subject: Subject {
                issuer: "urn:mcp-oidc-proxy:bypass".into(),
                subject: "bypass-user".into(),
            },
            email: None,
            name: None,
            preferred_username: Some("bypass-user".to_owned()),
            groups: Vec::new(),
            all: Arc::new(all),
            tag: Tag::default(),
        }),
        credential: Credential::Bypass,
        scopes: Arc::from([]),
        client_id: None,
        expires: None,
        basis: None,
    }
}
