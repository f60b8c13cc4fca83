//! What tests stand on.

pub(crate) mod idp;
pub(crate) mod redis;
