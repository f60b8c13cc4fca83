//! What operators ask over HTTP: health, readiness, metrics, read-only; and on a listener of its own what they change.

mod control;
pub mod health;
mod listener;
mod orders;
mod subjects;

pub use self::control::{Control, ControlBindError, ControlListener, LoadedConfig};
pub use self::health::{Check, Health, Status};
pub(crate) use self::listener::exposition;
pub use self::listener::{MetricsBindError, MetricsListener};
pub use self::orders::{End, Ending, Inbox, NotTaken, Orders, Reload, Taken};
pub use self::subjects::{Ended, EndedAll, Open, Subjects};
