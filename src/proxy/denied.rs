//! How a denial of the policy is answered.

use crate::authz::Denied;
use crate::reject::Reject;

/// The denial as a rejection of the whole request.
pub(super) fn reject(denied: Denied) -> Reject {
    match denied {
        Denied::Route(reject) => reject,
    }
}
