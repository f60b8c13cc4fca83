//! The one place that writes to the terminal. A closed pipe is not our failure.

use std::io::Write;

/// Data.
pub(super) fn stdout(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A line of data.
pub(super) fn line(text: &str) {
    stdout(&format!("{text}\n"));
}

/// Everything else.
pub(super) fn stderr(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
