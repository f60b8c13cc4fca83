//! The process's log: JSON lines or text on standard output, with a level that a reload can change.

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::service::{LogFormat, Logging};

/// Changes the level of a running log.
#[derive(Clone)]
pub struct LogHandle(reload::Handle<EnvFilter, Registry>);

/// Why the log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is no filter.
    #[error(
        "logging.level: `{0}` is not a level or filter; write error, warn, info, debug or trace"
    )]
    Level(String),
    /// A log was set up before.
    #[error("the log is set up already")]
    Twice,
}

/// Sets the process's log up; once for a process.
///
/// # Errors
/// A level that is no filter, or a second call.
pub fn init(config: &Logging) -> Result<LogHandle, LogError> {
    let (filter, handle) = reload::Layer::new(filter(&config.level)?);
    let registry = tracing_subscriber::registry().with(filter);
    let done = match config.format {
        LogFormat::Json => registry
            .with(
                fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_current_span(false)
                    .with_span_list(false),
            )
            .try_init(),
        LogFormat::Text => registry.with(fmt::layer().with_ansi(false)).try_init(),
    };
    done.map_err(|_| LogError::Twice)?;
    log_panics();
    Ok(LogHandle(handle))
}

/// A panic becomes one line of the log, instead of several on standard error that no collector can read.
/// Whoever catches it counts it.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let location = panic.location().map(ToString::to_string);
        tracing::error!(
            panic = message,
            location,
            thread = std::thread::current().name(),
            "the code met a case that should not exist; please report this line"
        );
    }));
}

impl LogHandle {
    /// Takes over a changed level.
    ///
    /// # Errors
    /// A level that is no filter; the log stays as it was.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        let filter = filter(level)?;
        self.0.reload(filter).map_err(|_| LogError::Twice)
    }
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(level).map_err(|_| LogError::Level(level.to_owned()))
}
