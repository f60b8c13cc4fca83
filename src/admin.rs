//! What operators ask over HTTP: health, readiness, metrics. Read-only.

pub mod health;
mod listener;

pub use self::health::{Check, Health, Status};
pub(crate) use self::listener::exposition;
pub use self::listener::{MetricsBindError, MetricsListener};
