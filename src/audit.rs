//! The audit log: who did what, where, with which outcome and why, in a record that shows when it was changed.
//!
//! [`Audit`] is a handle that is handed to whatever has something to record; when there is no audit log it costs a
//! comparison. Records go through a bounded queue to one thread, which chains, signs and writes them. A request that is
//! to be forwarded reserves a slot first, and keeps room for the record of its outcome to its end.

mod chain;
pub mod event;
mod flood;
mod line;
mod ocsf;
mod queue;
mod read;
mod redact;
mod resume;
mod schema;
mod sink;
mod trail;
pub mod verify;
mod writer;

pub use self::event::{Done, Event, Kind, Outcome, Place, What, Who};
pub use self::queue::{Admitted, Audit, Full, Slot};
pub use self::redact::Redacted;
pub use self::resume::ResumeError;
pub use self::schema::{fields, kinds, native_schema};
pub use self::trail::{Ended, Outcomes, Trail};
pub use self::writer::{AuditError, files_of, head, public_key};

#[cfg(test)]
pub(crate) mod tests;
