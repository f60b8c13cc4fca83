//! How a denial of the policy is answered.

use crate::authn::Authn;
use crate::authz::{Denied, Refusal};
use crate::reject::{Code, Fault, Reject};

/// The denial as a rejection of the whole request.
pub(super) fn reject(denied: Denied, authn: &Authn) -> Reject {
    match denied {
        Denied::Route(reject) => reject,
        Denied::StepUp { target, scopes, .. } => authn.step_up(&target, &scopes),
        Denied::Call(Refusal { reason, .. }) => Reject::new(
            http::StatusCode::FORBIDDEN,
            Code::Forbidden,
            Fault::Client,
            "You may use this, but not do that. Ask whoever runs it for access.",
        )
        .because(reason),
    }
}
