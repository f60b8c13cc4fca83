//! May they: a policy for each route turns a [`Caller`] into a [`Permit`], or the request ends here.

use crate::authn::{Caller, Identity};
use crate::config::Config;
use crate::mcp::Call;
use crate::reject::Reject;
use crate::route::Target;
use crate::telemetry::metrics::Metrics;

/// Leave to forward one request. Made here only, and used up by `forward`.
#[derive(Debug)]
pub struct Permit {
    target: Target,
    caller: Caller,
}

impl Permit {
    /// What may be asked for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// By whom; `None` on public routes without credentials.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.caller {
            Caller::Anonymous => None,
            Caller::Known(identity) => Some(identity),
        }
    }
}

/// The compiled rules of all routes.
#[derive(Debug)]
pub struct Policy {
    _private: (),
}

impl Policy {
    /// Compiles the rules; the configuration was validated.
    pub fn compile(_config: &Config, _metrics: &Metrics) -> Self {
        todo!()
    }

    /// Decides. Denials are 403 without a challenge.
    pub fn decide(&self, _caller: Caller, _target: Target, _call: &Call) -> Result<Permit, Reject> {
        todo!()
    }
}
