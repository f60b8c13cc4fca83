//! Rules on what callers may reach, over the wire: what is denied never reaches a backend, and every key of the
//! configuration makes a difference.

mod answers;
mod clients;
mod enforced;
mod explain;
pub(crate) mod world;
